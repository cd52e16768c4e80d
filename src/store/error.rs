//! What can go wrong with the state directory and the ledger, and what to do next.

use std::path::PathBuf;

use crate::fleet::names::Slug;

/// An error of the store room.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("{}: {error}; look at its owner, its mode and the space on its disk, or name another with `--state`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A place that can be read and not written.
    #[error("{} cannot be written: {error}; look at its owner, its mode and how its disk is mounted", path.display())]
    ReadOnly {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A link where a file or folder of ours belongs.
    #[error("{} is a symbolic link and is not followed; put the state directory itself there, or name its real path with `--state`", path.display())]
    Symlink {
        /// Which.
        path: PathBuf,
    },
    /// It belongs to someone else.
    #[error("{} belongs to another user; name another with `--state`", path.display())]
    OtherUser {
        /// Which.
        path: PathBuf,
    },
    /// Another process works with it.
    #[error("{} is in use by process {}; stop that one first, or ask it (`ringfence status`)", dir.display(), pid.map_or("?".to_owned(), |p| p.to_string()))]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Who holds it.
        pid: Option<u32>,
    },
    /// It belongs to another clone.
    #[error("{} belongs to the repository {theirs}, not to {ours}; work there, or take it over with `--takeover`", dir.display())]
    OtherRepository {
        /// The state directory.
        dir: PathBuf,
        /// The repository that it belongs to.
        theirs: String,
        /// The one asked for.
        ours: String,
    },
    /// The holder's id is unreadable.
    #[error("{} does not hold 32 hexadecimal digits; restore it, or remove it and use `--takeover`", path.display())]
    Holder {
        /// The file.
        path: PathBuf,
    },
    /// The ledger is no database or is damaged.
    #[error("the ledger {} is damaged ({detail}); it is never made anew by itself. Restore a copy, or move it away: ringfence then rebuilds what it can from git and the engine, and soak history, quarantine and the record are lost", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It was written by a newer ringfence.
    #[error("the ledger {} has schema {found}, and this ringfence knows {known}; use the newer ringfence that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It was removed or replaced while open.
    #[error("the ledger {} was removed or replaced while it was in use; stop ringfence and put it back", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A tenant that nothing was asked of yet.
    #[error("the ledger knows no tenant `{0}`; record what was asked of it first")]
    UnknownTenant(Slug),
    /// An event does not follow from the one before it.
    #[error(
        "the record was changed: event {seq} does not follow from the one before it; compare with a copy of the ledger"
    )]
    Chain {
        /// Which.
        seq: i64,
    },
    /// SQLite.
    #[error("the ledger {}: {error}; look at the space and the health of its disk", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
}
