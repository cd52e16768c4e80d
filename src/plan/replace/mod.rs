//! The next call for one service, from what is seen alone (the table of a replacement).
//!
//! [`next`] is the table, `search` the proof: every order of a bounded number of disturbances over it.

mod table;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod key;
#[cfg(test)]
mod model;
#[cfg(test)]
mod search;

pub use table::{next, part, spelled};

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::compose::service::Restart;
use crate::fleet::names::SpecHash;

/// Whether a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It does not run (made, ended, half removed).
    Stopped,
    /// It runs (also: between two starts of a crash loop, or frozen).
    Running,
    /// A stop of ours is under way.
    Stopping,
    /// A removal is under way.
    Removing,
}

/// Health as judged by the engine's check, our probe, or by running long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing can be said.
    Unknown,
    /// Not decided yet.
    Starting,
    /// Healthy. A job that ended with 0 is healthy and stopped.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// One of a service's containers, as the table sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its spec by its label.
    pub spec: Option<SpecHash>,
    /// Whether it runs.
    pub activity: Activity,
    /// Its health.
    pub health: Health,
    /// Its restart policy; none: not looked at yet.
    pub restart: Option<Restart>,
    /// Networks that it should hang on and does not, or not as it should.
    pub missing: BTreeSet<String>,
    /// Networks that it hangs on and should not, or not as it should: one that is in both is left and joined again.
    pub surplus: BTreeSet<String>,
    /// What of its limits must be set to be as its spec has them.
    pub limits: Option<LimitsUpdate>,
    /// When it gave its name up, for the drain; none: not known, so the drain counts from now.
    pub gave_up_at: Option<Timestamp>,
}

/// What a service shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// The service's name, `web`.
    pub service: String,
    /// The name that clients find, `web.acme.aither`.
    pub base_name: String,
    /// The spec that shall serve; none: the service shall go.
    pub wanted: Option<SpecHash>,
    /// The spec of the last healthy release.
    pub good: Option<SpecHash>,
    /// Specs quarantined in the ring.
    pub failed: BTreeSet<SpecHash>,
    /// Two may not run at once.
    pub stop_first: bool,
    /// The service's own restart policy.
    pub restart: Restart,
    /// Milliseconds between giving the name up and the stop.
    pub drain_ms: u64,
    /// Whether what it depends on is ready, so that a new container may start.
    pub may_start: bool,
    /// Not wanted, but kept for the way back; something else needs what it holds, so that it stops.
    pub gives_way: bool,
    /// It runs once and ends: stopped and healthy is its goal.
    pub job: bool,
    /// The ledger says that the wanted job has ended with 0 already: nothing need be made.
    pub job_done: bool,
}

/// Limits to set. What is absent stays as it is.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct LimitsUpdate {
    /// Bytes of memory, and of memory and swap together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes kept for it; -1 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
    /// Billionths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Microseconds of each period; -1 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Weight among those that want a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// CPUs that it may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Weight among those that want a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u64>,
    /// Processes; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

impl LimitsUpdate {
    /// What it sets, by the Compose names.
    pub fn names(&self) -> Vec<&'static str> {
        let set = [
            ("mem_limit", self.memory.is_some()),
            ("mem_reservation", self.memory_reservation.is_some()),
            ("cpus", self.nano_cpus.is_some() || self.cpu_quota.is_some()),
            ("cpu_shares", self.cpu_shares.is_some()),
            ("cpuset", self.cpuset.is_some()),
            ("blkio_config.weight", self.blkio_weight.is_some()),
            ("pids_limit", self.pids.is_some()),
        ];
        let set = set.into_iter().filter(|(_, set)| *set);
        set.map(|(name, _)| name).collect()
    }
}

/// An engine call. Each is a step of the plan and of the ledger.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case", tag = "call")]
pub enum Call {
    /// Make the wanted container under its passing name.
    Create {
        /// The name.
        name: String,
    },
    /// Hang a container on a network.
    Connect {
        /// Container.
        id: String,
        /// Network name.
        network: String,
    },
    /// Take a container off a network.
    Disconnect {
        /// Container.
        id: String,
        /// Network name.
        network: String,
    },
    /// Start it.
    Start {
        /// Container.
        id: String,
    },
    /// Give it another name.
    Rename {
        /// Container.
        id: String,
        /// The name now.
        from: String,
        /// The name then.
        to: String,
    },
    /// Set its restart policy.
    SetRestart {
        /// Container.
        id: String,
        /// The policy.
        restart: Restart,
    },
    /// Set its limits.
    SetLimits {
        /// Container.
        id: String,
        /// Those that differ.
        limits: LimitsUpdate,
    },
    /// SIGTERM (or its own signal), its grace period, SIGKILL.
    Stop {
        /// Container.
        id: String,
    },
    /// Remove it (it does not run).
    Remove {
        /// Container.
        id: String,
    },
}

/// Why there is no call now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", tag = "wait")]
pub enum Wait {
    /// For this container's health.
    Health {
        /// Container.
        id: String,
    },
    /// For the drain to end.
    Drain {
        /// Container.
        id: String,
        /// When.
        until: Timestamp,
    },
    /// For a stop or a removal under way.
    Ending {
        /// Container.
        id: String,
    },
    /// For what it depends on.
    Dependencies,
    /// For a container's inspection (its restart policy is not known yet).
    Inspection {
        /// Container.
        id: String,
    },
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This call.
    Call(Call),
    /// Nothing now.
    Wait(Wait),
    /// It is as it shall be.
    Done,
}

/// The part that a container plays, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// `.<8 hex of its spec>`: getting healthy.
    Passing,
    /// Either spelling of the service's name.
    Serving,
    /// `.old-<successor's 8 hex>`: stopped, kept until the move has succeeded.
    Parked(String),
    /// `.gone-<container id>`: on its way out.
    Leaving,
    /// `.failed-<own 8 hex>`: kept for a look.
    Failed,
    /// A name that we did not give.
    Stray,
}
