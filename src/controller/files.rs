//! The files that containers see: live directories, replaced atomically, and content of releases, written once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::fleet::compose::service::FileSet;

/// What can go wrong with them.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; check the state directory's owner and free space")]
pub struct FilesError {
    path: String,
    source: io::Error,
}

/// `<state>/files`.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

/// Folder → file name → content.
pub type Live = BTreeMap<String, BTreeMap<String, String>>;

impl Files {
    /// Below a state directory.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The root that the engine room builds mount paths from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All live directories as they are now. What cannot be read counts as absent and is written anew.
    pub fn read_live(&self) -> Live {
        let mut live = Live::new();
        let Ok(folders) = fs::read_dir(self.root.join("live")) else {
            return live;
        };
        for folder in folders.flatten() {
            let mut files = BTreeMap::new();
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                if let (Ok(name), Ok(text)) =
                    (file.file_name().into_string(), fs::read_to_string(file.path()))
                {
                    files.insert(name, text);
                }
            }
            if let Ok(name) = folder.file_name().into_string() {
                live.insert(name, files);
            }
        }
        live
    }

    /// Writes a live directory: each file beside its old one, then renamed over it, so that a reader sees one or the other.
    pub fn write_live(&self, folder: &str, files: &BTreeMap<String, String>) -> Result<(), FilesError> {
        let dir = self.root.join("live").join(folder);
        make_dir(&dir)?;
        for (name, text) in files {
            write(&dir, name, text.as_bytes(), 0o444)?;
        }
        for old in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if old.file_name().to_str().is_none_or(|n| !files.contains_key(n)) {
                let _ = fs::remove_file(old.path());
            }
        }
        Ok(())
    }

    /// Whether there certainly is no such live directory: one that cannot be read is none that was lost.
    pub fn is_lost(&self, folder: &str) -> bool {
        let found = fs::symlink_metadata(self.root.join("live").join(folder));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Removes the live directory of an owner that is gone.
    pub fn remove_live(&self, folder: &str) {
        let _ = fs::remove_dir_all(self.root.join("live").join(folder));
    }

    /// Writes content once. Its folder is named by its digest, so what is there is right.
    pub fn write_content(&self, set: &FileSet) -> Result<(), FilesError> {
        let dir = self.root.join("content").join(set.digest.hex());
        if dir.exists() {
            return Ok(());
        }
        let making = self
            .root
            .join("content")
            .join(format!(".{}.{}", set.digest.hex(), std::process::id()));
        let _ = fs::remove_dir_all(&making);
        make_dir(&making)?;
        for (path, (executable, bytes)) in &set.files {
            let file = making.join(path);
            let parent = file.parent().unwrap_or(&making).to_owned();
            make_dir(&parent)?;
            let name = file
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default()
                .to_owned();
            write(&parent, &name, bytes, if *executable { 0o555 } else { 0o444 })?;
        }
        match fs::rename(&making, &dir) {
            Ok(()) => Ok(()),
            Err(_) if dir.exists() => {
                let _ = fs::remove_dir_all(&making);
                Ok(())
            }
            Err(source) => Err(FilesError {
                path: dir.display().to_string(),
                source,
            }),
        }
    }
}

/// Folders are open to read: containers run as other users. The state directory above them is not.
fn make_dir(dir: &Path) -> Result<(), FilesError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))
        .map_err(|source| FilesError {
            path: dir.display().to_string(),
            source,
        })
}

fn write(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), FilesError> {
    let path = dir.join(name);
    let making = dir.join(format!(".{name}.new"));
    let result = (|| {
        let _ = fs::remove_file(&making);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&making)?;
        file.write_all(bytes)?;
        // The umask may have taken bits away, and containers must be able to read it.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&making, &path)
    })();
    result.map_err(|source| FilesError {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_directory_is_exactly_what_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().to_owned());
        let one = BTreeMap::from([
            ("context.json".to_owned(), "{}".to_owned()),
            ("spirit.md".to_owned(), "a".to_owned()),
        ]);
        files.write_live("acme.t", &one).unwrap();
        let two = BTreeMap::from([("context.json".to_owned(), "{\"a\":1}".to_owned())]);
        files.write_live("acme.t", &two).unwrap();
        assert_eq!(files.read_live().get("acme.t"), Some(&two));
    }

    #[test]
    fn content_is_written_once_and_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().to_owned());
        let set = FileSet {
            digest: crate::digest::Digest::of_bytes(b"x"),
            files: BTreeMap::from([(
                "conf/app.toml".to_owned(),
                (false, std::sync::Arc::from(&b"a = 1"[..])),
            )]),
            single: None,
        };
        files.write_content(&set).unwrap();
        files.write_content(&set).unwrap();
        let path = dir
            .path()
            .join("content")
            .join(set.digest.hex())
            .join("conf/app.toml");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 1");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    }
}
