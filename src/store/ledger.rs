//! The ledger's file: opened with care, written in whole transactions.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::StoreError;
use super::schema::{APPLICATION, DECIDES, MIGRATIONS, VERSION};
use super::seal::Seal;
use crate::decide::facts::Facts;
use crate::fleet::names::SpecHash;

/// The ledger. One connection behind a lock; all calls block.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    inode: (u64, u64),
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) db: Connection,
    pub(super) facts: Option<Arc<Facts>>,
    pub(super) known: Option<Arc<BTreeMap<String, Option<SpecHash>>>>,
    /// As they are now: the table has them as they were last written.
    pub(super) proofs: Option<super::proofs::Proofs>,
    /// SQLite's count of other connections' commits at which the caches were right.
    seen: i64,
}

impl Store {
    /// Opens the ledger, or makes it when absent. What is there is never made anew: a damaged file, another
    /// program's or a newer ringfence's is an error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |error| StoreError::Io {
            path: path.to_owned(),
            error,
        };
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => create(path)?,
            Err(e) => return Err(io(e)),
            Ok(_) => {}
        }
        // SQLite writes files beside it, and says less of why it cannot.
        for place in [Some(path), path.parent()].into_iter().flatten() {
            rustix::fs::access(place, rustix::fs::Access::WRITE_OK).map_err(|e| StoreError::ReadOnly {
                path: place.to_owned(),
                error: e.into(),
            })?;
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if fs::metadata(path).map_err(io)?.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        }
        {
            let mut inner = store.inner();
            migrate(&mut inner.db, path)?;
        }
        Ok(store)
    }

    /// Opens an existing ledger for looking only, beside the process that writes it. None when there is none.
    pub fn look(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(StoreError::Io {
                    path: path.to_owned(),
                    error,
                });
            }
            Ok(_) => {}
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Some(store))
    }

    /// An empty ledger that nothing outlives, for verbs that only look where none was made yet. Writing to it fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from("(memory)");
        let sql = |e| sqlite(&path, e);
        let mut db = Connection::open_in_memory().map_err(sql)?;
        migrate(&mut db, &path)?;
        let inner = Mutex::new(Inner {
            db,
            facts: None,
            known: None,
            proofs: None,
            seen: -1,
        });
        Ok(Self {
            path,
            inode: (0, 0),
            inner,
        })
    }

    fn connect(path: &Path, mode: OpenFlags) -> Result<Self, StoreError> {
        let meta = fs::symlink_metadata(path).map_err(|error| StoreError::Io {
            path: path.to_owned(),
            error,
        })?;
        if meta.file_type().is_symlink() {
            return Err(StoreError::Symlink {
                path: path.to_owned(),
            });
        }
        let damaged = |detail: String| StoreError::Damaged {
            path: path.to_owned(),
            detail,
        };
        if !meta.is_file() || meta.len() == 0 {
            return Err(damaged("it is empty or no file".to_owned()));
        }
        let sql = |e| sqlite(path, e);
        let mode = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = if mode.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) && is_at_rest(path) {
            Connection::open_with_flags(immutable(path), mode | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(path, mode)
        };
        let db = db.map_err(sql)?;
        db.busy_timeout(Duration::from_secs(5)).map_err(sql)?;
        let application: i64 = db
            .pragma_query_value(None, "application_id", |r| r.get(0))
            .map_err(sql)?;
        let found: i64 = db
            .pragma_query_value(None, "user_version", |r| r.get(0))
            .map_err(sql)?;
        if application != APPLICATION {
            return Err(damaged("it is another program's database".to_owned()));
        }
        if found > VERSION {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
        let seal = Seal::of(path, &meta, found);
        if !seal.holds() {
            for (table, _) in DECIDES.iter().filter(|(_, since)| *since <= found) {
                let check: String = db
                    .query_row(&format!("PRAGMA quick_check({table})"), [], |r| r.get(0))
                    .map_err(sql)?;
                if check != "ok" {
                    return Err(damaged(check));
                }
            }
            if !mode.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
                seal.set();
            }
        }
        for (name, value) in [
            ("synchronous", "FULL"),
            ("foreign_keys", "ON"),
            ("trusted_schema", "OFF"),
        ] {
            db.pragma_update(None, name, value).map_err(sql)?;
        }
        // 512 KiB: most of it is read once, at the start, and a daemon that rests shall not keep four times as much.
        db.pragma_update(None, "cache_size", -512).map_err(sql)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(Self {
            path: path.to_owned(),
            inode: (meta.dev(), meta.ino()),
            inner: Mutex::new(Inner {
                db,
                facts: None,
                known: None,
                proofs: None,
                seen: -1,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in a transaction rolled it back; the caches are only set after reads.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fault(&self, error: rusqlite::Error) -> StoreError {
        sqlite(&self.path, error)
    }

    /// Runs `f` with the caches dropped if another process has written.
    pub(super) fn read<T>(
        &self,
        f: impl FnOnce(&mut Inner) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let mut inner = self.inner();
        let version: i64 = inner
            .db
            .pragma_query_value(None, "data_version", |r| r.get(0))
            .map_err(|e| self.fault(e))?;
        if version != inner.seen {
            inner.facts = None;
            inner.known = None;
            inner.proofs = None;
            inner.seen = version;
        }
        f(&mut inner).map_err(|e| self.fault(e))
    }

    /// One durable transaction (`BEGIN IMMEDIATE`, FULL) that changes facts. They are read anew afterwards.
    pub(super) fn write<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.durable(|inner| inner.facts = None, f)
    }

    /// One durable transaction after `forget` has dropped the caches that it makes out of date.
    pub(super) fn durable<T>(
        &self,
        forget: impl FnOnce(&mut Inner),
        f: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.still_there()?;
        let mut inner = self.inner();
        forget(&mut inner);
        transact(&mut inner.db, f).map_err(|e| self.fault(e))
    }

    /// One transaction of the journal: survives a killed process, and the last ones may be lost with the power, as
    /// what was begun is always found out by looking at the engine.
    pub(super) fn journal<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.still_there()?;
        let mut inner = self.inner();
        let set = |db: &Connection, value: &str| {
            db.pragma_update(None, "synchronous", value)
                .map_err(|e| self.fault(e))
        };
        set(&inner.db, "NORMAL")?;
        let done = transact(&mut inner.db, f).map_err(|e| self.fault(e));
        set(&inner.db, "FULL")?;
        done
    }

    fn still_there(&self) -> Result<(), StoreError> {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.inode => Ok(()),
            _ => Err(StoreError::Gone {
                path: self.path.clone(),
            }),
        }
    }
}

/// Whether nobody can be writing: the place is read-only, and no transaction is left beside the ledger. SQLite then reads
/// it without making files of its own there.
fn is_at_rest(path: &Path) -> bool {
    let read_only = path
        .parent()
        .is_some_and(|dir| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    read_only && fs::metadata(log).map_or(true, |meta| meta.len() == 0)
}

fn immutable(path: &Path) -> String {
    let escaped: String = path
        .to_string_lossy()
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            c => c.to_string(),
        })
        .collect();
    format!("file:{escaped}?immutable=1")
}

fn transact<T>(
    db: &mut Connection,
    f: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let out = f(&tx)?;
    tx.commit()?;
    Ok(out)
}

fn sqlite(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged {
                path: path.to_owned(),
                detail: error.to_string(),
            }
        }
        _ => StoreError::Sqlite {
            path: path.to_owned(),
            error,
        },
    }
}

/// Makes a whole ledger beside the path and puts it there in one move, so that a crash leaves none or a good one.
fn create(path: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::Io {
        path: path.to_owned(),
        error,
    };
    let new = path.with_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(io)?;
    let made = (|| {
        let mut db = Connection::open_with_flags(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        transact(&mut db, |tx| {
            tx.pragma_update(None, "application_id", APPLICATION)?;
            upgrade(tx, 0)
        })?;
        db.close().map_err(|(_, e)| e)
    })();
    made.map_err(|e| sqlite(path, e))?;
    // A link, not a rename: it never replaces a ledger that someone else has put there meanwhile.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new).map_err(io)?;
    linked.map_err(io)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|d| d.sync_all()).map_err(io)?;
    }
    Ok(())
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let newest = db.pragma_query_value(None, "user_version", |r| {
        r.get(0).map(|found: i64| found == VERSION)
    });
    if newest.map_err(|e| sqlite(path, e))? {
        return Ok(());
    }
    transact(db, |tx| {
        let found: i64 = tx.pragma_query_value(None, "user_version", |r| r.get(0))?;
        upgrade(tx, found)
    })
    .map_err(|e| sqlite(path, e))
}

fn upgrade(tx: &Transaction<'_>, from: i64) -> Result<(), rusqlite::Error> {
    let done = usize::try_from(from).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    if from < VERSION {
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}
