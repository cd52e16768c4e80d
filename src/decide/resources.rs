//! What services take of their engine: memory that they reserve, GPU memory, ports of the host. All rings of one engine
//! add up, and each service counts once, wherever it is seen.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, RingFacts};
use super::gate::{Answer, Gate};
use super::{Decision, RingInput, Task, World};
use crate::fleet::compose::service::Protocol;
use crate::fleet::names::{FilesId, Owner, ReleaseId, RingName, ServiceKey, Slug, SpecHash};

/// What an engine has. None: not known, and not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Its own id: rings with the same one share it.
    pub engine: String,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of GPU memory.
    pub vram: Option<u64>,
}

/// What one service takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// What it is made of: equal ones are one container.
    pub spec: Option<SpecHash>,
    /// Bytes of memory that it reserves.
    pub memory: u64,
    /// Bytes of memory that it may take; 0: no limit.
    pub limit: u64,
    /// Bytes of GPU memory.
    pub vram: u64,
    /// Fixed ports of the host.
    pub ports: BTreeSet<HostPort>,
    /// Whether its old and its new container run beside each other for a while.
    pub overlaps: bool,
}

/// A fixed port of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address.
    pub ip: String,
}

impl HostPort {
    fn clashes(&self, other: &Self) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// Whose services: an owner's, with which files (a tenant's own) and release.
pub type Part = (Owner, Option<FilesId>, ReleaseId);

/// What each service of a part takes, by its name.
pub type PartNeeds = BTreeMap<String, Needs>;

/// What a ring runs: the parts whose services are on its engine.
pub(super) type Parts = BTreeSet<Part>;

/// What the rings that were decided before shall run from now on.
pub(super) type Open = BTreeMap<RingName, Parts>;

/// Every service of an engine, with what it takes.
#[derive(Debug, Clone, Default)]
struct Load<'a>(BTreeMap<(&'a Owner, &'a str), &'a Needs>);

impl<'a> Load<'a> {
    /// In the order of the rings: a later ring provides what both declare.
    fn add(&mut self, input: &'a RingInput, parts: &Parts) {
        for part in parts {
            if let Some(((owner, _, _), services)) = input.needs.get_key_value(part) {
                let named = services
                    .iter()
                    .map(|(name, needs)| ((owner, name.as_str()), needs));
                self.0.extend(named);
            }
        }
    }
}

/// What may be short.
struct Kind {
    what: &'static str,
    of: fn(&Needs) -> u64,
    has: fn(&Capacity) -> Option<u64>,
}

const KINDS: [Kind; 2] = [
    Kind {
        what: "memory",
        of: |n| n.memory,
        has: |c| c.memory,
    },
    Kind {
        what: "GPU memory",
        of: |n| n.vram,
        has: |c| c.vram,
    },
];

/// Who asks for a port of the host, and whether that is new.
type Holder<'a> = ((&'a Owner, &'a str), &'a HostPort, bool);

/// What there is before a change, and what there is after it.
struct Change<'a> {
    before: Vec<Load<'a>>,
    after: Load<'a>,
}

impl Change<'_> {
    fn was(&self, key: (&Owner, &str), of: fn(&Needs) -> u64) -> u64 {
        let all = self.before.iter().filter_map(|load| load.0.get(&key));
        all.map(|needs| of(needs)).max().unwrap_or(0)
    }

    /// All that is taken before.
    fn sum_before(&self, of: fn(&Needs) -> u64) -> u64 {
        let keys: BTreeSet<_> = self.before.iter().flat_map(|load| load.0.keys()).collect();
        keys.into_iter().map(|key| self.was(*key, of)).sum()
    }

    /// The most that is taken on the way, if no service overlaps with itself: what a move drops stays until it succeeded.
    fn peak(&self, of: fn(&Needs) -> u64) -> u64 {
        let mut keys: BTreeSet<_> = self.before.iter().flat_map(|load| load.0.keys()).collect();
        keys.extend(self.after.0.keys());
        let most = |key: &(&Owner, &str)| {
            let after = self.after.0.get(key).map_or(0, |needs| of(needs));
            self.was(*key, of).max(after)
        };
        keys.into_iter().map(most).sum()
    }

    /// What each service that runs beside its successor for a while takes in addition.
    fn overlaps(&self, of: fn(&Needs) -> u64) -> Vec<(u64, ServiceKey)> {
        let mut overlaps = Vec::new();
        for (key, needs) in &self.after.0 {
            let changed = self
                .before
                .iter()
                .filter_map(|load| load.0.get(key))
                .any(|old| old.spec != needs.spec);
            let more = self.was(*key, of).min(of(needs));
            if needs.overlaps && changed && more > 0 {
                let key = ServiceKey {
                    owner: key.0.clone(),
                    service: key.1.to_owned(),
                };
                overlaps.push((more, key));
            }
        }
        overlaps.sort_by(|(one, key), (other, than)| other.cmp(one).then_with(|| key.cmp(than)));
        overlaps
    }

    /// Ports that two services would hold, where the change brings that about.
    fn clashes(&self) -> Vec<String> {
        let mut held: BTreeMap<u16, Vec<Holder<'_>>> = BTreeMap::new();
        let mut clashes = Vec::new();
        for (key, needs) in &self.after.0 {
            for port in &needs.ports {
                let old = |load: &Load<'_>| load.0.get(key).is_some_and(|n| n.ports.contains(port));
                let new = !self.before.iter().any(old);
                let others = held.entry(port.port).or_default();
                for (other, theirs, is_new) in others.iter() {
                    if (new || *is_new) && port.clashes(theirs) {
                        clashes.push(format!(
                            "host port {} is asked for by {}/{} and by {}/{}",
                            port.port, other.0, other.1, key.0, key.1
                        ));
                    }
                }
                others.push((*key, port, new));
            }
        }
        clashes
    }

    /// The gate of a change on an engine; none: nothing takes anything.
    fn judge(&self, has: &Capacity) -> Option<Gate> {
        let clashes = self.clashes();
        let mut told = Vec::new();
        let mut state = Answer::Pass;
        for kind in &KINDS {
            let (peak, before) = (self.peak(kind.of), self.sum_before(kind.of));
            if peak == 0 {
                continue;
            }
            let what = kind.what;
            let Some(capacity) = (kind.has)(has) else {
                told.push(format!(
                    "{} of {what} reserved; how much there is is not known",
                    bytes(peak)
                ));
                continue;
            };
            let sum = format!(
                "{} of {what} reserved now, {} on the way, of {}",
                bytes(before),
                bytes(peak),
                bytes(capacity)
            );
            // What runs is not judged: a move that asks for no more than that is none the worse.
            if peak > capacity && peak > before {
                state = Answer::Fail;
                told.push(format!("{sum}: {} too much", bytes(peak - capacity)));
                continue;
            }
            told.push(sum);
            let overlap: u64 = self.overlaps(kind.of).iter().map(|(more, _)| more).sum();
            if overlap > 0 && peak + overlap > capacity {
                told.push(format!(
                    "old and new together would need {}: some stop first",
                    bytes(peak + overlap)
                ));
            }
        }
        let limits: u64 = self.peak(|n| n.limit);
        if let Some(memory) = has.memory.filter(|memory| limits > *memory) {
            told.push(format!("limits add up to {} of {}", bytes(limits), bytes(memory)));
        }
        if !clashes.is_empty() {
            state = Answer::Fail;
            told.extend(clashes);
        } else if told.is_empty() {
            let ports: usize = self.after.0.values().map(|n| n.ports.len()).sum();
            if ports == 0 {
                return None;
            }
            told.push(format!("{ports} host ports, each asked for once"));
        }
        Some(Gate::new("resources", state, told.join("; ")))
    }
}

/// What a ring runs by what is remembered: where it can go back to, and where it is going.
fn remembered(facts: &Facts, ring: &RingName, of_ring: &RingFacts) -> [Parts; 2] {
    let (mut before, mut going) = (Parts::new(), Parts::new());
    let tenant = |slug: &Slug, files: FilesId, release| (Owner::Tenant(slug.clone()), Some(files), release);
    for (slug, facts) in facts.tenants.iter().filter(|(_, f)| f.ring == *ring) {
        if let Some((release, files)) = facts.good.as_ref().or_else(|| facts.last()) {
            before.insert(tenant(slug, files.id, *release));
        }
        if let Some((release, files)) = facts.last() {
            let release = of_ring.moving.as_ref().map_or(*release, |m| m.to);
            going.insert(tenant(slug, files.id, release));
        }
    }
    let moving = of_ring.moving.as_ref().map(|m| m.to);
    before.extend(of_ring.running.into_iter().flat_map(|r| shared(ring, r)));
    going.extend(
        moving
            .or(of_ring.running)
            .into_iter()
            .flat_map(|r| shared(ring, r)),
    );
    [before, going]
}

/// The parts of a release that tenants share.
pub fn shared(ring: &RingName, release: ReleaseId) -> [Part; 2] {
    [
        (Owner::Ring(ring.clone()), None, release),
        (Owner::Fleet, None, release),
    ]
}

/// The rings of one engine, and what each of them runs.
struct Engine<'a> {
    has: &'a Capacity,
    rings: Vec<(&'a RingName, &'a RingInput, [Parts; 2])>,
}

impl<'a> Engine<'a> {
    fn of(world: &'a World<'a>, ring: &RingName) -> Option<Self> {
        let has = world.rings.get(ring)?.capacity.as_ref()?;
        let rings = world.policy.rings.0.iter().filter_map(|ring| {
            let input = world.rings.get(&ring.name)?;
            let here = input.capacity.as_ref().is_some_and(|c| c.engine == has.engine);
            let parts = remembered(world.facts, &ring.name, world.facts.ring(&ring.name));
            here.then_some((&ring.name, input, parts))
        });
        Some(Self {
            has,
            rings: rings.collect(),
        })
    }

    fn load(&self, which: usize, instead: &Open) -> Load<'a> {
        let mut load = Load::default();
        for (name, input, parts) in &self.rings {
            if let Some(parts) = instead.get(*name).or_else(|| parts.get(which)) {
                load.add(input, parts);
            }
        }
        load
    }
}

/// Judges a move of a ring after which it runs `parts`. `open`: what the rings before it shall run from now on.
pub(super) fn gate(world: &World<'_>, ring: &RingName, parts: Parts, open: &Open) -> Option<Gate> {
    let engine = Engine::of(world, ring)?;
    let now = Open::new();
    let mut then = open.clone();
    then.insert(ring.clone(), parts);
    let change = Change {
        before: vec![engine.load(0, &now), engine.load(1, open)],
        after: engine.load(1, &then),
    };
    change.judge(engine.has)
}

/// Services that stop first at this moment, though they need not by themselves: beside their successors they would take more
/// than their engine has. With the reason.
pub(super) fn stop_first(world: &World<'_>, decision: &Decision) -> BTreeMap<ServiceKey, String> {
    let mut stops = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let now = Open::new();
    let then = decided(world, decision);
    for ring in &world.policy.rings.0 {
        let Some(engine) = Engine::of(world, &ring.name).filter(|e| seen.insert(e.has.engine.clone())) else {
            continue;
        };
        let change = Change {
            before: vec![engine.load(0, &now)],
            after: engine.load(1, &then),
        };
        for kind in &KINDS {
            let Some(capacity) = (kind.has)(engine.has) else {
                continue;
            };
            let overlaps = change.overlaps(kind.of).into_iter();
            let overlaps: Vec<_> = overlaps.filter(|(_, key)| !took_over(world, key)).collect();
            let peak = change.peak(kind.of);
            let mut all: u64 = peak + overlaps.iter().map(|(more, _)| more).sum::<u64>();
            let why = format!(
                "beside what it replaces, {} of {} would be reserved, of {}",
                bytes(all),
                kind.what,
                bytes(capacity)
            );
            // The largest first, and no more than it takes.
            for (more, key) in overlaps {
                if all <= capacity {
                    break;
                }
                all -= more;
                stops.insert(key, why.clone());
            }
        }
    }
    stops
}

/// What each ring shall run at this moment.
fn decided(world: &World<'_>, decision: &Decision) -> Open {
    let mut all = Open::new();
    for ring in &decision.rings {
        let target = ring.target.into_iter().flat_map(|r| shared(&ring.name, r));
        all.insert(ring.name.clone(), target.collect());
    }
    for tenant in decision.tenants.values().filter(|t| t.task == Task::Run) {
        if let (Some(release), Some(files)) = (tenant.release, &tenant.files) {
            let part = (Owner::Tenant(tenant.slug.clone()), Some(files.id), release);
            all.entry(tenant.ring.clone()).or_default().insert(part);
        }
    }
    all.retain(|ring, _| world.rings.contains_key(ring));
    all
}

/// Whether an owner has been healthy on the release that its ring moves to: what it ran before is stopped.
fn took_over(world: &World<'_>, key: &ServiceKey) -> bool {
    let ring = match &key.owner {
        Owner::Tenant(slug) => world.facts.tenants.get(slug).map(|facts| &facts.ring),
        Owner::Ring(ring) => Some(ring),
        Owner::Fleet => None,
    };
    let ring = ring.map(|ring| world.facts.ring(ring));
    let proof = ring.and_then(|r| r.proofs.get(&r.moving.as_ref()?.to));
    let part = proof.and_then(|p| p.parts.get(&key.owner));
    part.is_some_and(|p| p.was_healthy)
}

/// Bytes for people.
fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size);
    let Some((size, name)) = unit else {
        return format!("{bytes} B");
    };
    let tenths = bytes / (size / 10).max(1);
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}
