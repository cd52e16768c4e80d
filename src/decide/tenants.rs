//! The tenants' part of a decision: who runs which slug, with which release and files.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{FilesRef, TenantFacts};
use super::gate::{Answer, Gate, all_pass};
use super::{
    Decision, Move, MoveKind, MoveState, Phase, RingInput, Task, TenantAt, TenantDecision, World,
    declared_gates, files_of_ring,
};
use crate::fleet::names::{CommitId, FilesId, ReleaseId, RingName, Slug};
use crate::fleet::rings::{GateKind, Ring, TenantChanges};
use crate::fleet::tenants::TenantState;

/// Removals above this share of a ring's tenants need a person (at least one is always allowed).
const PRUNE_PERCENT: usize = 20;

pub(super) fn decide(world: &World<'_>, decision: &mut Decision) {
    let claims = claims(world);
    let mut slugs: BTreeSet<Slug> = claims.keys().cloned().collect();
    slugs.extend(world.facts.tenants.keys().cloned());
    for slug in slugs {
        let claimants = claims.get(&slug).map_or(&[][..], Vec::as_slice);
        match one(world, decision, &slug, claimants) {
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
    moves(world, &claims, decision);
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

type Claims<'a> = BTreeMap<Slug, Vec<(&'a RingName, &'a TenantAt)>>;

/// Slug → rings whose branch has a good file for it, in the order of the rings.
fn claims<'a>(world: &'a World<'_>) -> Claims<'a> {
    let mut claims = Claims::new();
    for ring in &world.policy.rings.0 {
        for (name, at) in world.rings.get(&ring.name).into_iter().flat_map(|i| &i.tenants) {
            if let Ok(slug) = name.parse::<Slug>() {
                claims.entry(slug).or_default().push((&ring.name, at));
            }
        }
    }
    claims
}

fn one(world: &World<'_>, decision: &Decision, slug: &Slug, claimants: &[(&RingName, &TenantAt)]) -> Outcome {
    let facts = world.facts.tenants.get(slug);
    let mut conditions = Vec::new();
    let claim = chosen(facts, claimants);
    if claimants.len() > 1 {
        let rings: Vec<&str> = claimants.iter().map(|(r, _)| r.as_str()).collect();
        conditions.push(format!(
            "rings {} both claim it: {} keeps it; remove the file from the other branch",
            rings.join(" and "),
            claim.map_or("", |c| c.0.as_str())
        ));
    }
    let Some((ring_name, at)) = claim else {
        return facts.map_or(Outcome::Nothing, |f| {
            unclaimed(world, decision, slug, f, conditions)
        });
    };
    let task = match at.files.tenant.as_ref().map(|t| t.state) {
        Some(TenantState::Stopped) => Task::Stop,
        Some(TenantState::Erased) => Task::Erase,
        _ => Task::Run,
    };
    let Some(ring) = world.policy.rings.get(ring_name.as_str()) else {
        return Outcome::Nothing;
    };
    let target = decision.ring(ring_name).and_then(|r| r.target);
    let refused = facts
        .and_then(|f| stays(world, f, ring_name))
        .or_else(|| refusal(world, ring, facts, at, task))
        .or_else(|| {
            target
                .is_none()
                .then(|| format!("ring {ring_name} runs nothing yet"))
        });
    let Some(reason) = refused else {
        let release = target;
        let good = facts.and_then(|f| f.good.as_ref());
        let differs = good.is_none_or(|(r, f)| Some(*r) != release || f.id != at.files.files);
        return Outcome::Tenant(Box::new(TenantDecision {
            slug: slug.clone(),
            ring: (*ring_name).clone(),
            task,
            release,
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
            conditions,
        }));
    };
    match facts.and_then(|f| Some((f, last(f)?))) {
        Some((facts, last)) => {
            conditions.push(reason);
            let mut kept = kept(decision, slug, facts, last, conditions);
            kept.gone_back = at.files.tenant.is_some() && facts.quarantine.contains_key(&at.files.files);
            Outcome::Tenant(Box::new(kept))
        }
        None if target.is_none() || task == Task::Stop => Outcome::Nothing,
        None => Outcome::NotTaken((*ring_name).clone(), reason),
    }
}

/// If two rings claim one slug, the one that runs it keeps it.
fn chosen<'a, 'b>(
    facts: Option<&TenantFacts>,
    claimants: &'b [(&'a RingName, &'a TenantAt)],
) -> Option<&'b (&'a RingName, &'a TenantAt)> {
    claimants
        .iter()
        .find(|(ring, _)| facts.is_some_and(|f| f.ring == **ring))
        .or_else(|| claimants.first())
}

/// Release and files that a tenant goes on with while nothing newer is taken: those asked for last, unless they
/// failed.
fn last(facts: &TenantFacts) -> Option<(ReleaseId, FilesRef)> {
    let asked = facts.asked.as_ref();
    let sound = asked.filter(|(_, f)| !facts.quarantine.contains_key(&f.id));
    sound.or(facts.good.as_ref()).or(asked).cloned()
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
        conditions,
    }
}

/// Whether a ring's branch says all that it has to say about its tenants.
fn readable(world: &World<'_>, ring: &RingName) -> bool {
    world
        .rings
        .get(ring)
        .is_some_and(|i| i.tip.is_some() && i.tenant_errors.is_empty())
}

/// Why a tenant that another ring claims does not leave the ring that runs it.
fn stays(world: &World<'_>, facts: &TenantFacts, to: &RingName) -> Option<String> {
    if facts.ring == *to {
        return None;
    }
    // A ring that is declared no more holds nobody.
    let from = world.policy.rings.get(facts.ring.as_str())?;
    if !readable(world, &facts.ring) {
        return Some(format!(
            "ring {to} claims it, but the files of ring {} cannot be read now: it stays there",
            facts.ring
        ));
    }
    (!tenant_gates(from).is_empty())
        .then(|| format!("its move to ring {to} waits for the gates of ring {}", facts.ring))
}

/// Why the branch's files of this tenant are not taken now.
fn refusal(
    world: &World<'_>,
    ring: &Ring,
    facts: Option<&TenantFacts>,
    at: &TenantAt,
    task: Task,
) -> Option<String> {
    if at.files.tenant.is_none() {
        return Some(
            "its file has an error: it keeps the files that it ran last (`ringfence check` shows it)"
                .to_owned(),
        );
    }
    if !at.misfit.is_empty() {
        return Some(format!("its files are not taken yet: {}", at.misfit.join("; ")));
    }
    if let Some(q) = facts.and_then(|f| f.quarantine.get(&at.files.files)) {
        return Some(format!(
            "its files failed ({}): it keeps those that ran last",
            q.reason
        ));
    }
    if task != Task::Run && !readable(world, &ring.name) {
        return Some(
            "its stop waits: nothing is removed while tenant files of its ring have errors".to_owned(),
        );
    }
    let first = world
        .facts
        .rings
        .get(&ring.name)
        .is_none_or(|r| r.running.is_none());
    let here = facts.filter(|f| f.ring == ring.name);
    let has = |of: &Option<(ReleaseId, FilesRef)>| of.as_ref().is_some_and(|(_, f)| f.id == at.files.files);
    let same = here.is_some_and(|f| has(&f.good) || has(&f.asked)) || (task == Task::Stop && facts.is_none());
    if !same && !first && !tenant_gates(ring).is_empty() {
        return Some("its change of files waits for the ring's gates".to_owned());
    }
    None
}

fn tenant_gates(ring: &Ring) -> Vec<Gate> {
    match ring.tenant_changes {
        TenantChanges::Free => Vec::new(),
        TenantChanges::Gated => declared_gates(ring, &[GateKind::Window, GateKind::Approval]),
    }
}

/// A tenant whose file is gone from the branch that ran it stops; where the branch cannot be read, or its ring is
/// gated, it is kept.
fn unclaimed(
    world: &World<'_>,
    decision: &Decision,
    slug: &Slug,
    facts: &TenantFacts,
    mut conditions: Vec<String>,
) -> Outcome {
    let Some(last) = last(facts) else {
        return Outcome::Nothing;
    };
    let ring = world.policy.rings.get(facts.ring.as_str());
    let gated = ring.is_some_and(|r| !tenant_gates(r).is_empty());
    if ring.is_none() || !readable(world, &facts.ring) {
        conditions.push("its file cannot be read now: it is kept as it is".to_owned());
    } else if gated {
        conditions.push("its file is gone; its stop waits for the ring's gates".to_owned());
    } else {
        return Outcome::Tenant(Box::new(TenantDecision {
            slug: slug.clone(),
            ring: facts.ring.clone(),
            task: Task::Stop,
            release: Some(last.0),
            files: Some(last.1),
            moves: true,
            gone_back: false,
            conditions,
        }));
    }
    Outcome::Tenant(Box::new(kept(decision, slug, facts, last, conditions)))
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
            let Some((facts, last)) = world.facts.tenants.get(slug).and_then(|f| Some((f, last(f)?))) else {
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

/// Changes of tenant files as a move of the ring, for `status` and `why`.
fn moves(world: &World<'_>, claims: &Claims<'_>, decision: &mut Decision) {
    for ring in &world.policy.rings.0 {
        let Some(input) = world.rings.get(&ring.name) else {
            continue;
        };
        let facts = world.facts.rings.get(&ring.name);
        let (from, to, request) = files_move(world, claims, &ring.name, input);
        let (Some(request), true) = (request, facts.is_some_and(|f| f.running.is_some())) else {
            continue;
        };
        let mut gates = vec![Gate::new(
            "release",
            Answer::Pass,
            "the files fit the release that runs",
        )];
        gates.extend(tenant_gates(ring));
        let state = if all_pass(&gates) {
            MoveState::Open
        } else {
            MoveState::Waiting
        };
        let Some(out) = decision.rings.iter_mut().find(|r| r.name == ring.name) else {
            continue;
        };
        if state == MoveState::Waiting && out.phase == Phase::Synced {
            out.phase = Phase::Waiting;
        }
        out.moves.push(Move {
            kind: MoveKind::Tenants,
            request,
            from: Some(files_of_ring(&from).to_string()),
            to: Some(files_of_ring(&to).to_string()),
            state,
            gates,
        });
    }
}

type FilesOf = BTreeMap<Slug, FilesId>;

/// What a ring's tenants run, what they would run, and the commit that asks for the difference, if there is one.
fn files_move(
    world: &World<'_>,
    claims: &Claims<'_>,
    ring: &RingName,
    input: &RingInput,
) -> (FilesOf, FilesOf, Option<CommitId>) {
    let (mut from, mut to, mut request) = (FilesOf::new(), FilesOf::new(), None);
    for (slug, facts) in world.facts.tenants.iter().filter(|(_, f)| f.ring == *ring) {
        if let Some((_, files)) = &facts.good {
            from.insert(slug.clone(), files.id);
        }
    }
    for (name, at) in &input.tenants {
        let Ok(slug) = name.parse::<Slug>() else { continue };
        let facts = world.facts.tenants.get(&slug);
        let claimants = claims.get(&slug).map_or(&[][..], Vec::as_slice);
        if chosen(facts, claimants).is_some_and(|(chosen, _)| *chosen != ring) {
            continue;
        }
        // Files with an error, not taken yet or quarantined count as what runs.
        let blocked = at.files.tenant.is_none()
            || !at.misfit.is_empty()
            || facts.is_some_and(|f| f.quarantine.contains_key(&at.files.files));
        let stopped = at
            .files
            .tenant
            .as_ref()
            .is_some_and(|t| t.state != TenantState::Running);
        let files = match (blocked, stopped && facts.is_none()) {
            (true, _) => from.get(&slug).copied(),
            // It has stopped already.
            (false, true) => None,
            (false, false) => Some(at.files.files),
        };
        let Some(files) = files else { continue };
        if from.get(&slug) != Some(&files) {
            request = Some(at.request.clone());
        }
        to.insert(slug, files);
    }
    for (slug, files) in &from {
        if readable(world, ring) {
            // A file that is gone was last changed by some commit below the head.
            if !to.contains_key(slug) {
                request = request.or_else(|| input.tip.clone());
            }
        } else {
            to.entry(slug.clone()).or_insert(*files);
        }
    }
    (from, to, request)
}
