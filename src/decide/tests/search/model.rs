//! A small world around `decide`: two rings with a tenant each, people, releases that turn out good or bad, and a controller
//! that writes down what the real one does. What may have happened is kept apart from what `decide` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::ToSpan as _;

use super::super::gates::{PRINCIPALS, person};
use super::super::*;
use crate::decide::facts::PartProof;
use crate::decide::records::{Held, Record};
use crate::fleet::decisions::{Approval, Binding, Verdict};
use crate::fleet::names::{Owner, PrincipalName};

/// The rings, and the tenant of each.
pub const RINGS: [(&str, &str); 2] = [("dev", "lab-one"), ("prod", "acme-inc")];
/// Files that a tenant may have.
pub const FILES: [&str; 2] = ["", "spirit: new"];
/// So many releases there are.
pub const RELEASES: u8 = 3;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The head of dev's branch has this release.
    Commit(u8),
    /// Somebody pins prod to it.
    Pin(u8),
    /// prod's pin is removed.
    Unpin,
    /// A ring's branch has other files of its tenant.
    Files(usize, usize),
    /// A person says yes, or no, to all that prod waits for.
    Says(&'static str, Verdict),
    /// A ring is paused, or goes on.
    Hold(usize),
    /// A release does like this in a ring.
    Turns(usize, u8, Answer),
    /// Time passes.
    Hours(i64),
    /// Nothing but another look.
    Pass,
}

/// What a person said, and about what.
#[derive(Debug, Clone)]
struct Word {
    by: PrincipalName,
    binding: Binding,
    no: bool,
    at: Timestamp,
    used: bool,
}

#[derive(Clone)]
pub struct Model {
    pub room: Room,
    /// How each release does in each ring; well, where nothing else is said.
    health: BTreeMap<(&'static str, u8), Answer>,
    words: Vec<Word>,
    /// Commits so far.
    commits: u32,
    /// Since when each commit asks for something.
    asked_at: BTreeMap<CommitId, Timestamp>,
    /// Releases that were healthy in dev, whatever is remembered of it.
    proven: BTreeSet<ReleaseId>,
    last: Option<Timestamp>,
    pub log: String,
    /// What has happened in it: a search in which nothing does proves nothing.
    pub met: BTreeSet<&'static str>,
}

/// All that is to be met.
pub const MET: [&str; 9] = [
    "prod takes a release",
    "prod goes back by its pin",
    "prod takes files",
    "a release fails in dev",
    "a release fails in prod",
    "files fail",
    "what failed is tried again",
    "a rollout is replaced",
    "a rollout is taken back",
];

type Check = Result<(), String>;

fn number(id: ReleaseId) -> u8 {
    (1..=RELEASES).find(|n| rel(*n) == id).unwrap()
}

impl Model {
    /// dev and prod run 1.
    pub fn new() -> Self {
        let rings = "rings:
  dev: {id: 0, branch: b-dev, auto_deploy: true}
  prod: {id: 1, branch: b-prod, soak: 1h, approvals: {required: 1, expires: 5h}}
";
        let tree = Tree::of_files([
            ("ringfence.yaml", "fleet: aither\n"),
            ("rings/rings.yaml", rings),
            ("rings/principals.yaml", PRINCIPALS),
        ]);
        let mut room = Room::new(&[("dev", ""), ("prod", "")]);
        room.policy = crate::fleet::policy(&tree, "aither").policy.unwrap();
        for (name, tenant) in RINGS {
            room.runs(name, 1).has(name, tenant, 1, "").file(name, tenant, "");
        }
        room.asked("dev", 1);
        for n in 1..=RELEASES {
            room.facts.releases.insert(rel(n), release(n));
        }
        Self {
            room,
            health: BTreeMap::new(),
            words: Vec::new(),
            commits: 0,
            asked_at: BTreeMap::new(),
            proven: BTreeSet::from([rel(1)]),
            last: None,
            log: String::new(),
            met: BTreeSet::new(),
        }
    }

    fn request(&mut self) -> CommitId {
        self.commits += 1;
        let id: CommitId = format!("{:040x}", 0x1000 + self.commits).parse().unwrap();
        self.asked_at.insert(id.clone(), self.room.now);
        id
    }

    /// What happens, and the passes that follow.
    pub fn step(&mut self, event: Event) -> Check {
        writeln!(self.log, "{event:?}").unwrap();
        self.happens(event);
        for _ in 0..3 {
            self.pass()?;
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Commit(n) => {
                let request = self.request();
                self.room.asked("dev", n).candidate("dev").request = request;
            }
            Event::Pin(n) => {
                let request = self.request();
                let candidate = self.room.asked("prod", n).candidate("prod");
                candidate.request = request;
                candidate.pinned = true;
                candidate.behind.requesters = BTreeSet::from([person("cho")]);
            }
            Event::Unpin => self.room.input("prod").candidate = None,
            Event::Files(ring, which) => {
                let (ring, tenant) = RINGS[ring];
                let request = self.request();
                self.room.file(ring, tenant, FILES[which]);
                let asks = &mut self.room.input(ring).tenants.get_mut(tenant).unwrap().asks;
                asks.request = request;
                asks.behind.requesters = BTreeSet::from([person("cho")]);
            }
            Event::Says(by, verdict) => self.says(by, verdict),
            Event::Hold(which) => {
                let ring = ring(RINGS[which].0);
                let held = &mut self.room.records.held_rings;
                if held.remove(&ring).is_none() {
                    let paused = Held {
                        hold: Err("its file is no YAML".to_owned()),
                        by: Ok(person("ana")),
                    };
                    held.insert(ring, paused);
                }
            }
            Event::Turns(of, n, how) => drop(self.health.insert((RINGS[of].0, n), how)),
            Event::Hours(hours) => self.room.now += hours.hours(),
            Event::Pass => {}
        }
    }

    fn says(&mut self, by: &str, verdict: Verdict) {
        let decision = self.room.decide();
        for of in decision.ring(&ring("prod")).unwrap().moves.clone() {
            let (Some(to), Some(policy)) = (of.to, of.policy) else {
                continue;
            };
            let binding = Binding {
                ring: ring("prod"),
                request: of.request.clone(),
                from: of.from,
                to,
                policy,
            };
            self.words.push(Word {
                by: person(by),
                binding: binding.clone(),
                no: verdict == Verdict::Reject,
                at: self.room.now,
                used: false,
            });
            self.room.records.approvals.push(Record {
                path: String::new(),
                value: Approval {
                    binding,
                    principal: person(by),
                    verdict,
                    reason: None,
                    expires: None,
                },
                commit: commit(70),
                word: Digest::of("word", &self.words.len()),
                seen: self.room.now,
                by: Ok(person(by)),
            });
        }
    }

    /// Whether somebody who may said yes to exactly this, and nobody no; the word is used up.
    fn allowed(&mut self, open: &Move) -> Check {
        let now = self.room.now;
        let mut words: Vec<&mut Word> = self
            .words
            .iter_mut()
            .filter(|w| w.binding.request == open.request && Some(w.binding.to) == open.to)
            .filter(|w| w.binding.from == open.from && w.at + 5.hours() > now)
            .collect();
        if words.iter().any(|w| w.no) {
            return Err(format!("somebody said no to {open:?}"));
        }
        let yes = words
            .iter_mut()
            .find(|w| !w.used && [person("ana"), person("ben")].contains(&w.by));
        let yes = yes.ok_or_else(|| format!("nobody who may said yes to {open:?}"))?;
        yes.used = true;
        Ok(())
    }

    /// One pass of the controller, a minute later.
    pub fn pass(&mut self) -> Check {
        self.room.now += 1.minute();
        let facts = self.room.facts.clone();
        let decision = self.room.decide();
        for (name, _) in RINGS {
            self.ring_asked(&facts, decision.ring(&ring(name)).unwrap())?;
        }
        for (name, tenant) in RINGS {
            self.tenant_asked(name, tenant, &facts, &decision)?;
        }
        for (name, tenant) in RINGS {
            self.observed(name, tenant);
            self.judged(name, tenant, &decision);
        }
        self.last = Some(self.room.now);
        Ok(())
    }

    /// As `Controller::remember_asked` does for a ring. A release that starts was allowed to.
    fn ring_asked(&mut self, facts: &Facts, decided: &RingDecision) -> Check {
        let of_ring = facts.ring(&decided.name);
        let Some(target) = decided.target else {
            return Err(format!("{} lost what it runs", decided.name));
        };
        if decided.held && Some(target) != of_ring.moving.as_ref().map(|m| m.to).or(of_ring.running) {
            return Err(format!("{} moves though it is held", decided.name));
        }
        if Some(target) == of_ring.running {
            if of_ring.moving.is_some() {
                self.met.insert("a rollout is taken back");
            }
            self.room.ring_facts(decided.name.as_str()).moving = None;
            return Ok(());
        }
        let moving = of_ring.moving.as_ref();
        let open = decided.open(|to| to.release() == Some(target)).cloned();
        let files = open.as_ref().and_then(|m| m.to).and_then(|to| to.files());
        if moving.is_some_and(|m| m.to == target && (files.is_none() || m.files == files)) {
            return Ok(());
        }
        let open = open.ok_or_else(|| format!("{target} starts without an open move"))?;
        if let Some(failed) = of_ring.quarantine.get(&target) {
            let newer = self
                .asked_at
                .get(&open.request)
                .is_some_and(|at| *at >= failed.at);
            let pinned = self.room.candidate(decided.name.as_str()).pinned;
            if !pinned || !newer || open.request == failed.request {
                return Err(format!("{target} failed and is tried again by itself"));
            }
            self.met.insert("what failed is tried again");
        }
        if decided.name.as_str() == "prod" && of_ring.previous != Some(target) {
            if !self.proven.contains(&target) {
                return Err(format!("{target} starts in prod and was never healthy in dev"));
            }
            self.allowed(&open)?;
            self.met.insert("prod takes a release");
        } else if decided.name.as_str() == "prod" {
            self.met.insert("prod goes back by its pin");
        }
        if moving.is_some() {
            self.met.insert("a rollout is replaced");
        }
        let moving = MoveUnderWay {
            to: target,
            files,
            request: open.request,
            since: self.room.now,
            spent: open.words.clone(),
        };
        self.room.facts.spent.extend(open.words);
        let of_ring = self.room.ring_facts(decided.name.as_str());
        of_ring.quarantine.remove(&target);
        of_ring.moving = Some(moving);
        Ok(())
    }

    /// The same for a tenant: it runs what its ring runs or moves to, and files that were allowed.
    fn tenant_asked(&mut self, name: &str, tenant: &str, facts: &Facts, decision: &Decision) -> Check {
        let decided = &decision.tenants[tenant];
        let of_ring = decision.ring(&ring(name)).unwrap();
        let open = of_ring.open(|to| to.release().is_none()).cloned();
        let before = &facts.tenants[tenant];
        let (release, files) = (decided.release.unwrap(), decided.files.clone().unwrap());
        let had = before.asked.clone().unwrap();
        if decided.held {
            return if (release, &files) == (had.0, &had.1) || before.quarantine.contains_key(&had.1.id) {
                Ok(())
            } else {
                Err(format!("{tenant} is held and changes"))
            };
        }
        if before.quarantine.contains_key(&files.id) {
            return Err(format!("{tenant} runs files that failed"));
        }
        let back = before.good.as_ref().is_some_and(|(_, good)| good.id == files.id);
        if name == "prod" && files.id != had.1.id && !back {
            let open = open
                .clone()
                .ok_or_else(|| format!("{tenant} takes files without a move"))?;
            self.allowed(&open)?;
            self.met.insert("prod takes files");
        }
        if let Some(open) = open {
            self.room.facts.spent.extend(open.words);
        }
        let tenant = self.room.facts.tenants.get_mut(tenant).unwrap();
        tenant.asked = Some((release, files));
        Ok(())
    }

    fn health(&self, name: &str, tenant: &str) -> Answer {
        let (release, _) = self.room.facts.tenants[tenant].asked.as_ref().unwrap();
        let said = self.health.get(&(name, number(*release)));
        said.copied().unwrap_or(Answer::Pass)
    }

    /// How the tenant does is written down for what it runs.
    fn observed(&mut self, name: &str, tenant: &str) {
        let (release, _) = self.room.facts.tenants[tenant].asked.clone().unwrap();
        let now = self.health(name, tenant);
        let passed = self
            .last
            .map_or(0, |last| self.room.now.duration_since(last).as_secs());
        let passed = u64::try_from(passed).unwrap();
        let proof = self.room.ring_facts(name).proofs.entry(release).or_default();
        proof.displaced = None;
        let part = proof
            .parts
            .entry(Owner::Tenant(slug(tenant)))
            .or_insert(PartProof {
                now,
                why: None,
                healthy_ms: 0,
                was_healthy: false,
            });
        match now {
            Answer::Pass if part.now == Answer::Pass => part.healthy_ms += passed * 1000,
            Answer::Fail => part.healthy_ms = 0,
            _ => {}
        }
        part.now = now;
        part.was_healthy |= now == Answer::Pass;
        proof.healthy_ms = part.healthy_ms;
        proof.longest_ms = proof.longest_ms.max(part.healthy_ms);
    }

    /// As `Controller::record` does: failures first, then successes.
    fn judged(&mut self, name: &str, tenant: &str, decision: &Decision) {
        let decided = decision.ring(&ring(name)).unwrap();
        let facts = self.room.facts.clone();
        let of_ring = facts.ring(&ring(name));
        let own = &facts.tenants[tenant];
        let asked = own.asked.clone().unwrap();
        let quarantine = |request: CommitId| Quarantine {
            reason: "it is unhealthy".to_owned(),
            at: self.room.now,
            request,
        };
        let good = own.good.as_ref() == Some(&asked);
        match self.health(name, tenant) {
            Answer::Fail if !good => {
                let owner = Owner::Tenant(slug(tenant));
                if let Some(moving) = of_ring.moving.as_ref().filter(|m| Some(m.to) != of_ring.running) {
                    if !of_ring.was_sick(&owner, &moving.to) && asked.0 == moving.to {
                        let asked = decided.request.as_ref().unwrap_or(&moving.request);
                        let quarantine = quarantine(asked.clone());
                        self.met.insert(if name == "dev" {
                            "a release fails in dev"
                        } else {
                            "a release fails in prod"
                        });
                        let of_ring = self.room.ring_facts(name);
                        of_ring.quarantine.insert(moving.to, quarantine);
                        of_ring.moving = None;
                        of_ring.rolled_back = true;
                    }
                } else if own.good.as_ref().is_some_and(|(_, files)| files.id != asked.1.id) {
                    let quarantine = quarantine(asked.1.commit);
                    self.met.insert("files fail");
                    let own = self.room.facts.tenants.get_mut(tenant).unwrap();
                    own.quarantine.insert(asked.1.id, quarantine);
                }
            }
            Answer::Pass => {
                let target = decided.target.unwrap();
                if decided.held || asked.0 != target {
                    return;
                }
                if of_ring.running != Some(target) {
                    self.succeeded(name, target);
                }
                if name == "dev" {
                    self.proven.insert(target);
                }
                self.room.facts.tenants.get_mut(tenant).unwrap().good = Some(asked);
            }
            _ => {}
        }
    }

    /// As `Store::ring_succeeded` does.
    fn succeeded(&mut self, name: &str, release: ReleaseId) {
        let now = self.room.now;
        let of_ring = self.room.ring_facts(name);
        let before = of_ring.running.replace(release);
        of_ring.moving = None;
        of_ring.rolled_back = false;
        of_ring.previous = if of_ring.previous == Some(release) {
            None
        } else {
            before
        };
        if let Some(proof) = before.and_then(|before| of_ring.proofs.get_mut(&before)) {
            proof.displaced = Some(now);
        }
        let proof = of_ring.proofs.entry(release).or_default();
        proof.succeeded.get_or_insert(now);
    }

    /// All is well from now on, somebody approves whatever waits, and there is time enough: then every ring comes to where
    /// it was asked to go, or names what stands in its way.
    pub fn turns_kind(&mut self) -> Check {
        writeln!(self.log, "the world turns kind").unwrap();
        self.room.records.held_rings.clear();
        self.health.clear();
        for _ in 0..8 {
            self.says("ben", Verdict::Approve);
            for _ in 0..3 {
                self.pass()?;
            }
            self.room.now += 1.hour();
        }
        self.pass()?;
        let decision = self.room.decide();
        for decided in &decision.rings {
            let of_ring = self.room.facts.ring(&decided.name);
            if of_ring.moving.is_some() || decided.target != of_ring.running {
                return Err(format!("{} never comes to an end: {of_ring:?}", decided.name));
            }
            for left in &decided.moves {
                let named = left
                    .gates
                    .iter()
                    .any(|g| g.state != Answer::Pass && !g.evidence.is_empty());
                if left.state == MoveState::Open || !named {
                    return Err(format!("{} does not say why {left:?}", decided.name));
                }
            }
            if decided.moves.is_empty() && decided.declared.is_some_and(|d| Some(d) != of_ring.running) {
                return Err(format!("{} is not where it was asked to be", decided.name));
            }
        }
        for (_, tenant) in RINGS {
            let facts = &self.room.facts.tenants[tenant];
            let ring = self.room.facts.ring(&facts.ring);
            if facts.asked != facts.good || facts.good.as_ref().map(|(r, _)| *r) != ring.running {
                return Err(format!("{tenant} is left behind: {facts:?}"));
            }
        }
        Ok(())
    }

    /// Equal worlds have equal futures.
    pub fn key(&self) -> Digest {
        let mut rings = String::new();
        for input in self.room.rings.values() {
            let candidate = input
                .candidate
                .as_ref()
                .map(|c| (&c.request, c.pinned, c.release.as_ref().map(|r| r.id)));
            let files: Vec<_> = input
                .tenants
                .values()
                .map(|at| (&at.asks.request, at.files.files))
                .collect();
            write!(rings, "{candidate:?}{files:?}").unwrap();
        }
        let held: Vec<_> = self.room.records.held_rings.keys().collect();
        let words: Vec<_> = self.words.iter().map(|w| format!("{w:?}")).collect();
        let rest = format!("{:?}{:?}", self.health, self.room.facts);
        Digest::of("world", &(rest, rings, held, words, self.room.now.to_string()))
    }
}

impl Room {
    fn candidate(&mut self, name: &str) -> &mut Candidate {
        self.input(name).candidate.as_mut().unwrap()
    }
}
