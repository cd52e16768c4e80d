//! What `status` says: one document, made at the end of each pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::facts::Facts;
use crate::decide::gate::Gate;
use crate::decide::{MoveKind, MoveState};
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
    /// `solo`: no keys are declared, nothing is signed; or `signed`.
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
    /// The release that it shall run now.
    #[serde(default)]
    pub target: Option<String>,
    /// What `running` is, in full.
    #[serde(default)]
    pub release: Option<ReleaseStatus>,
    /// What `previous` is, in full.
    #[serde(default)]
    pub before: Option<ReleaseStatus>,
    /// Whether somebody paused it.
    #[serde(default)]
    pub held: bool,
    /// Its open moves.
    pub moves: Vec<MoveStatus>,
    /// How many tenants it runs.
    pub tenants: usize,
    /// What a person should know.
    pub conditions: Vec<String>,
}

/// A release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleaseStatus {
    /// `rel-…` with all digits.
    pub id: String,
    /// Its content: `con-…` with all digits.
    pub content: String,
    /// The commit that it came from.
    pub commit: String,
    /// Image as written → `id:sha256:…` or `digest:sha256:…`.
    pub images: BTreeMap<String, String>,
}

/// What a ring is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MoveStatus {
    /// What moves.
    pub kind: MoveKind,
    /// The commit that asks for it.
    pub request: String,
    /// Whose that commit is, as its author line says: it proves nothing.
    #[serde(default)]
    pub author: Option<String>,
    /// The first line of its message.
    #[serde(default)]
    pub subject: Option<String>,
    /// From where: `rel-…`, `ten-…` or `rel-…+ten-…`, with all digits; none: nothing runs.
    pub from: Option<String>,
    /// To where; none: the release is not known.
    pub to: Option<String>,
    /// The commit that `from` came from, where it is a release.
    #[serde(default)]
    pub from_commit: Option<String>,
    /// The commit that `to` comes from, where it is a release.
    #[serde(default)]
    pub to_commit: Option<String>,
    /// The policy that it is judged under: `pol-…` with all digits.
    pub policy: Option<String>,
    /// How far.
    pub state: MoveState,
    /// Its gates.
    pub gates: Vec<Gate>,
    /// Whom it would touch, while it waits; none: it has started, or that cannot be said.
    #[serde(default)]
    pub touches: Option<Touches>,
}

/// What a move would touch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Touches {
    /// Tenants.
    pub tenants: Vec<String>,
    /// Containers.
    pub containers: Vec<TouchedService>,
}

/// A container that a move would touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TouchedService {
    /// The name that it serves by.
    pub container: String,
    /// Whose: a tenant, `ring/NAME` or `fleet`.
    pub owner: String,
    /// Which service.
    pub service: String,
    /// `create`, `replace` or `remove`.
    pub change: String,
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
    /// DESIGN 8: 5 a rollback that failed, 1 error or degraded, 3 rolled back, 4 blocked by a gate or declared but
    /// quarantined, else 0; the first that applies. `before` is what was quarantined before the run; `scope` limits it to
    /// rings and tenants by name.
    pub fn exit_code(&self, scope: &[String], before: &BTreeMap<String, Vec<String>>) -> u8 {
        let rings: Vec<&RingStatus> = self
            .rings
            .iter()
            .filter(|r| scope.is_empty() || scope.contains(&r.name))
            .collect();
        let tenants: Vec<&TenantStatus> = self
            .tenants
            .iter()
            .filter(|t| scope.is_empty() || scope.contains(&t.slug) || scope.contains(&t.ring))
            .collect();
        let mut phases: Vec<&str> = rings.iter().map(|r| r.phase.as_str()).collect();
        phases.extend(tenants.iter().map(|t| t.phase.as_str()));
        let any = |p: &str| phases.contains(&p);
        let failed_now = |ring: &RingStatus| {
            let known = before.get(&ring.name);
            let new = ring
                .quarantined
                .iter()
                .filter(|q| !known.is_some_and(|b| b.contains(q)));
            new.cloned().collect::<Vec<String>>()
        };
        let rollback_failed = |ring: &RingStatus| {
            let failed = failed_now(ring);
            let of_ring = tenants.iter().filter(|t| t.ring == ring.name);
            ring.went_back_sick(&failed) || of_ring.into_iter().any(|t| t.went_back_sick(&failed))
        };
        // A ring that rests while somebody holds it has done all that is asked of it.
        let is_asked = |ring: &RingStatus| ring.moves.iter().any(|m| m.state != MoveState::Open);
        let hold_blocks = rings.iter().any(|r| r.phase == "held" && is_asked(r));
        // A pass that failed has looked at nothing.
        if !self.failed && rings.iter().any(|r| rollback_failed(r)) {
            5
        } else if self.failed || any("degraded") || any("unknown") || any("rolling") {
            1
        } else if rings.iter().any(|r| !failed_now(r).is_empty()) {
            3
        } else if any("waiting") || any("rolled_back") || hold_blocks {
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

impl RingStatus {
    /// Whether a release failed, and what the ring went back to is not well either. Where there was nothing to go back
    /// to, the ring stays on what failed.
    fn went_back_sick(&self, failed: &[String]) -> bool {
        let release_failed = failed.iter().any(|f| f.starts_with("rel-"));
        let back = self.target.as_ref().filter(|t| !self.quarantined.contains(t));
        release_failed && back.is_some() && self.phase == "degraded"
    }
}

impl TenantStatus {
    /// The same for a tenant's own files.
    fn went_back_sick(&self, failed: &[String]) -> bool {
        let own = format!("{} ", self.slug);
        let files_failed = failed.iter().any(|f| f.starts_with(&own));
        let back = self
            .files
            .as_ref()
            .filter(|files| !failed.contains(&format!("{own}{files}")));
        files_failed && back.is_some() && self.phase == "degraded"
    }
}

impl MoveStatus {
    /// The word for it in file names: `rel`, `ten` or `both`.
    pub fn word(&self) -> &'static str {
        let to = self.to.as_deref().unwrap_or("rel-");
        match to.strip_prefix("ten-") {
            Some(_) => "ten",
            None if to.contains('+') => "both",
            None => "rel",
        }
    }

    /// One of its gates.
    pub fn gate(&self, name: &str) -> Option<&Gate> {
        self.gates.iter().find(|g| g.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One ring `prod` in a phase, on a release, with what failed there.
    fn prod(phase: &str, target: &str, quarantined: &[&str]) -> Status {
        Status {
            rings: vec![RingStatus {
                name: "prod".to_owned(),
                phase: phase.to_owned(),
                target: Some(target.to_owned()),
                quarantined: quarantined.iter().map(ToString::to_string).collect(),
                ..RingStatus::default()
            }],
            ..Status::default()
        }
    }

    fn code(status: &Status) -> u8 {
        status.exit_code(&[], &BTreeMap::new())
    }

    #[test]
    fn the_first_outcome_that_applies_decides() {
        assert_eq!(code(&prod("synced", "rel-1", &[])), 0);
        assert_eq!(code(&prod("waiting", "rel-1", &[])), 4);
        assert_eq!(code(&prod("degraded", "rel-1", &[])), 1);
        assert_eq!(code(&prod("rolled_back", "rel-1", &["rel-2"])), 3);
        let before = BTreeMap::from([("prod".to_owned(), vec!["rel-2".to_owned()])]);
        let again = prod("rolled_back", "rel-1", &["rel-2"]);
        assert_eq!(again.exit_code(&[], &before), 4, "it failed before this run");
    }

    #[test]
    fn what_is_gone_back_to_and_is_not_well_is_a_failed_rollback() {
        assert_eq!(code(&prod("degraded", "rel-1", &["rel-2"])), 5);
        assert_eq!(
            code(&prod("degraded", "rel-2", &["rel-2"])),
            1,
            "nothing went back"
        );
        let mut failed = prod("degraded", "rel-1", &["rel-2"]);
        failed.failed = true;
        assert_eq!(code(&failed), 1, "a pass that failed has looked at nothing");
        let mut files = prod("degraded", "rel-1", &["acme ten-2"]);
        files.tenants.push(TenantStatus {
            slug: "acme".to_owned(),
            ring: "prod".to_owned(),
            phase: "degraded".to_owned(),
            files: Some("ten-1".to_owned()),
            ..TenantStatus::default()
        });
        assert_eq!(code(&files), 5);
        files.tenants[0].files = Some("ten-2".to_owned());
        assert_eq!(code(&files), 1, "the files that failed stay");
    }
}
