//! Whose turn it is in a ring that moves to another release: shared services first, then the canaries, then as many at a
//! time as the ring allows, those that were sick before last. A tenant whose turn has not come keeps what it runs.

use std::collections::BTreeMap;

use super::facts::{Proof, RingFacts};
use super::gate::Answer;
use super::{Decision, RingInput, Task, World};
use crate::fleet::names::{Owner, ReleaseId, Slug};
use crate::fleet::rings::Ring;

/// Keeps back the tenants whose turn has not come.
pub(super) fn apply(world: &World<'_>, ring: &Ring, input: &RingInput, decision: &mut Decision) {
    let facts = world.facts.ring(&ring.name);
    let Some(target) = decision.ring(&ring.name).and_then(|r| r.target) else {
        return;
    };
    // A ring's first deployment has no waves, and going back has none: it was proven.
    if facts.running.is_none_or(|running| running == target) || facts.previous == Some(target) {
        return;
    }
    let rollout = Rollout {
        ring,
        target,
        facts,
        proof: facts.proofs.get(&target),
    };
    let mut turns: BTreeMap<u32, Vec<Slug>> = BTreeMap::new();
    for tenant in decision.tenants.values() {
        if tenant.ring == ring.name
            && tenant.task == Task::Run
            && !tenant.held
            && tenant.release == Some(target)
        {
            turns
                .entry(rollout.group(&tenant.slug))
                .or_default()
                .push(tenant.slug.clone());
        }
    }
    let mut open = !input.sharing.contains(&target) || rollout.shared_observed();
    let at_once = ring.rollout.max_parallel.of(turns.values().map(Vec::len).sum());
    for (group, slugs) in turns {
        // The canaries go together.
        let size = if group == 0 { slugs.len() } else { at_once };
        for wave in slugs.chunks(size.max(1)) {
            if !open {
                for slug in wave {
                    keep_back(world, target, slug, decision);
                }
            }
            open = open && wave.iter().all(|slug| rollout.is_observed(slug));
        }
    }
}

struct Rollout<'a> {
    ring: &'a Ring,
    target: ReleaseId,
    facts: &'a RingFacts,
    proof: Option<&'a Proof>,
}

impl Rollout<'_> {
    /// 0: canaries; 1: the others; 2: those that were sick before, which prove nothing.
    fn group(&self, slug: &Slug) -> u32 {
        if self.facts.was_sick(&Owner::Tenant(slug.clone()), &self.target) {
            2
        } else {
            u32::from(!self.ring.rollout.canary.iter().any(|c| c.value == *slug))
        }
    }

    fn is_observed(&self, slug: &Slug) -> bool {
        self.observed(&Owner::Tenant(slug.clone()))
    }

    fn observed(&self, owner: &Owner) -> bool {
        let part = self.proof.and_then(|p| p.parts.get(owner));
        part.is_some_and(|p| p.now == Answer::Pass && p.healthy_ms >= self.ring.rollout.observe_ms)
    }

    fn shared_observed(&self) -> bool {
        let owners = [Owner::Fleet, Owner::Ring(self.ring.name.clone())];
        let known = |owner: &&Owner| self.proof.is_some_and(|p| p.parts.contains_key(*owner));
        let mut shared = owners.iter().filter(known).peekable();
        shared.peek().is_some() && shared.all(|owner| self.observed(owner))
    }
}

/// It keeps release and files that it was asked for last: where that is the target, it has begun and goes on.
fn keep_back(world: &World<'_>, target: ReleaseId, slug: &Slug, decision: &mut Decision) {
    let last = world.facts.tenants.get(slug).and_then(|f| f.last().cloned());
    let (Some(tenant), Some((release, files))) = (decision.tenants.get_mut(slug), last) else {
        return;
    };
    if release != target {
        tenant.release = Some(release);
        tenant.files = Some(files);
        tenant.conditions.push(format!(
            "its turn to take {target} comes after others were observed on it"
        ));
    }
}
