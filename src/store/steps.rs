//! The journal of engine calls: written before and after each.

use jiff::Timestamp;
use rusqlite::params;
use serde_json::Value;

use super::{Store, StoreError};

/// A begun step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub i64);

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// As wanted.
    Done,
    /// The engine said no.
    Failed(String),
    /// No answer: only a look at the engine tells.
    Lost(String),
}

/// A step that was begun and whose end is not written: it may or may not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenStep {
    /// Which.
    pub id: StepId,
    /// The pass that began it.
    pub pass: u64,
    /// The object or service that it is about.
    pub object: String,
    /// The call.
    pub call: Value,
    /// When it began.
    pub began: Timestamp,
}

impl Store {
    /// Writes that a call is about to be made. Survives a killed process; the last ones may be lost with the power.
    pub fn step_begin(
        &self,
        pass: u64,
        object: &str,
        call: &Value,
        now: Timestamp,
    ) -> Result<StepId, StoreError> {
        self.journal(|tx| {
            tx.prepare_cached("INSERT INTO steps (pass, object, call, began) VALUES (?1, ?2, ?3, ?4)")?
                .insert(params![
                    pass.cast_signed(),
                    object,
                    call.to_string(),
                    now.to_string()
                ])
                .map(StepId)
        })
    }

    /// Writes how it ended.
    pub fn step_end(&self, step: StepId, outcome: &StepOutcome, now: Timestamp) -> Result<(), StoreError> {
        let (word, reason) = match outcome {
            StepOutcome::Done => ("done", None),
            StepOutcome::Failed(reason) => ("failed", Some(reason)),
            StepOutcome::Lost(reason) => ("lost", Some(reason)),
        };
        self.journal(|tx| {
            tx.prepare_cached("UPDATE steps SET ended = ?2, outcome = ?3, reason = ?4 WHERE id = ?1")?
                .execute(params![step.0, now.to_string(), word, reason])
                .map(drop)
        })
    }

    /// The steps whose end is not written, the oldest first.
    pub fn open_steps(&self) -> Result<Vec<OpenStep>, StoreError> {
        self.read(|inner| {
            inner
                .db
                .prepare_cached(
                    "SELECT id, pass, object, call, began FROM steps WHERE ended IS NULL ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(OpenStep {
                        id: StepId(row.get(0)?),
                        pass: row.get::<_, i64>(1)?.cast_unsigned(),
                        object: row.get(2)?,
                        call: super::facts::json(row, 3)?.unwrap_or_default(),
                        began: super::facts::parsed(row, 4)?,
                    })
                })?
                .collect()
        })
    }

    /// Forgets ended steps but the newest `keep`; how many. Passes are counted anew by each process, so age is by
    /// sequence.
    pub fn forget_old_steps(&self, keep: u32) -> Result<usize, StoreError> {
        self.journal(|tx| {
            tx.prepare_cached(
                "DELETE FROM steps WHERE ended IS NOT NULL AND id <= (SELECT max(id) FROM steps) - ?1",
            )?
            .execute([keep])
        })
    }
}
