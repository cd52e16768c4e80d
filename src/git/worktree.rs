//! The declared files of a folder as they are now, for `check` and `plan --worktree`.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::GitError;
use super::read::{FOLDERS, Limits, lossy};
use super::repo::unreadable;
use crate::fleet::tree::{Entry, EntryKind, Tree};
use crate::fleet::yaml::MAX_FILE;
use crate::text::Safe;

/// The declared files of a folder, with the ids that git would give their bytes. Links are not followed; a folder
/// with a `.git` in it is a submodule; what git cannot hold (sockets, pipes) is left out. Needs no repository.
pub fn worktree(dir: &Path) -> Result<Tree, GitError> {
    let meta = std::fs::metadata(dir).map_err(|e| unreadable(dir, e))?;
    if !meta.is_dir() {
        return Err(GitError::NotFound { path: dir.to_owned() });
    }
    let mut walk = Walk {
        tree: Tree::default(),
        limits: Limits::new(&dir.display().to_string()),
    };
    walk.one(&dir.join("ringfence.yaml"), "ringfence.yaml", 0)?;
    for folder in FOLDERS {
        walk.one(&dir.join(folder), folder, 0)?;
    }
    Ok(walk.tree)
}

struct Walk {
    tree: Tree,
    limits: Limits,
}

impl Walk {
    fn one(&mut self, file: &Path, path: &str, depth: u64) -> Result<(), GitError> {
        let meta = match std::fs::symlink_metadata(file) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(unreadable(file, e)),
        };
        let kind = meta.file_type();
        if kind.is_dir() {
            if depth == 0 && path == "ringfence.yaml" {
                return Ok(());
            }
            return self.folder(file, path, depth + 1);
        }
        let entry = if kind.is_symlink() {
            let target = std::fs::read_link(file).map_err(|e| unreadable(file, e))?;
            let oid = hash(
                Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes()),
                file,
            )?;
            bare_entry(EntryKind::Symlink, oid, meta.len())
        } else if kind.is_file() {
            match read(file, &meta)? {
                Some(entry) => entry,
                None => return Ok(()),
            }
        } else {
            return Ok(());
        };
        self.limits.take(entry.bytes.len() as u64, depth)?;
        let below = if depth == 0 && FOLDERS.contains(&path) {
            "/"
        } else {
            ""
        };
        self.tree.insert(format!("{path}{below}"), entry);
        Ok(())
    }

    fn folder(&mut self, folder: &Path, path: &str, depth: u64) -> Result<(), GitError> {
        self.limits.take(0, depth)?;
        if std::fs::symlink_metadata(folder.join(".git")).is_ok() {
            self.tree
                .insert(path, bare_entry(EntryKind::Submodule, "0".repeat(40), 0));
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
            let entry = entry.map_err(|e| unreadable(folder, e))?;
            let name = lossy(entry.file_name().as_bytes());
            self.one(&entry.path(), &format!("{path}/{name}"), depth)?;
        }
        Ok(())
    }
}

fn bare_entry(kind: EntryKind, oid: String, size: u64) -> Entry {
    Entry {
        kind,
        oid,
        size,
        bytes: Arc::default(),
    }
}

/// A regular file; none when it has gone since the folder was listed.
fn read(file: &Path, meta: &std::fs::Metadata) -> Result<Option<Entry>, GitError> {
    let kind = if meta.mode() & 0o100 != 0 {
        EntryKind::Executable
    } else {
        EntryKind::File
    };
    if meta.len() > MAX_FILE as u64 {
        let oid = hash(Oid::hash_file(ObjectType::Blob, file), file)?;
        return Ok(Some(bare_entry(kind, oid, meta.len())));
    }
    // Not followed even if it has become a link since, and never waited for if it has become a pipe.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(file);
    let opened = match opened {
        Ok(opened) => opened,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(file, e)),
    };
    let mut bytes = Vec::new();
    opened
        .take(MAX_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(file, e))?;
    let oid = hash(Oid::hash_object(ObjectType::Blob, &bytes), file)?;
    Ok(Some(Entry {
        kind,
        oid,
        size: bytes.len() as u64,
        bytes: bytes.into(),
    }))
}

fn hash(oid: Result<Oid, git2::Error>, file: &Path) -> Result<String, GitError> {
    oid.map(|o| o.to_string()).map_err(|e| GitError::Git {
        repo: Safe::new(&file.display().to_string()),
        doing: "cannot hash the file",
        detail: Safe::new(e.message()),
    })
}
