//! The record: append-only, each row chained to the one before by a hash, so that a change is noticed.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, StoreError};
use crate::digest::Digest;

/// Something that was decided or done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NewEvent {
    /// A stable word such as `ring.succeeded`.
    pub kind: String,
    /// The ring that it is about.
    pub ring: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// One sentence for people.
    pub message: String,
    /// The rest, for programs.
    pub detail: Value,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Its place in the record, from 1.
    pub seq: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Those after this one.
    pub after: Option<i64>,
    /// Those of a ring.
    pub ring: Option<String>,
    /// Those of a tenant.
    pub tenant: Option<String>,
    /// At most so many; 0 is no bound.
    pub limit: u32,
    /// The newest first.
    pub newest_first: bool,
}

impl NewEvent {
    pub(super) fn of(kind: &str, message: String, detail: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            message,
            detail,
            ..Self::default()
        }
    }

    pub(super) fn ring(self, ring: &impl ToString) -> Self {
        Self {
            ring: Some(ring.to_string()),
            ..self
        }
    }

    pub(super) fn tenant(self, tenant: &impl ToString) -> Self {
        Self {
            tenant: Some(tenant.to_string()),
            ..self
        }
    }

    pub(super) fn service(self, service: &impl ToString) -> Self {
        Self {
            service: Some(service.to_string()),
            ..self
        }
    }
}

impl Store {
    /// Records an event now. Durable when it returns.
    pub fn event(&self, e: &NewEvent) -> Result<Event, StoreError> {
        let at = Timestamp::now();
        let seq = self.durable(|_| (), |tx| append(tx, e, at))?;
        Ok(Event {
            seq,
            at,
            event: e.clone(),
        })
    }

    /// Reads the record.
    pub fn events(&self, q: &EventQuery) -> Result<Vec<Event>, StoreError> {
        // The choice of the query's text lets SQLite use the index of what is asked for.
        let by = match (&q.ring, &q.tenant) {
            (Some(_), Some(_)) => "ring = ?2 AND tenant = ?3",
            (Some(_), None) => "ring = ?2 AND ?3 IS NULL",
            (None, Some(_)) => "?2 IS NULL AND tenant = ?3",
            (None, None) => "?2 IS NULL AND ?3 IS NULL",
        };
        let order = if q.newest_first { "DESC" } else { "ASC" };
        let limit = if q.limit == 0 { -1 } else { i64::from(q.limit) };
        self.read(|inner| {
            let mut statement = inner.db.prepare_cached(&format!(
                "SELECT seq, at, kind, ring, tenant, service, message, detail FROM events
                 WHERE seq > ?1 AND {by} ORDER BY seq {order} LIMIT ?4"
            ))?;
            let rows =
                statement.query_map(params![q.after.unwrap_or(0), q.ring, q.tenant, limit], from_row)?;
            rows.collect()
        })
    }

    /// Follows the chain from the first event to the last: how many there are, or the first that does not follow from
    /// the one before it.
    pub fn verify(&self) -> Result<u64, StoreError> {
        let broken = self.read(|inner| {
            let last: i64 = inner
                .db
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |r| {
                    r.get(0)
                })
                .optional()?
                .unwrap_or(0);
            let mut statement = inner.db.prepare(
                "SELECT seq, at, kind, ring, tenant, service, message, detail, hash FROM events ORDER BY seq",
            )?;
            let mut rows = statement.query([])?;
            let (mut seq, mut previous) = (0_i64, String::new());
            while let Some(row) = rows.next()? {
                let hash: String = row.get(8)?;
                let here: i64 = row.get(0)?;
                let Ok(event) = from_row(row) else {
                    return Ok(Err(here));
                };
                if here != seq + 1 || hash != link(&previous, here, event.at, &event.event) {
                    return Ok(Err(seq + 1));
                }
                (seq, previous) = (here, hash);
            }
            Ok(if seq == last { Ok(seq) } else { Err(seq + 1) })
        })?;
        match broken {
            Ok(count) => Ok(count.unsigned_abs()),
            Err(seq) => Err(StoreError::Chain { seq }),
        }
    }
}

/// Appends within a transaction.
pub(super) fn append(tx: &Transaction<'_>, e: &NewEvent, at: Timestamp) -> Result<i64, rusqlite::Error> {
    let (last, previous): (i64, String) = tx
        .prepare_cached("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?
        .unwrap_or_default();
    let seq = last + 1;
    tx.prepare_cached(
        "INSERT INTO events (seq, at, kind, ring, tenant, service, message, detail, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        seq,
        at.to_string(),
        e.kind,
        e.ring,
        e.tenant,
        e.service,
        e.message,
        e.detail.to_string(),
        link(&previous, seq, at, e),
    ])?;
    Ok(seq)
}

fn link(previous: &str, seq: i64, at: Timestamp, e: &NewEvent) -> String {
    Digest::of("ringfence.event.1", &(previous, seq, at.to_string(), e)).hex()
}

fn from_row(row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    Ok(Event {
        seq: row.get(0)?,
        at: super::facts::parsed(row, 1)?,
        event: NewEvent {
            kind: row.get(2)?,
            ring: row.get(3)?,
            tenant: row.get(4)?,
            service: row.get(5)?,
            message: row.get(6)?,
            detail: super::facts::json(row, 7)?.unwrap_or_default(),
        },
    })
}
