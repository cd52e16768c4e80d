//! Which commits ask for something: those that last made a pin, a base or a tenant's files what they are.

use std::collections::{BTreeMap, BTreeSet};

use super::Books;
use crate::fleet::names::{CommitId, ContentId, RingName};
use crate::fleet::rings::{self, Rings};
use crate::fleet::tenants::is_tenant_file;
use crate::git::GitError;

/// Where content stands; tenant files stand there too.
const CONTENT: [&str; 2] = ["desired", "stacks"];
/// So many changes of one pin are looked back.
const LOOK_BACK: usize = 100;

impl Books {
    /// The first parent of a commit.
    fn first_parent(&mut self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        let repo = &self.repo;
        let parents = self.parents.get(commit, || repo.parents_of(commit))?;
        Ok(parents.into_iter().next())
    }

    /// The first commit of a branch's history that has the content of its head: what asks for it.
    pub(super) fn first_with(&mut self, tip: &CommitId) -> CommitId {
        let key = format!("first\n{tip}");
        let repo = &self.repo;
        let found = self.lists.get(&key, || {
            let mut at = tip.clone();
            loop {
                let Some(change) = repo.last_change(&at, &CONTENT)? else {
                    return Ok::<_, GitError>(vec![tip.clone()]);
                };
                let parents = repo.parents_of(&change)?;
                match parents.into_iter().next() {
                    Some(parent) if !has_base(&repo.changed(&change, &CONTENT)?) => at = parent,
                    _ => return Ok(vec![change]),
                }
            }
        });
        // Where history ends here, the head asks.
        let found = found.unwrap_or_default().into_iter().next();
        found.unwrap_or_else(|| tip.clone())
    }

    /// The content that a commit made, if it changed the base.
    pub(in crate::controller) fn made(&mut self, commit: &CommitId) -> Option<ContentId> {
        let key = format!("made\n{commit}");
        let repo = &self.repo;
        let changed = self.lists.get(&key, || {
            let changed = has_base(&repo.changed(commit, &CONTENT)?);
            Ok::<_, GitError>(if changed { vec![commit.clone()] } else { Vec::new() })
        });
        let changed = changed.is_ok_and(|found| !found.is_empty());
        if changed { self.content(commit).ok() } else { None }
    }

    /// The commits that made a pin what it is, back to where it named another release.
    pub(in crate::controller) fn pin_commits(
        &mut self,
        ring: &RingName,
        request: &CommitId,
        rings: &Rings,
    ) -> Result<Vec<CommitId>, GitError> {
        let path = format!("rings/pins/{ring}.yaml");
        let key = format!("pin\n{request}\n{path}");
        if let Ok(known) = self.lists.get(&key, || Err(())) {
            return Ok(known);
        }
        let release = self.pinned(request, ring, rings)?;
        let mut at = request.clone();
        let mut base = None;
        for _ in 0..LOOK_BACK {
            base = self.first_parent(&at)?;
            let Some(parent) = &base else { break };
            let Some(before) = self.repo.last_change(parent, &[&path])? else {
                break;
            };
            if self.pinned(&before, ring, rings)? != release {
                break;
            }
            at = before;
        }
        let commits = self.repo.changes(base.as_ref(), request, &[&path])?;
        self.lists.get(&key, || Ok(commits))
    }

    /// What a commit's pin of a ring names: its content; none where there is no such file.
    fn pinned(
        &mut self,
        commit: &CommitId,
        ring: &RingName,
        rings: &Rings,
    ) -> Result<Option<Result<ContentId, CommitId>>, GitError> {
        let tree = self.tree(commit)?;
        let reader = crate::fleet::read::Reader::new();
        let pins = rings::pins(&tree, rings, &reader);
        let Some(pin) = pins.get(ring) else {
            return Ok(None);
        };
        let commit = pin.release.value.clone();
        Ok(Some(self.content(&commit).map_err(|_| commit)))
    }

    /// The commits that came with a commit and changed the base.
    pub(in crate::controller) fn base_commits(
        &mut self,
        request: &CommitId,
    ) -> Result<Vec<CommitId>, GitError> {
        let key = format!("base\n{request}");
        let repo = &self.repo;
        self.lists.get(&key, || {
            let mut commits = Vec::new();
            for commit in repo.brought(request)? {
                if commit == *request || has_base(&repo.written(&commit, &CONTENT)?) {
                    commits.push(commit);
                }
            }
            Ok(commits)
        })
    }

    /// The commits that made files what they are: since what runs, or since they came.
    pub(in crate::controller) fn file_commits(
        &mut self,
        tip: &CommitId,
        paths: &[&str],
        from: Option<&CommitId>,
    ) -> Result<Vec<CommitId>, GitError> {
        let since = from.map_or_else(String::new, ToString::to_string);
        let key = format!("files\n{tip}\n{since}\n{}", paths.join("\n"));
        let repo = &self.repo;
        self.lists.get(&key, || {
            let newest = repo.last_change(tip, paths)?;
            let since = match from.filter(|from| repo.commit(from).is_ok()) {
                Some(from) => Some(from.clone()),
                None => came_after(repo, tip, paths)?,
            };
            let mut commits = repo.changes(since.as_ref(), tip, paths)?;
            // A branch that was set back asks by the commit that it was set back to.
            commits.extend(newest.filter(|newest| !commits.contains(newest)));
            Ok(commits)
        })
    }

    /// Whether a commit only brings together what others have written at some paths.
    pub(in crate::controller) fn only_merges(&mut self, commit: &CommitId, paths: &[&str]) -> bool {
        let key = format!("merges\n{commit}\n{}", paths.join("\n"));
        let repo = &self.repo;
        let found = self.lists.get(&key, || {
            let clean = repo.parents_of(commit)?.len() > 1 && repo.written(commit, paths)?.is_empty();
            Ok::<_, GitError>(if clean { vec![commit.clone()] } else { Vec::new() })
        });
        found.is_ok_and(|found| !found.is_empty())
    }

    /// Addresses of whoever wrote what the base of one commit has and that of another has not.
    pub(in crate::controller) fn base_authors(
        &mut self,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<BTreeSet<String>, GitError> {
        let key = format!("authors\n{from}\n{to}");
        let repo = &self.repo;
        self.authors.get(&key, || {
            let mut authors = BTreeSet::new();
            for commit in repo.changes(Some(from), to, &CONTENT)? {
                if has_base(&repo.written(&commit, &CONTENT)?) {
                    authors.extend(repo.authors(&commit)?);
                }
            }
            Ok(authors)
        })
    }

    /// Addresses of whoever wrote in some commits at some paths.
    pub(in crate::controller) fn authors_of(
        &mut self,
        commits: &[CommitId],
        paths: &[&str],
    ) -> Result<BTreeSet<String>, GitError> {
        let named: Vec<&str> = commits.iter().map(CommitId::as_str).collect();
        let key = format!("wrote\n{}\n{}", named.join("\n"), paths.join("\n"));
        let repo = &self.repo;
        self.authors.get(&key, || {
            let mut authors = BTreeSet::new();
            for commit in commits {
                if !repo.written(commit, paths)?.is_empty() {
                    authors.extend(repo.authors(commit)?);
                }
            }
            Ok(authors)
        })
    }

    /// The commits that brought files of decisions. What the head before had, and what has not changed since, is known.
    pub(in crate::controller) fn introducers(
        &mut self,
        head: &CommitId,
        paths: &[String],
    ) -> Result<BTreeMap<String, CommitId>, String> {
        if paths.is_empty() {
            self.introduced = None;
            return Ok(BTreeMap::new());
        }
        let (at, known) = match self.introduced.take() {
            Some((at, known)) => (Some(at), known),
            None => (None, BTreeMap::new()),
        };
        let mut found: BTreeMap<String, CommitId> = BTreeMap::new();
        let mut left: Vec<String> = paths.to_vec();
        if at.as_ref() == Some(head) {
            found.extend(known.clone());
            found.retain(|path, _| paths.contains(path));
            left.retain(|path| !found.contains_key(path));
        }
        let until = at.as_ref().filter(|at| *at != head);
        let walk = |paths: &[String], until: Option<&CommitId>| {
            let walked = self.repo.introducers(head, "rings", paths, until);
            walked.map_err(|error| error.to_string())
        };
        let mut again = Vec::new();
        if !left.is_empty() {
            for (path, commit) in walk(&left, until)? {
                match commit.or_else(|| known.get(&path).cloned()) {
                    Some(commit) => drop(found.insert(path, commit)),
                    None => again.push(path),
                }
            }
        }
        if !again.is_empty() {
            let walked = walk(&again, None)?.into_iter();
            found.extend(walked.filter_map(|(path, commit)| Some((path, commit?))));
        }
        self.introduced = Some((head.clone(), found.clone()));
        Ok(found)
    }
}

/// The newest commit of a first-parent history before files came that stand at its end (or stood there last).
fn came_after(repo: &crate::git::Repo, tip: &CommitId, paths: &[&str]) -> Result<Option<CommitId>, GitError> {
    let mut at = tip.clone();
    while let Some(change) = repo.last_change(&at, paths)? {
        let Some(parent) = repo.parents_of(&change)?.into_iter().next() else {
            return Ok(None);
        };
        if repo.marks(&parent, paths)?.is_empty() {
            return Ok(Some(parent));
        }
        at = parent;
    }
    Ok(None)
}

fn has_base(paths: &BTreeSet<String>) -> bool {
    paths.iter().any(|path| !is_tenant_file(path))
}
