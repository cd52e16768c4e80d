//! The tenants' part of a decision: who runs which slug, with which release and files.

use std::collections::BTreeSet;

use super::claims::{Claim, Claims};
use super::facts::{FilesRef, TenantFacts};
use super::records::Held;
use super::ring::Side;
use super::{Decision, Task, TenantDecision, World, files, waves};
use crate::fleet::names::{ReleaseId, RingName, Slug};
use crate::fleet::tenants::TenantState;

/// Removals above this share of a ring's tenants need a person (at least one is always allowed).
const PRUNE_PERCENT: usize = 20;

pub(super) fn decide(world: &World<'_>, claims: &Claims<'_>, sides: &[Side<'_>], decision: &mut Decision) {
    let mut slugs: BTreeSet<Slug> = claims.slugs().cloned().collect();
    slugs.extend(world.facts.tenants.keys().cloned());
    let room = Room { world, claims, sides };
    for slug in slugs {
        match room.one(decision, &slug) {
            Outcome::Tenant(tenant) => {
                decision.tenants.insert(slug, *tenant);
            }
            Outcome::NotTaken(name, reason) => {
                if let Some(ring) = decision.rings.iter_mut().find(|r| r.name == name) {
                    ring.conditions.push(format!("tenant {slug}: {reason}"));
                }
            }
            Outcome::Nothing => {}
        }
    }
    budget(world, decision);
    for side in sides {
        waves::apply(world, side.ring, side.input, decision);
    }
}

/// What was decided about one slug.
enum Outcome {
    /// A tenant's part of the decision.
    Tenant(Box<TenantDecision>),
    /// A new tenant that is not taken yet, in this ring, for this reason.
    NotTaken(RingName, String),
    /// Nothing runs and nothing is asked for.
    Nothing,
}

struct Room<'a> {
    world: &'a World<'a>,
    claims: &'a Claims<'a>,
    sides: &'a [Side<'a>],
}

impl Room<'_> {
    fn side(&self, ring: &RingName) -> Option<&Side<'_>> {
        self.sides.iter().find(|s| s.ring.name == *ring)
    }

    fn one(&self, decision: &Decision, slug: &Slug) -> Outcome {
        let facts = self.world.facts.tenants.get(slug);
        let mut conditions = Vec::new();
        let claim = self.claims.chosen(slug, facts);
        let claimants = self.claims.all(slug);
        if claimants.len() > 1 {
            let rings: Vec<&str> = claimants.iter().map(|(r, _)| r.as_str()).collect();
            conditions.push(format!(
                "rings {} both claim it: {} keeps it; remove the file from the other branch",
                rings.join(" and "),
                claim.map_or("", |c| c.0.as_str())
            ));
        }
        let ring = claim.map(|(ring, _)| ring).or(facts.map(|f| &f.ring));
        let hold = self
            .world
            .tenant_hold(slug)
            .or_else(|| ring.and_then(|ring| self.world.ring_hold(ring)));
        if let Some(hold) = hold {
            return held(slug, facts, ring, hold, conditions);
        }
        match (claim, facts) {
            (Some(claim), _) => self.claimed(decision, slug, claim, facts, conditions),
            (None, Some(facts)) => self.unclaimed(decision, slug, facts, conditions),
            (None, None) => Outcome::Nothing,
        }
    }

    /// A tenant with a file on some ring's branch.
    fn claimed(
        &self,
        decision: &Decision,
        slug: &Slug,
        (ring, at): Claim<'_>,
        facts: Option<&TenantFacts>,
        mut conditions: Vec<String>,
    ) -> Outcome {
        let target = decision.ring(ring).and_then(|r| r.target);
        let task = match at.files.tenant.as_ref().map(|t| t.state) {
            Some(TenantState::Stopped) => Task::Stop,
            Some(TenantState::Erased) => Task::Erase,
            _ => Task::Run,
        };
        let refused = self.refused(slug, (ring, at), facts, target);
        let Some(reason) = refused else {
            let good = facts.and_then(|f| f.good.as_ref());
            let differs = good.is_none_or(|(r, f)| Some(*r) != target || f.id != at.files.files);
            return Outcome::Tenant(Box::new(TenantDecision {
                slug: slug.clone(),
                ring: ring.clone(),
                task,
                release: target,
                files: Some(FilesRef {
                    id: at.files.files,
                    commit: at.commit.clone(),
                }),
                moves: if task == Task::Run {
                    differs
                } else {
                    facts.is_some()
                },
                gone_back: false,
                held: false,
                conditions,
            }));
        };
        match facts.and_then(|f| Some((f, f.last()?.clone()))) {
            Some((facts, last)) => {
                conditions.push(reason);
                let mut kept = kept(decision, slug, facts, last, conditions);
                kept.gone_back = at.files.tenant.is_some() && facts.quarantine.contains_key(&at.files.files);
                Outcome::Tenant(Box::new(kept))
            }
            None if target.is_none() || task == Task::Stop => Outcome::Nothing,
            None => Outcome::NotTaken(ring.clone(), reason),
        }
    }

    /// Why the branch's files of a tenant are not taken now.
    fn refused(
        &self,
        slug: &Slug,
        (ring, at): Claim<'_>,
        facts: Option<&TenantFacts>,
        target: Option<ReleaseId>,
    ) -> Option<String> {
        let side = self.side(ring)?;
        let state = at.files.tenant.as_ref().map(|t| t.state);
        if facts.is_none() && state == Some(TenantState::Stopped) && side.input.is_readable() {
            return None;
        }
        let here = facts.filter(|f| f.ring == *ring);
        if let Some(from) = facts.filter(|f| f.ring != *ring)
            && let Some(reason) = self.stays(slug, from, ring)
        {
            return Some(reason);
        }
        // Files of a rollout under way fit what it moves to, and what is not asked anew is not judged anew.
        let same = here.and_then(files::has) == Some(at.files.files);
        let taken = side.takes.get(slug) == Some(&Some(at.files.files));
        if (same || taken) && target.is_some() && at.files.tenant.is_some() {
            let stops = at
                .files
                .tenant
                .as_ref()
                .is_some_and(|t| t.state != TenantState::Running);
            return files::refusal(self.world, side.input, slug, at, None).filter(|_| stops);
        }
        files::refusal(self.world, side.input, slug, at, target)
            .or_else(|| target.is_none().then(|| format!("ring {ring} runs nothing yet")))
            .or_else(|| {
                Some(format!(
                    "its change of files waits for the gates of ring {ring}: `ringfence why {ring}`"
                ))
            })
    }

    /// Why a tenant that another ring claims does not leave the ring that runs it.
    fn stays(&self, slug: &Slug, facts: &TenantFacts, to: &RingName) -> Option<String> {
        // A ring that is declared no more holds nobody.
        let from = self.side(&facts.ring)?;
        if !from.input.is_readable() {
            return Some(format!(
                "ring {to} claims it, but the files of ring {} cannot be read now: it stays there",
                facts.ring
            ));
        }
        (from.takes.get(slug) != Some(&None)).then(|| {
            format!(
                "its move to ring {to} waits for the gates of ring {}: `ringfence why {}`",
                facts.ring, facts.ring
            )
        })
    }

    /// A tenant whose file is gone from the branch that ran it stops, once the ring's gates let it go; where the branch
    /// cannot be read, it is kept.
    fn unclaimed(
        &self,
        decision: &Decision,
        slug: &Slug,
        facts: &TenantFacts,
        mut conditions: Vec<String>,
    ) -> Outcome {
        let Some(last) = facts.last().cloned() else {
            return Outcome::Nothing;
        };
        let side = self.side(&facts.ring);
        if side.is_none_or(|s| !s.input.is_readable()) {
            conditions.push("its file cannot be read now: it is kept as it is".to_owned());
        } else if side.is_some_and(|s| s.takes.get(slug) != Some(&None)) {
            conditions.push(format!(
                "its file is gone; its stop waits for the gates of ring {}: `ringfence why {}`",
                facts.ring, facts.ring
            ));
        } else {
            return Outcome::Tenant(Box::new(TenantDecision {
                slug: slug.clone(),
                ring: facts.ring.clone(),
                task: Task::Stop,
                release: Some(last.0),
                files: Some(last.1),
                moves: true,
                gone_back: false,
                held: false,
                conditions,
            }));
        }
        Outcome::Tenant(Box::new(kept(decision, slug, facts, last, conditions)))
    }
}

/// A paused tenant keeps what it has, and nothing of it is touched.
fn held(
    slug: &Slug,
    facts: Option<&TenantFacts>,
    ring: Option<&RingName>,
    hold: &Held,
    mut conditions: Vec<String>,
) -> Outcome {
    let Some((facts, (release, files))) = facts.and_then(|f| Some((f, f.last()?.clone()))) else {
        return ring.map_or(Outcome::Nothing, |ring| {
            Outcome::NotTaken(ring.clone(), hold.tell())
        });
    };
    conditions.push(hold.tell());
    Outcome::Tenant(Box::new(TenantDecision {
        slug: slug.clone(),
        ring: facts.ring.clone(),
        task: Task::Run,
        release: Some(release),
        files: Some(files),
        moves: false,
        gone_back: false,
        held: true,
        conditions,
    }))
}

/// A tenant that is kept in its ring, on the ring's release, with the files that it has.
fn kept(
    decision: &Decision,
    slug: &Slug,
    facts: &TenantFacts,
    (release, files): (ReleaseId, FilesRef),
    conditions: Vec<String>,
) -> TenantDecision {
    let target = decision.ring(&facts.ring).and_then(|r| r.target);
    let release = target.unwrap_or(release);
    TenantDecision {
        slug: slug.clone(),
        ring: facts.ring.clone(),
        task: Task::Run,
        release: Some(release),
        moves: facts
            .good
            .as_ref()
            .is_none_or(|(r, f)| *r != release || f.id != files.id),
        files: Some(files),
        gone_back: false,
        held: false,
        conditions,
    }
}

/// More removals at once than the budget are held until a person allows them.
fn budget(world: &World<'_>, decision: &mut Decision) {
    for ring in &world.policy.rings.0 {
        let of_ring = world
            .facts
            .tenants
            .values()
            .filter(|t| t.ring == ring.name && t.asked.is_some())
            .count();
        let going: Vec<Slug> = decision
            .tenants
            .values()
            .filter(|t| t.ring == ring.name && matches!(t.task, Task::Stop | Task::Erase))
            .filter(|t| {
                world
                    .facts
                    .tenants
                    .get(&t.slug)
                    .is_some_and(|f| f.asked.is_some())
            })
            .map(|t| t.slug.clone())
            .collect();
        let most = (of_ring * PRUNE_PERCENT / 100).max(1);
        if going.len() <= most || world.prune.contains(&ring.name) {
            continue;
        }
        for slug in &going {
            let Some((facts, last)) = world
                .facts
                .tenants
                .get(slug)
                .and_then(|f| Some((f, f.last()?.clone())))
            else {
                continue;
            };
            let mut conditions = decision
                .tenants
                .remove(slug)
                .map(|t| t.conditions)
                .unwrap_or_default();
            conditions.push(format!(
                "{} of {of_ring} tenants of ring {} would stop at once, more than {most}: `ringfence apply {} --prune` allows it",
                going.len(),
                ring.name,
                ring.name
            ));
            let tenant = kept(decision, slug, facts, last, conditions);
            decision.tenants.insert(slug.clone(), tenant);
        }
    }
}
