//! Which release and which files each ring and tenant shall run at this moment. Pure: no I/O, no clock.
//!
//! `auto_deploy` rings follow their branch, other rings their pin; each ring takes its tenant files from its own branch.
//! A ring that declares gates which nothing evaluates yet (`approval`, `soak`, `checks`, `window`) waits with that
//! reason: it is never deployed ungated.

pub mod facts;
pub mod gate;
pub mod records;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::fleet::Policy;
use crate::fleet::decisions::Moved;
use crate::fleet::names::{CommitId, ContentId, FilesId, PolicyId, ReleaseId, RingName, Slug};
use crate::fleet::release::Release;
use crate::fleet::rings::{GateKind, Ring};
use crate::fleet::tenants::TenantFiles;
use facts::{Facts, FilesRef, RingFacts};
use gate::{Answer, Gate, all_pass};
use records::{Behind, Records};

/// What git and the registry said about one ring, gathered before the decision.
#[derive(Debug, Clone, Default)]
pub struct RingInput {
    /// The branch that its tenant files come from.
    pub branch: String,
    /// That branch's head.
    pub tip: Option<CommitId>,
    /// git cannot be read now: nothing is known of the branch, and it is not missing.
    pub unread: bool,
    /// The release that is asked for, if any is.
    pub candidate: Option<Candidate>,
    /// Its tenant files, by the file's name: only those that name this ring (or whose ring cannot be read, while this
    /// ring runs the slug).
    pub tenants: BTreeMap<String, TenantAt>,
    /// Errors in tenant files on the branch; while there are any, nothing is pruned.
    pub tenant_errors: Vec<String>,
    /// A target that is declared nowhere.
    pub unknown_target: Option<String>,
    /// Containers of it run, the ledger knows nothing of them, and nothing in its history renders them.
    pub unknown: bool,
    /// What an approval in this ring is given under.
    pub policy: Option<PolicyId>,
    /// Tenants that run here and whose file is gone from the branch: who asks for that.
    pub gone: BTreeMap<Slug, Asks>,
}

/// Who asks for a change of one tenant's files.
#[derive(Debug, Clone)]
pub struct Asks {
    /// The newest commit that changed them.
    pub request: CommitId,
    /// How many commits of the branch's first-parent history are newer.
    pub age: usize,
    /// Who signed the commits that changed them since what runs, and who wrote them.
    pub behind: Behind,
    /// Where that commit changed the base too: the content that it made. Its files go with that or a later release.
    pub with: Option<ContentId>,
}

/// One tenant's files on a branch.
#[derive(Debug, Clone)]
pub struct TenantAt {
    /// The files.
    pub files: Arc<TenantFiles>,
    /// The branch's head.
    pub commit: CommitId,
    /// Who asks for them.
    pub asks: Asks,
    /// Why they do not fit the release that they would run with; empty: they do.
    pub misfit: Vec<String>,
}

/// A release that a ring is asked to run.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The commit that has the content.
    pub commit: CommitId,
    /// The commit that asks for it.
    pub request: CommitId,
    /// Whether a pin names it.
    pub pinned: bool,
    /// Who asks for it, and who wrote it.
    pub behind: Behind,
    /// The release; the reason where it cannot be had (an error in the base, an image that is missing).
    pub release: Result<Release, String>,
}

/// All that a decision is made from.
pub struct World<'a> {
    /// Policy in force.
    pub policy: &'a Policy,
    /// By ring.
    pub rings: &'a BTreeMap<RingName, RingInput>,
    /// What the ledger remembers.
    pub facts: &'a Facts,
    /// What people put on record.
    pub records: &'a Records,
    /// This moment.
    pub now: Timestamp,
    /// Rings for which a person allows any number of removals in this pass.
    pub prune: &'a BTreeSet<RingName>,
}

/// A ring's phase, in one word (DESIGN 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing asked for and nothing running.
    Empty,
    /// All is as it shall be.
    Synced,
    /// A move waits.
    Waiting,
    /// A move is under way.
    Rolling,
    /// A move is done and watched.
    Observing,
    /// Something is not healthy.
    Degraded,
    /// The last move failed and went back.
    RolledBack,
    /// Paused by an owner.
    Held,
    /// It cannot be said.
    Unknown,
}

/// What kind of move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveKind {
    /// Another release.
    Release,
    /// Other tenant files.
    Tenants,
    /// Both at once.
    Both,
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveState {
    /// A gate holds it.
    Waiting,
    /// It may run, or runs.
    Open,
    /// It failed here and is not tried again by itself.
    Quarantined,
}

/// A move of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Move {
    /// What moves.
    pub kind: MoveKind,
    /// The commit that asks for it.
    pub request: CommitId,
    /// From where: `rel-…`, `ten-…` or `rel-…+ten-…`, with all digits; none: nothing runs.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "Option<String>")]
    pub from: Option<Moved>,
    /// To where; none: the release is not known.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "Option<String>")]
    pub to: Option<Moved>,
    /// The policy that it is judged under: `pol-…` with all digits.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "Option<String>")]
    pub policy: Option<PolicyId>,
    /// How far.
    pub state: MoveState,
    /// Its gates.
    pub gates: Vec<Gate>,
}

/// What a tenant shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Run.
    Run,
    /// Have no containers; data stays.
    Stop,
    /// Have nothing left.
    Erase,
}

/// A tenant's part of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TenantDecision {
    /// Which.
    pub slug: Slug,
    /// The ring that runs it.
    pub ring: RingName,
    /// What it shall do.
    pub task: Task,
    /// The release that it shall run.
    pub release: Option<ReleaseId>,
    /// The files that it shall run with.
    pub files: Option<FilesRef>,
    /// Whether release and files differ from what last ran healthy.
    pub moves: bool,
    /// Whether the files that its branch declares failed, so that it keeps those that ran last.
    pub gone_back: bool,
    /// What a person should know about it.
    pub conditions: Vec<String>,
}

/// A ring's part of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RingDecision {
    /// Which.
    pub name: RingName,
    /// Its number.
    pub id: u32,
    /// The release that is asked for.
    pub declared: Option<ReleaseId>,
    /// The release that it shall run now; none: nothing, or nothing is known.
    pub target: Option<ReleaseId>,
    /// The commit that asks for the target.
    pub request: Option<CommitId>,
    /// Its open moves.
    pub moves: Vec<Move>,
    /// Its phase as far as the decision knows it: `empty`, `waiting`, `rolled_back`, or `synced` (what the containers say comes later).
    pub phase: Phase,
    /// What a person should know about it.
    pub conditions: Vec<String>,
    /// Whether nothing may be removed in it now.
    pub no_prune: bool,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Decision {
    /// By the order of the rings.
    pub rings: Vec<RingDecision>,
    /// By slug.
    pub tenants: BTreeMap<Slug, TenantDecision>,
    /// Releases that the decision speaks of.
    #[serde(skip)]
    pub releases: BTreeMap<ReleaseId, Release>,
}

impl Decision {
    /// A ring's part.
    pub fn ring(&self, name: &RingName) -> Option<&RingDecision> {
        self.rings.iter().find(|r| r.name == *name)
    }
}

/// Decides.
pub fn decide(world: &World<'_>) -> Decision {
    let mut decision = Decision {
        releases: world.facts.releases.clone(),
        ..Decision::default()
    };
    let none = RingFacts::default();
    for ring in &world.policy.rings.0 {
        let Some(input) = world.rings.get(&ring.name) else {
            continue;
        };
        let facts = world.facts.rings.get(&ring.name).unwrap_or(&none);
        if let Some(Ok(release)) = input.candidate.as_ref().map(|c| &c.release) {
            decision.releases.insert(release.id, release.clone());
        }
        let has = has(world, ring, facts);
        decision.rings.push(ring_decision(ring, input, facts, has));
    }
    tenants::decide(world, &mut decision);
    decision
}

/// Gates that a ring declares and that nothing evaluates yet: the ring waits for them.
fn declared_gates(ring: &Ring, only: &[GateKind]) -> Vec<Gate> {
    ring.gates
        .iter()
        .filter(|g| only.is_empty() || only.contains(&g.kind))
        .map(|g| {
            let name = match g.kind {
                GateKind::Soak => "soak",
                GateKind::Checks => "checks",
                GateKind::Window => "window",
                GateKind::Approval => "approval",
            };
            Gate::new(
                name,
                Answer::Unknown,
                format!(
                    "the ring asks for {}, which this version cannot judge: it waits",
                    g.summary
                ),
            )
        })
        .collect()
}

fn release_gate(candidate: &Candidate, input: &RingInput) -> Gate {
    if let Some(target) = &input.unknown_target {
        return Gate::new("release", Answer::Unknown, undeclared(target));
    }
    match &candidate.release {
        Ok(release) => Gate::new(
            "release",
            Answer::Pass,
            format!(
                "{} reads cleanly and its {} images can be had",
                release.id,
                release.images.len()
            ),
        ),
        Err(reason) => Gate::new("release", Answer::Fail, reason.clone()),
    }
}

fn undeclared(target: &str) -> String {
    format!(
        "its target `{target}` is declared nowhere: add it to ringfence.yaml, `targets: {{{target}: {{same_as: local-docker}}}}`"
    )
}

/// What a ring has, whatever is asked for: the move under way, else what failed without a way back (such a ring keeps
/// and heals what its tenants have), else what ran healthy last.
fn has(world: &World<'_>, ring: &Ring, facts: &RingFacts) -> Option<ReleaseId> {
    let moving = facts.moving.as_ref().map(|m| m.to);
    moving.or_else(|| stuck(world, ring, facts)).or(facts.running)
}

/// The quarantined release that a ring stays on: nothing went back, and more of its tenants were last asked for it
/// than for what ran healthy.
fn stuck(world: &World<'_>, ring: &Ring, facts: &RingFacts) -> Option<ReleaseId> {
    let asked = |release: Option<ReleaseId>| {
        let of_ring = world.facts.tenants.values().filter(|t| t.ring == ring.name);
        of_ring
            .filter(|t| release.is_some() && t.asked.as_ref().map(|(r, _)| *r) == release)
            .count()
    };
    if facts.rolled_back {
        return None;
    }
    let last = facts
        .quarantine
        .iter()
        .filter(|(release, _)| asked(Some(**release)) > asked(facts.running))
        .max_by_key(|(_, q)| q.at);
    last.map(|(release, _)| *release)
}

fn ring_decision(ring: &Ring, input: &RingInput, facts: &RingFacts, has: Option<ReleaseId>) -> RingDecision {
    let mut out = RingDecision {
        name: ring.name.clone(),
        id: ring.id,
        declared: None,
        target: has,
        request: facts.moving.as_ref().map(|m| m.request.clone()),
        moves: Vec::new(),
        phase: Phase::Synced,
        conditions: Vec::new(),
        no_prune: input.unread || input.tip.is_none() || !input.tenant_errors.is_empty(),
    };
    if has.is_none() {
        out.phase = Phase::Empty;
    } else if has.is_some_and(|h| facts.quarantine.contains_key(&h)) {
        out.phase = Phase::Degraded;
    }
    if let Some(target) = &input.unknown_target {
        out.conditions.push(undeclared(target));
        out.phase = Phase::Waiting;
    }
    if input.tip.is_none() && !input.unread {
        out.conditions.push(format!(
            "branch `{}` does not exist: `git branch {}` makes it",
            input.branch, input.branch
        ));
        out.phase = Phase::Waiting;
    }
    out.conditions.extend(input.tenant_errors.iter().cloned());
    if input.unknown {
        out.conditions.push(format!(
            "what runs here stands in no ledger, and nothing in the recent history of its pin and branch is equal to it: it is started where it stops and not changed, until `ringfence apply {} --adopt` goes on with what is declared",
            ring.name
        ));
        out.phase = Phase::Unknown;
        out.no_prune = true;
        return out;
    }
    let Some(candidate) = &input.candidate else {
        return out;
    };
    let to = candidate.release.as_ref().ok().map(|r| r.id);
    out.declared = to;
    if to.is_some() && to == facts.running {
        // A request for what ran healthy last takes a rollout back.
        out.target = to;
        out.request = Some(candidate.request.clone());
        if input.tip.is_some() && input.unknown_target.is_none() {
            out.phase = Phase::Synced;
        }
        return out;
    }
    release_move(ring, input, facts, candidate, &mut out);
    out
}

/// The move to another release: its gates, and the ring's target if they pass.
fn release_move(
    ring: &Ring,
    input: &RingInput,
    facts: &RingFacts,
    candidate: &Candidate,
    out: &mut RingDecision,
) {
    let to = out.declared;
    let mut gates = vec![release_gate(candidate, input)];
    gates.extend(declared_gates(ring, &[]));
    let started = to.is_some() && facts.moving.as_ref().map(|m| m.to) == to;
    let quarantine = to.and_then(|to| facts.quarantine.get(&to));
    let state = match quarantine {
        Some(q) => {
            gates.push(Gate::new(
                "quarantine",
                Answer::Fail,
                format!("it failed here: {}", q.reason),
            ));
            MoveState::Quarantined
        }
        // One that has started goes on, whatever becomes of its gates.
        None if started || all_pass(&gates) => MoveState::Open,
        None => MoveState::Waiting,
    };
    match state {
        MoveState::Open => {
            out.target = to;
            out.request = Some(candidate.request.clone());
            if input.tip.is_some() {
                out.phase = Phase::Synced;
            }
        }
        // The ring stays on what it has: only where nothing went back is that the one that failed.
        MoveState::Quarantined if facts.rolled_back => out.phase = Phase::RolledBack,
        MoveState::Quarantined if out.target == to => out.phase = Phase::Degraded,
        MoveState::Quarantined | MoveState::Waiting => out.phase = Phase::Waiting,
    }
    out.moves.push(Move {
        kind: if facts.running.is_none() {
            MoveKind::Both
        } else {
            MoveKind::Release
        },
        request: candidate.request.clone(),
        from: facts.running.map(|r| r.to_string()),
        to: to.map(|r| r.to_string()),
        state,
        gates,
    });
}

/// The hash of what each tenant of a ring runs or would run (`ten-`).
pub fn files_of_ring(files: &BTreeMap<Slug, FilesId>) -> FilesId {
    FilesId(crate::digest::Digest::of("ringfence.tenant-files.1", files))
}
