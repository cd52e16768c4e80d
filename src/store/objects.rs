//! What ringfence knows that it made: only that may be removed without being asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::ledger::Inner;
use super::{Store, StoreError};
use crate::fleet::names::{ServiceKey, SpecHash};
use crate::plan::Stale;
use crate::render::object::ContainerSpec;

/// Under which name the runs are kept that see a live directory which was lost.
const STALE: &str = "live.stale";

/// What is known is read anew.
fn forget(inner: &mut Inner) {
    inner.known = None;
}

impl Store {
    /// Writes what a pass is about to create (name, and the spec of a container), durably, before its first call.
    pub fn know(&self, objects: &[(String, Option<SpecHash>)], now: Timestamp) -> Result<(), StoreError> {
        let known = self.known()?;
        let new: Vec<_> = objects
            .iter()
            .filter(|(name, spec)| known.get(name) != Some(spec))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.durable(forget, |tx| {
            let mut insert =
                tx.prepare_cached("INSERT OR REPLACE INTO objects (name, spec, at) VALUES (?1, ?2, ?3)")?;
            for (name, spec) in new {
                insert.execute(params![name, spec.map(|s| s.0.hex()), now.to_string()])?;
            }
            Ok(())
        })
    }

    /// Keeps what specs say, so that a later plan can tell field by field what changes.
    pub fn keep_specs(&self, specs: &[(SpecHash, &ContainerSpec)]) -> Result<(), StoreError> {
        if specs.is_empty() {
            return Ok(());
        }
        self.durable(
            |_| (),
            |tx| {
                let mut insert =
                    tx.prepare_cached("INSERT OR IGNORE INTO spec_bodies (spec, body) VALUES (?1, ?2)")?;
                for (hash, spec) in specs {
                    let body = serde_json::to_string(spec).unwrap_or_default();
                    insert.execute(params![hash.0.hex(), body])?;
                }
                Ok(())
            },
        )
    }

    /// The specs that were kept, of those asked for. One that this version cannot read is left out.
    pub fn specs(&self, hashes: &[SpecHash]) -> Result<BTreeMap<SpecHash, Arc<ContainerSpec>>, StoreError> {
        self.read(|inner| {
            let mut select = inner
                .db
                .prepare_cached("SELECT body FROM spec_bodies WHERE spec = ?1")?;
            let mut out = BTreeMap::new();
            for hash in hashes {
                let body: Option<String> = select.query_row([hash.0.hex()], |row| row.get(0)).optional()?;
                if let Some(spec) = body.and_then(|b| serde_json::from_str(&b).ok()) {
                    out.insert(*hash, Arc::new(spec));
                }
            }
            Ok(out)
        })
    }

    /// What is known, by name.
    pub fn known(&self) -> Result<Arc<BTreeMap<String, Option<SpecHash>>>, StoreError> {
        self.read(|inner| {
            if let Some(known) = &inner.known {
                return Ok(Arc::clone(known));
            }
            let mut known = BTreeMap::new();
            let mut statement = inner.db.prepare_cached("SELECT name, spec FROM objects")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let spec = match row.get_ref(1)? {
                    rusqlite::types::ValueRef::Null => None,
                    _ => Some(SpecHash(super::facts::digest(row, 1)?)),
                };
                known.insert(row.get(0)?, spec);
            }
            drop(rows);
            drop(statement);
            let known = Arc::new(known);
            inner.known = Some(Arc::clone(&known));
            Ok(known)
        })
    }

    /// Volumes that were seen, and (with `there` false) volumes whose data is given up.
    pub fn volumes(&self, names: &[String], there: bool) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let changes: &[&str] = if there {
                &["INSERT OR IGNORE INTO volumes (name) VALUES (?1)"]
            } else {
                &[
                    "DELETE FROM volumes WHERE name = ?1",
                    "DELETE FROM image_volumes WHERE volume = ?1",
                ]
            };
            for change in changes {
                let mut change = tx.prepare_cached(change)?;
                for name in names {
                    change.execute([name])?;
                }
            }
            Ok(())
        })
    }

    /// In which volumes services keep what their images declare as data: (service, path, volume).
    pub fn image_volumes(&self, volumes: &[(ServiceKey, String, String)]) -> Result<(), StoreError> {
        if volumes.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO image_volumes (owner, service, path, volume) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (key, path, volume) in volumes {
                insert.execute(params![key.owner.to_string(), key.service, path, volume])?;
            }
            Ok(())
        })
    }

    /// What was seen of containers, by id: a cache in the words of who keeps it, who reads each one; none is left out.
    pub fn looks<T, C: Default + Extend<(String, T)>>(
        &self,
        mut read: impl FnMut(&str) -> Option<T>,
    ) -> Result<C, StoreError> {
        self.read(|inner| {
            let mut looks = C::default();
            let mut select = inner.db.prepare_cached("SELECT container, body FROM looks")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(look) = read(row.get_ref(1)?.as_str()?) {
                    looks.extend([(row.get(0)?, look)]);
                }
            }
            Ok(looks)
        })
    }

    /// Keeps what was seen of containers, and forgets others.
    pub fn keep_looks(&self, new: &[(&String, &String)], gone: &[&String]) -> Result<(), StoreError> {
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.journal(|tx| {
            let mut insert =
                tx.prepare_cached("INSERT OR REPLACE INTO looks (container, body) VALUES (?1, ?2)")?;
            for (id, body) in new {
                insert.execute([id, body])?;
            }
            let mut delete = tx.prepare_cached("DELETE FROM looks WHERE container = ?1")?;
            for id in gone {
                delete.execute([id])?;
            }
            Ok(())
        })
    }

    /// A small value by name.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|inner| {
            inner
                .db
                .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })
    }

    /// Runs of containers that see a live directory which was lost.
    pub fn stale(&self) -> Result<Stale, StoreError> {
        let kept = self.meta(STALE)?;
        Ok(kept
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    /// Writes them down, durably: before the directory is made anew.
    pub fn set_stale(&self, stale: &Stale) -> Result<(), StoreError> {
        self.set_meta(STALE, &serde_json::to_string(stale).unwrap_or_default())
    }

    /// Sets a small value, durably. `accepted` belongs to [`Store::accept`].
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        if self.meta(key)?.as_deref() == Some(value) {
            return Ok(());
        }
        self.durable(
            |_| (),
            |tx| {
                tx.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
                    .execute([key, value])
                    .map(drop)
            },
        )
    }
}
