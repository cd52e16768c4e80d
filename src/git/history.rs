//! Who comes from whom, and what changed where.

use git2::{Commit, ErrorCode, Repository};
use jiff::Timestamp;

use super::repo::{commit_id, oid};
use super::{GitError, Repo};
use crate::fleet::names::CommitId;

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
        let repo = self.git2()?;
        let mut commit = self.find(&repo, tip)?;
        let mut here = self.entries(&commit, paths)?;
        loop {
            if commit.parent_count() == 0 {
                let any = here.iter().any(Option::is_some);
                return Ok(if any { Some(commit_id(commit.id())?) } else { None });
            }
            let parent = commit.parent(0).map_err(self.fault("cannot read the history"))?;
            let before = self.entries(&parent, paths)?;
            if before != here {
                return Ok(Some(commit_id(commit.id())?));
            }
            (commit, here) = (parent, before);
        }
    }

    fn entries(
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
