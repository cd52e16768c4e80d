//! One ring: what it is asked to do, what its gates say, and which of its moves runs.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claims;
use super::facts::{Proof, RingFacts};
use super::files::Change;
use super::gate::{Answer, Gate, all_pass};
use super::gates::{Case, Judged};
use super::records::Held;
use super::resources::{self, Open, Parts};
use super::{Candidate, Move, MoveKind, MoveState, Phase, RingDecision, RingInput, Under, World, undeclared};
use crate::fleet::decisions::Moved;
use crate::fleet::names::{FilesId, Owner, ReleaseId, RingName, Slug};
use crate::fleet::rings::Ring;

impl World<'_> {
    /// Whether somebody paused a ring.
    pub(super) fn ring_hold(&self, ring: &RingName) -> Option<&Held> {
        self.records
            .held_rings
            .get(ring)
            .filter(|held| held.holds(self.now))
    }

    /// Whether somebody paused a tenant.
    pub(super) fn tenant_hold(&self, slug: &Slug) -> Option<&Held> {
        self.records
            .held_tenants
            .get(slug)
            .filter(|held| held.holds(self.now))
    }

    /// Whether a tenant of a ring is paused, by itself or with the ring.
    pub(super) fn is_held(&self, ring: &RingName, slug: &Slug) -> bool {
        self.tenant_hold(slug).or_else(|| self.ring_hold(ring)).is_some()
    }
}

/// What a ring is asked for, judged.
pub(super) struct Side<'a> {
    world: &'a World<'a>,
    pub(super) ring: &'a Ring,
    pub(super) input: &'a RingInput,
    facts: &'a RingFacts,
    /// What it has, whatever is asked for.
    has: Option<ReleaseId>,
    /// The change of its files, as far as they fit what it has.
    files: Change<'a>,
    /// The same for the candidate, where the ring has nothing or the two only go together.
    with: Option<Change<'a>>,
    /// Files that may be taken now; none: the tenant leaves.
    pub(super) takes: BTreeMap<Slug, Option<FilesId>>,
}

impl<'a> Side<'a> {
    pub(super) fn of(
        world: &'a World<'a>,
        ring: &'a Ring,
        input: &'a RingInput,
        claims: &Claims<'a>,
        open: &Open,
    ) -> (Self, RingDecision) {
        let facts = world.facts.ring(&ring.name);
        let has = has(world, ring, facts);
        let candidate = input.candidate.as_ref().and_then(|c| c.release.as_ref().ok());
        let change = |release| Change::of(world, &ring.name, input, claims, release);
        let mut side = Self {
            world,
            ring,
            input,
            facts,
            has,
            files: change(has),
            with: None,
            takes: BTreeMap::new(),
        };
        // What the ring runs already is no move that files could go along with: they go alone.
        let new = candidate.filter(|c| Some(c.id) != facts.running);
        side.with = new.and_then(|c| side.together(change(Some(c.id)), c.id, c.content));
        let decision = side.decide(open);
        (side, decision)
    }

    /// The files that go with a candidate: all where the ring has had nothing yet, else those that one commit changed
    /// together with its base, and those where neither side fits without the other.
    fn together(
        &self,
        change: Change<'a>,
        release: ReleaseId,
        content: crate::fleet::names::ContentId,
    ) -> Option<Change<'a>> {
        if self.facts.running.is_none() {
            return Some(change);
        }
        let tied = change.asks().iter().filter(|(slug, asks)| {
            let alone = self.files.asks().contains_key(*slug);
            asks.with == Some(content) || (!alone && self.runs_misfit(slug, release))
        });
        let tied: BTreeSet<Slug> = tied.map(|(slug, _)| slug.clone()).collect();
        (!tied.is_empty()).then(|| change.only(&tied))
    }

    /// Whether the files that a tenant has do not fit a release.
    fn runs_misfit(&self, slug: &Slug, release: ReleaseId) -> bool {
        let runs = self.world.facts.tenants.get(slug).and_then(super::files::has);
        runs.is_some_and(|files| self.input.misfits.contains_key(&(slug.clone(), files, release)))
    }

    fn moving(&self) -> Option<ReleaseId> {
        self.facts.moving.as_ref().map(|m| m.to)
    }

    fn decide(&mut self, open: &Open) -> RingDecision {
        let mut out = self.kept();
        if self.input.unknown {
            out.conditions.push(format!(
                "what runs here stands in no ledger, and nothing in the recent history of its pin and branch is equal to it: it is started where it stops and not changed, until `ringfence apply {} --adopt` goes on with what is declared",
                self.ring.name
            ));
            out.phase = Phase::Unknown;
            out.no_prune = true;
            return out;
        }
        self.files_move(open, &mut out);
        if let Some(candidate) = &self.input.candidate {
            let to = candidate.release.as_ref().ok().map(|r| r.id);
            out.declared = to;
            if to.is_some() && to == self.facts.running {
                // A request for what ran healthy last takes a rollout back.
                if !out.held {
                    out.target = to;
                    out.request = Some(candidate.request.clone());
                }
            } else {
                self.release_move(candidate, open, &mut out);
            }
        }
        if out.held {
            out.phase = Phase::Held;
        } else if out.phase == Phase::Synced && out.moves.iter().any(|m| m.state == MoveState::Waiting) {
            out.phase = Phase::Waiting;
        }
        out
    }

    /// The ring as it stays if nothing is asked of it.
    fn kept(&self) -> RingDecision {
        let (input, ring) = (self.input, self.ring);
        let hold = self.world.ring_hold(&ring.name);
        let mut out = RingDecision {
            name: ring.name.clone(),
            id: ring.id,
            declared: None,
            target: self.has,
            request: self.facts.moving.as_ref().map(|m| m.request.clone()),
            moves: Vec::new(),
            phase: Phase::Synced,
            conditions: hold.map(Held::tell).into_iter().collect(),
            no_prune: input.unread || input.tip.is_none() || !input.tenant_errors.is_empty(),
            held: hold.is_some(),
        };
        if self.has.is_none() {
            out.phase = Phase::Empty;
        } else if self.has.is_some_and(|h| self.facts.quarantine.contains_key(&h)) {
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
        out
    }

    fn hold_gate(&self) -> Option<Gate> {
        let held = self.world.ring_hold(&self.ring.name)?;
        Some(Gate {
            until: held.until(),
            ..Gate::new("hold", Answer::Fail, held.tell())
        })
    }

    /// What the ring would run with a release and files: held tenants keep what they have.
    fn parts(&self, release: ReleaseId, files: &BTreeMap<Slug, FilesId>) -> Parts {
        let mut parts: Parts = resources::shared(&self.ring.name, release).into();
        for (slug, files) in files {
            let last = self.world.facts.tenants.get(slug).and_then(|f| f.last());
            let held = last.filter(|_| self.world.is_held(&self.ring.name, slug));
            let release = held.map_or(release, |(release, _)| *release);
            parts.insert((Owner::Tenant(slug.clone()), Some(*files), release));
        }
        parts
    }

    fn resources(&self, release: ReleaseId, files: &BTreeMap<Slug, FilesId>, open: &Open) -> Option<Gate> {
        resources::gate(self.world, &self.ring.name, self.parts(release, files), open)
    }

    /// What the ring shall run from now on, where one of its moves may run.
    pub(super) fn opened(&self, decided: &RingDecision) -> Option<Parts> {
        let target = decided.target?;
        let opens = decided.moves.iter().any(|m| m.state == MoveState::Open);
        let mut files = self.files.before().clone();
        for (slug, takes) in &self.takes {
            match takes {
                Some(takes) => drop(files.insert(slug.clone(), *takes)),
                None => drop(files.remove(slug)),
            }
        }
        opens.then(|| self.parts(target, &files))
    }

    /// The change of tenant files, while the ring runs a release: what passes goes first.
    fn files_move(&mut self, open: &Open, out: &mut RingDecision) {
        let (Some(running), Some(request)) = (self.facts.running, self.files.request()) else {
            return;
        };
        let goes_along: BTreeSet<Slug> = self.with.iter().flat_map(|w| w.asks().keys().cloned()).collect();
        let alone: BTreeSet<Slug> = self
            .files
            .asks()
            .keys()
            .filter(|s| !goes_along.contains(*s))
            .cloned()
            .collect();
        if alone.is_empty() {
            return;
        }
        let change = self.files.only(&alone);
        let behind = change.behind();
        let case = Case {
            world: self.world,
            ring: self.ring,
            input: self.input,
            facts: self.facts,
            request,
            from: Some(Moved::Files(change.from())),
            to: Moved::Files(change.to()),
            behind: &behind,
            resources: self.resources(self.has.unwrap_or(running), change.after(), open),
            policy: self.input.policy,
        };
        let mut judged = case.files();
        let fits = format!("they read cleanly and fit {running}");
        judged.gates.insert(0, Gate::new("release", Answer::Pass, fits));
        judged.gates.extend(self.hold_gate());
        judged.gates.extend(self.behind_rollout(&alone));
        let state = if all_pass(&judged.gates) {
            self.takes = change.takes();
            MoveState::Open
        } else {
            MoveState::Waiting
        };
        out.moves.push(Move {
            kind: MoveKind::Tenants,
            request: request.clone(),
            pinned: false,
            from: case.from,
            to: Some(case.to),
            policy: self.input.policy,
            state,
            gates: judged.gates,
            words: judged.words,
            takes: change.takes(),
        });
    }

    /// While a release is on its way, only files of tenants that it waits for join it.
    fn behind_rollout(&self, changed: &BTreeSet<Slug>) -> Option<Gate> {
        let moving = self.moving().filter(|to| Some(*to) != self.facts.running)?;
        let parts = self.facts.proofs.get(&moving).map(|p| &p.parts);
        let is_healthy = |slug: &&Slug| {
            let owner = Owner::Tenant((*slug).clone());
            parts
                .and_then(|p| p.get(&owner))
                .is_some_and(|p| p.now == Answer::Pass)
        };
        let done: Vec<&str> = changed.iter().filter(is_healthy).map(Slug::as_str).collect();
        (!done.is_empty()).then(|| {
            let text = format!(
                "{moving} is on its way, and {} runs it already: this goes next",
                done.join(", ")
            );
            Gate::new("rollout", Answer::Unknown, text)
        })
    }

    /// Tenants whose change of files was begun and is neither healthy nor failed.
    fn files_under_way(&self) -> Vec<&Slug> {
        let tenants = self.world.facts.tenants.iter();
        let mine = tenants.filter(|(_, f)| f.ring == self.ring.name);
        mine.filter(|(_, f)| {
            let asked = f.asked.as_ref().map(|(_, files)| files.id);
            let asked = asked.filter(|id| !f.quarantine.contains_key(id));
            asked.is_some() && asked != f.good.as_ref().map(|(_, files)| files.id)
        })
        .map(|(slug, _)| slug)
        .collect()
    }

    /// What kind of move a candidate is, from where, and to where.
    fn ends(&self, to: Option<ReleaseId>) -> (MoveKind, Option<Moved>, Option<Moved>) {
        let running = self.facts.running;
        match (to, &self.with) {
            (Some(to), Some(with)) => {
                let from = running.map(|r| Moved::Both(r, with.from()));
                (MoveKind::Both, from, Some(Moved::Both(to, with.to())))
            }
            (to, _) => {
                let first = running.is_none();
                let kind = if first { MoveKind::Both } else { MoveKind::Release };
                (kind, running.map(Moved::Release), to.map(Moved::Release))
            }
        }
    }

    /// The gates of a move to another release. `under`: the policy before the commit that asks for it, where that changed both.
    fn judge_release(&self, candidate: &Candidate, open: &Open, under: Option<&Under>) -> Judged {
        let to = candidate.release.as_ref().ok().map(|r| r.id);
        let (_, from, moved) = self.ends(to);
        let mut judged = Judged::default();
        judged.gates.push(self.release_gate(candidate));
        let (Some(release), Some(moved)) = (to, moved) else {
            return judged;
        };
        let with = self.with.as_ref();
        let files = with.map_or(self.files.before(), Change::after);
        let mut behind = candidate.behind.clone();
        if let Some(with) = with {
            behind.join(&with.behind());
        }
        let before = under.and_then(|under| under.policy.rings.get(self.ring.name.as_str()));
        let world = under.map(|under| World {
            policy: &under.policy,
            ..*self.world
        });
        let case = Case {
            world: world.as_ref().unwrap_or(self.world),
            ring: before.unwrap_or(self.ring),
            input: self.input,
            facts: self.facts,
            request: &candidate.request,
            from,
            to: moved,
            behind: &behind,
            resources: self.resources(release, files, open),
            policy: under.map(|under| under.id).or(self.input.policy),
        };
        // A pin that names the last healthy one is a rollback: what was proven here needs no other proof. Files that go
        // along were not.
        let back = candidate.pinned && self.facts.previous == Some(release);
        let more = match with {
            None if back => case.rollback(),
            Some(_) if back => case.files(),
            _ => case.release(release),
        };
        judged.gates.extend(more.gates);
        judged.words.extend(more.words);
        judged
    }

    /// The move to another release: its gates, and the ring's target if they pass.
    fn release_move(&mut self, candidate: &Candidate, open: &Open, out: &mut RingDecision) {
        let to = candidate.release.as_ref().ok().map(|r| r.id);
        let with = self.with.as_ref();
        let (kind, from, moved) = self.ends(to);
        let name = self.ring.name.as_str();
        let under = self.input.pin_under.as_ref();
        let under = under.filter(|u| candidate.pinned && u.policy.rings.get(name).is_some());
        if under.is_some() {
            out.conditions.push(format!(
                "commit {} pins a release and changes policy: the pin is judged under the policy before it",
                candidate.request.short()
            ));
        }
        let policy = under.map(|under| under.id).or(self.input.policy);
        let mut judged = self.judge_release(candidate, open, under);
        judged.gates.extend(self.hold_gate());
        let started = self.is_started(to, with.map(Change::to));
        let failed = to.and_then(|to| self.facts.quarantine.get(&to));
        let failed = failed.filter(|q| !candidate.pinned || q.request == candidate.request);
        if let Some(q) = failed {
            let text = format!("it failed here: {}", q.reason);
            judged.gates.push(Gate {
                since: Some(q.at),
                ..Gate::new("quarantine", Answer::Fail, text)
            });
        } else if !started {
            judged.gates.extend(self.turn());
        }
        let state = match failed {
            Some(_) => MoveState::Quarantined,
            // One that has started goes on, whatever becomes of its gates.
            None if (started && !out.held) || all_pass(&judged.gates) => MoveState::Open,
            None => MoveState::Waiting,
        };
        if started {
            // Whoever asks for it last stands for its end: what was asked before it failed asks for no second try.
            out.request = Some(candidate.request.clone());
        }
        match state {
            MoveState::Open => {
                out.target = to;
                out.request = Some(candidate.request.clone());
                self.takes.extend(self.with.iter().flat_map(Change::takes));
                if self.input.tip.is_some() && self.input.unknown_target.is_none() {
                    out.phase = Phase::Synced;
                }
            }
            // The ring stays on what it has: only where nothing went back is that the one that failed.
            MoveState::Quarantined if self.facts.rolled_back => out.phase = Phase::RolledBack,
            MoveState::Quarantined if out.target == to => out.phase = Phase::Degraded,
            MoveState::Quarantined | MoveState::Waiting => out.phase = Phase::Waiting,
        }
        out.moves.push(Move {
            kind,
            request: candidate.request.clone(),
            pinned: candidate.pinned,
            from,
            to: moved,
            policy,
            state,
            gates: judged.gates,
            words: judged.words,
            takes: self.with.as_ref().map(Change::takes).unwrap_or_default(),
        });
    }

    /// Whether exactly this move is under way.
    fn is_started(&self, to: Option<ReleaseId>, with: Option<FilesId>) -> bool {
        let moving = self.facts.moving.as_ref();
        moving.is_some_and(|m| Some(m.to) == to && (with.is_none() || m.files.is_none() || m.files == with))
    }

    /// Of a ring's open moves one runs.
    fn turn(&self) -> Option<Gate> {
        if let Some(moving) = self.moving().filter(|to| Some(*to) != self.facts.running)
            && self.facts.proofs.get(&moving).is_some_and(is_healthy)
        {
            let text = format!("{moving} is healthy and being observed: this goes next");
            return Some(Gate::new("rollout", Answer::Unknown, text));
        }
        let along = |slug: &Slug| self.with.as_ref().is_some_and(|w| w.asks().contains_key(slug));
        let mut first: BTreeSet<&Slug> = self.takes.keys().filter(|slug| !along(slug)).collect();
        if self.facts.running.is_some() && self.moving().is_none() {
            first.extend(self.files_under_way());
        }
        (!first.is_empty()).then(|| {
            let names: Vec<&str> = first.into_iter().map(Slug::as_str).collect();
            let text = format!("the tenant files of {} go first", names.join(", "));
            Gate::new("rollout", Answer::Unknown, text)
        })
    }

    fn release_gate(&self, candidate: &Candidate) -> Gate {
        if let Some(target) = &self.input.unknown_target {
            return Gate::new("release", Answer::Unknown, undeclared(target));
        }
        let release = match &candidate.release {
            Ok(release) => release,
            Err(reason) => return Gate::new("release", Answer::Fail, reason.clone()),
        };
        let along = |slug: &Slug| self.with.as_ref().is_some_and(|w| w.asks().contains_key(slug));
        let mut lacking = Vec::new();
        for (slug, _) in self
            .world
            .facts
            .tenants
            .iter()
            .filter(|(_, f)| f.ring == self.ring.name)
        {
            let files = self.world.facts.tenants.get(slug).and_then(super::files::has);
            let key = files.map(|files| (slug.clone(), files, release.id));
            if let Some(why) = key
                .and_then(|key| self.input.misfits.get(&key))
                .filter(|_| !along(slug))
            {
                lacking.push(format!("tenant {slug}: {}", why.join("; ")));
            }
        }
        if !lacking.is_empty() {
            let text = format!(
                "{} does not fit what ring {} runs: {}",
                release.id,
                self.ring.name,
                lacking.join("; ")
            );
            return Gate::new("release", Answer::Fail, text);
        }
        let images = match release.images.len() {
            1 => "its image".to_owned(),
            n => format!("its {n} images"),
        };
        let text = format!(
            "{} reads cleanly and {images} can be had{}",
            release.id,
            self.input.not_run_here(release.id)
        );
        Gate::new("release", Answer::Pass, text)
    }
}

/// Whether all of a release's parts are healthy.
pub(super) fn is_healthy(proof: &Proof) -> bool {
    !proof.parts.is_empty() && proof.parts.values().all(|p| p.now == Answer::Pass)
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
