//! The objects that shall exist: containers, networks, volumes, files. Data only; equal values have equal hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::fleet::compose::service::{
    Condition, FileSet, Healthcheck, Limits, Options, Probe, Protocol, Restart,
};
use crate::fleet::names::{Owner, ReleaseId, ServiceKey, SpecHash};

/// Version of [`ContainerSpec`]'s shape; part of the label `dev.ringfence.spec`.
pub const SPEC_SCHEMA: u32 = 1;

fn no(value: &bool) -> bool {
    !*value
}

/// All of a container that cannot change while it lives. Values equal to their default are left out of the
/// serialised form, and so of the hash, so that a new key changes no hash of those who do not use it. The fields stand in the
/// order in which they are hashed, so that nothing has to be sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {
    /// Overrides the image's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Overrides the image's entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment, the tenant's values included.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The engine's healthcheck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What to run, exactly: `sha256:…` (an image id) or `name@sha256:…`.
    pub image: String,
    /// Init process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// The file's own labels; ringfence's are not part of the spec.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Limits (also compared live).
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Mounts, by target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, MountSpec>,
    /// What few services ask for.
    #[serde(skip_serializing_if = "is_default")]
    pub options: Options,
    /// Published ports.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<PortSpec>,
    /// Read-only root.
    #[serde(skip_serializing_if = "no")]
    pub read_only: bool,
    /// Restart policy (also compared live).
    #[serde(skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// Open standard input.
    #[serde(skip_serializing_if = "no")]
    pub stdin_open: bool,
    /// Time to stop, in milliseconds; 10 s is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_ms: Option<u64>,
    /// Stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Kernel settings. Shared services get `net.ipv4.ip_forward=0`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Terminal.
    #[serde(skip_serializing_if = "no")]
    pub tty: bool,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ContainerSpec {
    /// Its hash.
    pub fn hash(&self) -> SpecHash {
        SpecHash(Digest::of("ringfence.container.1", self))
    }
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// From where.
    pub from: MountFrom,
    /// Whether it cannot be written.
    #[serde(default, skip_serializing_if = "no")]
    pub read_only: bool,
    /// Whether a new volume stays empty.
    #[serde(default, skip_serializing_if = "no")]
    pub no_copy: bool,
}

/// Where a mount comes from. Host paths of ours are not in it (they depend on the state directory):
/// the engine room puts them together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountFrom {
    /// A volume by its full name.
    Volume(String),
    /// Content of the release: `<files>/content/<digest>` and, for a single file, the name in it.
    Content {
        /// Which.
        digest: Digest,
        /// A single file of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// The owner's live directory: `<files>/live/<domain>`.
    Live(String),
    /// A host file that needs no grant.
    Host(String),
    /// Memory.
    Tmpfs {
        /// Bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Mode bits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Further options.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        options: BTreeSet<String>,
    },
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// Inside.
    pub container: u16,
    /// Protocol.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Host address.
    pub ip: String,
    /// Host port; none lets the engine choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u16>,
}

/// How a container hangs on a network. Compared live; in no hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attachment {
    /// Further names on this network.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// `container:alias`, resolved at each look-up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<String>,
}

/// A service that shall run, with all that is needed to make and to judge its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceObject {
    /// Whose, and which.
    pub key: ServiceKey,
    /// The ring that provides it, for the label (shared and tenant services alike).
    pub ring: String,
    /// The release that it is rendered from, for the label; in no hash.
    pub release: ReleaseId,
    /// The image as written, for people.
    pub image_name: String,
    /// The spec.
    pub spec: Arc<ContainerSpec>,
    /// Its hash.
    pub hash: SpecHash,
    /// The name that clients find: `web.acme.aither`.
    pub base_name: String,
    /// Search domain: `acme.aither`.
    pub domain: String,
    /// Networks by name. The owner's own is the first that it is created in.
    pub networks: BTreeMap<String, Attachment>,
    /// The owner's own network.
    pub home_network: String,
    /// What it waits for before it starts.
    pub depends_on: BTreeMap<ServiceKey, Condition>,
    /// Whether two may run at once, and why not.
    pub order: RolloutOrder,
    /// How long the old one goes on, in milliseconds.
    pub drain_ms: u64,
    /// How health is judged.
    pub health: HealthSource,
    /// Time to get healthy, in milliseconds, from the start.
    pub deadline_ms: u64,
    /// Whether it runs once and ends.
    pub job: bool,
}

/// Start-first, or stop-first with the reason that a plan shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// The new one gets healthy beside the old one. Not `asked`: unless what runs shows that both would write a volume
    /// that only their image speaks of.
    StartFirst {
        /// Whether the service says so itself.
        asked: bool,
    },
    /// The old one stops first, because …
    StopFirst(String),
}

/// How a container's health is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthSource {
    /// The engine's healthcheck.
    Engine,
    /// ringfence's own probe.
    Probe(Probe),
    /// Neither: it runs without a restart for so long (milliseconds; the ring's `observe`).
    Running {
        /// How long.
        settle_ms: u64,
    },
}

/// A network that shall exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NetworkObject {
    /// Its name.
    pub name: String,
    /// Whose.
    pub owner: Owner,
}

/// A volume that shall exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VolumeObject {
    /// Its full name.
    pub name: String,
    /// Whose.
    pub owner: Owner,
}

impl VolumeObject {
    /// What to say where it was there and is gone.
    pub fn lost(&self) -> String {
        let name = &self.name;
        format!(
            "{name} is gone, with its data: bring it back from your backup (a volume of this name, made with the label dev.ringfence.instance), or have an empty one made with `ringfence apply --adopt`"
        )
    }
}

/// A live directory: file name → content. Replaced atomically, in no hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFiles {
    /// Whose.
    pub owner: Owner,
    /// The folder's name below `<files>/live/`.
    pub folder: String,
    /// The files.
    pub files: BTreeMap<String, String>,
}

/// All that shall exist of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Networks, by name.
    pub networks: BTreeMap<String, NetworkObject>,
    /// Volumes, by name.
    pub volumes: BTreeMap<String, VolumeObject>,
    /// Live directories, by folder.
    pub live: BTreeMap<String, LiveFiles>,
    /// Content of releases that is mounted, by digest.
    pub content: BTreeMap<Digest, FileSet>,
    /// Services. Shared: a pass has them in its cache, in what is wanted, in the plan and in what it shows.
    pub services: BTreeMap<ServiceKey, Arc<ServiceObject>>,
}

impl Objects {
    /// The services of an owner.
    pub fn services_of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = &'a ServiceObject> {
        let first = ServiceKey {
            owner: owner.clone(),
            service: String::new(),
        };
        let rest = self.services.range(first..);
        rest.map(|(_, s)| s.as_ref())
            .take_while(move |s| s.key.owner == *owner)
    }

    /// Adds another owner's.
    pub fn extend(&mut self, other: Self) {
        self.networks.extend(other.networks);
        self.volumes.extend(other.volumes);
        self.live.extend(other.live);
        self.content.extend(other.content);
        self.services.extend(other.services);
    }
}
