//! What single commits brought: what stood where, what came with a merge, who wrote what.

use std::collections::{BTreeMap, BTreeSet};

use git2::{Commit, Oid};

use super::repo::{commit_id, oid};
use super::{GitError, Repo};
use crate::fleet::names::CommitId;

#[cfg(test)]
mod tests;

/// What stands at some paths of a commit, to be compared with another's. Equal marks are equal files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Marks(Vec<Option<(Oid, i32)>>);

impl Marks {
    /// Whether nothing stands at any of the paths.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// The trailer by which git names a second author.
const CO_AUTHOR: &str = "Co-authored-by";

impl Repo {
    /// What stands at some paths (files or folders) of a commit.
    pub fn marks(&self, id: &CommitId, paths: &[&str]) -> Result<Marks, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        Ok(Marks(self.entries(&commit, paths)?))
    }

    /// The parents of a commit, the first one first. Where a shallow clone ends is an error.
    pub fn parents_of(&self, id: &CommitId) -> Result<Vec<CommitId>, GitError> {
        let repo = self.git2()?;
        let parents = self.parents(&self.find(&repo, id)?)?;
        parents.iter().map(|parent| commit_id(parent.id())).collect()
    }

    /// The first-parent history between two commits, the oldest first: without `since`, with `tip`. None: `since` is
    /// not in it.
    pub fn first_parents(&self, since: &CommitId, tip: &CommitId) -> Result<Option<Vec<CommitId>>, GitError> {
        let repo = self.git2()?;
        let until = oid(since)?;
        let mut commit = self.find(&repo, tip)?;
        let mut chain = Vec::new();
        while commit.id() != until {
            chain.push(commit_id(commit.id())?);
            let Some(parent) = self.parents(&commit)?.into_iter().next() else {
                return Ok(None);
            };
            commit = parent;
        }
        chain.reverse();
        Ok(Some(chain))
    }

    /// What came to a first-parent history with one of its commits: the commit, and of a merge all that its other sides
    /// bring.
    pub fn brought(&self, id: &CommitId) -> Result<Vec<CommitId>, GitError> {
        match self.parents_of(id)?.as_slice() {
            [first, _, ..] => self.since(first, id),
            _ => Ok(vec![id.clone()]),
        }
    }

    /// The commits of a history that are not in another's, children before their parents.
    pub fn since(&self, since: &CommitId, tip: &CommitId) -> Result<Vec<CommitId>, GitError> {
        let repo = self.git2()?;
        let fault = self.fault("cannot walk the history");
        let mut walk = repo.revwalk().map_err(&fault)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL).map_err(&fault)?;
        walk.push(self.find(&repo, tip)?.id()).map_err(&fault)?;
        walk.hide(self.find(&repo, since)?.id()).map_err(&fault)?;
        walk.map(|found| commit_id(found.map_err(&fault)?)).collect()
    }

    /// The commits that brought what stands at `paths` at `tip`, as [`Repo::introduced`] finds one, in one walk: all paths
    /// lie below `folder`. A path that is unchanged back to `until` has none: whoever knows what brought it there knows it
    /// still. Paths that are not there are left out.
    pub fn introducers(
        &self,
        tip: &CommitId,
        folder: &str,
        paths: &[String],
        until: Option<&CommitId>,
    ) -> Result<BTreeMap<String, Option<CommitId>>, GitError> {
        let repo = self.git2()?;
        let until = until.map(oid).transpose()?;
        let blob = |commit: &Commit<'_>, path: &str| {
            let entries = self.entries(commit, &[path])?;
            Ok::<_, GitError>(entries.into_iter().flatten().next().map(|(id, _)| id))
        };
        let tip = self.find(&repo, tip)?;
        let mut here = Vec::new();
        for path in paths {
            here.extend(blob(&tip, path)?.map(|id| (path, id)));
        }
        let mut found = BTreeMap::new();
        let mut open = vec![(tip, here)];
        while let Some((commit, here)) = open.pop().filter(|(_, here)| !here.is_empty()) {
            if until == Some(commit.id()) {
                found.extend(here.into_iter().map(|(path, _)| (path.clone(), None)));
                continue;
            }
            let parents = self.parents(&commit)?;
            // Most commits touch none of them.
            if let Some(first) = parents.first()
                && self.entries(first, &[folder])? == self.entries(&commit, &[folder])?
            {
                open.push((first.clone(), here));
                continue;
            }
            let mut sides: Vec<Vec<(&String, Oid)>> = vec![Vec::new(); parents.len()];
            'paths: for (path, id) in here {
                for (parent, side) in parents.iter().zip(&mut sides) {
                    if blob(parent, path)? == Some(id) {
                        side.push((path, id));
                        continue 'paths;
                    }
                }
                found.insert(path.clone(), Some(commit_id(commit.id())?));
            }
            open.extend(
                parents
                    .into_iter()
                    .zip(sides)
                    .filter(|(_, side)| !side.is_empty()),
            );
        }
        Ok(found)
    }

    /// What a commit changed below some paths, against its first parent.
    pub fn changed(&self, id: &CommitId, below: &[&str]) -> Result<BTreeSet<String>, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        let first = self.parents(&commit)?.into_iter().next();
        self.between(&repo, first.as_ref(), &commit, below)
    }

    /// What a commit wrote below some paths: where its content is none of its parents'. A clean merge writes nothing.
    pub fn written(&self, id: &CommitId, below: &[&str]) -> Result<BTreeSet<String>, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        let mut parents = self.parents(&commit)?.into_iter();
        let mut written = self.between(&repo, parents.next().as_ref(), &commit, below)?;
        for parent in parents {
            let other = self.between(&repo, Some(&parent), &commit, below)?;
            written.retain(|path| other.contains(path));
        }
        Ok(written)
    }

    fn between(
        &self,
        repo: &git2::Repository,
        parent: Option<&Commit<'_>>,
        commit: &Commit<'_>,
        below: &[&str],
    ) -> Result<BTreeSet<String>, GitError> {
        let fault = self.fault("cannot compare two commits");
        let tree = commit.tree().map_err(&fault)?;
        let before = parent.map(Commit::tree).transpose().map_err(&fault)?;
        let mut options = git2::DiffOptions::new();
        options.disable_pathspec_match(true).skip_binary_check(true);
        for path in below {
            options.pathspec(path);
        }
        let diff = repo
            .diff_tree_to_tree(before.as_ref(), Some(&tree), Some(&mut options))
            .map_err(&fault)?;
        let paths = diff
            .deltas()
            .flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()])
            .flatten()
            .map(|path| String::from_utf8_lossy(path).into_owned());
        Ok(paths.collect())
    }

    /// The values of a trailer in a commit's message, whatever the case of its name.
    pub fn trailers(&self, id: &CommitId, name: &str) -> Result<Vec<String>, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        Ok(trailers(&commit, name))
    }

    /// The addresses of whoever wrote a commit, by its author line and its co-authors: they prove nothing.
    pub fn authors(&self, id: &CommitId) -> Result<BTreeSet<String>, GitError> {
        let repo = self.git2()?;
        let commit = self.find(&repo, id)?;
        let mut authors =
            BTreeSet::from([String::from_utf8_lossy(commit.author().email_bytes()).into_owned()]);
        for line in trailers(&commit, CO_AUTHOR) {
            let address = line.rsplit_once('<').and_then(|(_, rest)| rest.split('>').next());
            authors.extend(address.map(|address| address.trim().to_owned()));
        }
        Ok(authors)
    }
}

fn trailers(commit: &Commit<'_>, name: &str) -> Vec<String> {
    // One with a NUL in it has no trailers for git either.
    let Ok(all) = git2::message_trailers_bytes(commit.message_raw_bytes()) else {
        return Vec::new();
    };
    let named = all
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    named
        .map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned())
        .collect()
}
