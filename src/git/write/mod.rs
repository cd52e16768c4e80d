//! Writes commits: what `promote`, `approve` and their like decide, and what the daemon writes back.
//!
//! A commit is made of objects first, and then one ref is moved from the old head to it, compare-and-swap:
//!
//! 1. The head is read and the caller's condition asked of it.
//! 2. Blobs, trees and the commit are written by `git`, and signed as the user's git is set up. No index is involved. A
//!    crash here leaves objects that nothing names.
//! 3. The ref is locked at its old value (`transaction`), HEAD of the checkout with it.
//! 4. Where the branch is checked out, index and files follow as in a fast-forward (`checkout`). They come **before** the
//!    ref: a crash between the two leaves the change staged, so that the user's next commit carries it and the same verb
//!    goes on from there. The other way round it would leave the change's *opposite* staged, and the user's next commit
//!    would revert what was decided. Nobody's commit gets in between: it needs the ref that is locked.
//! 5. The ref moves.
//!
//! A head that moved meanwhile is read again, and the condition asked again. For a URL the push is the move: the mirror's
//! refs are the remote's, and follow only what the remote took.
//!
//! Hooks: `pre-commit` and `commit-msg` are not run. They judge an index and a message that a person prepared, may change
//! both and ask questions; here the index has other things in it, or there is none. Whoever must refuse such a commit can:
//! `reference-transaction` and `pre-push` run with a person's git, and the server's hooks always. In the daemon none runs.

mod checkout;
mod hand;
mod here;
mod objects;
mod problem;
mod propose;
mod push;
mod signer;
mod there;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub use hand::Hand;
pub use problem::WriteProblem;
pub use propose::WriteBack;
pub use signer::SigningKey;

use super::repo::unreadable;
use super::{GitError, Repo};
use crate::fleet::names::CommitId;
use crate::fleet::tree::Tree;
use crate::text::Safe;
use hand::At;

/// What is to be committed.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// What files hold afterwards; none: the file goes. All others stay.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    /// The commit's message.
    pub message: String,
    /// Whether it is signed.
    pub signing: Signing,
    /// Whether a local repository's remote gets it too, first. (A URL always does.)
    pub push: bool,
}

/// Whether a person's commit is signed. The daemon's never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signing {
    /// As `commit.gpgSign` says.
    #[default]
    AsConfigured,
    /// In any case, with the key that is configured: for a fleet that counts only what is signed.
    Always,
}

/// Whether what a caller wants to commit is still to be committed on a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is.
    Holds,
    /// It is not, and why: `the pin names another release by now`.
    Gone(String),
}

/// Asks a head whether what is to be committed still is, at each attempt.
pub type Ask<'a> = &'a dyn Fn(&Head<'_>) -> Result<Condition, GitError>;

/// A branch's head, for a caller's condition.
#[derive(Debug)]
pub struct Head<'a> {
    repo: &'a Repo,
    commit: CommitId,
}

impl Head<'_> {
    /// Its commit.
    pub fn commit(&self) -> &CommitId {
        &self.commit
    }

    /// What a file holds there; none when there is no such file.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        objects::file(self.repo, &self.commit, path)
    }

    /// The declared files there.
    pub fn tree(&self) -> Result<Tree, GitError> {
        self.repo.tree(&self.commit)
    }
}

/// A commit that is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The commit; the head as it was, where [`Written::is_new`] is false.
    pub commit: CommitId,
    /// False when the head says all of it already, and nothing was committed.
    pub is_new: bool,
    /// Whether it is signed.
    pub signed: bool,
    /// The checkout that followed.
    pub checkout: Option<PathBuf>,
    /// The remote that took it: its name, or its URL without credentials.
    pub pushed: Option<Safe>,
}

/// Writes commits into one repository.
pub struct Writer<'a> {
    repo: &'a Repo,
    hand: Hand<'a>,
}

impl<'a> Writer<'a> {
    /// A writer into `repo`. The daemon's refuses another user's repository, and every branch that is checked out; root
    /// as a person refuses a user's, whose files would become root's.
    pub fn new(repo: &'a Repo, hand: Hand<'a>) -> Self {
        Self { repo, hand }
    }

    /// Commits `change` on top of the branch's head, if `condition` holds there: it is asked again of each new head that
    /// somebody else committed meanwhile. In a mirror the commit is pushed; elsewhere the branch moves, and the work
    /// tree that has it checked out follows. After an error nothing has changed, unless it says so.
    pub fn commit(&self, change: &Change, condition: Ask<'_>) -> Result<Written, GitError> {
        let at = self.at(change);
        if !git2::Branch::name_is_valid(&change.branch).unwrap_or(false) {
            return Err(at.problem(WriteProblem::Name {
                what: Safe::new(&change.branch),
                why: "git does not take it as a branch's name",
            }));
        }
        self.refuse_others(&at)?;
        match &self.repo.url {
            Some(url) => self.commit_there(&at, url, change, condition),
            None => self.commit_here(&at, change, condition),
        }
    }

    fn at<'b>(&'b self, change: &'b Change) -> At<'b> {
        At {
            hand: &self.hand,
            repo: self.repo,
            branch: &change.branch,
            git_dir: &self.repo.git_dir,
            work_dir: self.repo.work_dir.as_deref(),
        }
    }

    fn refuse_others(&self, at: &At<'_>) -> Result<(), GitError> {
        let dir = &self.repo.common_dir;
        let owner = std::fs::metadata(dir).map_err(|e| unreadable(dir, e))?.uid();
        let me = rustix::process::geteuid();
        if owner == me.as_raw() || (self.hand.is_person() && !me.is_root()) {
            return Ok(());
        }
        Err(at.problem(WriteProblem::OtherOwner { owner }))
    }

    /// The head, if the condition holds there.
    fn head(&self, at: &At<'_>, condition: Ask<'_>) -> Result<CommitId, GitError> {
        let commit = self.tip(at)?;
        let head = Head {
            repo: self.repo,
            commit,
        };
        match condition(&head)? {
            Condition::Holds => Ok(head.commit),
            Condition::Gone(why) => Err(at.problem(WriteProblem::Overtaken { why: Safe::new(&why) })),
        }
    }

    fn tip(&self, at: &At<'_>) -> Result<CommitId, GitError> {
        let mut branches = self.repo.branches()?;
        match branches.remove(at.branch) {
            Some(commit) => Ok(commit),
            None if branches.is_empty() => Err(GitError::Empty {
                repo: self.repo.label(),
            }),
            None => Err(at.problem(WriteProblem::NoBranch {
                branch: Safe::new(at.branch),
            })),
        }
    }
}

/// There was nothing to commit.
fn nothing(head: CommitId) -> Written {
    Written {
        commit: head,
        is_new: false,
        signed: false,
        checkout: None,
        pushed: None,
    }
}
