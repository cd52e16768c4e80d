//! The state directory: whose it is, and who works with it now.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StoreError;

/// The state directory, held: nobody else works with it until this value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    holder: String,
    _lock: File,
}

/// What can be told of a state directory without holding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateView {
    /// The directory.
    pub path: PathBuf,
    /// The repository it belongs to.
    pub repository: Option<String>,
    /// The holder's id.
    pub holder: Option<String>,
    /// The process that holds it now.
    pub pid: Option<u32>,
}

impl StateDir {
    /// Takes the state directory for `identity` (the repository's URL without credentials, or the path of its common
    /// git directory). Made with mode 0700 when absent. Another clone's is refused, unless it is taken over.
    pub fn open(dir: &Path, identity: &str, takeover: bool) -> Result<Self, StoreError> {
        make(dir)?;
        let lock = lock(dir)?;
        let file = dir.join("repository");
        match text(&file)? {
            Some(theirs) if theirs != identity && !takeover => {
                return Err(StoreError::OtherRepository {
                    dir: dir.to_owned(),
                    theirs,
                    ours: identity.to_owned(),
                });
            }
            Some(theirs) if theirs == identity => {}
            _ => replace(&file, identity)?,
        }
        Ok(Self {
            path: dir.to_owned(),
            holder: holder(dir)?,
            _lock: lock,
        })
    }

    /// Looks without taking it. None when there is no such directory.
    pub fn read(dir: &Path) -> Result<Option<StateView>, StoreError> {
        match fs::metadata(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(dir, error)),
            Ok(_) => {}
        }
        let file = dir.join("lock");
        let pid = match File::open(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(io(&file, error)),
            // Shared and for a moment: who takes the directory tries again.
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => None,
                Err(TryLockError::WouldBlock) => pid(&file),
                Err(TryLockError::Error(error)) => return Err(io(&file, error)),
            },
        };
        Ok(Some(StateView {
            path: dir.to_owned(),
            repository: text(&dir.join("repository"))?,
            holder: text(&dir.join("holder"))?,
            pid,
        }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.db")
    }

    /// Who we are to the engine: 32 hexadecimal digits, made once.
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

fn io(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        error,
    }
}

fn make(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| io(dir, e))?;
    let meta = fs::symlink_metadata(dir).map_err(|e| io(dir, e))?;
    if meta.file_type().is_symlink() {
        return Err(StoreError::Symlink { path: dir.to_owned() });
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(StoreError::OtherUser { path: dir.to_owned() });
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|e| io(dir, e))?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(|e| io(&path, e))?;
    // One that only looks holds it shared for a moment.
    let end = Instant::now() + Duration::from_millis(250);
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    dir: dir.to_owned(),
                    pid: pid(&path),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io(&path, error)),
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| io(&path, e))?;
    Ok(file)
}

fn pid(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.trim().parse().ok()
}

fn holder(dir: &Path) -> Result<String, StoreError> {
    let file = dir.join("holder");
    if let Some(id) = text(&file)? {
        let good = id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
        return if good {
            Ok(id)
        } else {
            Err(StoreError::Holder { path: file })
        };
    }
    let mut random = [0_u8; 16];
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut f| f.read_exact(&mut random))
        .map_err(|e| io(source, e))?;
    let id: String = random.iter().map(|b| format!("{b:02x}")).collect();
    replace(&file, &id)?;
    Ok(id)
}

fn text(file: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(file, e)),
    }
}

fn replace(file: &Path, text: &str) -> Result<(), StoreError> {
    let new = file.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&new)
        .and_then(|mut out| {
            writeln!(out, "{text}")?;
            out.sync_all()
        });
    written
        .and_then(|()| fs::rename(&new, file))
        .map_err(|e| io(file, e))
}
