//! A fleet of any size, and an engine on which all of it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use ringfence::decide::facts::{Facts, FilesRef, RingFacts, TenantFacts};
use ringfence::decide::records::{Behind, Records};
use ringfence::decide::{Asks, Candidate, Decision, RingInput, TenantAt, World, decide};
use ringfence::fleet::compose::service::Limits;
use ringfence::fleet::names::{CommitId, RingName, SpecHash};
use ringfence::fleet::release::Release;
use ringfence::fleet::tree::Tree;
use ringfence::fleet::{self, BaseRead, Policy, TenantsRead};
use ringfence::plan::seen::{
    Cgroups, Details, EngineHealth, Observation, SeenContainer, SeenLimits, SeenMount, SeenNetwork, State,
};
use ringfence::plan::{Input, Plan, plan};
use ringfence::render::object::{ContainerSpec, MountFrom, Objects, ServiceObject};
use ringfence::render::{self, From};

/// Services of a tenant.
const SERVICES: usize = 10;

fn commit() -> CommitId {
    "1".repeat(40).parse().unwrap()
}

fn ring() -> RingName {
    "dev".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// The files of a fleet with so many containers, ten to a tenant.
pub fn tree(containers: usize) -> Tree {
    let service = |n: usize| {
        format!(
            "  s{n}:\n    image: example/s{n}:1\n    command: [serve, --port, \"80{n:02}\"]\n    environment: {{A: \"1\", B: \"two\", C: \"${{TENANT_SLUG}}\", D: \"4\"}}\n    \
             labels: {{team: bench, part: s{n}}}\n    mem_limit: 64m\n    restart: unless-stopped\n    volumes: [\"data{n}:/data:ro\"]\n    \
             healthcheck: {{test: [CMD, check], interval: 30s}}\n"
        )
    };
    let services: String = (0..SERVICES).map(service).collect();
    let volumes: String = (0..SERVICES).map(|n| format!("  data{n}: {{}}\n")).collect();
    let mut files = vec![
        (
            "ringfence.yaml".to_owned(),
            "fleet: bench\naddress_pool: {base: 10.0.0.0/8, prefix: 27}\n".to_owned(),
        ),
        (
            "rings/rings.yaml".to_owned(),
            "rings:\n  dev: {id: 0, auto_deploy: true}\n".to_owned(),
        ),
        (
            "desired/services/app.yaml".to_owned(),
            format!("services:\n{services}volumes:\n{volumes}"),
        ),
    ];
    files.extend((0..containers.div_ceil(SERVICES)).map(|n| {
        let slug = format!("tenant-{n:05}");
        let text = format!(
            "slug: {slug}\nring: dev\nplan_tier: enterprise\nconfig_overrides: {{LOG_LEVEL: info, s0: {{THEME: \"{n}\"}}}}\n"
        );
        (format!("desired/tenants/{slug}.yaml"), text)
    }));
    Tree::of_files(files)
}

/// What a tree says.
pub struct Read {
    policy: Policy,
    base: BaseRead,
    tenants: TenantsRead,
}

/// Reads all three parts, as a pass does.
pub fn read(tree: &Tree) -> Read {
    Read {
        policy: fleet::policy(tree, "bench").policy.unwrap(),
        base: fleet::base(tree),
        tenants: fleet::tenants(tree),
    }
}

impl Read {
    /// The release of the base.
    pub fn release(&self) -> Release {
        let images = (0..SERVICES)
            .map(|n| (format!("example/s{n}:1"), format!("id:sha256:{n:064x}")))
            .collect();
        Release::new(self.base.base.content, commit(), images)
    }
}

/// A decision's input: everything runs already.
pub struct Decided {
    policy: Policy,
    rings: BTreeMap<RingName, RingInput>,
    facts: Facts,
}

impl Decided {
    /// Of what was read.
    pub fn new(read: &Read) -> Self {
        let release = read.release();
        let mut input = RingInput {
            branch: "main".to_owned(),
            tip: Some(commit()),
            candidate: Some(Candidate {
                commit: commit(),
                request: commit(),
                pinned: false,
                behind: Behind::default(),
                release: Ok(release.clone()),
            }),
            ..RingInput::default()
        };
        let mut facts = Facts {
            accepted: Some(commit()),
            releases: BTreeMap::from([(release.id, release.clone())]),
            ..Facts::default()
        };
        let running = RingFacts {
            running: Some(release.id),
            ..RingFacts::default()
        };
        facts.rings.insert(ring(), running);
        for (name, files) in &read.tenants.tenants {
            let at = FilesRef {
                id: files.files,
                commit: commit(),
            };
            let remembered = TenantFacts {
                ring: ring(),
                good: Some((release.id, at.clone())),
                asked: Some((release.id, at)),
                quarantine: BTreeMap::new(),
            };
            facts.tenants.insert(name.parse().unwrap(), remembered);
            let at = TenantAt {
                files: Arc::new(files.clone()),
                commit: commit(),
                asks: Asks {
                    request: commit(),
                    age: 0,
                    behind: Behind::default(),
                    with: None,
                },
            };
            input.tenants.insert(name.clone(), at);
        }
        Self {
            policy: read.policy.clone(),
            rings: BTreeMap::from([(ring(), input)]),
            facts,
        }
    }

    /// Decides.
    pub fn decide(&self) -> Decision {
        decide(&World {
            policy: &self.policy,
            rings: &self.rings,
            facts: &self.facts,
            records: &Records::default(),
            now: Timestamp::UNIX_EPOCH,
            prune: &BTreeSet::new(),
        })
    }
}

/// Renders every tenant.
pub fn render(read: &Read, release: &Release) -> Objects {
    let from = From {
        policy: &read.policy,
        ring: read.policy.rings.get("dev").unwrap(),
        base: &read.base.base,
        release,
    };
    let mut objects = Objects::default();
    for files in read.tenants.tenants.values() {
        let rendered = render::tenant(from, files, &BTreeSet::new());
        assert!(!rendered.findings.has_errors());
        objects.extend(rendered.objects);
    }
    objects
}

/// A plan's input, owned.
pub struct Scene {
    /// What shall exist.
    pub wanted: Objects,
    seen: Observation,
    facts: Facts,
    known: BTreeMap<String, Option<SpecHash>>,
    specs: BTreeMap<SpecHash, Arc<ContainerSpec>>,
    live: BTreeMap<String, BTreeMap<String, String>>,
}

impl Scene {
    /// All of it runs, but that one in `differs` is of another spec (none: all are right).
    pub fn running(wanted: Objects, mut facts: Facts, differs: Option<usize>) -> Self {
        let mut seen = Observation::default();
        let (mut known, mut specs) = (BTreeMap::new(), BTreeMap::new());
        for (n, object) in wanted.services.values().enumerate() {
            let mut spec = object.spec.clone();
            if differs.is_some_and(|d| n % d == 0) {
                Arc::make_mut(&mut spec)
                    .env
                    .insert("A".to_owned(), "0".to_owned());
            }
            let hash = spec.hash();
            known.insert(format!("{}.{}", object.base_name, hash.0.short()), Some(hash));
            facts.good_specs.insert(object.key.clone(), hash);
            seen.containers.push(container(object, hash));
            specs.insert(hash, spec);
            specs.insert(object.hash, object.spec.clone());
        }
        seen.networks = wanted.networks.values().map(network).collect();
        seen.volumes = wanted
            .volumes
            .values()
            .map(|v| ringfence::plan::seen::SeenVolume {
                name: v.name.clone(),
                labels: BTreeMap::new(),
            })
            .collect();
        let live = wanted
            .live
            .values()
            .map(|l| (l.folder.clone(), l.files.clone()))
            .collect();
        Self {
            wanted,
            seen,
            facts,
            known,
            specs,
            live,
        }
    }

    /// Nothing of it is there.
    pub fn nothing(wanted: Objects) -> Self {
        Self {
            wanted,
            seen: Observation::default(),
            facts: Facts::default(),
            known: BTreeMap::new(),
            specs: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    /// Plans.
    pub fn plan(&self) -> Plan {
        plan(&Input {
            wanted: &self.wanted,
            holds: &BTreeMap::new(),
            erased: &BTreeSet::new(),
            seen: &self.seen,
            facts: &self.facts,
            known: &self.known,
            specs: &self.specs,
            declared: &BTreeMap::new(),
            probed: &BTreeMap::new(),
            gave_up: &BTreeMap::new(),
            live: &self.live,
            lost_live: &BTreeSet::new(),
            stale: &BTreeMap::new(),
            cgroups: Cgroups {
                swap: true,
                first: true,
            },
            watched_since: now(),
            now: now(),
        })
    }
}

impl Decided {
    /// What the ledger remembers.
    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }
}

fn limits(given: &Limits) -> SeenLimits {
    let number = |given: Option<u64>| given.map_or(0, |n| i64::try_from(n).unwrap());
    SeenLimits {
        memory: number(given.memory),
        memory_swap: number(given.memory),
        nano_cpus: number(given.nano_cpus),
        pids: number(given.pids),
        ..SeenLimits::default()
    }
}

fn network(network: &render::object::NetworkObject) -> SeenNetwork {
    SeenNetwork {
        id: format!("net-{}", network.name),
        name: network.name.clone(),
        ours: true,
        owner: Some(network.owner.clone()),
        subnets: Vec::new(),
    }
}

fn container(object: &ServiceObject, spec: SpecHash) -> SeenContainer {
    SeenContainer {
        id: ringfence::digest::Digest::of_bytes(object.base_name.as_bytes()).hex(),
        name: object.base_name.clone(),
        ring: Some(object.ring.clone()),
        owner: Some(object.key.owner.clone()),
        service: Some(object.key.service.clone()),
        spec: Some(spec),
        image: object.spec.image.clone(),
        image_id: object.spec.image.clone(),
        state: State::Running,
        health: EngineHealth::Healthy,
        networks: object.networks.keys().cloned().collect(),
        stale_networks: BTreeSet::new(),
        volumes: object
            .spec
            .mounts
            .iter()
            .filter_map(|(path, mount)| match &mount.from {
                MountFrom::Volume(volume) => Some((
                    path.clone(),
                    SeenMount {
                        volume: volume.clone(),
                        writable: !mount.read_only,
                    },
                )),
                _ => None,
            })
            .collect(),
        stamp: String::new(),
        created: now(),
        details: Some(Arc::new(Details {
            restart: object.spec.restart,
            limits: limits(&object.spec.limits),
            started_at: Some(now()),
            finished_at: None,
            restart_count: 0,
            exit_code: None,
            error: String::new(),
            oom_killed: false,
            networks: object
                .networks
                .iter()
                .map(|(name, end)| (name.clone(), (end.aliases.clone(), end.links.clone())))
                .collect(),
            addresses: BTreeMap::new(),
        })),
    }
}
