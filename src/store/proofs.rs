//! How releases did in rings: kept in memory from look to look, and written when it matters.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};
use serde_json::json;

use super::events::{NewEvent, append};
use super::facts::{digest, json as of_json, parsed};
use super::{Store, StoreError};
use crate::decide::facts::{Facts, Proof};
use crate::decide::health::Watch;
use crate::fleet::names::{ReleaseId, RingName};

/// By ring and release.
pub(super) type Proofs = BTreeMap<(RingName, ReleaseId), Proved>;

/// A proof, and what is needed to go on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proved {
    /// What decisions are made from.
    pub proof: Proof,
    /// What the next look is compared with.
    pub watch: Watch,
}

/// A healthy stretch of a ring that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The ring.
    pub ring: RingName,
    /// The release.
    pub release: ReleaseId,
    /// For how long all of the ring had been healthy.
    pub healthy_ms: u64,
    /// What ended it.
    pub why: String,
}

impl Store {
    /// How a release did in a ring so far.
    pub fn proved(&self, ring: &RingName, release: &ReleaseId) -> Result<Option<Proved>, StoreError> {
        self.read(|inner| {
            let proofs = loaded(&mut inner.proofs, &inner.db)?;
            Ok(proofs.get(&(ring.clone(), *release)).cloned())
        })
    }

    /// Proofs after a look. They count at once; what only goes on is written now and then (`durable`), for a crash that
    /// loses the last half minute costs a soak no more than that.
    pub fn prove(&self, new: Vec<((RingName, ReleaseId), Proved)>, durable: bool) -> Result<(), StoreError> {
        if new.is_empty() {
            return Ok(());
        }
        if durable {
            self.durable(
                |_| (),
                |tx| {
                    for (key, proved) in &new {
                        write(tx, key, proved)?;
                    }
                    Ok(())
                },
            )?;
        }
        self.read(|inner| {
            let proofs = loaded(&mut inner.proofs, &inner.db)?;
            for (key, proved) in new {
                if let Some(facts) = inner.facts.as_mut().map(Arc::make_mut) {
                    let ring = facts.rings.entry(key.0.clone()).or_default();
                    ring.proofs.insert(key.1, proved.proof.clone());
                }
                proofs.insert(key, proved);
            }
            Ok(())
        })
    }

    /// Healthy stretches that ended, for the record.
    pub fn stretches_ended(&self, ended: &[Stretch], now: Timestamp) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        self.durable(
            |_| (),
            |tx| {
                for stretch in ended {
                    let seconds = stretch.healthy_ms / 1000;
                    let message = format!(
                        "{} had been healthy in {} for {seconds} s: {}",
                        stretch.release, stretch.ring, stretch.why
                    );
                    let detail = json!({"release": stretch.release, "healthy_ms": stretch.healthy_ms, "why": stretch.why});
                    append(tx, &NewEvent::of("health.ended", message, detail).ring(&stretch.ring), now)?;
                }
                Ok(())
            },
        )
    }

    /// Writes all that is only in memory.
    pub fn keep_proofs(&self) -> Result<(), StoreError> {
        let proofs = self.read(|inner| Ok(inner.proofs.clone().unwrap_or_default()))?;
        if proofs.is_empty() {
            return Ok(());
        }
        self.durable(
            |_| (),
            |tx| proofs.iter().try_for_each(|(key, proved)| write(tx, key, proved)),
        )
    }

    /// Forgets how releases did of which nothing else is remembered.
    pub fn forget_proofs(&self, of: impl Fn(&ReleaseId) -> bool) -> Result<(), StoreError> {
        let old: Vec<_> = self.read(|inner| {
            let proofs = loaded(&mut inner.proofs, &inner.db)?;
            Ok(proofs
                .keys()
                .filter(|(_, release)| of(release))
                .cloned()
                .collect())
        })?;
        if old.is_empty() {
            return Ok(());
        }
        self.durable(
            |inner| {
                inner.facts = None;
                inner.proofs = None;
            },
            |tx| {
                for (ring, release) in &old {
                    tx.execute(
                        "DELETE FROM proofs WHERE ring = ?1 AND release = ?2",
                        params![ring.as_str(), release.0.hex()],
                    )?;
                }
                Ok(())
            },
        )
    }
}

/// Puts the proofs into facts that were read from the other tables.
pub(super) fn overlay(
    facts: &mut Facts,
    proofs: &mut Option<Proofs>,
    db: &Connection,
) -> Result<(), rusqlite::Error> {
    for ((ring, release), proved) in loaded(proofs, db)?.iter() {
        let of_ring = facts.rings.entry(ring.clone()).or_default();
        of_ring.proofs.insert(*release, proved.proof.clone());
    }
    Ok(())
}

fn loaded<'a>(proofs: &'a mut Option<Proofs>, db: &Connection) -> Result<&'a mut Proofs, rusqlite::Error> {
    if proofs.is_none() {
        *proofs = Some(read(db)?);
    }
    Ok(proofs.get_or_insert_default())
}

fn read(db: &Connection) -> Result<Proofs, rusqlite::Error> {
    let mut proofs = Proofs::new();
    let mut select = db.prepare_cached("SELECT ring, release, proof, watch FROM proofs")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let proved = Proved {
            proof: of_json(row, 2)?.unwrap_or_default(),
            watch: of_json(row, 3)?.unwrap_or_default(),
        };
        proofs.insert((parsed(row, 0)?, ReleaseId(digest(row, 1)?)), proved);
    }
    Ok(proofs)
}

fn write(
    tx: &Transaction<'_>,
    (ring, release): &(RingName, ReleaseId),
    proved: &Proved,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("INSERT OR REPLACE INTO proofs (ring, release, proof, watch) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            ring.as_str(),
            release.0.hex(),
            super::decisions::text(&proved.proof)?,
            super::decisions::text(&proved.watch)?
        ])
        .map(drop)
}
