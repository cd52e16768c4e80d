//! Who comes from whom, and what changed where.

use git2::{Commit, ErrorCode, Repository};
use jiff::Timestamp;

use super::repo::{commit_id, oid};
use super::{GitError, Repo};
use crate::fleet::names::CommitId;

#[cfg(test)]
mod tests;

/// A commit, for people and for provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: CommitId,
    /// Its parents, the first one first.
    pub parents: Vec<CommitId>,
    /// `Name <mail>`, as its author line says: proves nothing.
    pub author: String,
    /// When it was committed, as it says itself: never used to order commits.
    pub time: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

impl Repo {
    /// The root that HEAD's first-parent history (or, without it, the first branch's) ends in: the repository's
    /// identity. First parents, so that a merge of another project's history does not change it.
    pub fn root_commit(&self) -> Result<CommitId, GitError> {
        let repo = self.git2()?;
        let head = match repo.head().and_then(|h| h.peel_to_commit()) {
            Ok(commit) => commit,
            Err(_) => match self.branches()?.into_values().next() {
                Some(id) => self.find(&repo, &id)?,
                None => return Err(GitError::Empty { repo: self.label() }),
            },
        };
        let mut commit = head;
        while commit.parent_count() > 0 {
            commit = commit.parent(0).map_err(self.fault("cannot read the history"))?;
        }
        if repo.is_shallow() {
            return Err(GitError::Shallow { repo: self.label() });
        }
        commit_id(commit.id())
    }

    /// Whether `old` is `new` or one of its ancestors. An `old` that is not there any more is none (a rewritten
    /// branch after `gc`); a `new` that is not there is an error.
    pub fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, GitError> {
        self.reachable_from_any(old, std::slice::from_ref(new))
    }

    /// Whether `commit` is one of `tips` or an ancestor of one.
    pub fn reachable_from_any(&self, commit: &CommitId, tips: &[CommitId]) -> Result<bool, GitError> {
        let repo = self.git2()?;
        let mut descendants = Vec::with_capacity(tips.len());
        for tip in tips {
            descendants.push(self.find(&repo, tip)?.id());
        }
        match repo.find_commit(oid(commit)?) {
            Ok(_) => {}
            Err(e) if e.code() == ErrorCode::NotFound && repo.is_shallow() => {
                return Err(GitError::Shallow { repo: self.label() });
            }
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(false),
            Err(e) => return Err(self.fault("cannot read a commit")(e)),
        }
        let wanted = oid(commit)?;
        for tip in descendants {
            if tip == wanted
                || repo
                    .graph_descendant_of(tip, wanted)
                    .map_err(self.fault("cannot walk the history"))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a commit says about itself.
    pub fn commit(&self, id: &CommitId) -> Result<CommitInfo, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        let author = commit.author();
        Ok(CommitInfo {
            id: id.clone(),
            parents: commit.parent_ids().map(commit_id).collect::<Result<_, _>>()?,
            author: format!(
                "{} <{}>",
                String::from_utf8_lossy(author.name_bytes()),
                String::from_utf8_lossy(author.email_bytes())
            ),
            time: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
            subject: commit
                .summary_bytes()
                .map(|s| String::from_utf8_lossy(s).into_owned())
                .unwrap_or_default(),
        })
    }

    /// The newest commit in `tip`'s first-parent history that changed any of `paths` (files or folders, without a
    /// slash at the end) against its first parent: a request. None when none of them ever existed there.
    pub fn last_change(&self, tip: &CommitId, paths: &[&str]) -> Result<Option<CommitId>, GitError> {
        Ok(self.last_change_back(tip, paths)?.map(|(commit, _)| commit))
    }

    /// The same, and how many commits of that history are newer.
    pub fn last_change_back(
        &self,
        tip: &CommitId,
        paths: &[&str],
    ) -> Result<Option<(CommitId, usize)>, GitError> {
        let repo = self.git2()?;
        let mut commit = self.find(&repo, tip)?;
        let mut here = self.entries(&commit, paths)?;
        for newer in 0.. {
            if commit.parent_count() == 0 {
                let any = here.iter().any(Option::is_some);
                return Ok(if any {
                    Some((commit_id(commit.id())?, newer))
                } else {
                    None
                });
            }
            let parent = commit.parent(0).map_err(self.fault("cannot read the history"))?;
            let before = self.entries(&parent, paths)?;
            if before != here {
                return Ok(Some((commit_id(commit.id())?, newer)));
            }
            (commit, here) = (parent, before);
        }
        Ok(None)
    }

    /// The commit that brought what stands at `path` at `tip`: back from `tip`, along the first parent that has the same
    /// content there, up to the one that has none such. So a merge hands on to the side that it took the content from, a
    /// squash is a commit of its own, and what was removed and came again counts from its return. None: nothing is there.
    pub fn introduced(&self, tip: &CommitId, path: &str) -> Result<Option<CommitId>, GitError> {
        let repo = self.git2()?;
        let mut commit = self.find(&repo, tip)?;
        let blob = |commit: &Commit<'_>| {
            let entries = self.entries(commit, &[path])?;
            Ok::<_, GitError>(entries.into_iter().flatten().next().map(|(id, _)| id))
        };
        let Some(present) = blob(&commit)? else {
            return Ok(None);
        };
        'back: loop {
            for parent in self.parents(&commit)? {
                if blob(&parent)? == Some(present) {
                    commit = parent;
                    continue 'back;
                }
            }
            return Ok(Some(commit_id(commit.id())?));
        }
    }

    /// All commits of `tip`'s history, but not of `since`'s, that changed any of `paths`, children before their parents.
    /// A merge changed a path when it differs there from *any* of its parents: whoever chooses between two versions of a
    /// file asks for one of them, and a merge that takes an old one must not be nobody's.
    pub fn changes(
        &self,
        since: Option<&CommitId>,
        tip: &CommitId,
        paths: &[&str],
    ) -> Result<Vec<CommitId>, GitError> {
        let repo = self.git2()?;
        let fault = self.fault("cannot walk the history");
        let mut walk = repo.revwalk().map_err(&fault)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL).map_err(&fault)?;
        walk.push(self.find(&repo, tip)?.id()).map_err(&fault)?;
        if let Some(since) = since {
            walk.hide(self.find(&repo, since)?.id()).map_err(&fault)?;
        }
        let mut changed = Vec::new();
        for id in walk {
            let commit = repo.find_commit(id.map_err(&fault)?).map_err(&fault)?;
            let here = self.entries(&commit, paths)?;
            let parents = self.parents(&commit)?;
            let mut differs = parents.is_empty() && here.iter().any(Option::is_some);
            for parent in &parents {
                differs |= self.entries(parent, paths)? != here;
            }
            if differs {
                changed.push(commit_id(commit.id())?);
            }
        }
        Ok(changed)
    }

    /// The parents of a commit. A shallow clone says of the commit at its end that it has none.
    pub(super) fn parents<'r>(&self, commit: &Commit<'r>) -> Result<Vec<Commit<'r>>, GitError> {
        let cut_off = commit.parent_count() == 0
            && commit
                .raw_header_bytes()
                .split(|b| *b == b'\n')
                .any(|line| line.starts_with(b"parent "));
        if cut_off {
            return Err(GitError::Shallow { repo: self.label() });
        }
        // Not `commit.parents()`, which ends in silence at one that cannot be read.
        (0..commit.parent_count())
            .map(|nth| commit.parent(nth).map_err(self.fault("cannot read the history")))
            .collect()
    }

    pub(super) fn entries(
        &self,
        commit: &Commit<'_>,
        paths: &[&str],
    ) -> Result<Vec<Option<(git2::Oid, i32)>>, GitError> {
        let fault = self.fault("cannot read a tree");
        let tree = commit.tree().map_err(&fault)?;
        paths
            .iter()
            .map(
                |path| match tree.get_path(std::path::Path::new(path.trim_end_matches('/'))) {
                    Ok(entry) => Ok(Some((entry.id(), entry.filemode()))),
                    Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
                    Err(e) => Err(fault(e)),
                },
            )
            .collect()
    }

    pub(super) fn find<'r>(&self, repo: &'r Repository, id: &CommitId) -> Result<Commit<'r>, GitError> {
        repo.find_commit(oid(id)?).map_err(|e| {
            if e.code() == ErrorCode::NotFound {
                GitError::NoCommit {
                    commit: id.clone(),
                    repo: self.label(),
                }
            } else {
                self.fault("cannot read a commit")(e)
            }
        })
    }
}
