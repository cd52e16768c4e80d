//! A commit's declared files, straight from git's objects.

use std::io::Read as _;
use std::sync::Arc;

use git2::{ObjectType, Odb, Oid, Repository};

use super::{GitError, Repo};
use crate::fleet::names::CommitId;
use crate::fleet::tree::{Entry, EntryKind, Tree, is_declared};
use crate::fleet::yaml::MAX_FILE;
use crate::text::Safe;

/// Entries that a fleet may have.
pub(super) const MAX_ENTRIES: u64 = 50_000;
/// How deep its folders may nest.
pub(super) const MAX_DEPTH: u64 = 32;
/// Bytes that a fleet may have in files that are read.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// The folders that are read.
pub(super) const FOLDERS: &[&str] = &["rings", "stacks", "desired"];

impl Repo {
    /// The declared files at a commit. Symbolic links and submodules are entries without content; files over
    /// [`MAX_FILE`] have their size and no content. A name that is not UTF-8 gets `U+FFFD` and its bytes in hex, so
    /// that it is seen and refused, not lost.
    pub fn tree(&self, commit: &CommitId) -> Result<Tree, GitError> {
        self.read(commit, FOLDERS)
    }

    /// Of these only what policy and decisions are read from.
    pub fn policy_tree(&self, commit: &CommitId) -> Result<Tree, GitError> {
        self.read(commit, &["rings"])
    }

    fn read(&self, commit: &CommitId, folders: &[&str]) -> Result<Tree, GitError> {
        let repo = self.git2()?;
        let root = self
            .find(&repo, commit)?
            .tree()
            .map_err(self.fault("cannot read a tree"))?;
        let odb = repo.odb().map_err(self.fault("cannot read the objects"))?;
        let mut walk = Walk {
            of: self,
            repo: &repo,
            odb: &odb,
            commit,
            folders,
            tree: Tree::default(),
            limits: Limits::new(commit.as_str()),
        };
        walk.folder(&root, "", 0)?;
        Ok(walk.tree)
    }
}

/// Counts what was read, and stops what is no fleet.
pub(super) struct Limits {
    place: Safe,
    entries: u64,
    bytes: u64,
}

impl Limits {
    pub(super) fn new(place: &str) -> Self {
        Self {
            place: Safe::new(place),
            entries: 0,
            bytes: 0,
        }
    }

    pub(super) fn take(&mut self, bytes: u64, depth: u64) -> Result<(), GitError> {
        self.entries += 1;
        self.bytes += bytes;
        for (value, limit, what) in [
            (self.entries, MAX_ENTRIES, "entries"),
            (self.bytes, MAX_BYTES, "bytes"),
            (depth, MAX_DEPTH, "levels of folders"),
        ] {
            if value > limit {
                return Err(GitError::TooLarge {
                    place: self.place.clone(),
                    limit,
                    what,
                });
            }
        }
        Ok(())
    }
}

struct Walk<'a> {
    of: &'a Repo,
    repo: &'a Repository,
    odb: &'a Odb<'a>,
    commit: &'a CommitId,
    folders: &'a [&'a str],
    tree: Tree,
    limits: Limits,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &git2::Tree<'_>, prefix: &str, depth: u64) -> Result<(), GitError> {
        for entry in folder {
            let raw = entry.name_bytes();
            let name = lossy(raw);
            let is_folder = entry.filemode() == 0o040_000;
            let mut path = format!("{prefix}{name}");
            if depth == 0 {
                match self.folders.contains(&name.as_str()) {
                    true if is_folder => {}
                    // A link or file where a folder belongs: below the folder's name, where its reader looks.
                    true => path.push('/'),
                    false if is_declared(&path) && !is_folder => {}
                    false => continue,
                }
            }
            if raw.contains(&b'/') || matches!(raw, b"" | b"." | b".." | b".git") {
                return Err(GitError::Malformed {
                    commit: self.commit.to_string(),
                    path: Safe::new(&path),
                    why: "no file can have that name",
                });
            }
            if is_folder {
                self.limits.take(0, depth + 1)?;
                let inner = self
                    .repo
                    .find_tree(entry.id())
                    .map_err(self.of.fault("cannot read a folder's object"))?;
                self.folder(&inner, &format!("{path}/"), depth + 1)?;
            } else {
                let entry = self.entry(&path, entry.id(), entry.filemode(), depth)?;
                self.tree.insert(path, entry);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, oid: Oid, mode: i32, depth: u64) -> Result<Entry, GitError> {
        let kind = match mode & 0o170_000 {
            0o120_000 => EntryKind::Symlink,
            0o160_000 => EntryKind::Submodule,
            0o100_000 if mode & 0o100 != 0 => EntryKind::Executable,
            0o100_000 => EntryKind::File,
            _ => {
                return Err(GitError::Malformed {
                    commit: self.commit.to_string(),
                    path: Safe::new(path),
                    why: "its mode is none that git knows",
                });
            }
        };
        let mut size = 0;
        let mut bytes: Arc<[u8]> = Arc::default();
        if kind != EntryKind::Submodule {
            let most = if kind == EntryKind::Symlink { 0 } else { MAX_FILE };
            let fault = self.of.fault("cannot read a file's object");
            let found = match loose(self.odb, oid, most) {
                None => blob(self.odb, oid, most).map_err(fault)?,
                found => found,
            };
            let (length, content) = found.ok_or_else(|| GitError::Malformed {
                commit: self.commit.to_string(),
                path: Safe::new(path),
                why: "its object is no file",
            })?;
            size = length as u64;
            bytes = content;
        }
        self.limits.take(bytes.len() as u64, depth)?;
        Ok(Entry {
            kind,
            oid: oid.to_string(),
            size,
            bytes,
        })
    }
}

/// A file's length and content.
type Blob = (usize, Arc<[u8]>);

/// A file, without its content if it is longer than `most`; none: the object is no file.
fn blob(odb: &Odb<'_>, oid: Oid, most: usize) -> Result<Option<Blob>, git2::Error> {
    let (length, object) = odb.read_header(oid)?;
    if object != ObjectType::Blob {
        return Ok(None);
    }
    let content = if length <= most {
        Arc::from(odb.read(oid)?.data())
    } else {
        Arc::default()
    };
    Ok(Some((length, content)))
}

/// The same of an object that is a file of its own, which is opened once for both. None: it is not, or not as it should
/// be, and [`blob`] says what is wrong with it.
fn loose(odb: &Odb<'_>, oid: Oid, most: usize) -> Option<Blob> {
    let (mut reader, length, object) = odb.reader(oid).ok()?;
    if object != ObjectType::Blob || length > most {
        return None;
    }
    let mut content = Vec::with_capacity(length);
    reader.read_to_end(&mut content).ok()?;
    // What is read as a stream is not compared with its name.
    let whole = Oid::hash_object(ObjectType::Blob, &content).ok()? == oid;
    (whole && content.len() == length).then(|| (length, Arc::from(content)))
}

/// A name as text: each byte that is not UTF-8 as `U+FFFD` and its two hex digits, so that two names stay two.
pub(super) fn lossy(name: &[u8]) -> String {
    let mut out = String::new();
    for chunk in name.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\u{fffd}{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;

    #[test]
    fn a_file_is_read_alike_loose_and_packed_and_never_as_another() {
        let fixture = Fixture::new();
        fixture.commit("desired/a.yaml", "a: 1\n");
        let commit = fixture.commit("desired/b.yaml", "b: 1\n");
        let repo = fixture.repo();
        let loose = repo.tree(&commit).unwrap();
        assert_eq!(&*loose.get("desired/b.yaml").unwrap().bytes, b"b: 1\n");
        assert!(repo.policy_tree(&commit).unwrap().get("desired/b.yaml").is_none());

        // A whole object under the name of another.
        let object = |name: &str| {
            let oid = &loose.get(name).unwrap().oid;
            let (folder, file) = oid.split_at(2);
            fixture.dir().join(".git/objects").join(folder).join(file)
        };
        let (a, b) = (object("desired/a.yaml"), object("desired/b.yaml"));
        let kept = std::fs::read(&b).unwrap();
        std::fs::remove_file(&b).unwrap();
        std::fs::copy(&a, &b).unwrap();
        let error = repo.tree(&commit).unwrap_err().to_string();
        assert!(error.contains("cannot read a file's object"), "{error}");

        std::fs::remove_file(&b).unwrap();
        std::fs::write(&b, kept).unwrap();
        fixture.git(&["gc", "--quiet"]);
        assert!(!b.exists());
        let packed = repo.tree(&commit).unwrap();
        assert_eq!(
            packed.get("desired/b.yaml").unwrap().bytes,
            loose.get("desired/b.yaml").unwrap().bytes
        );
    }
}
