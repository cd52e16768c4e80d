//! Commits that must not go away: what runs, is pinned or could be gone back to.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, RepositoryInitOptions};

use super::read::FOLDERS;
use super::repo::{oid, unreadable};
use super::{GitError, Repo};
use crate::fleet::names::CommitId;
use crate::text::Safe;

pub(super) const PREFIX: &str = "refs/ringfence/keep/";

/// A bare repository that keeps commits by refs, so that neither `gc` nor an outage of the source takes them away. It
/// holds each commit, its root tree and what a fleet declares, without history and without the rest of the files
/// (it is a shallow repository, and its missing files are meant to be missing). On a mirror's own directory, keeping
/// is a ref and copies nothing.
#[derive(Debug, Clone)]
pub struct Keep {
    repo: Repo,
}

impl Keep {
    /// Opens it, or makes it when absent.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        if !dir.join("HEAD").exists() {
            make(dir)?;
        }
        let repo = Repo::open(dir)?;
        // Opening looks upwards: a damaged directory inside another repository must not become that one.
        if repo.common_dir != dir.canonicalize().map_err(|e| unreadable(dir, e))? {
            return Err(GitError::NotFound { path: dir.to_owned() });
        }
        Ok(Self { repo })
    }

    /// Removes locks that a killed ringfence left: only for who holds the state directory and has no child at work here.
    pub fn clear_locks(&self) {
        super::mirror::clear_leftovers(&self.repo.common_dir, std::time::Duration::ZERO);
    }

    /// The repository to read kept commits from.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// What is kept, by name.
    pub fn kept(&self) -> Result<BTreeMap<String, CommitId>, GitError> {
        let repo = self.repo.git2()?;
        self.repo.refs_below(&repo, PREFIX)
    }

    /// Keeps a commit under a name (`ring/dev/running`), in place of what that name kept before.
    pub fn keep(&self, from: &Repo, name: &str, commit: &CommitId) -> Result<(), GitError> {
        self.keep_all(from, &[(name.to_owned(), commit.clone())])
    }

    /// Keeps many. What is kept already is looked up once for all of them.
    pub fn keep_all(&self, from: &Repo, names: &[(String, CommitId)]) -> Result<(), GitError> {
        let to = self.repo.git2()?;
        let mut kept: Option<HashSet<CommitId>> = None;
        for (name, commit) in names {
            let full = format!("{PREFIX}{name}");
            if !git2::Reference::is_valid_name(&full) {
                return Err(GitError::Location {
                    text: Safe::new(name),
                    why: "git does not take it as a ref's name",
                });
            }
            let id = oid(commit)?;
            if to.refname_to_id(&full).is_ok_and(|there| there == id) {
                continue;
            }
            let kept = match &mut kept {
                Some(kept) => kept,
                none => none.insert(self.repo.refs_below(&to, PREFIX)?.into_values().collect()),
            };
            if !kept.contains(commit) && from.common_dir != self.repo.common_dir {
                self.copy(from, &to, commit)?;
            }
            to.reference(&full, id, true, "kept")
                .map(drop)
                .map_err(self.repo.fault("cannot keep a commit"))?;
            kept.insert(commit.clone());
        }
        Ok(())
    }

    /// Lets go of a name. Nothing to let go of is fine.
    pub fn forget(&self, name: &str) {
        let full = format!("{PREFIX}{name}");
        let gone = self
            .repo
            .git2()
            .and_then(|repo| match repo.find_reference(&full) {
                Ok(mut reference) => reference.delete().map_err(self.repo.fault("cannot delete a ref")),
                Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
                Err(e) => Err(self.repo.fault("cannot read a ref")(e)),
            });
        if let Err(error) = gone {
            // Keeping too much harms nothing.
            tracing::warn!(%error, name, "a kept commit could not be let go");
        }
    }

    pub(super) fn copy(&self, from: &Repo, to: &Repository, commit: &CommitId) -> Result<(), GitError> {
        let source = from.git2()?;
        let found = from.find(&source, commit)?;
        let root = found.tree().map_err(from.fault("cannot read a tree"))?;
        let shallow = found.parent_count() > 0;
        let copy = Copy {
            from,
            source: &source,
            read: source.odb().map_err(from.fault("cannot read the objects"))?,
            keep: &self.repo,
            write: to.odb().map_err(self.repo.fault("cannot open the objects"))?,
        };
        for entry in &root {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            if FOLDERS.contains(&name.as_str()) || name == "ringfence.yaml" {
                copy.object(entry.id(), entry.kind(), 0)?;
            }
        }
        copy.raw(root.id())?;
        if shallow {
            self.cut_history(commit)?;
        }
        copy.raw(found.id())
    }

    /// Writes the commit into `shallow`: that its parents are not here is meant.
    fn cut_history(&self, commit: &CommitId) -> Result<(), GitError> {
        let file = self.repo.common_dir.join("shallow");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(unreadable(&file, e)),
        };
        if text.lines().any(|l| l == commit.as_str()) {
            return Ok(());
        }
        replace(&file, &format!("{text}{commit}\n")).map_err(|e| unreadable(&file, e))
    }
}

/// Writes a file beside the old one and puts it in its place.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let new: PathBuf = file.with_extension("new");
    let mut out = std::fs::File::create(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)
}

struct Copy<'a> {
    from: &'a Repo,
    source: &'a Repository,
    read: Odb<'a>,
    keep: &'a Repo,
    write: Odb<'a>,
}

impl Copy<'_> {
    /// An object with all below it; what is below comes first, so that what is there is whole.
    fn object(&self, id: Oid, kind: Option<ObjectType>, depth: u64) -> Result<(), GitError> {
        if self.write.exists(id) {
            return Ok(());
        }
        if depth > super::read::MAX_DEPTH {
            return Err(GitError::TooLarge {
                place: self.from.label(),
                limit: super::read::MAX_DEPTH,
                what: "levels of folders",
            });
        }
        match kind {
            Some(ObjectType::Tree) => {
                let tree = self
                    .source
                    .find_tree(id)
                    .map_err(self.from.fault("cannot read a folder's object"))?;
                for entry in &tree {
                    self.object(entry.id(), entry.kind(), depth + 1)?;
                }
                self.raw(id)
            }
            Some(ObjectType::Blob) => self.raw(id),
            _ => Ok(()), // a submodule: refused wherever it is read
        }
    }

    fn raw(&self, id: Oid) -> Result<(), GitError> {
        if self.write.exists(id) {
            return Ok(());
        }
        let object = self
            .read
            .read(id)
            .map_err(self.from.fault("cannot read an object"))?;
        self.write
            .write(object.kind(), object.data())
            .map(drop)
            .map_err(self.keep.fault("cannot keep an object"))
    }
}

/// Made aside and moved into place whole: another process may look at this moment, and this one may be killed at any.
fn make(dir: &Path) -> Result<(), GitError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = dir.with_extension(format!("new-{}-{count}", std::process::id()));
    let _ = std::fs::remove_dir_all(&aside);
    std::fs::create_dir_all(&aside).map_err(|e| unreadable(&aside, e))?;
    let made = Repository::init_opts(
        &aside,
        RepositoryInitOptions::new()
            .bare(true)
            .external_template(false)
            .initial_head("kept"),
    )
    .and_then(|repo| {
        let mut config = repo.config()?;
        config.set_i32("gc.auto", 0)?;
        config.set_bool("maintenance.auto", false)
    });
    made.map_err(|e| GitError::Git {
        repo: Safe::new(&dir.display().to_string()),
        doing: "cannot make the store of kept commits",
        detail: Safe::new(e.message()),
    })?;
    match std::fs::rename(&aside, dir) {
        Err(error) if !dir.join("HEAD").exists() => Err(unreadable(dir, error)),
        // Somebody else was faster, and theirs is as good.
        Err(_) => std::fs::remove_dir_all(&aside).map_err(|e| unreadable(&aside, e)),
        Ok(()) => Ok(()),
    }
}
