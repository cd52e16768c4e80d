//! The files of a fleet at one moment: a commit's, or a work tree's.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What an entry is, as git says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link: refused.
    Symlink,
    /// A submodule: refused.
    Submodule,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// The git object id of its content, in hex (computed for a work tree, so that ids are the same).
    pub oid: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its content; empty for what is not a file, and for files over `yaml::MAX_FILE`.
    pub bytes: Arc<[u8]>,
}

/// Paths (with `/`, from the repository's root) to entries. Only what a fleet declares is in it:
/// `ringfence.yaml`, `rings/`, `stacks/`, `desired/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// Whether a fleet reads this path at all.
pub fn is_declared(path: &str) -> bool {
    path == "ringfence.yaml"
        || ["rings/", "stacks/", "desired/"]
            .iter()
            .any(|d| path.starts_with(d))
}

impl Tree {
    /// Adds an entry.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// The entry at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(p, e)| (p.as_str(), e))
    }

    /// The entries below a folder (`desired/services/`, with the slash), by path.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> + 'a {
        self.entries
            .range(folder.to_owned()..)
            .take_while(move |(p, _)| p.starts_with(folder))
            .map(|(p, e)| (p.as_str(), e))
    }

    /// Whether nothing is declared at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A tree of plain files, for tests and previews. Object ids are SHA-256 of the content.
    pub fn of_files<P: Into<String>, T: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        let mut tree = Self::default();
        for (path, bytes) in files {
            let bytes: Arc<[u8]> = Arc::from(bytes.as_ref());
            let oid = crate::digest::Digest::of_bytes(&bytes).hex();
            tree.insert(
                path,
                Entry {
                    kind: EntryKind::File,
                    oid,
                    size: bytes.len() as u64,
                    bytes,
                },
            );
        }
        tree
    }
}
