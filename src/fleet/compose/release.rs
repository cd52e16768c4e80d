//! The files that a release holds below `desired/services/`: what `./path` in a Compose file may mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::IN_DESIRED;
use super::super::tree::{EntryKind, Tree};
use super::service::FileSet;
use crate::digest::Digest;

/// The folder that Compose files lie in; `./` in them is this folder.
pub const FOLDER: &str = "desired/services/";

/// What a fleet holds outside of the folder: one folder up, and two.
const BESIDE: [&[&str]; 2] = [
    &IN_DESIRED,
    &["desired", "rings", "stacks", "ringfence.yaml", ".git"],
];

#[derive(Debug, Clone)]
struct Held {
    kind: EntryKind,
    bytes: Arc<[u8]>,
    complete: bool,
    digest: Digest,
}

/// Paths relative to the folder → content.
#[derive(Debug, Clone, Default)]
pub struct ReleaseFiles {
    files: Arc<BTreeMap<String, Held>>,
    /// The folder that relative paths start from, with its slash; empty is that of the Compose files.
    start: String,
}

/// What a path names in a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the release does not hold it.
    Nothing,
    /// A file.
    File(FileSet),
    /// A folder.
    Folder(FileSet),
    /// Something that is never read: the path and why.
    Unusable(String, &'static str),
}

/// Why a relative path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// It leaves the folder.
    Leaves,
    /// It holds what no path may hold.
    Malformed,
}

impl ReleaseFiles {
    /// Keeps the entries below `desired/services/`.
    pub fn of(tree: &Tree) -> Self {
        let files = tree
            .below(FOLDER)
            .filter_map(|(path, entry)| {
                let relative = path.strip_prefix(FOLDER)?;
                let held = Held {
                    kind: entry.kind,
                    bytes: Arc::clone(&entry.bytes),
                    complete: entry.bytes.len() as u64 == entry.size,
                    digest: Digest::of_bytes(&entry.bytes),
                };
                Some((relative.to_owned(), held))
            })
            .collect();
        Self {
            files: Arc::new(files),
            start: String::new(),
        }
    }

    /// The same files, seen from another folder of them.
    pub fn seen_from(&self, folder: &str) -> Self {
        let start = match folder.trim_end_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Self {
            files: Arc::clone(&self.files),
            start,
        }
    }

    /// The folder that relative paths start from, with its slash, or empty.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// A relative path as it is written, from where it is written, relative to `desired/services/`.
    ///
    /// # Errors
    /// It leaves the folder, or holds what no path may hold.
    pub fn locate(&self, path: &str) -> Result<String, BadPath> {
        normalise(&format!("{}{path}", self.start))
    }

    /// A relative path that leaves the folder and names nothing of the fleet's: `../` as often as needed, and the rest.
    pub fn outside(&self, path: &str) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        let mut up = 0usize;
        for part in self.start.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => up += usize::from(parts.pop().is_none()),
                part => parts.push(part),
            }
        }
        let first = parts.first()?;
        let ours = up
            .checked_sub(1)
            .and_then(|i| BESIDE.get(i))
            .is_some_and(|names| names.iter().any(|n| n == first));
        let rest = normalise(&parts.join("/")).ok()?;
        (up > 0 && !ours).then(|| format!("{}{rest}", "../".repeat(up)))
    }

    /// What a normalised path names. The empty path is the folder itself.
    pub fn find(&self, path: &str) -> Found {
        // A link on the way there would lead out of the tree.
        let mut prefix = String::new();
        for part in path.split('/') {
            prefix.push_str(part);
            if let Some(held) = self.files.get(&prefix) {
                if let Some(why) = held.unusable() {
                    return Found::Unusable(prefix, why);
                }
                if prefix.len() < path.len() {
                    return Found::Nothing;
                }
                let name = path.rsplit('/').next().unwrap_or(path);
                return Found::File(set([(name.to_owned(), held)], Some(name.to_owned())));
            }
            prefix.push('/');
        }
        let folder = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let inside: Vec<(String, &Held)> = self
            .files
            .range(folder.clone()..)
            .take_while(|(p, _)| p.starts_with(&folder))
            .filter_map(|(p, held)| Some((p.strip_prefix(&folder)?.to_owned(), held)))
            .collect();
        if inside.is_empty() {
            return Found::Nothing;
        }
        for (name, held) in &inside {
            if let Some(why) = held.unusable() {
                return Found::Unusable(format!("{folder}{name}"), why);
            }
        }
        Found::Folder(set(inside, None))
    }

    /// The bytes of a file, for `env_file`.
    pub fn bytes(&self, path: &str) -> Option<Arc<[u8]>> {
        self.files.get(path).map(|held| Arc::clone(&held.bytes))
    }
}

impl Held {
    fn unusable(&self) -> Option<&'static str> {
        match self.kind {
            EntryKind::Symlink => Some("is a symbolic link"),
            EntryKind::Submodule => Some("is a submodule"),
            _ if !self.complete => Some("is larger than 1 MiB"),
            _ => None,
        }
    }
}

fn set<'a>(files: impl IntoIterator<Item = (String, &'a Held)>, single: Option<String>) -> FileSet {
    let mut names = BTreeMap::new();
    let mut content = BTreeMap::new();
    for (name, held) in files {
        let executable = held.kind == EntryKind::Executable;
        names.insert(name.clone(), (executable, held.digest));
        content.insert(name, (executable, Arc::clone(&held.bytes)));
    }
    FileSet {
        digest: Digest::of("ringfence.files.1", &names),
        files: content,
        single,
    }
}

/// A set of one file whose content stands in the Compose file itself.
pub fn inline(name: &str, content: &str) -> FileSet {
    let held = Held {
        kind: EntryKind::File,
        bytes: Arc::from(content.as_bytes()),
        complete: true,
        digest: Digest::of_bytes(content.as_bytes()),
    };
    set([(name.to_owned(), &held)], Some(name.to_owned()))
}

/// A relative path without `.` and `..` parts, relative to the Compose files' folder.
///
/// # Errors
/// It leaves the folder, or holds what no path may hold.
pub fn normalise(path: &str) -> Result<String, BadPath> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(BadPath::Leaves)?;
            }
            _ if part
                .chars()
                .any(|c| c.is_control() || matches!(c, '\\' | '*' | '?')) =>
            {
                return Err(BadPath::Malformed);
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_its_folder() {
        assert_eq!(normalise("./a//b/./c").as_deref(), Ok("a/b/c"));
        assert_eq!(normalise("a/../b/").as_deref(), Ok("b"));
        assert_eq!(normalise("./").as_deref(), Ok(""));
        for path in ["..", "../x", "a/../../x", "./../tenants"] {
            assert_eq!(normalise(path), Err(BadPath::Leaves), "{path}");
        }
        assert_eq!(normalise("a*"), Err(BadPath::Malformed));
    }

    #[test]
    fn files_folders_and_what_is_not_there_are_told_apart() {
        let mut tree = Tree::of_files([
            ("desired/services/conf/a.ini", "a"),
            ("desired/services/conf/sub/b.ini", "b"),
            ("desired/services/conf.d/c", "c"),
        ]);
        let mut link = tree.get("desired/services/conf.d/c").unwrap().clone();
        link.kind = EntryKind::Symlink;
        tree.insert("desired/services/out", link.clone());
        tree.insert("desired/services/mixed/out", link);
        let files = ReleaseFiles::of(&tree);
        let Found::Folder(folder) = files.find("conf") else {
            panic!("a folder")
        };
        assert_eq!(folder.files.keys().collect::<Vec<_>>(), ["a.ini", "sub/b.ini"]);
        let Found::File(file) = files.find("conf/a.ini") else {
            panic!("a file")
        };
        assert_eq!(file.single.as_deref(), Some("a.ini"));
        assert_ne!(file.digest, folder.digest);
        assert_eq!(files.find("con"), Found::Nothing);
        assert_eq!(files.find("conf/a.ini/x"), Found::Nothing);
        for path in ["out", "out/x", "mixed", "mixed/out"] {
            assert!(matches!(files.find(path), Found::Unusable(..)), "{path}");
        }
    }

    #[test]
    fn the_digest_follows_name_mode_and_content() {
        let one = inline("a", "x").digest;
        assert_eq!(one, inline("a", "x").digest);
        assert_ne!(one, inline("b", "x").digest);
        assert_ne!(one, inline("a", "y").digest);
    }
}
