//! Our service type: what a Compose service means here, interpolated for one tenant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{At, Spanned};
use crate::digest::Digest;

/// How many of a service run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One in each tenant.
    #[default]
    Tenant,
    /// One for a ring's tenants.
    Ring,
    /// One for the fleet.
    Fleet,
}

/// When an image is asked of its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Each time a content is first resolved.
    Always,
    /// Never: the engine must have it.
    Never,
}

/// What must hold of a dependency before a container starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It runs.
    #[serde(rename = "service_started")]
    Started,
    /// It is healthy.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// It ran and ended with 0.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

/// A dependency on another service of the same owner, or on a shared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What must hold.
    pub condition: Condition,
    /// Whether its absence (by profile) is an error.
    pub required: bool,
    /// Where it is written.
    pub at: At,
}

/// A service's own healthcheck, run by the engine. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Healthcheck {
    /// The image's healthcheck is switched off.
    Disabled,
    /// This one is used; what is absent comes from the image, or is the engine's default.
    Set {
        /// `CMD …`, `CMD-SHELL …`; none keeps the image's command and changes only the times.
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<Vec<String>>,
        /// Between two checks.
        #[serde(skip_serializing_if = "Option::is_none")]
        interval_ms: Option<u64>,
        /// For one check.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Failures in a row that make it unhealthy.
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<u32>,
        /// In which failures do not count.
        #[serde(skip_serializing_if = "Option::is_none")]
        start_period_ms: Option<u64>,
    },
}

/// ringfence's own look from the host (`x-ringfence.probe`). Never in a spec hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Between two looks; default 5 s. While a container gets ready it is asked more often.
    pub interval_ms: u64,
    /// For one look; default 2 s.
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy; default 3.
    pub retries: u32,
    /// In which failures do not count; default 0.
    pub start_period_ms: u64,
    /// Whether the answer of `http` must name the release that the container was made for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub names_release: bool,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// An HTTP GET that must answer 200 to 399.
    Http {
        /// The container's port.
        port: u16,
        /// The path, with its slash.
        path: String,
    },
    /// A TCP connection.
    Tcp {
        /// The container's port.
        port: u16,
    },
}

/// What the engine does when a container ends.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Compose's `no`, the default.
    #[default]
    No,
    /// Always.
    Always,
    /// After a failure, at most so often (0: without end).
    OnFailure(u32),
    /// Unless it was stopped.
    UnlessStopped,
}

/// Limits of one container. `None` is no limit of its own.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub struct Limits {
    /// Bytes; also the limit of memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes kept for it (soft).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// Billionths of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

impl Limits {
    /// Each limit the tighter of the two.
    #[must_use]
    pub fn tightened_by(self, other: Self) -> Self {
        fn min(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        Self {
            memory: min(self.memory, other.memory),
            memory_reservation: min(self.memory_reservation, other.memory_reservation),
            nano_cpus: min(self.nano_cpus, other.nano_cpus),
            pids: min(self.pids, other.pids),
        }
    }
}

/// What few services ask for. Every field is absent where it says the engine's default, and then in no hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Capabilities taken away, without `CAP_`; `ALL` is all of them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<String>,
    /// Of those that the engine gives every container, the ones kept although they are dropped.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<String>,
    /// No process may gain rights.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// Limits of a process, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Where output is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Bytes of `/dev/shm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Lines of `/etc/hosts`, `name:address`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Domains searched after the owner's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRequest>,
    /// Further groups of the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// The container's own domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// The platform that the image must be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// CPUs that it may run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Weight among those that want a CPU, below the usual 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Weight among those that want a disk, below the usual 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u64>,
    /// How much sooner than others it is killed for its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<u64>,
    /// `private` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// A limit of a process; -1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What it begins with.
    pub soft: i64,
    /// What it may raise it to.
    pub hard: i64,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// The engine's driver.
    pub driver: String,
    /// Its options; without a size, ringfence's own bounds hold.
    pub options: BTreeMap<String, String>,
}

/// GPUs that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// The driver; empty lets the engine find it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// How many; -1 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Which, instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// What they must be able to do.
    pub capabilities: Vec<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A published port. Ranges are already written out, one each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Inside.
    pub container: u16,
    /// On the host; none lets the engine choose.
    pub host: Option<u16>,
    /// The host address it binds to (`127.0.0.1` where the file names none).
    pub ip: String,
    /// Protocol.
    pub protocol: Protocol,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// The owner's own volume by its name in the file, or by the `./path` that the release does not hold.
    Volume(String),
    /// A file or folder that the release holds, by content.
    Release(FileSet),
    /// One of the few host files that need no grant (`/etc/localtime`, `/etc/timezone`).
    Host(String),
    /// Memory.
    Tmpfs {
        /// Bytes; none is the engine's default.
        size: Option<u64>,
        /// Mode bits; none is 1777.
        mode: Option<u32>,
        /// Further options of the mount, such as `uid=1000` and `exec`.
        options: BTreeSet<String>,
    },
}

/// Files of the release, addressed by their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// Hash of names, modes and contents.
    pub digest: Digest,
    /// Relative path → (executable, content object's bytes).
    pub files: BTreeMap<String, (bool, std::sync::Arc<[u8]>)>,
    /// For a single file: its name in the set; none mounts the folder.
    pub single: Option<String>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside.
    pub target: String,
    /// From where.
    pub source: MountSource,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Whether a new volume stays empty, instead of taking what the image has at its target.
    pub no_copy: bool,
    /// Where it is written.
    pub at: At,
}

/// Which of two containers runs first in a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The new one gets healthy beside the old one.
    StartFirst,
    /// The old one stops before the new one starts.
    StopFirst,
}

/// How a service is replaced (`x-ringfence.rollout`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollout {
    /// Asked for; none lets ringfence choose.
    pub order: Option<Order>,
    /// How long the old one goes on after it gave its name up, in milliseconds; default 1000.
    pub drain_ms: u64,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            order: None,
            drain_ms: 1000,
        }
    }
}

/// A service, interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name; no dot in it.
    pub name: String,
    /// Where it is declared.
    pub at: At,
    /// How many run.
    pub scope: Scope,
    /// The image as written (`agent:1.9`).
    pub image: Spanned<String>,
    /// When it is pulled.
    pub pull: PullPolicy,
    /// Empty: in every profile.
    pub profiles: Vec<String>,
    /// Overrides the image's command.
    pub command: Option<Vec<String>>,
    /// Overrides the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// `env_file`s first, then `environment`. The tenant's own values come in `render`.
    pub environment: BTreeMap<String, String>,
    /// The file's own labels.
    pub labels: BTreeMap<String, String>,
    /// User and group.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// The container's own host name.
    pub hostname: Option<String>,
    /// `container_name`, `hostname` and network aliases: further names for the neighbours.
    pub aliases: BTreeSet<String>,
    /// Mounts, by target.
    pub mounts: Vec<Mount>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// `links`: a name of this service's own for another one → that service.
    pub links: BTreeMap<String, String>,
    /// What it waits for.
    pub depends_on: BTreeMap<String, Dependency>,
    /// The engine's check.
    pub healthcheck: Option<Healthcheck>,
    /// Our own check.
    pub probe: Option<Probe>,
    /// Restart policy.
    pub restart: Restart,
    /// Limits.
    pub limits: Limits,
    /// Read-only root.
    pub read_only: bool,
    /// Run an init process.
    pub init: Option<bool>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin_open: bool,
    /// Signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// Time to stop, in milliseconds; default 10 s.
    pub stop_grace_ms: u64,
    /// Kernel settings of the container's own.
    pub sysctls: BTreeMap<String, String>,
    /// What few services ask for.
    pub options: Options,
    /// How it is replaced.
    pub rollout: Rollout,
}
