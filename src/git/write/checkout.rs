//! The work tree that has a branch checked out, and how it is brought along.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{RepositoryOpenFlags, RepositoryState};

use super::hand::At;
use super::objects::Blobs;
use super::problem::{WriteProblem, lock_in, words};
use crate::fleet::names::CommitId;
use crate::git::repo::unreadable;
use crate::git::{GitError, Repo};

/// A work tree, main or linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkout {
    git_dir: PathBuf,
    work_dir: PathBuf,
}

/// How bringing a checkout along ended.
pub(super) enum Brought {
    Along,
    /// Another git holds the index.
    Locked(crate::text::Safe),
}

impl Checkout {
    /// The one work tree that has the branch checked out; an error where a rebase, merge or the like of it is under
    /// way, or where it is not there: it would be left behind, and its next commit would undo ours.
    pub(super) fn find(at: &At<'_>) -> Result<Option<Self>, GitError> {
        let mut found: Option<Self> = None;
        for git_dir in git_dirs(at.repo)? {
            let Some(checkout) = Self::of(at, &git_dir)? else {
                continue;
            };
            if let Some(first) = found {
                return Err(at.problem(WriteProblem::CheckedOutTwice {
                    first: first.work_dir,
                    second: checkout.work_dir,
                }));
            }
            found = Some(checkout);
        }
        Ok(found)
    }

    fn of(at: &At<'_>, git_dir: &Path) -> Result<Option<Self>, GitError> {
        let repo = open(at, git_dir)?;
        let Some(work_dir) = work_dir(&repo, git_dir)? else {
            return Ok(None);
        };
        let is_head = heads(at, &repo)?;
        if !is_head && !is_underway(git_dir, at.branch)? {
            return Ok(None);
        }
        if let Some((what, next)) = underway(repo.state()) {
            return Err(at.problem(WriteProblem::Busy { work_dir, what, next }));
        }
        if !work_dir.is_dir() {
            return Err(at.problem(WriteProblem::Away { work_dir }));
        }
        Ok(is_head.then(|| Self {
            git_dir: git_dir.to_owned(),
            work_dir,
        }))
    }

    pub(super) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// The same hand, working here.
    pub(super) fn at<'a>(&'a self, at: &At<'a>) -> At<'a> {
        At {
            git_dir: &self.git_dir,
            work_dir: Some(&self.work_dir),
            ..*at
        }
    }

    /// Refuses local edits, staged or not, and files that git does not know, on the paths that are about to change.
    /// What is staged and is just what comes is none: a ringfence that was killed left it.
    pub(super) fn refuse_edits(&self, at: &At<'_>, blobs: &Blobs) -> Result<(), GitError> {
        let paths = self.edits(at, blobs)?;
        if paths.is_empty() {
            return Ok(());
        }
        Err(at.problem(WriteProblem::Edited {
            work_dir: self.work_dir.clone(),
            paths,
        }))
    }

    fn edits(&self, at: &At<'_>, blobs: &Blobs) -> Result<Vec<String>, GitError> {
        let mut args = vec![
            "--literal-pathspecs",
            "--no-optional-locks",
            "status",
            "--porcelain=v2",
            "-z",
            "--no-renames",
            "--untracked-files=no",
            "--ignore-submodules=all",
            "--",
        ];
        args.extend(blobs.keys().map(String::as_str));
        let outcome = self.at(at).run(&args, &[], "`git status`")?;
        if !outcome.ok {
            return Err(at.problem(WriteProblem::Checkout {
                work_dir: self.work_dir.clone(),
                detail: words(&outcome.stderr),
            }));
        }
        let mut edited: Vec<String> = Vec::new();
        let mut staged: Vec<&str> = Vec::new();
        for record in outcome.stdout.split('\0').filter(|r| !r.is_empty()) {
            // `1 XY sub mH mI mW hH hI path`, or `u` with two fields more.
            let is_unmerged = record.starts_with('u');
            let fields: Vec<&str> = record.splitn(if is_unmerged { 11 } else { 9 }, ' ').collect();
            let (Some(state), Some(index), Some(path)) = (fields.get(1), fields.get(7), fields.last()) else {
                continue;
            };
            let comes_anyway = blobs.get(*path).is_some_and(|new| match new {
                Some(id) => id == index,
                None => state.starts_with('D'),
            });
            if !is_unmerged && state.ends_with('.') && comes_anyway {
                staged.push(path);
            } else {
                edited.push((*path).to_owned());
            }
        }
        // Files that git does not know: those that it ignores it would overwrite without a word.
        for (path, new) in blobs {
            if new.is_some()
                && !staged.contains(&path.as_str())
                && let Some(path) = self.in_the_way(at, path)?
            {
                edited.push(path);
            }
        }
        edited.sort();
        edited.dedup();
        Ok(edited)
    }

    /// What stands where a new file or one of its folders has to be.
    fn in_the_way(&self, at: &At<'_>, path: &str) -> Result<Option<String>, GitError> {
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            match std::fs::symlink_metadata(self.work_dir.join(folder)) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Ok(Some(folder.to_owned())),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(unreadable(&self.work_dir.join(folder), e)),
            }
        }
        if std::fs::symlink_metadata(self.work_dir.join(path)).is_err() {
            return Ok(None);
        }
        let args = ["--literal-pathspecs", "ls-files", "--error-unmatch", "--", path];
        let known = self.at(at).run(&args, &[], "`git ls-files`")?.ok;
        Ok((!known).then(|| path.to_owned()))
    }

    /// Index and files from `old` to `new`, as a fast-forward: git keeps all other edits, and refuses where one is in
    /// the way. On an error everything is as it was.
    pub(super) fn bring(
        &self,
        at: &At<'_>,
        (old, new): (&CommitId, &CommitId),
        blobs: &Blobs,
    ) -> Result<Brought, GitError> {
        let said = match self.merge(at, old, new)? {
            Ok(()) => return Ok(Brought::Along),
            Err(said) => said,
        };
        if let Some(lock) = lock_in(&said) {
            return Ok(Brought::Locked(lock));
        }
        self.put_back(at, blobs)?;
        self.refuse_edits(at, blobs)?;
        Err(at.problem(WriteProblem::Checkout {
            work_dir: self.work_dir.clone(),
            detail: words(&said),
        }))
    }

    /// Takes [`Checkout::bring`] back.
    pub(super) fn take_back(&self, at: &At<'_>, (old, new): (&CommitId, &CommitId)) -> Result<(), GitError> {
        self.merge(at, new, old)?.map_err(|said| {
            at.problem(WriteProblem::Checkout {
                work_dir: self.work_dir.clone(),
                detail: words(&said),
            })
        })
    }

    fn merge(&self, at: &At<'_>, from: &CommitId, to: &CommitId) -> Result<Result<(), String>, GitError> {
        // `read-tree` takes a file whose time changed for an edit.
        let args = ["update-index", "-q", "--refresh"];
        self.at(at).run(&args, &[], "`git update-index`")?;
        let args = [
            "read-tree",
            "-m",
            "-u",
            "--no-recurse-submodules",
            from.as_str(),
            to.as_str(),
        ];
        let outcome = self.at(at).run(&args, &[], "`git read-tree`")?;
        Ok(if outcome.ok { Ok(()) } else { Err(outcome.stderr) })
    }

    /// The files that a failed `git read-tree` did change (a filter or the disk failed at a later one): back to what the
    /// index says. Only a file that is exactly what was to come is ours; an edit is not touched.
    fn put_back(&self, at: &At<'_>, blobs: &Blobs) -> Result<(), GitError> {
        let here = self.at(at);
        for (path, new) in blobs {
            let file = self.work_dir.join(path);
            let args = ["--literal-pathspecs", "ls-files", "--stage", "--", path];
            let entry = here.ask(&args, &[], "`git ls-files`")?;
            let index = entry.split_whitespace().nth(1);
            let ours = match new {
                Some(id) if file.is_file() => {
                    let hash = here.run(&["hash-object", "--", path], &[], "`git hash-object`")?;
                    hash.ok && hash.stdout.trim() == id && index != Some(id)
                }
                Some(_) => false,
                None => !file.exists() && index.is_some(),
            };
            if ours && index.is_some() {
                here.ask(
                    &["checkout-index", "--force", "--", path],
                    &[],
                    "`git checkout-index`",
                )?;
            } else if ours {
                std::fs::remove_file(&file).map_err(|e| unreadable(&file, e))?;
            }
        }
        Ok(())
    }
}

/// The git directories of all work trees, linked ones with theirs.
fn git_dirs(repo: &Repo) -> Result<Vec<PathBuf>, GitError> {
    let mut out = vec![repo.common_dir.clone()];
    let folder = repo.common_dir.join("worktrees");
    match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(unreadable(&folder, e)),
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|e| unreadable(&folder, e))?.path();
                // Without it `git worktree` sees none either: one is being made, or was removed.
                if path.join("gitdir").exists() && path.join("HEAD").exists() {
                    out.push(path);
                }
            }
        }
    }
    out.sort();
    Ok(out)
}

/// Where the work tree is, even if it is away; none for a bare repository.
fn work_dir(repo: &git2::Repository, git_dir: &Path) -> Result<Option<PathBuf>, GitError> {
    let link = git_dir.join("gitdir");
    match std::fs::read_to_string(&link) {
        Ok(text) => {
            let dot_git = git_dir.join(text.trim());
            Ok(Some(dot_git.parent().unwrap_or(&dot_git).to_owned()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(repo.workdir().map(|dir| dir.components().collect())),
        Err(e) => Err(unreadable(&link, e)),
    }
}

/// Whether something that comes back to the branch is under way, while HEAD names another or none.
fn is_underway(git_dir: &Path, branch: &str) -> Result<bool, GitError> {
    let full = format!("refs/heads/{branch}");
    for (name, wanted) in [
        ("rebase-merge/head-name", &*full),
        ("rebase-merge/update-refs", &full),
        ("rebase-apply/head-name", &full),
        ("BISECT_START", branch),
    ] {
        let file = git_dir.join(name);
        match std::fs::read_to_string(&file) {
            Ok(text) if text.lines().any(|line| line.trim() == wanted) => return Ok(true),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => return Err(unreadable(&file, e)),
        }
    }
    Ok(false)
}

/// What is under way, and the commands that end it.
fn underway(state: RepositoryState) -> Option<(&'static str, &'static str)> {
    Some(match state {
        RepositoryState::Clean => return None,
        RepositoryState::Merge => ("a merge", "merge --continue` or `… merge --abort"),
        RepositoryState::Revert | RepositoryState::RevertSequence => {
            ("a revert", "revert --continue` or `… revert --abort")
        }
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => (
            "a cherry-pick",
            "cherry-pick --continue` or `… cherry-pick --abort",
        ),
        RepositoryState::Bisect => ("a bisect", "bisect reset"),
        RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => {
            ("a rebase", "rebase --continue` or `… rebase --abort")
        }
        RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => {
            ("an `am`", "am --continue` or `… am --abort")
        }
    })
}

/// The work trees whose HEAD names the branch, whatever is under way there.
pub(super) fn named(at: &At<'_>) -> Result<Vec<PathBuf>, GitError> {
    let mut out = Vec::new();
    for git_dir in git_dirs(at.repo)? {
        let repo = open(at, &git_dir)?;
        if heads(at, &repo)? {
            out.extend(work_dir(&repo, &git_dir)?);
        }
    }
    Ok(out)
}

fn open(at: &At<'_>, git_dir: &Path) -> Result<git2::Repository, GitError> {
    git2::Repository::open_ext(git_dir, RepositoryOpenFlags::NO_SEARCH, &[] as &[&Path])
        .map_err(at.repo.fault("cannot look at a work tree"))
}

fn heads(at: &At<'_>, repo: &git2::Repository) -> Result<bool, GitError> {
    let head = repo
        .find_reference("HEAD")
        .map_err(at.repo.fault("cannot look at a work tree"))?;
    let full = format!("refs/heads/{}", at.branch);
    Ok(head.symbolic_target().ok().flatten() == Some(full.as_str()))
}
