//! What can go wrong with git, and what to do next.

use std::path::PathBuf;
use std::time::Duration;

use super::write::WriteProblem;
use crate::fleet::names::CommitId;
use crate::text::Safe;

/// Why a fetch failed, as far as git's words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchProblem {
    /// 401, 403, or no key that the server takes.
    Denied,
    /// The server's host key is unknown or has changed.
    HostKey,
    /// The server's certificate is not trusted.
    Tls,
    /// No such repository.
    Missing,
    /// The server sends elsewhere.
    Redirect,
    /// No answer, no such host.
    Unreachable,
    /// The cache is damaged.
    Damaged,
    /// Anything else.
    Other,
}

impl FetchProblem {
    fn advice(self) -> &'static str {
        match self {
            Self::Denied => {
                "give the user that runs ringfence a credential helper or an SSH key that may read it; `git ls-remote` with the same URL must work without a question"
            }
            Self::HostKey => {
                "compare the server's host key with the one that its owner publishes, and put it into known_hosts"
            }
            Self::Tls => "make the server's certificate authority known to git (`http.sslCAInfo`)",
            Self::Missing => "look whether the repository was renamed or removed, and correct the URL",
            Self::Redirect => {
                "write the URL that the server redirects to; redirects are not followed, so that credentials go nowhere else"
            }
            Self::Unreachable => "look at the network and the server; it is tried again",
            Self::Damaged => "the cache is damaged; it is made anew at the next fetch",
            Self::Other => "run `git ls-remote` with the same URL as the user that runs ringfence",
        }
    }
}

/// An error of the git room. Names the repository or ref and says what to do; never holds credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A text that is no location we take.
    #[error("`{text}` is not taken as a repository: {why}")]
    Location {
        /// The text, without credentials.
        text: Safe,
        /// Reason and advice.
        why: &'static str,
    },
    /// No repository there.
    #[error("there is no git repository at {} or above it; name one with `-C DIR` or `--repo`, or make one with `ringfence init`", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error("the repository {} belongs to another user; if you trust it, run\n  git config --global --add safe.directory {}", path.display(), quoted(path))]
    OtherUser {
        /// Its directory.
        path: PathBuf,
    },
    /// It is of a kind that cannot be read.
    #[error("the repository {} uses {what}, which cannot be read yet; {next}", path.display())]
    Unsupported {
        /// Its directory.
        path: PathBuf,
        /// Which feature.
        what: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// A revision that does not exist.
    #[error("`{rev}` is no commit in {repo}; `git log` shows those that are ({detail})")]
    NoRevision {
        /// As asked.
        rev: Safe,
        /// Which repository.
        repo: Safe,
        /// git's words.
        detail: Safe,
    },
    /// A commit that is not there.
    #[error("the commit {commit} is not in {repo}; fetch it, or name another")]
    NoCommit {
        /// Which.
        commit: CommitId,
        /// Which repository.
        repo: Safe,
    },
    /// No branch at all, or HEAD names none.
    #[error("{repo} has no branch that HEAD names; check one out, or set `control_branch` in ringfence.yaml")]
    NoBranch {
        /// Which repository.
        repo: Safe,
    },
    /// A repository without commits.
    #[error("{repo} has no commit yet; commit the fleet's files first")]
    Empty {
        /// Which repository.
        repo: Safe,
    },
    /// History is cut off.
    #[error(
        "{repo} is a shallow clone, and what is asked lies beyond its end; run `git fetch --unshallow` there"
    )]
    Shallow {
        /// Which repository.
        repo: Safe,
    },
    /// A ref file that holds no commit id.
    #[error(
        "the ref {name} of {repo} is damaged: it names no commit; set it again with `git update-ref {name} COMMIT`"
    )]
    BrokenRef {
        /// Its name.
        name: Safe,
        /// Which repository.
        repo: Safe,
    },
    /// A commit that cannot be taken, because its tree is malformed.
    #[error("the tree of {commit} is malformed at `{path}`: {why}; commit it again with git")]
    Malformed {
        /// Which commit.
        commit: String,
        /// Where.
        path: Safe,
        /// What is wrong.
        why: &'static str,
    },
    /// More than a fleet may hold.
    #[error(
        "{place} holds more than {limit} {what} below the fleet's folders; move what is no declaration out of `rings/`, `stacks/` and `desired/`"
    )]
    TooLarge {
        /// Commit or folder.
        place: Safe,
        /// How much is allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// A fetch failed; what was fetched before stays.
    #[error("cannot fetch {url}: {detail}\n  {}", problem.advice())]
    Fetch {
        /// Without credentials.
        url: Safe,
        /// Kind.
        problem: FetchProblem,
        /// git's words, without credentials.
        detail: Safe,
    },
    /// A fetch took too long and was killed.
    #[error("{url} did not answer within {} s; what was fetched before stays in force, and it is tried again", after.as_secs())]
    TimedOut {
        /// Without credentials.
        url: Safe,
        /// The limit.
        after: Duration,
    },
    /// The git program does not start.
    #[error("cannot run `git`: {0}; install git 2.45 or newer and put it in PATH")]
    NoGit(std::io::Error),
    /// A file or folder.
    #[error("{}: {error}; {next}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
        /// What to do.
        next: &'static str,
    },
    /// Something that `init` does not overwrite.
    #[error("{} is already there; {next}", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
        /// What to do.
        next: &'static str,
    },
    /// A commit was not made, or not put where it belongs. Unless it says otherwise, nothing was changed.
    #[error("cannot commit on the branch `{branch}` of {repo}: {problem}")]
    Write {
        /// Which repository.
        repo: Safe,
        /// Which branch.
        branch: Safe,
        /// Why, and what to do.
        problem: Box<WriteProblem>,
    },
    /// Watching failed.
    #[error("cannot watch {} for changes: {error}; it is looked at in intervals instead", path.display())]
    Watch {
        /// The repository.
        path: PathBuf,
        /// Why.
        error: notify::Error,
    },
    /// Anything else that libgit2 says.
    #[error("{repo}: {doing}: {detail}; `git -C {repo} fsck` tells more")]
    Git {
        /// Which repository.
        repo: Safe,
        /// What was being done.
        doing: &'static str,
        /// libgit2's words.
        detail: Safe,
    },
}

pub(super) fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    if text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c))
    {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
