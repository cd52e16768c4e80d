//! The facts, read from their tables.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use super::{Store, StoreError};
use crate::decide::facts::{Facts, FirstSeen, Release, RingFacts, TenantFacts};
use crate::digest::Digest;
use crate::fleet::names::{FilesId, Owner, ReleaseId, ServiceKey, SpecHash};

impl Store {
    /// All that is remembered. Cheap: read from the tables only after a write.
    pub fn facts(&self) -> Result<Arc<Facts>, StoreError> {
        self.read(|inner| {
            if let Some(facts) = &inner.facts {
                return Ok(Arc::clone(facts));
            }
            // One snapshot, even while another process writes.
            let tx = inner.db.unchecked_transaction()?;
            let mut facts = read(&tx)?;
            super::proofs::overlay(&mut facts, &mut inner.proofs, &tx)?;
            let facts = Arc::new(facts);
            drop(tx);
            inner.facts = Some(Arc::clone(&facts));
            Ok(facts)
        })
    }
}

fn read(db: &Connection) -> Result<Facts, rusqlite::Error> {
    let mut facts = Facts::default();
    let accepted =
        "SELECT key, value FROM meta WHERE key IN ('accepted', 'accepted_policy', 'first_accepted')";
    each(db, accepted, |row| {
        let commit = Some(parsed(row, 1)?);
        match row.get::<_, String>(0)?.as_str() {
            "accepted" => facts.accepted = commit,
            "accepted_policy" => facts.accepted_policy = commit,
            _ => facts.first_accepted = commit,
        }
        Ok(())
    })?;
    each(db, "SELECT git_commit, at, older FROM first_seen", |row| {
        let seen = FirstSeen {
            at: parsed(row, 1)?,
            older: row.get(2)?,
        };
        facts.first_seen.insert(parsed(row, 0)?, seen);
        Ok(())
    })?;
    each(
        db,
        "SELECT id, content, git_commit, images FROM releases",
        |row| {
            let id = ReleaseId(digest(row, 0)?);
            let release = Release {
                id,
                content: crate::fleet::names::ContentId(digest(row, 1)?),
                commit: parsed(row, 2)?,
                images: json(row, 3)?.unwrap_or_default(),
            };
            facts.releases.insert(id, release);
            Ok(())
        },
    )?;
    each(db, "SELECT git_commit, before FROM policies", |row| {
        facts.policies.insert(parsed(row, 0)?, parsed(row, 1)?);
        Ok(())
    })?;
    rings(db, &mut facts)?;
    tenants(db, &mut facts)?;
    each(db, "SELECT kind, owner, service, spec FROM specs", |row| {
        let key = ServiceKey {
            owner: owner(row, 1)?,
            service: row.get(2)?,
        };
        let spec = SpecHash(digest(row, 3)?);
        match row.get::<_, String>(0)?.as_str() {
            "good" => drop(facts.good_specs.insert(key, spec)),
            "failed" => drop(
                facts
                    .failed_specs
                    .entry(key)
                    .or_insert_with(BTreeSet::new)
                    .insert(spec),
            ),
            _ => drop(
                facts
                    .jobs_done
                    .entry(key)
                    .or_insert_with(BTreeSet::new)
                    .insert(spec),
            ),
        }
        Ok(())
    })?;
    each(db, "SELECT word FROM spent", |row| {
        facts.spent.insert(digest(row, 0)?);
        Ok(())
    })?;
    each(db, "SELECT name FROM volumes", |row| {
        facts.volumes.insert(row.get(0)?);
        Ok(())
    })?;
    let image_volumes = "SELECT owner, service, path, volume FROM image_volumes";
    each(db, image_volumes, |row| {
        let key = ServiceKey {
            owner: owner(row, 0)?,
            service: row.get(1)?,
        };
        let of = facts.image_volumes.entry(key).or_default();
        of.insert(row.get(2)?, row.get(3)?);
        Ok(())
    })?;
    Ok(facts)
}

fn rings(db: &Connection, facts: &mut Facts) -> Result<(), rusqlite::Error> {
    let release = |row: &Row<'_>, i| -> Result<Option<ReleaseId>, rusqlite::Error> {
        Ok(match row.get_ref(i)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(ReleaseId(digest(row, i)?)),
        })
    };
    each(
        db,
        "SELECT name, running, previous, moving, rolled_back FROM rings",
        |row| {
            let ring = RingFacts {
                running: release(row, 1)?,
                previous: release(row, 2)?,
                moving: json(row, 3)?,
                quarantine: BTreeMap::new(),
                rolled_back: row.get(4)?,
                proofs: BTreeMap::new(),
            };
            facts.rings.insert(parsed(row, 0)?, ring);
            Ok(())
        },
    )?;
    each(db, "SELECT ring, release, body FROM ring_quarantine", |row| {
        if let (Some(ring), Some(body)) = (
            facts.rings.get_mut(row.get::<_, String>(0)?.as_str()),
            json(row, 2)?,
        ) {
            ring.quarantine.insert(ReleaseId(digest(row, 1)?), body);
        }
        Ok(())
    })
}

fn tenants(db: &Connection, facts: &mut Facts) -> Result<(), rusqlite::Error> {
    each(db, "SELECT slug, ring, good, asked FROM tenants", |row| {
        let tenant = TenantFacts {
            ring: parsed(row, 1)?,
            good: json(row, 2)?,
            asked: json(row, 3)?,
            quarantine: BTreeMap::new(),
        };
        facts.tenants.insert(parsed(row, 0)?, tenant);
        Ok(())
    })?;
    each(db, "SELECT slug, files, body FROM tenant_quarantine", |row| {
        if let (Some(tenant), Some(body)) = (
            facts.tenants.get_mut(row.get::<_, String>(0)?.as_str()),
            json(row, 2)?,
        ) {
            tenant.quarantine.insert(FilesId(digest(row, 1)?), body);
        }
        Ok(())
    })
}

fn each(
    db: &Connection,
    sql: &str,
    mut f: impl FnMut(&Row<'_>) -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        f(row)?;
    }
    Ok(())
}

fn wrong(column: usize, message: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, message.into())
}

pub(super) fn parsed<T: FromStr>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error>
where
    T::Err: ToString,
{
    row.get::<_, String>(column)?
        .parse()
        .map_err(|e: T::Err| wrong(column, e.to_string()))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, rusqlite::Error> {
    row.get::<_, Option<String>>(column)?
        .map(|text| serde_json::from_str(&text).map_err(|e| wrong(column, e.to_string())))
        .transpose()
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> Result<Digest, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    Digest::parse(text).ok_or_else(|| wrong(column, format!("`{text}` is no digest")))
}

fn owner(row: &Row<'_>, column: usize) -> Result<Owner, rusqlite::Error> {
    let text: String = row.get(column)?;
    let bad = |e: crate::fleet::names::SlugError| wrong(column, e.to_string());
    Ok(match text.strip_prefix("ring/") {
        Some(ring) => Owner::Ring(ring.parse().map_err(bad)?),
        None if text == "fleet" => Owner::Fleet,
        None => Owner::Tenant(text.parse().map_err(bad)?),
    })
}
