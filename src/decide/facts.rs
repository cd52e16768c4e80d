//! What the ledger remembers that git and the engine cannot tell: what ran healthy, what failed, what was accepted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::names::{CommitId, FilesId, ReleaseId, RingName, ServiceKey, Slug, SpecHash};
pub use crate::fleet::release::Release;

/// One tenant's files at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FilesRef {
    /// Hash of the files.
    pub id: FilesId,
    /// A commit that has them.
    pub commit: CommitId,
}

/// Why something is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// What went wrong, with the last log lines.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The request that asked for it.
    pub request: CommitId,
}

/// A ring's move under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveUnderWay {
    /// Where it goes.
    pub to: ReleaseId,
    /// The commit that asked for it.
    pub request: CommitId,
    /// When it started.
    pub since: Timestamp,
}

/// What is remembered of a ring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingFacts {
    /// The last release that was healthy in all its tenants.
    pub running: Option<ReleaseId>,
    /// The one before it.
    pub previous: Option<ReleaseId>,
    /// The move that has started and has neither succeeded nor failed.
    pub moving: Option<MoveUnderWay>,
    /// Releases that failed here.
    pub quarantine: BTreeMap<ReleaseId, Quarantine>,
    /// Whether the last move failed and went back (cleared by the next success of another release).
    pub rolled_back: bool,
}

/// What is remembered of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantFacts {
    /// The ring that runs it.
    pub ring: RingName,
    /// Release and files that last ran healthy together.
    pub good: Option<(ReleaseId, FilesRef)>,
    /// Files that it was last asked to run (healthy or not yet).
    pub asked: Option<(ReleaseId, FilesRef)>,
    /// Files that failed.
    pub quarantine: BTreeMap<FilesId, Quarantine>,
}

/// All that is remembered, read at the start of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The control branch's commit that was last accepted.
    pub accepted: Option<CommitId>,
    /// By ring.
    pub rings: BTreeMap<RingName, RingFacts>,
    /// By tenant.
    pub tenants: BTreeMap<Slug, TenantFacts>,
    /// Releases by id.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// The spec of each service's last healthy release.
    pub good_specs: BTreeMap<ServiceKey, SpecHash>,
    /// Specs that failed, by ring or (for tenants' files) by service.
    pub failed_specs: BTreeMap<ServiceKey, BTreeSet<SpecHash>>,
    /// Volumes that were seen: where one is gone, so is its data.
    pub volumes: BTreeSet<String>,
    /// The volume of each path that an image asks for and no spec mounts.
    pub image_volumes: BTreeMap<ServiceKey, BTreeMap<String, String>>,
    /// Jobs that ended with 0.
    pub jobs_done: BTreeMap<ServiceKey, BTreeSet<SpecHash>>,
}
