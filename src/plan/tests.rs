//! Plans from small scenes.

mod converges;
mod live;
mod steps;
mod verdicts;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::replace::{Call, Health, LimitsUpdate};
use super::seen::{
    Cgroups, Details, EngineHealth, Observation, SeenContainer, SeenLimits, SeenNetwork, SeenVolume, State,
};
use super::*;
use crate::decide::facts::Facts;
use crate::digest::Digest;
use crate::fleet::compose::service::{Limits, Restart};
use crate::fleet::names::{ContentId, Instance, ReleaseId, Slug};
use crate::render::object::{
    Attachment, ContainerSpec, HealthSource, LiveFiles, NetworkObject, Objects, RolloutOrder, ServiceObject,
    VolumeObject,
};

fn instance() -> Instance {
    "aither".parse().unwrap()
}

fn tenant(slug: &str) -> Owner {
    Owner::Tenant(slug.parse::<Slug>().unwrap())
}

fn key(owner: &Owner, service: &str) -> ServiceKey {
    ServiceKey {
        owner: owner.clone(),
        service: service.to_owned(),
    }
}

fn start() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// The spec of a service's `n`th version.
fn spec(owner: &Owner, service: &str, n: u8) -> ContainerSpec {
    ContainerSpec {
        image: format!("sha256:{n:064x}"),
        env: BTreeMap::from([("TENANT".to_owned(), format!("{owner}/{service}"))]),
        restart: Restart::UnlessStopped,
        ..ContainerSpec::default()
    }
}

fn object(owner: &Owner, service: &str, n: u8) -> ServiceObject {
    let spec = spec(owner, service, n);
    let domain = owner.domain(&instance());
    let home = owner.network(&instance());
    ServiceObject {
        key: key(owner, service),
        ring: "dev".to_owned(),
        release: ReleaseId(ContentId(Digest::of("release", &n)).0),
        image_name: format!("web:{n}"),
        hash: spec.hash(),
        spec: Arc::new(spec),
        base_name: format!("{service}.{domain}"),
        domain,
        networks: BTreeMap::from([(home.clone(), Attachment::default())]),
        home_network: home,
        depends_on: BTreeMap::new(),
        order: RolloutOrder::StartFirst { asked: false },
        drain_ms: 1000,
        health: HealthSource::Engine,
        deadline_ms: 60_000,
        job: false,
    }
}

fn details(restart: Restart) -> Arc<Details> {
    Arc::new(Details {
        restart,
        limits: SeenLimits::default(),
        started_at: Some(start()),
        finished_at: None,
        restart_count: 0,
        exit_code: None,
        error: String::new(),
        oom_killed: false,
        networks: BTreeMap::new(),
        addresses: BTreeMap::new(),
    })
}

/// What an update makes of limits: as engines do, it leaves alone what is 0 or empty, but for processes.
fn update(now: &mut SeenLimits, to: &LimitsUpdate) {
    let signed = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
    let set = |now: &mut i64, to: Option<i64>| *now = to.filter(|n| *n != 0).unwrap_or(*now);
    set(&mut now.memory, signed(to.memory));
    set(&mut now.memory_swap, signed(to.memory));
    set(&mut now.memory_reservation, to.memory_reservation);
    set(&mut now.nano_cpus, signed(to.nano_cpus));
    set(&mut now.cpu_quota, to.cpu_quota);
    set(&mut now.cpu_shares, signed(to.cpu_shares));
    set(&mut now.blkio_weight, signed(to.blkio_weight));
    now.pids = signed(to.pids).unwrap_or(now.pids);
    now.cpuset = to.cpuset.clone().unwrap_or(now.cpuset.clone());
}

/// A container of a service's `n`th version that runs healthy under a name.
fn container(owner: &Owner, service: &str, n: u8, name: &str) -> SeenContainer {
    SeenContainer {
        id: format!("id-{}", name.replace('.', "-")),
        name: name.to_owned(),
        ring: None,
        owner: Some(owner.clone()),
        service: Some(service.to_owned()),
        spec: Some(spec(owner, service, n).hash()),
        image: format!("sha256:{n:064x}"),
        image_id: format!("sha256:{n:064x}"),
        stale_networks: BTreeSet::new(),
        volumes: BTreeMap::new(),
        stamp: String::new(),
        state: State::Running,
        health: EngineHealth::Healthy,
        networks: BTreeSet::from([owner.network(&instance())]),
        created: start(),
        details: Some(details(Restart::UnlessStopped)),
    }
}

/// All that a plan is made from, owned.
#[derive(Default)]
struct Scene {
    wanted: Objects,
    holds: BTreeMap<Owner, Hold>,
    erased: BTreeSet<Owner>,
    seen: Observation,
    facts: Facts,
    known: BTreeMap<String, Option<SpecHash>>,
    specs: BTreeMap<SpecHash, Arc<ContainerSpec>>,
    declared: BTreeMap<String, BTreeSet<String>>,
    probed: BTreeMap<String, Health>,
    gave_up: BTreeMap<String, Timestamp>,
    live: BTreeMap<String, BTreeMap<String, String>>,
    lost_live: BTreeSet<String>,
    stale: Stale,
    cgroups: Cgroups,
    /// Seconds since [`start`].
    later: i64,
}

impl Scene {
    fn now(&self) -> Timestamp {
        start() + jiff::SignedDuration::from_secs(self.later)
    }

    fn input(&self) -> Input<'_> {
        Input {
            wanted: &self.wanted,
            holds: &self.holds,
            erased: &self.erased,
            seen: &self.seen,
            facts: &self.facts,
            known: &self.known,
            specs: &self.specs,
            declared: &self.declared,
            probed: &self.probed,
            gave_up: &self.gave_up,
            watched_since: Timestamp::MIN,
            live: &self.live,
            lost_live: &self.lost_live,
            stale: &self.stale,
            cgroups: self.cgroups,
            now: self.now(),
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.input())
    }

    /// An owner is wanted: its network, and its live directory.
    fn wants_owner(&mut self, owner: &Owner) -> &mut Self {
        let name = owner.network(&instance());
        let folder = owner.domain(&instance());
        self.wanted.networks.insert(
            name.clone(),
            NetworkObject {
                name,
                owner: owner.clone(),
            },
        );
        let live = LiveFiles {
            owner: owner.clone(),
            folder: folder.clone(),
            files: BTreeMap::from([("context.json".to_owned(), "{}\n".to_owned())]),
        };
        self.wanted.live.insert(folder, live);
        self
    }

    fn wants(&mut self, object: ServiceObject) -> &mut Self {
        self.wants_owner(&object.key.owner.clone());
        self.wanted.services.insert(object.key.clone(), Arc::new(object));
        self
    }

    /// An owner's network and live directory are there.
    fn has_owner(&mut self, owner: &Owner) -> &mut Self {
        self.has_network(&owner.network(&instance()), Some(owner));
        let files = BTreeMap::from([("context.json".to_owned(), "{}\n".to_owned())]);
        self.live.insert(owner.domain(&instance()), files);
        self
    }

    fn has_network(&mut self, name: &str, owner: Option<&Owner>) {
        self.known.insert(name.to_owned(), None);
        self.seen.networks.push(SeenNetwork {
            id: format!("net-{name}"),
            name: name.to_owned(),
            ours: owner.is_some(),
            owner: owner.cloned(),
            subnets: Vec::new(),
        });
    }

    /// A container that a pass of ours wrote down.
    fn has(&mut self, container: SeenContainer) -> &mut Self {
        if let (Some(owner), Some(service)) = (&container.owner, &container.service) {
            let base = format!("{service}.{}", owner.domain(&instance()));
            let short = container.spec.map(|s| s.0.short()).unwrap_or_default();
            self.known.insert(format!("{base}.{short}"), container.spec);
        }
        self.seen.containers.push(container);
        self
    }
}
