//! Whether the ledger's file is as it was when its tables were last looked through: then they are not looked through
//! again, which would be a tenth of all that a verb with nothing to do costs.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that was written so recently may be written once more without its time telling (as git takes it of its index).
const TELLS_AFTER: Duration = Duration::from_secs(2);
/// A disk that lost something without anybody writing is found out after this time at the latest.
const HOLDS_FOR: Duration = Duration::from_secs(24 * 3600);

/// What the file looked like when it was opened.
pub(super) struct Seal {
    /// Where it is written down.
    file: PathBuf,
    /// None: nothing can be told of it, since transactions wait beside it or it was written just now.
    now: Option<String>,
}

impl Seal {
    /// Of the ledger at `path`, before anything is written to it.
    pub(super) fn of(path: &Path, meta: &Metadata, version: i64) -> Self {
        let beside = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let at_rest = fs::metadata(beside("-wal")).map_or(true, |wal| wal.len() == 0);
        let tells = meta.modified().is_ok_and(|at| age(at) >= Some(TELLS_AFTER));
        let words = format!(
            "{version} {} {} {} {}.{:09} {}.{:09}\n",
            meta.dev(),
            meta.ino(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        );
        Self {
            file: beside("-checked"),
            now: Some(words).filter(|_| at_rest && tells),
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

/// None: it is in the future.
fn age(at: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(at).ok()
}
