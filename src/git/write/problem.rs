//! Why a commit was not made, and what to do next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::git::error::quoted;
use crate::text::Safe;

/// Why a commit was not made, or not put where it belongs. Shown after the repository and the branch.
#[derive(Debug, thiserror::Error)]
pub enum WriteProblem {
    /// What the caller's condition asks for does not hold at the head, which may have moved since.
    #[error("{why}; look again and repeat it if it is still wanted")]
    Overtaken {
        /// What is different.
        why: Safe,
    },
    /// The branch does not exist.
    #[error("there is no such branch; make it with `git branch {branch}`")]
    NoBranch {
        /// Its name.
        branch: Safe,
    },
    /// The name or a path is none that git takes.
    #[error("`{what}` is not taken: {why}")]
    Name {
        /// The name or path.
        what: Safe,
        /// Why.
        why: &'static str,
    },
    /// Something else is in the commit where a file or folder has to be.
    #[error("`{path}` is {what} in its newest commit; remove or rename that, and repeat it")]
    Blocked {
        /// Where.
        path: Safe,
        /// What stands there.
        what: &'static str,
    },
    /// The daemon, and the branch is checked out.
    #[error("it is checked out in {}, where only a person writes", work_dir.display())]
    CheckedOut {
        /// Where.
        work_dir: PathBuf,
    },
    /// The repository belongs to another user.
    #[error(
        "the repository belongs to the user with the id {owner}; run it as that user, or what it writes will not be theirs"
    )]
    OtherOwner {
        /// Whose it is.
        owner: u32,
    },
    /// Checked out twice, so that one of the two would be left behind.
    #[error("it is checked out in {} and in {}; check out another branch in one of them", first.display(), second.display())]
    CheckedOutTwice {
        /// Here.
        first: PathBuf,
        /// And here.
        second: PathBuf,
    },
    /// The work tree is not there.
    #[error("it is checked out in {}, which is not there; bring that back, or run `git worktree prune` if it is gone for good", work_dir.display())]
    Away {
        /// Where it was.
        work_dir: PathBuf,
    },
    /// In the middle of something.
    #[error("{what} is under way in {}; finish it or give it up first: `git -C {} {next}`", work_dir.display(), quoted(work_dir))]
    Busy {
        /// Where.
        work_dir: PathBuf,
        /// What is under way.
        what: &'static str,
        /// The git commands that end it.
        next: &'static str,
    },
    /// Local edits on the very paths that the commit changes.
    #[error(
        "files that it changes were edited in {}: {}; commit them, or throw the edits away with\n  git -C {} restore --staged --worktree -- PATH\n(one that git does not know yet: move it away)",
        work_dir.display(), listed(paths), quoted(work_dir)
    )]
    Edited {
        /// The checkout.
        work_dir: PathBuf,
        /// The files.
        paths: Vec<String>,
    },
    /// The checkout could not be brought along.
    #[error("{} cannot take it: {detail}; put that right and repeat it", work_dir.display())]
    Checkout {
        /// The checkout.
        work_dir: PathBuf,
        /// git's words.
        detail: Safe,
    },
    /// git does not know who the person is.
    #[error(
        "git does not know who you are ({detail}); tell it with `git config --global user.name NAME` and `user.email`"
    )]
    NoIdentity {
        /// git's words.
        detail: Safe,
    },
    /// No signature.
    #[error(
        "git could not sign the commit with {with}: {detail}; `git commit --allow-empty -S` has to work there (`gpg.format`, `user.signingkey`, and the key or its agent at hand)"
    )]
    Unsigned {
        /// Format and key, as configured.
        with: Safe,
        /// git's words.
        detail: Safe,
    },
    /// A lock that did not go away.
    #[error(
        "another git is at work there ({detail}); let it end and repeat it, or remove that file if none runs"
    )]
    Locked {
        /// Which lock.
        detail: Safe,
    },
    /// It moved each time.
    #[error("it moved under every attempt, {tries} times; repeat it when it is quiet")]
    Contended {
        /// How many.
        tries: u32,
    },
    /// git, or a hook of the repository, said no.
    #[error("git refuses: {detail}")]
    Refused {
        /// git's words.
        detail: Safe,
    },
    /// git did not end in time.
    #[error("{what} did not end within {} s; it is tried again", after.as_secs())]
    TimedOut {
        /// Which command.
        what: Safe,
        /// The limit.
        after: Duration,
    },
    /// `--push`, and no remote to push to.
    #[error(
        "it has no remote to push to; name one with `git push --set-upstream REMOTE BRANCH`, or leave out `--push`"
    )]
    NoRemote,
    /// The server did not take it.
    #[error("{remote} did not take it: {detail}\n  {next}")]
    NotPushed {
        /// The remote's name, or its URL without credentials.
        remote: Safe,
        /// What the server said.
        detail: Safe,
        /// What to do.
        next: &'static str,
    },
    /// The server took it, and then it did not go in here.
    #[error("{remote} took it, but here it could not be put in place ({detail}); `git pull` brings it")]
    OnlyPushed {
        /// The remote's name.
        remote: Safe,
        /// Why.
        detail: Safe,
    },
}

fn listed(paths: &[String]) -> String {
    let mut text = paths
        .iter()
        .take(10)
        .map(|p| format!("`{}`", Safe::new(p)))
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = paths.len().checked_sub(10).filter(|n| *n > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// git's words on one line, without credentials, and not too many of them.
pub(super) fn words(text: &str) -> Safe {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("hint:"))
        .take(8)
        .collect();
    if lines.is_empty() {
        return Safe::new("git said nothing");
    }
    Safe::new(&crate::git::location::redact(&lines.join("; ")))
}

/// A lock's file among git's words, if one was in the way.
pub(super) fn lock_in(text: &str) -> Option<Safe> {
    let is_lock = |part: &&str| Path::new(part).extension().is_some_and(|e| e == "lock");
    let path = text.split('\'').find(is_lock)?;
    text.contains("File exists").then(|| Safe::new(path))
}
