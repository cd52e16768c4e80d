//! What was decided: each with its event, in one durable transaction. What changes nothing writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::Serialize;
use serde_json::json;

use super::events::{NewEvent, append};
use super::{Store, StoreError};
use crate::decide::facts::{FilesRef, FirstSeen, MoveUnderWay, Quarantine, Release};
use crate::digest::Digest;
use crate::fleet::names::{CommitId, FilesId, ReleaseId, RingName, ServiceKey, Slug, SpecHash};

/// What a tenant runs, or is asked to run, in a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRuns {
    /// Which tenant.
    pub slug: Slug,
    /// In which ring.
    pub ring: RingName,
    /// The release, and its files.
    pub runs: (ReleaseId, FilesRef),
}

type Sql<T> = Result<T, rusqlite::Error>;

pub(super) fn text<T: Serialize>(value: &T) -> Sql<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

impl Store {
    fn decide(
        &self,
        event: &NewEvent,
        now: Timestamp,
        f: impl FnOnce(&Transaction<'_>) -> Sql<()>,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            f(tx)?;
            append(tx, event, now).map(drop)
        })
    }

    /// The control branch's commit whose decisions are read from now on, and the one whose policy is in force.
    pub fn accept(&self, commit: &CommitId, policy: &CommitId, now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let before = (facts.accepted.as_ref(), facts.accepted_policy.as_ref());
        if before == (Some(commit), Some(policy)) {
            return Ok(());
        }
        let message = if commit == policy {
            format!("accepted the control branch at {}", commit.short())
        } else {
            format!(
                "accepted the control branch at {}, with the policy of {}",
                commit.short(),
                policy.short()
            )
        };
        let details = json!({"commit": commit, "policy": policy, "before": before.0});
        let event = NewEvent::of("accepted", message, details);
        self.decide(&event, now, |tx| {
            let mut set = tx.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
            set.execute(["accepted", commit.as_str()])?;
            set.execute(["accepted_policy", policy.as_str()])?;
            let first = "INSERT OR IGNORE INTO meta (key, value) VALUES ('first_accepted', ?1)";
            tx.execute(first, [commit.as_str()]).map(drop)
        })
    }

    /// Commits changed policy: each with the one whose policy was in force before it.
    pub fn policies(&self, changes: &BTreeMap<CommitId, CommitId>) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let new: Vec<_> = changes
            .iter()
            .filter(|(commit, before)| facts.policies.get(*commit) != Some(*before))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let mut insert =
                tx.prepare_cached("INSERT OR REPLACE INTO policies (git_commit, before) VALUES (?1, ?2)")?;
            for (commit, before) in new {
                insert.execute([commit.as_str(), before.as_str()])?;
            }
            Ok(())
        })
    }

    /// Commits were seen that put something on record. When one was first seen never changes.
    pub fn saw(&self, commits: &BTreeMap<CommitId, FirstSeen>) -> Result<(), StoreError> {
        if commits.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO first_seen (git_commit, at, older) VALUES (?1, ?2, ?3)
                 ON CONFLICT (git_commit) DO UPDATE SET older = coalesce(older, excluded.older)",
            )?;
            for (commit, seen) in commits {
                insert.execute(params![commit.as_str(), seen.at.to_string(), seen.older])?;
            }
            Ok(())
        })
    }

    /// Remembers a release.
    pub fn save_release(&self, release: &Release, now: Timestamp) -> Result<(), StoreError> {
        if self.facts()?.releases.get(&release.id) == Some(release) {
            return Ok(());
        }
        let event = NewEvent::of(
            "release.saved",
            format!("{} is the content of {}", release.id, release.commit.short()),
            json!(release),
        );
        self.decide(&event, now, |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO releases (id, content, git_commit, images) VALUES (?1, ?2, ?3, ?4)",
                params![
                    release.id.0.hex(),
                    release.content.0.hex(),
                    release.commit.as_str(),
                    text(&release.images)?
                ],
            )
            .map(drop)
        })
    }

    /// A ring's move has started, or (with none) was given up without a verdict.
    pub fn ring_moving(
        &self,
        ring: &RingName,
        moving: Option<&MoveUnderWay>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.facts()?.rings.get(ring).and_then(|r| r.moving.clone());
        if before.as_ref() == moving {
            return Ok(());
        }
        let message = match moving {
            Some(m) => format!("{ring} moves to {}, asked for by {}", m.to, m.request.short()),
            None => format!("{ring} moves no more"),
        };
        let event = NewEvent::of("ring.moving", message, json!({"move": moving})).ring(ring);
        self.decide(&event, now, |tx| {
            touch_ring(tx, ring)?;
            spend(tx, ring, moving.iter().flat_map(|m| &m.spent), now)?;
            let moving = moving.map(text).transpose()?;
            tx.execute(
                "UPDATE rings SET moving = ?2 WHERE name = ?1",
                params![ring.as_str(), moving],
            )
            .map(drop)
        })
    }

    /// Words on record let a change of tenant files start: they count for no other move.
    pub fn spend(&self, ring: &RingName, words: &BTreeSet<Digest>, now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let new: Vec<_> = words.difference(&facts.spent).collect();
        if new.is_empty() {
            return Ok(());
        }
        let message = format!("{} on record let new tenant files of {ring} start", new.len());
        let event = NewEvent::of("words.spent", message, json!(new)).ring(ring);
        self.decide(&event, now, |tx| spend(tx, ring, new.into_iter(), now))
    }

    /// A ring was healthy on a release through its observation. What ran before becomes `previous`, unless it is the
    /// same, or the ring went back to it: what it went back from is no way back, or two releases would take turns without
    /// anybody's word. `rolled_back` is cleared by the success of another release only.
    pub fn ring_succeeded(
        &self,
        ring: &RingName,
        release: &ReleaseId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.facts()?.rings.get(ring).cloned().unwrap_or_default();
        if before.running == Some(*release) && before.moving.is_none() {
            return Ok(());
        }
        let event = NewEvent::of(
            "ring.succeeded",
            format!("{ring} runs {release}"),
            json!({"release": release, "before": before.running}),
        )
        .ring(ring);
        self.decide(&event, now, |tx| {
            touch_ring(tx, ring)?;
            tx.execute(
                "UPDATE rings SET moving = NULL,
                     rolled_back = CASE WHEN running IS ?2 THEN rolled_back ELSE 0 END,
                     previous = CASE WHEN running IS ?2 THEN previous WHEN previous IS ?2 THEN NULL ELSE running END,
                     running = ?2
                 WHERE name = ?1",
                params![ring.as_str(), release.0.hex()],
            )
            .map(drop)
        })
    }

    /// A ring's move failed: the release is quarantined there. `running` and `previous` stay what they were.
    pub fn ring_failed(
        &self,
        ring: &RingName,
        release: &ReleaseId,
        q: &Quarantine,
        rolled_back: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let event = NewEvent::of(
            "ring.failed",
            format!("{release} failed in {ring}"),
            json!({"release": release, "quarantine": q, "rolled_back": rolled_back}),
        )
        .ring(ring);
        self.decide(&event, now, |tx| {
            touch_ring(tx, ring)?;
            tx.execute(
                "UPDATE rings SET moving = NULL, rolled_back = ?2 WHERE name = ?1",
                params![ring.as_str(), rolled_back],
            )?;
            tx.execute(
                "INSERT OR REPLACE INTO ring_quarantine (ring, release, body) VALUES (?1, ?2, ?3)",
                params![ring.as_str(), release.0.hex(), text(q)?],
            )
            .map(drop)
        })
    }

    /// A release may be tried again in a ring.
    pub fn end_quarantine(
        &self,
        ring: &RingName,
        release: &ReleaseId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let facts = self.facts()?;
        if !facts
            .rings
            .get(ring)
            .is_some_and(|r| r.quarantine.contains_key(release))
        {
            return Ok(());
        }
        let event = NewEvent::of(
            "ring.quarantine.ended",
            format!("{release} may be tried again in {ring}"),
            json!({"release": release}),
        )
        .ring(ring);
        self.decide(&event, now, |tx| {
            tx.execute(
                "DELETE FROM ring_quarantine WHERE ring = ?1 AND release = ?2",
                params![ring.as_str(), release.0.hex()],
            )
            .map(drop)
        })
    }

    /// What tenants are asked to run from now on, and by which ring: in one transaction, however many they are.
    pub fn tenants_asked(&self, asked: &[TenantRuns], now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let new = asked.iter().filter(|a| {
            let before = facts.tenants.get(&a.slug);
            before.is_none_or(|b| b.ring != a.ring || b.asked.as_ref() != Some(&a.runs))
        });
        self.tenants_run(
            new.collect(),
            "INSERT INTO tenants (slug, ring, asked) VALUES (?1, ?2, ?3)
             ON CONFLICT (slug) DO UPDATE SET ring = excluded.ring, asked = excluded.asked",
            |TenantRuns { slug, runs, .. }| {
                let message = format!("{slug} shall run {} with {}", runs.0, runs.1.id);
                NewEvent::of("tenant.asked", message, json!({"asked": runs}))
            },
            now,
        )
    }

    /// Tenants were healthy on a release with their files: in one transaction, however many they are.
    pub fn tenants_good(&self, good: &[TenantRuns], now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let new = good.iter().filter(|g| {
            let before = facts.tenants.get(&g.slug);
            before.is_none_or(|b| b.ring != g.ring || b.good.as_ref() != Some(&g.runs))
        });
        self.tenants_run(
            new.collect(),
            "INSERT INTO tenants (slug, ring, good) VALUES (?1, ?2, ?3)
             ON CONFLICT (slug) DO UPDATE SET ring = excluded.ring, good = excluded.good",
            |TenantRuns { slug, runs, .. }| {
                let message = format!("{slug} is healthy on {} with {}", runs.0, runs.1.id);
                NewEvent::of("tenant.good", message, json!({"good": runs}))
            },
            now,
        )
    }

    fn tenants_run(
        &self,
        new: Vec<&TenantRuns>,
        sql: &str,
        event: impl Fn(&TenantRuns) -> NewEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if new.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let mut upsert = tx.prepare_cached(sql)?;
            for tenant in new {
                let (slug, ring) = (&tenant.slug, &tenant.ring);
                upsert.execute(params![slug.as_str(), ring.as_str(), text(&tenant.runs)?])?;
                append(tx, &event(tenant).ring(ring).tenant(slug), now)?;
            }
            Ok(())
        })
    }

    /// A tenant's own files failed. The tenant must have been asked for something before.
    pub fn tenant_files_failed(
        &self,
        slug: &Slug,
        files: &FilesId,
        q: &Quarantine,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let tenant = facts
            .tenants
            .get(slug)
            .ok_or_else(|| StoreError::UnknownTenant(slug.clone()))?;
        let event = NewEvent::of(
            "tenant.failed",
            format!("{files} of {slug} failed"),
            json!({"files": files, "quarantine": q}),
        )
        .ring(&tenant.ring)
        .tenant(slug);
        self.decide(&event, now, |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO tenant_quarantine (slug, files, body) VALUES (?1, ?2, ?3)",
                params![slug.as_str(), files.0.hex(), text(q)?],
            )
            .map(drop)
        })
    }

    /// A tenant's files may be tried again.
    pub fn end_files_quarantine(
        &self,
        slug: &Slug,
        files: &FilesId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let Some(tenant) = facts
            .tenants
            .get(slug)
            .filter(|t| t.quarantine.contains_key(files))
        else {
            return Ok(());
        };
        let event = NewEvent::of(
            "tenant.quarantine.ended",
            format!("{files} of {slug} may be tried again"),
            json!({"files": files}),
        )
        .ring(&tenant.ring)
        .tenant(slug);
        self.decide(&event, now, |tx| {
            tx.execute(
                "DELETE FROM tenant_quarantine WHERE slug = ?1 AND files = ?2",
                params![slug.as_str(), files.0.hex()],
            )
            .map(drop)
        })
    }

    /// Nothing of a tenant runs any more, and nothing is remembered of it but the record.
    pub fn tenant_forgotten(&self, slug: &Slug, now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let Some(tenant) = facts.tenants.get(slug) else {
            return Ok(());
        };
        let event = NewEvent::of(
            "tenant.forgotten",
            format!("{slug} is gone"),
            json!({"was": tenant}),
        )
        .ring(&tenant.ring)
        .tenant(slug);
        self.decide(&event, now, |tx| {
            tx.execute("DELETE FROM tenants WHERE slug = ?1", [slug.as_str()])
                .map(drop)
        })
    }

    /// The specs of services that ended healthy, in one transaction.
    pub fn good_spec(&self, specs: &[(ServiceKey, SpecHash)], now: Timestamp) -> Result<(), StoreError> {
        let facts = self.facts()?;
        let new: Vec<_> = specs
            .iter()
            .filter(|(key, spec)| facts.good_specs.get(key) != Some(spec))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = new
            .iter()
            .map(|(key, spec)| json!({"service": key.to_string(), "spec": spec}))
            .collect();
        let event = NewEvent::of(
            "spec.good",
            match new.len() {
                1 => "1 service is healthy on its new spec".to_owned(),
                n => format!("{n} services are healthy on their new specs"),
            },
            json!(names),
        );
        self.decide(&event, now, |tx| {
            for (key, spec) in new {
                tx.prepare_cached("DELETE FROM specs WHERE kind = 'good' AND owner = ?1 AND service = ?2")?
                    .execute(params![key.owner.to_string(), key.service])?;
                add_spec(tx, "good", key, spec)?;
            }
            Ok(())
        })
    }

    /// A spec failed and is not started again by itself.
    pub fn failed_spec(&self, key: &ServiceKey, spec: &SpecHash, now: Timestamp) -> Result<(), StoreError> {
        if self
            .facts()?
            .failed_specs
            .get(key)
            .is_some_and(|s| s.contains(spec))
        {
            return Ok(());
        }
        let event = NewEvent::of(
            "spec.failed",
            format!("{spec} of {key} failed"),
            json!({"spec": spec}),
        )
        .service(key);
        self.decide(&event, now, |tx| add_spec(tx, "failed", key, spec))
    }

    /// A service's failed specs may be tried again.
    pub fn unfail_specs(&self, key: &ServiceKey, now: Timestamp) -> Result<(), StoreError> {
        if !self.facts()?.failed_specs.contains_key(key) {
            return Ok(());
        }
        let event = NewEvent::of(
            "spec.failed.ended",
            format!("failed specs of {key} may be tried again"),
            json!({}),
        )
        .service(key);
        self.decide(&event, now, |tx| {
            tx.execute(
                "DELETE FROM specs WHERE kind = 'failed' AND owner = ?1 AND service = ?2",
                params![key.owner.to_string(), key.service],
            )
            .map(drop)
        })
    }

    /// A job ended with 0 and is not run again for this spec.
    pub fn job_done(&self, key: &ServiceKey, spec: &SpecHash, now: Timestamp) -> Result<(), StoreError> {
        if self.facts()?.jobs_done.get(key).is_some_and(|s| s.contains(spec)) {
            return Ok(());
        }
        let event = NewEvent::of(
            "job.done",
            format!("the job {key} is done"),
            json!({"spec": spec}),
        )
        .service(key);
        self.decide(&event, now, |tx| add_spec(tx, "job", key, spec))
    }
}

fn spend<'a>(
    tx: &Transaction<'_>,
    ring: &RingName,
    words: impl Iterator<Item = &'a Digest>,
    now: Timestamp,
) -> Sql<()> {
    for word in words {
        tx.prepare_cached("INSERT OR IGNORE INTO spent (word, ring, at) VALUES (?1, ?2, ?3)")?
            .execute(params![word.hex(), ring.as_str(), now.to_string()])?;
    }
    Ok(())
}

fn touch_ring(tx: &Transaction<'_>, ring: &RingName) -> Sql<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO rings (name) VALUES (?1)")?
        .execute([ring.as_str()])
        .map(drop)
}

fn add_spec(tx: &Transaction<'_>, kind: &str, key: &ServiceKey, spec: &SpecHash) -> Sql<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO specs (kind, owner, service, spec) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![kind, key.owner.to_string(), key.service, spec.0.hex()])
        .map(drop)
}
