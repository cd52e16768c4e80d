//! How the releases do that rings run: what a pass saw, put into health intervals (`decide::health`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::wanted::{Wanted, in_scope};
use super::{Controller, ControllerError};
use crate::decide::facts::{Facts, PartProof, Proof, RingFacts};
use crate::decide::gate::Answer;
use crate::decide::health::{Life, Look, Mark, PartSeen, go_on};
use crate::decide::{Decision, RingDecision, Task, TenantDecision};
use crate::fleet::names::{Owner, ReleaseId, RingName};
use crate::plan::Hold;
use crate::plan::health::judge;
use crate::plan::replace::Health;
use crate::plan::seen::{ByService, Observation, SeenContainer};
use crate::render::object::{HealthSource, ServiceObject};
use crate::store::{Proved, Stretch};

/// A daemon writes what only goes on so often, in milliseconds: less than half of the gap that is bridged.
const WRITTEN_EVERY_MS: u64 = 20_000;

/// What parts of rings are judged by.
struct View<'a> {
    wanted: &'a Wanted,
    facts: &'a Facts,
    decision: &'a Decision,
    containers: ByService<'a>,
    probed: BTreeMap<String, Health>,
    now: Timestamp,
}

/// This moment, by a clock that nobody sets.
pub(super) fn mark() -> Mark {
    // Without it each start of ringfence is a gap: nothing counts that was not watched.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(at.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(at.tv_nsec).unwrap_or_default();
    Mark {
        boot: boot.trim().to_owned(),
        ms: seconds * 1000 + nanos / 1_000_000,
    }
}

impl Controller {
    /// Takes what a pass saw into the proofs of the releases that rings run.
    pub(super) fn prove(
        &mut self,
        wanted: &Wanted,
        seen: &Observation,
        facts: &Facts,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let view = View {
            wanted,
            facts,
            decision,
            containers: seen.by_service(),
            probed: self.probes.answers(),
            now,
        };
        let at = mark();
        let mut new = Vec::new();
        let mut ended = Vec::new();
        let mut changed = false;
        let mut matters = false;
        self.observed_at = None;
        self.soaked_at = None;
        for ring in &decision.rings {
            let of_ring = facts.ring(&ring.name);
            changed |= self.displace(ring, of_ring, now, &mut new)?;
            let Some(target) = ring.target else { continue };
            let parts = self.parts_of(ring, target, &view);
            let before = self.parts.store.proved(&ring.name, &target)?;
            let mut after = before.clone().unwrap_or_default();
            let observe_ms = self.observe_ms(&ring.name);
            let look = Look {
                seen: &parts,
                now: &at,
                since: &self.watched_from,
                observe_ms,
                sick: &|owner| of_ring.was_sick(owner, &target),
            };
            let broke = go_on(&mut after.proof, &mut after.watch, &look);
            after.proof.as_of = Some(now);
            ended.extend(broke.map(|(why, healthy_ms)| Stretch {
                ring: ring.name.clone(),
                release: target,
                healthy_ms,
                why,
            }));
            if of_ring.running == Some(target) {
                after.proof.displaced = None;
                after.proof.succeeded = after.proof.succeeded.or(Some(now));
            }
            let own = Owner::Ring(ring.name.clone());
            if in_scope(&self.acting, decision, &own) {
                let waits = |owner: &Owner| of_ring.running != Some(target) || is_moving(decision, owner);
                let parts = after.proof.parts.iter().filter(|(owner, _)| waits(owner));
                let left = parts.filter_map(|(_, part)| left(part, observe_ms));
                let next = left.filter(|ms| *ms > 0).min();
                let next = next.and_then(|ms| later(now, ms));
                self.observed_at = [self.observed_at, next].into_iter().flatten().min();
            }
            let soaks = self
                .soaks
                .iter()
                .filter(|(from, _)| *from == ring.name)
                .map(|(_, ms)| *ms);
            let (was, is) = (longest(before.as_ref()), after.proof.longest_ms);
            for soak in soaks {
                matters |= was < soak && soak <= is;
                let rest = soak.checked_sub(after.proof.healthy_ms).filter(|_| is < soak);
                let ends = rest.and_then(|ms| later(now, ms));
                self.soaked_at = [self.soaked_at, ends].into_iter().flatten().min();
            }
            let done = |p: &Proved| {
                p.proof
                    .parts
                    .values()
                    .filter(|p| left(p, observe_ms) == Some(0))
                    .count()
            };
            matters |= before.as_ref().is_some_and(|b| done(b) != done(&after));
            changed |= before.as_ref().is_none_or(|b| differs(b, &after));
            new.push(((ring.name.clone(), target), after));
        }
        let due = self.parts.daemon && at.ms.saturating_sub(self.proved_at) >= WRITTEN_EVERY_MS;
        if changed || due {
            self.proved_at = at.ms;
        }
        if changed || matters {
            // What was decided in this pass was decided from what the one before saw.
            self.look_again();
        }
        self.parts.store.stretches_ended(&ended, now)?;
        Ok(self.parts.store.prove(new, changed || due)?)
    }

    /// What succeeded in a ring and runs there no more was displaced.
    fn displace(
        &self,
        ring: &RingDecision,
        of_ring: &RingFacts,
        now: Timestamp,
        new: &mut Vec<((RingName, ReleaseId), Proved)>,
    ) -> Result<bool, ControllerError> {
        let mut any = false;
        for (release, proof) in &of_ring.proofs {
            let gone = proof.succeeded.is_some() && proof.displaced.is_none();
            if !gone || of_ring.running == Some(*release) || ring.target == Some(*release) {
                continue;
            }
            if let Some(mut proved) = self.parts.store.proved(&ring.name, release)? {
                proved.proof.displaced = Some(now);
                new.push(((ring.name.clone(), *release), proved));
                any = true;
            }
        }
        Ok(any)
    }

    /// What each tenant of a ring that shall run a release, and the services they share, look like.
    fn parts_of(&self, ring: &RingDecision, target: ReleaseId, view: &View<'_>) -> BTreeMap<Owner, PartSeen> {
        let mut parts = BTreeMap::new();
        let tenants = view.decision.tenants.values();
        for tenant in tenants.filter(|t| t.ring == ring.name && t.release == Some(target)) {
            if tenant.task != Task::Run {
                continue;
            }
            let owner = Owner::Tenant(tenant.slug.clone());
            if let Some(mut seen) = self.part(ring, &owner, view) {
                seen.files = tenant.files.as_ref().map(|f| f.id);
                seen.counts = counts(tenant, target, view.facts.ring(&ring.name), view.facts);
                parts.insert(owner, seen);
            }
        }
        for owner in [Owner::Ring(ring.name.clone()), Owner::Fleet] {
            if let Some(seen) = self.part(ring, &owner, view) {
                parts.insert(owner, seen);
            }
        }
        parts
    }

    /// One part; none where the ring provides nothing of it.
    fn part(&self, ring: &RingDecision, owner: &Owner, view: &View<'_>) -> Option<PartSeen> {
        let services = view.wanted.objects.services_of(owner);
        let mut services = services.filter(|s| s.ring == ring.name.as_str()).peekable();
        if view.wanted.holds.get(owner) == Some(&Hold::Untouched) && services.peek().is_none() {
            let why = "it cannot be rendered now".to_owned();
            return Some(PartSeen {
                now: Answer::Unknown,
                why: Some(why),
                lives: BTreeMap::new(),
                files: None,
                counts: true,
                unchecked: false,
            });
        }
        services.peek()?;
        let mut part = PartSeen {
            now: Answer::Pass,
            why: None,
            lives: BTreeMap::new(),
            files: None,
            counts: true,
            unchecked: true,
        };
        for object in services {
            part.unchecked &= object.job || matches!(object.health, HealthSource::Running { .. });
            let serving = serving(object, view);
            let (answer, why) = judged(object, serving, view);
            if let Some((container, details)) = serving.and_then(|c| Some((c, self.looks.of(&c.id)?)))
                && !object.job
            {
                let life = Life {
                    container: container.id.clone(),
                    restarts: details.restart_count,
                    started: details.started_at,
                };
                part.lives.insert(object.key.service.clone(), life);
            }
            let worse = matches!(
                (part.now, answer),
                (Answer::Pass, Answer::Unknown | Answer::Fail) | (Answer::Unknown, Answer::Fail)
            );
            if worse {
                part.now = answer;
                part.why = Some(why);
            }
        }
        Some(part)
    }

    /// How long what moves must stay healthy in a ring.
    fn observe_ms(&self, ring: &RingName) -> u64 {
        self.observe.get(ring).copied().unwrap_or_default()
    }

    /// The parts of a ring that are healthy on a release and were, through `observe`. What no part is known of is done.
    pub(super) fn observed<'a>(&self, ring: &RingName, proof: Option<&'a Proof>) -> Observed<'a> {
        Observed {
            proof,
            observe_ms: self.observe_ms(ring),
        }
    }
}

/// How far a release is in a ring.
pub(super) struct Observed<'a> {
    proof: Option<&'a Proof>,
    observe_ms: u64,
}

impl Observed<'_> {
    /// Whether a part has been healthy for long enough; one without services has.
    pub(super) fn is_done(&self, owner: &Owner) -> bool {
        let part = self.proof.and_then(|p| p.parts.get(owner));
        part.is_none_or(|p| p.now == Answer::Pass && p.healthy_ms >= self.observe_ms)
    }
}

/// What one service says.
fn judged(object: &ServiceObject, serving: Option<&SeenContainer>, view: &View<'_>) -> (Answer, String) {
    let name = &object.key.service;
    let done = view.facts.jobs_done.get(&object.key);
    if object.job && done.is_some_and(|done| done.contains(&object.hash)) {
        return (Answer::Pass, String::new());
    }
    let Some(container) = serving else {
        // What was good here and is gone was taken away; anything else is on its way.
        let own = view.containers.get(&(&object.key.owner, name.as_str()));
        let comes = own.into_iter().flatten().any(|c| c.spec == Some(object.hash));
        return if !comes && view.facts.good_specs.get(&object.key) == Some(&object.hash) {
            (Answer::Fail, format!("{name} is gone"))
        } else {
            (Answer::Unknown, format!("{name} does not serve yet"))
        };
    };
    let probed = view.probed.get(&container.id).copied();
    match judge(object, container, probed, view.now) {
        Health::Healthy => (Answer::Pass, String::new()),
        Health::Unhealthy => (Answer::Fail, format!("{name} is not healthy")),
        Health::Starting => (Answer::Unknown, format!("{name} is starting")),
        Health::Unknown => (Answer::Unknown, format!("the health of {name} is not known")),
    }
}

/// Whether a tenant takes a change of its own files.
fn is_moving(decision: &Decision, owner: &Owner) -> bool {
    match owner {
        Owner::Tenant(slug) => decision.tenants.get(slug).is_some_and(|t| t.moves),
        _ => false,
    }
}

/// What is left to be observed of a healthy part.
fn left(part: &PartProof, observe_ms: u64) -> Option<u64> {
    (part.now == Answer::Pass).then(|| observe_ms.saturating_sub(part.healthy_ms))
}

fn longest(proved: Option<&Proved>) -> u64 {
    proved.map_or(0, |p| p.proof.longest_ms)
}

fn later(now: Timestamp, ms: u64) -> Option<Timestamp> {
    now.checked_add(SignedDuration::from_millis(i64::try_from(ms).ok()?))
        .ok()
}

/// Whether a tenant says anything about a release: not while a change of its own files is on its way, or after it failed.
fn counts(tenant: &TenantDecision, target: ReleaseId, ring: &RingFacts, facts: &Facts) -> bool {
    let remembered = facts.tenants.get(&tenant.slug);
    let good = remembered
        .and_then(|f| f.good.as_ref())
        .map(|(_, files)| files.id);
    let own_change = ring.running == Some(target) && tenant.files.as_ref().map(|f| f.id) != good;
    !own_change && !tenant.gone_back
}

/// The container that serves what is wanted.
fn serving<'a>(object: &ServiceObject, view: &View<'a>) -> Option<&'a SeenContainer> {
    let own = view
        .containers
        .get(&(&object.key.owner, object.key.service.as_str()))?;
    let mut wanted = own.iter().filter(|c| c.spec == Some(object.hash));
    wanted
        .find(|c| object.job || c.name.eq_ignore_ascii_case(&object.base_name))
        .copied()
}

/// Whether more changed than that time went on.
fn differs(before: &Proved, after: &Proved) -> bool {
    let state = |p: &Proved| {
        let parts = p.proof.parts.iter();
        let parts = parts.map(|(owner, part)| (owner.clone(), part.now, part.was_healthy));
        let parts: BTreeSet<_> = parts
            .map(|(o, now, was)| (o, now == Answer::Pass, now == Answer::Fail, was))
            .collect();
        (
            parts,
            p.proof.succeeded,
            p.proof.displaced,
            p.proof.broken.clone(),
        )
    };
    before.watch.parts != after.watch.parts || state(before) != state(after)
}
