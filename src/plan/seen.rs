//! What was seen on an engine: the plain facts, before anything is concluded from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::compose::service::Restart;
use crate::fleet::names::{Owner, SpecHash};

/// A container's state, as the engine's list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made, not started (or its start failed).
    Created,
    /// Running.
    Running,
    /// Between two starts of a crash loop.
    Restarting,
    /// Frozen by hand.
    Paused,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// Half removed after an engine crash.
    Dead,
    /// A word we do not know: nothing is concluded from it.
    Unknown,
}

/// Health as the engine's healthcheck says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineHealth {
    /// It has no healthcheck.
    None,
    /// Not decided yet.
    Starting,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// All that `docker update` can change beside the restart policy, as an inspection shows it. 0 and empty: never set, or the
/// engine cannot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeenLimits {
    /// Bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: i64,
    /// Bytes of memory and swap together; -1 is no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_swap: i64,
    /// Bytes kept for it; -1 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_reservation: i64,
    /// Billionths of a CPU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nano_cpus: i64,
    /// Microseconds of each period: the older words for the same; -1 is no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_quota: i64,
    /// Weight among those that want a CPU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_shares: i64,
    /// Microseconds of a CPU before all others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_realtime: i64,
    /// CPUs that it may run on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpuset: String,
    /// Nodes of memory that it may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_nodes: String,
    /// Weight among those that want a disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub blkio_weight: i64,
    /// Processes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pids: i64,
}

/// What an engine makes of limits. What is not known is false, and then less is concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cgroups {
    /// It limits swap: one that does not says of every container that it has no such limit.
    pub swap: bool,
    /// Their first version: what was never set is the same there as some value that can be set. In the second it is not.
    pub first: bool,
}

/// What only an inspection shows. Absent until a container was inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Restart policy now.
    pub restart: Restart,
    /// Limits now.
    pub limits: SeenLimits,
    /// When the present or last run began.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finished_at: Option<Timestamp>,
    /// How often the engine restarted it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart_count: u64,
    /// Exit code of the last run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exit_code: Option<i64>,
    /// The engine's own words about a failed start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error: String,
    /// Killed for memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub oom_killed: bool,
    /// Aliases and links by network name.
    pub networks: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
    /// Addresses by network name, for probes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addresses: BTreeMap<String, String>,
}

/// A volume that a container mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMount {
    /// Its full name.
    pub volume: String,
    /// Whether it may be written.
    pub writable: bool,
}

/// A container with our instance label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenContainer {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// The ring that provides it, read from the labels; none for the fleet's.
    pub ring: Option<String>,
    /// Whose, read from the labels; none if they make no sense.
    pub owner: Option<Owner>,
    /// Its service, read from the labels.
    pub service: Option<String>,
    /// Its spec, read from the labels; none if it is of another schema.
    pub spec: Option<SpecHash>,
    /// The image as it was asked for when it was made: `sha256:…` or `name@sha256:…`.
    pub image: String,
    /// The image id it runs.
    pub image_id: String,
    /// State.
    pub state: State,
    /// The engine's health.
    pub health: EngineHealth,
    /// Names of the networks it hangs on.
    pub networks: BTreeSet<String>,
    /// Those of them that were removed meanwhile: what has the name now is another network.
    pub stale_networks: BTreeSet<String>,
    /// The volumes that it mounts, by path.
    pub volumes: BTreeMap<String, SeenMount>,
    /// What the list shows of its present run. While it stays equal, so does all that an inspection shows, but for what
    /// `docker update` changes.
    pub stamp: String,
    /// When it was made.
    pub created: Timestamp,
    /// From an inspection.
    pub details: Option<Arc<Details>>,
}

/// Any network of the engine (others' too: their subnets must be avoided).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenNetwork {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Whether it carries our instance label.
    pub ours: bool,
    /// Whose, where it is ours.
    pub owner: Option<Owner>,
    /// Subnets, as `10.201.0.0/27`.
    pub subnets: Vec<String>,
}

/// A volume with our instance label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenVolume {
    /// Name.
    pub name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
}

/// Containers by whose they are and what they serve.
pub type ByService<'a> = BTreeMap<(&'a Owner, &'a str), Vec<&'a SeenContainer>>;

impl Observation {
    /// Its containers by service, those without a clear label left out.
    pub fn by_service(&self) -> ByService<'_> {
        let mut all = ByService::new();
        for container in &self.containers {
            if let (Some(owner), Some(service)) = (&container.owner, &container.service) {
                all.entry((owner, service.as_str())).or_default().push(container);
            }
        }
        all
    }
}

/// One look at an engine. An engine that could not be read gives no `Observation`: unknown is never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Our containers.
    pub containers: Vec<SeenContainer>,
    /// All networks.
    pub networks: Vec<SeenNetwork>,
    /// Our volumes.
    pub volumes: Vec<SeenVolume>,
}

/// What says nothing is not written down.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
