//! The git room: the only one that touches git.
//!
//! Reading goes through libgit2, straight from refs and objects (never a work tree, never replace refs); fetching goes
//! through a hardened `git` child, so that the user's credential helpers and SSH set-up work. Commits are made by the
//! person's own `git` (`write`), so that their name and keys are on them. All functions block.

mod child;
mod error;
mod history;
mod init;
mod keep;
mod location;
mod mirror;
mod open;
mod read;
mod repo;
mod signature;
mod trace;
mod watch;
mod worktree;
mod write;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use error::{FetchProblem, GitError};
pub use history::CommitInfo;
pub use init::init;
pub use keep::Keep;
pub use location::Location;
pub use open::KeptOpen;
pub use repo::Repo;
pub use signature::Signature;
pub use trace::Marks;
pub use watch::{Watch, watch};
pub use worktree::worktree;
pub use write::{
    Ask, Change, Condition, Hand, Head, Signing, SigningKey, WriteBack, WriteProblem, Writer, Written,
};
