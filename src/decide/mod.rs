//! Which release and which files each ring and tenant shall run at this moment. Pure: no I/O, no clock.
//!
//! A ring is asked for moves: another release (its pin, or the candidate of an `auto_deploy` ring), other tenant files
//! (its branch), or both at once. Gates judge them (`gates`); of those that pass one runs (`ring`); `tenants` says what
//! that means for each tenant, and `waves` whose turn it is.

mod claims;
pub mod facts;
mod files;
pub mod gate;
mod gates;
pub mod health;
pub mod records;
pub mod resources;
mod ring;
mod tenants;
#[cfg(test)]
mod tests;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::fleet::Policy;
use crate::fleet::decisions::Moved;
use crate::fleet::names::{CommitId, ContentId, FilesId, PolicyId, ReleaseId, RingName, ServiceKey, Slug};
use crate::fleet::release::Release;
use crate::fleet::tenants::TenantFiles;
use facts::{Facts, FilesRef};
use gate::{Answer, Gate};
use records::{Behind, Records};
use resources::{Capacity, Part, PartNeeds};

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
    /// What a pin is judged under whose own commit changes policy: what was in force before that.
    pub pin_under: Option<Under>,
    /// Which files do not fit which release, and why: those that run and those on the branch, against the release that
    /// runs, is moved to, and is asked for. What is not in it fits.
    pub misfits: BTreeMap<(Slug, FilesId, ReleaseId), Vec<String>>,
    /// Releases whose base has services that the ring's tenants share and that the ring provides.
    pub sharing: BTreeSet<ReleaseId>,
    /// For each release, its services of the fleet that a later ring provides, and which: they do not run here with it.
    pub elsewhere: BTreeMap<ReleaseId, BTreeMap<String, RingName>>,
    /// What the checks of the candidate said, by the name of the check.
    pub checks: BTreeMap<String, Checked>,
    /// Tenants that run here and whose file is gone from the branch: who asks for that.
    pub gone: BTreeMap<Slug, Asks>,
    /// What its engine has; none: nobody has asked it, and nothing is judged by it.
    pub capacity: Option<Capacity>,
    /// What the services of each part take of that engine: of what runs, is moved to and is asked for.
    pub needs: BTreeMap<Part, PartNeeds>,
}

/// Another policy than the one in force.
#[derive(Debug, Clone)]
pub struct Under {
    /// The policy.
    pub policy: Arc<Policy>,
    /// What an approval is given under there.
    pub id: PolicyId,
}

/// What a check of a release said in the ring before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Of which release.
    pub release: ReleaseId,
    /// Its answer.
    pub answer: Answer,
    /// Why, with the tenants that it was asked of.
    pub evidence: String,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Whether a pin names its release.
    pub pinned: bool,
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
    /// Words on record that let it start: they count for no other.
    #[serde(skip)]
    pub words: BTreeSet<Digest>,
    /// The tenants whose files it changes, and to which; none: the tenant leaves.
    #[serde(skip)]
    pub takes: BTreeMap<Slug, Option<FilesId>>,
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
    /// Whether somebody paused it: nothing of it is touched.
    pub held: bool,
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
    /// Whether somebody paused it.
    pub held: bool,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Decision {
    /// By the order of the rings.
    pub rings: Vec<RingDecision>,
    /// By slug.
    pub tenants: BTreeMap<Slug, TenantDecision>,
    /// Services that stop before their successors start, since both do not fit beside each other, and why.
    #[serde(skip)]
    pub stop_first: BTreeMap<ServiceKey, String>,
    /// Releases that the decision speaks of.
    #[serde(skip)]
    pub releases: BTreeMap<ReleaseId, Release>,
    /// When holds end by themselves.
    #[serde(skip)]
    pub held_until: Vec<Timestamp>,
}

impl RingInput {
    /// Which of a release's services have not run with it in this ring: `; redis: provided by prod, this release's redis
    /// has not run yet`.
    fn not_run_here(&self, release: ReleaseId) -> String {
        let elsewhere = self.elsewhere.get(&release).into_iter().flatten();
        let told = elsewhere.map(|(service, by)| {
            format!("; {service}: provided by {by}, this release's {service} has not run yet")
        });
        told.collect()
    }
}

impl RingDecision {
    /// The move that may run and goes to such a place.
    pub fn open(&self, goes: impl Fn(Moved) -> bool) -> Option<&Move> {
        let mut open = self.moves.iter().filter(|m| m.state == MoveState::Open);
        open.find(|m| m.to.is_some_and(&goes))
    }
}

impl Decision {
    /// When a timer may change an answer: a soak is over, a window opens, a hold or an approval ends.
    pub fn next_turn(&self, now: Timestamp) -> Option<Timestamp> {
        let gates = self.rings.iter().flat_map(|r| &r.moves).flat_map(|m| &m.gates);
        let holds = self.held_until.iter().copied();
        let turns = gates.filter_map(|gate| gate.until).chain(holds);
        turns.filter(|at| *at > now).min()
    }

    /// A ring's part.
    pub fn ring(&self, name: &RingName) -> Option<&RingDecision> {
        self.rings.iter().find(|r| r.name == *name)
    }
}

/// Decides.
pub fn decide(world: &World<'_>) -> Decision {
    let mut decision = Decision {
        releases: world.facts.releases.clone(),
        held_until: world.records.ends(world.now),
        ..Decision::default()
    };
    let claims = claims::Claims::of(world);
    let mut sides = Vec::new();
    let mut open = resources::Open::new();
    for ring in &world.policy.rings.0 {
        let Some(input) = world.rings.get(&ring.name) else {
            continue;
        };
        if let Some(Ok(release)) = input.candidate.as_ref().map(|c| &c.release) {
            decision.releases.insert(release.id, release.clone());
        }
        let (side, decided) = ring::Side::of(world, ring, input, &claims, &open);
        open.extend(side.opened(&decided).map(|parts| (ring.name.clone(), parts)));
        decision.rings.push(decided);
        sides.push(side);
    }
    tenants::decide(world, &claims, &sides, &mut decision);
    decision.stop_first = resources::stop_first(world, &decision);
    decision
}

fn undeclared(target: &str) -> String {
    format!(
        "its target `{target}` is declared nowhere: add it to ringfence.yaml, `targets: {{{target}: {{same_as: local-docker}}}}`"
    )
}

#[allow(clippy::ref_option)] // as serde calls it
fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// The hash of what each tenant of a ring runs or would run (`ten-`).
pub fn files_of_ring(files: &BTreeMap<Slug, FilesId>) -> FilesId {
    FilesId(Digest::of("ringfence.tenant-files.1", files))
}
