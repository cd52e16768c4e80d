//! What the daemon may not write where it belongs: kept by a ref in the state directory, until a person takes it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use git2::ErrorCode;

use super::hand::At;
use super::problem::WriteProblem;
use super::{Ask, Change, Hand, Writer, Written, checkout, objects};
use crate::fleet::names::CommitId;
use crate::git::error::quoted;
use crate::git::repo::{oid, unreadable};
use crate::git::{GitError, Keep, Repo, location};
use crate::text::Safe;

const PREFIX: &str = "refs/ringfence/proposed/";

/// What became of what the daemon wrote back.
#[derive(Debug)]
pub enum WriteBack {
    /// It is on its branch.
    Written(Written),
    /// It is kept, and the fleet has diverged from git until a person takes it ([`Keep::taking`]).
    Proposed {
        /// The commit.
        commit: CommitId,
        /// Why it was not written.
        why: GitError,
    },
}

impl Keep {
    /// The daemon's write-back for `ring`: on the branch of `repo` where it may, else proposed. Where the condition does
    /// not hold, the proposal is dropped and that is the error. Calling it again proposes nothing anew while the branch
    /// stands where it stood.
    pub fn write_back(
        &self,
        repo: &Repo,
        ring: &str,
        change: &Change,
        condition: Ask<'_>,
        limit: Duration,
    ) -> Result<WriteBack, GitError> {
        let written = match Writer::new(repo, Hand::Daemon { limit }).commit(change, condition) {
            Ok(written) => Ok(WriteBack::Written(written)),
            Err(error) if is_overtaken(&error) => Err(error),
            Err(why) => self.propose(repo, ring, change, condition, limit, why),
        };
        match &written {
            Ok(WriteBack::Written(_)) => self.withdraw(ring)?,
            Err(error) if is_overtaken(error) => self.withdraw(ring)?,
            _ => {}
        }
        written
    }

    /// Makes the commit here, on the branch's head in `from`, and keeps it under the ring's name in place of what was
    /// proposed before.
    fn propose(
        &self,
        from: &Repo,
        ring: &str,
        change: &Change,
        condition: Ask<'_>,
        limit: Duration,
        why: GitError,
    ) -> Result<WriteBack, GitError> {
        let hand = Hand::Daemon { limit };
        let there = Writer::new(from, Hand::Daemon { limit });
        let head = there.head(&there.at(change), condition)?;
        let repo = self.repo();
        if from.common_dir != repo.common_dir {
            let source = repo.git2()?;
            self.copy(from, &source, &head)?;
        }
        let at = At {
            hand: &hand,
            repo,
            branch: &change.branch,
            git_dir: &repo.common_dir,
            work_dir: None,
        };
        let name = full(&at, ring)?;
        let blobs = objects::blobs(&at, change)?;
        let Some(tree) = objects::tree(&at, &head, &blobs)? else {
            return Ok(WriteBack::Written(super::nothing(head)));
        };
        if let Some(commit) = self.proposed()?.remove(ring)
            && self.is_same(&commit, &head, &tree)?
        {
            return Ok(WriteBack::Proposed { commit, why });
        }
        let author = objects::author(&at, change.signing)?;
        let commit = objects::commit(&at, &tree, &head, &change.message, &author)?.commit;
        repo.git2()?
            .reference(&name, oid(&commit)?, true, "proposed")
            .map_err(repo.fault("cannot keep a proposal"))?;
        Ok(WriteBack::Proposed { commit, why })
    }

    fn is_same(&self, before: &CommitId, parent: &CommitId, tree: &str) -> Result<bool, GitError> {
        let git2 = self.repo().git2()?;
        let commit = self.repo().find(&git2, before)?;
        Ok(commit.tree_id().to_string() == tree && commit.parent_ids().eq([oid(parent)?]))
    }

    /// What is proposed, by ring.
    pub fn proposed(&self) -> Result<BTreeMap<String, CommitId>, GitError> {
        let git2 = self.repo().git2()?;
        self.repo().refs_below(&git2, PREFIX)
    }

    /// Drops a ring's proposal: it was taken, or is not wanted any more. Nothing to drop is fine.
    pub fn withdraw(&self, ring: &str) -> Result<(), GitError> {
        let repo = self.repo().git2()?;
        match repo.find_reference(&format!("{PREFIX}{ring}")) {
            Ok(mut reference) => reference
                .delete()
                .map_err(self.repo().fault("cannot delete a ref")),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
            Err(e) => Err(self.repo().fault("cannot read a ref")(e)),
        }
    }

    /// The command with which a person takes a ring's proposal onto `branch` of `repo`, fast-forward only. A state
    /// directory of another user (root's daemon) is read through `sudo`.
    pub fn taking(&self, repo: &Repo, ring: &str, branch: &str) -> Result<String, GitError> {
        self.taking_as(owner(&repo.common_dir)?, repo, ring, branch)
    }

    /// The same for the user with this id.
    pub(super) fn taking_as(
        &self,
        person: u32,
        repo: &Repo,
        ring: &str,
        branch: &str,
    ) -> Result<String, GitError> {
        let keep = &self.repo().common_dir;
        let pack = match owner(keep)? {
            ours if ours == person => "",
            0 => "--upload-pack 'sudo git-upload-pack' ",
            ours => &format!("--upload-pack 'sudo -u \\#{ours} git-upload-pack' "),
        };
        let from = format!("fetch {pack}{} {PREFIX}{ring}", quoted(keep));
        if let Some(url) = &repo.url {
            let url = quoted(Path::new(&location::redact(url)));
            return Ok(format!(
                "git {from} && git push {url} FETCH_HEAD:refs/heads/{branch}"
            ));
        }
        let writer = Writer::new(repo, Hand::Person { say: &|_| {} });
        let change = Change {
            branch: branch.to_owned(),
            ..Change::default()
        };
        Ok(match checkout::named(&writer.at(&change))?.into_iter().next() {
            Some(work_dir) => {
                let there = quoted(&work_dir);
                format!("git -C {there} {from} && git -C {there} merge --ff-only FETCH_HEAD")
            }
            None => format!(
                "git -C {} {from}:refs/heads/{branch}",
                quoted(repo.work_dir.as_ref().unwrap_or(&repo.common_dir))
            ),
        })
    }
}

fn is_overtaken(error: &GitError) -> bool {
    matches!(error, GitError::Write { problem, .. } if matches!(**problem, WriteProblem::Overtaken { .. }))
}

fn full(at: &At<'_>, ring: &str) -> Result<String, GitError> {
    let name = format!("{PREFIX}{ring}");
    if git2::Reference::is_valid_name(&name) {
        return Ok(name);
    }
    Err(at.problem(WriteProblem::Name {
        what: Safe::new(ring),
        why: "git does not take it in a ref's name",
    }))
}

fn owner(dir: &Path) -> Result<u32, GitError> {
    Ok(std::fs::metadata(dir).map_err(|e| unreadable(dir, e))?.uid())
}
