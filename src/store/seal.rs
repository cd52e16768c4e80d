//! Whether the ledger's file is as it was when its tables were last looked through: then they are not looked through
//! again, which would be a tenth of all that a verb with nothing to do costs.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that was written so recently may be written once more without its time telling (as git takes it of its index).
pub const TELLS_AFTER: Duration = Duration::from_secs(2);
/// A disk that lost something without anybody writing is found out after this time at the latest.
const HOLDS_FOR: Duration = Duration::from_secs(24 * 3600);

/// What the file looked like when it was opened.
pub(super) struct Seal {
    /// Where it is written down.
    file: PathBuf,
    now: Option<String>,
}

impl Seal {
    /// Of the ledger at `path`, before anything is written to it.
    pub(super) fn of(path: &Path, meta: &Metadata, version: i64) -> Self {
        Self {
            file: beside(path, "-checked"),
            now: words(path, meta).map(|words| format!("{version} {words}\n")),
        }
    }

    /// Whether nobody wrote to it since it was looked through.
    pub(super) fn holds(&self) -> bool {
        let Some(now) = &self.now else { return false };
        let recent = fs::metadata(&self.file)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| age(at).is_some_and(|age| age < HOLDS_FOR));
        recent && fs::read_to_string(&self.file).is_ok_and(|then| then == *now)
    }

    /// It was looked through. Where that cannot be written down, it is looked through again.
    pub(super) fn set(&self) {
        if let Some(now) = &self.now {
            let _ = fs::write(&self.file, now);
        }
    }
}

/// What the ledger at `path` looks like: any write to it changes that. None: nothing can be told of it, since transactions
/// wait beside it or it was written just now.
pub fn at_rest(path: &Path) -> Option<String> {
    words(path, &fs::metadata(path).ok()?)
}

fn words(path: &Path, meta: &Metadata) -> Option<String> {
    let waits = fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let tells = meta.modified().is_ok_and(|at| age(at) >= Some(TELLS_AFTER));
    (tells && !waits).then(|| stamp(meta))
}

/// What tells a file from another one, and from itself before it was written.
pub fn stamp(meta: &Metadata) -> String {
    format!(
        "{} {} {} {}.{:09} {}.{:09}",
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    )
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// None: it is in the future.
fn age(at: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(at).ok()
}
