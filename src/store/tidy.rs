//! What need not be remembered for ever. The record (`events`) is never touched.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::params;

use super::{Store, StoreError};
use crate::fleet::names::{ReleaseId, SpecHash};

impl Store {
    /// Forgets names of containers that were written down before `before` and whose spec nobody speaks of any more, with
    /// the bodies of such specs. How many names.
    pub fn forget_containers(
        &self,
        before: Timestamp,
        used: &BTreeSet<SpecHash>,
    ) -> Result<usize, StoreError> {
        let used: BTreeSet<String> = used.iter().map(|s| s.0.hex()).collect();
        let old: Vec<(String, String)> = self.read(|inner| {
            let mut select = inner
                .db
                .prepare_cached("SELECT name, spec, at FROM objects WHERE spec IS NOT NULL")?;
            let rows = select.query_map([], |row| {
                let at: Timestamp = super::facts::parsed(row, 2)?;
                Ok((row.get(0)?, row.get(1)?, at))
            })?;
            let mut old = Vec::new();
            for row in rows {
                let (name, spec, at) = row?;
                if at < before && !used.contains(&spec) {
                    old.push((name, spec));
                }
            }
            Ok(old)
        })?;
        if old.is_empty() {
            return Ok(0);
        }
        self.durable(
            |inner| inner.known = None,
            |tx| {
                let mut delete = tx.prepare_cached("DELETE FROM objects WHERE name = ?1")?;
                // Another service may have the same spec under a name that stays.
                let mut body = tx.prepare_cached(
                    "DELETE FROM spec_bodies WHERE spec = ?1 AND spec NOT IN (SELECT spec FROM objects WHERE spec IS NOT NULL)",
                )?;
                for (name, _) in &old {
                    delete.execute([name])?;
                }
                for (_, spec) in &old {
                    body.execute([spec])?;
                }
                Ok(())
            },
        )?;
        Ok(old.len())
    }

    /// Forgets releases but the newest `keep` and those in `used`; which.
    pub fn forget_releases(
        &self,
        keep: u32,
        used: &BTreeSet<ReleaseId>,
    ) -> Result<Vec<ReleaseId>, StoreError> {
        let mut old = self.read(|inner| {
            inner
                .db
                .prepare_cached("SELECT id FROM releases ORDER BY rowid DESC LIMIT -1 OFFSET ?1")?
                .query_map([keep], |row| super::facts::digest(row, 0).map(ReleaseId))?
                .collect::<Result<Vec<_>, _>>()
        })?;
        old.retain(|id| !used.contains(id));
        if !old.is_empty() {
            self.write(|tx| {
                let mut delete = tx.prepare_cached("DELETE FROM releases WHERE id = ?1")?;
                for id in &old {
                    delete.execute(params![id.0.hex()])?;
                }
                Ok(())
            })?;
        }
        Ok(old)
    }
}
