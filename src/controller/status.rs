//! What `status` says: one document, made at the end of each pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::facts::Facts;
use crate::fleet::names::RingName;

/// The whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    /// The fleet.
    pub fleet: String,
    /// The instance.
    pub instance: String,
    /// Whether a daemon keeps it so.
    pub daemon: bool,
    /// `solo`: no keys are declared, nothing is signed.
    pub mode: String,
    /// The commit of the control branch that is in force.
    pub control: Option<String>,
    /// When this was seen (UTC, RFC 3339).
    pub at: String,
    /// By the order of the rings.
    pub rings: Vec<RingStatus>,
    /// By slug.
    pub tenants: Vec<TenantStatus>,
    /// Shared services: the fleet's and the rings'.
    pub shared: Vec<ServiceStatus>,
    /// What a person should know about the whole.
    pub conditions: Vec<String>,
    /// Whether the last pass could not be made (its error stands in `conditions`).
    #[serde(default)]
    pub failed: bool,
    /// Whether nothing is under way and nothing is left to do (conditions may stay).
    pub settled: bool,
}

/// What failed in a ring: its releases, and the files of its tenants as `SLUG ten-…`.
pub fn quarantined(facts: &Facts, ring: &RingName) -> Vec<String> {
    let releases = facts
        .rings
        .get(ring)
        .into_iter()
        .flat_map(|r| r.quarantine.keys());
    let tenants = facts.tenants.iter().filter(|(_, t)| t.ring == *ring);
    let files = tenants.flat_map(|(slug, t)| t.quarantine.keys().map(move |f| format!("{slug} {f}")));
    releases.map(ToString::to_string).chain(files).collect()
}

/// A ring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RingStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// The release that is asked for.
    pub declared: Option<String>,
    /// The release that last ran healthy in all of it.
    pub running: Option<String>,
    /// The commit that this release came from.
    pub commit: Option<String>,
    /// The one before it.
    pub previous: Option<String>,
    /// Releases that failed here, and tenants' files (`SLUG ten-…`): they are not tried again by themselves.
    #[serde(default)]
    pub quarantined: Vec<String>,
    /// Its tenant files as one id.
    pub tenant_files: Option<String>,
    /// Its phase.
    pub phase: String,
    /// Its open moves.
    #[schemars(with = "Vec<crate::decide::Move>")]
    pub moves: Vec<serde_json::Value>,
    /// How many tenants it runs.
    pub tenants: usize,
    /// What a person should know.
    pub conditions: Vec<String>,
}

/// A tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TenantStatus {
    /// Its slug.
    pub slug: String,
    /// Its ring.
    pub ring: String,
    /// The release that it shall run.
    pub release: Option<String>,
    /// The files that it shall run with.
    pub files: Option<String>,
    /// Its phase.
    pub phase: String,
    /// What a person should know.
    pub conditions: Vec<String>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Whose, for shared ones: `fleet` or `ring/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The container that serves (or shall).
    pub container: Option<String>,
    /// The image as written.
    pub image: String,
    /// `running`, `exited`, `missing` …
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`, `unknown`.
    pub health: String,
    /// How often the engine restarted it.
    pub restarts: u64,
    /// What is being done about it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// What failed, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Status {
    /// DESIGN 8: 1 error or degraded, 3 rolled back, 4 blocked by a gate or declared but quarantined, else 0; the first
    /// that applies. `before` is what was quarantined before the run; `scope` limits it to rings and tenants by name.
    pub fn exit_code(&self, scope: &[String], before: &BTreeMap<String, Vec<String>>) -> u8 {
        let rings: Vec<&RingStatus> = self
            .rings
            .iter()
            .filter(|r| scope.is_empty() || scope.contains(&r.name))
            .collect();
        let tenants = self
            .tenants
            .iter()
            .filter(|t| scope.is_empty() || scope.contains(&t.slug) || scope.contains(&t.ring));
        let mut phases: Vec<&str> = rings.iter().map(|r| r.phase.as_str()).collect();
        phases.extend(tenants.map(|t| t.phase.as_str()));
        let any = |p: &str| phases.contains(&p);
        let failed_now = rings.iter().any(|r| {
            r.quarantined
                .iter()
                .any(|q| !before.get(&r.name).is_some_and(|b| b.contains(q)))
        });
        // A pass that failed has looked at nothing.
        if self.failed || any("degraded") || any("unknown") || any("rolling") {
            1
        } else if failed_now {
            3
        } else if any("waiting") || any("rolled_back") {
            4
        } else {
            0
        }
    }

    /// What each ring has in quarantine.
    pub fn quarantined(&self) -> BTreeMap<String, Vec<String>> {
        self.rings
            .iter()
            .map(|r| (r.name.clone(), r.quarantined.clone()))
            .collect()
    }
}
