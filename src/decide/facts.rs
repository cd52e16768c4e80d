//! What the ledger remembers that git and the engine cannot tell: what ran healthy, what failed, what was accepted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::gate::Answer;
use crate::digest::Digest;
use crate::fleet::names::{CommitId, FilesId, Owner, ReleaseId, RingName, ServiceKey, Slug, SpecHash};
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
    /// The ring's tenant files that go with it, where both move at once.
    #[serde(default)]
    pub files: Option<FilesId>,
    /// The commit that asked for it.
    pub request: CommitId,
    /// When it started.
    pub since: Timestamp,
    /// Words ([`super::records::Record::word`]) that let it start: they count for no other.
    #[serde(default)]
    pub spent: BTreeSet<Digest>,
}

/// How a release did in a ring, up to now, or up to when another took its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When the ring first succeeded on it; none: a move that has not.
    pub succeeded: Option<Timestamp>,
    /// When another release took its place there; none: it runs.
    pub displaced: Option<Timestamp>,
    /// Milliseconds of watched time for which all of the ring has been healthy without a break, now (or when it was displaced).
    pub healthy_ms: u64,
    /// When that was counted: the last look.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// The most that it ever was.
    pub longest_ms: u64,
    /// Why the stretch before this one ended: `web of acme was restarted`.
    pub broken: Option<String>,
    /// Each tenant's part of it; the ring's shared services stand under their own key.
    #[serde(with = "pairs")]
    pub parts: BTreeMap<Owner, PartProof>,
}

/// How one tenant (or the ring's or fleet's shared services) did on a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartProof {
    /// Healthy, not, or not known: its last state.
    pub now: Answer,
    /// Why not, in half a sentence.
    pub why: Option<String>,
    /// Milliseconds of watched time for which it has been healthy without a break.
    pub healthy_ms: u64,
    /// Whether it ever was healthy on this release.
    pub was_healthy: bool,
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
    /// How releases did here: those that run, are moved to, or ran before.
    pub proofs: BTreeMap<ReleaseId, Proof>,
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

/// When a commit was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// When.
    pub at: Timestamp,
    /// Whether it is in the history of the commit that was accepted first; none: nobody asked yet.
    pub older: Option<bool>,
}

/// All that is remembered, read at the start of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The control branch's commit that was last accepted: its decisions are read.
    pub accepted: Option<CommitId>,
    /// The commit whose policy is in force: an earlier one while a change of policy waits for the owners.
    pub accepted_policy: Option<CommitId>,
    /// The commit that was accepted first: no approval that stood there already counts.
    pub first_accepted: Option<CommitId>,
    /// Commits that changed policy, each with the one whose policy was in force before it.
    pub policies: BTreeMap<CommitId, CommitId>,
    /// When commits were first seen that put something on record: keys and expiry are judged by it.
    pub first_seen: BTreeMap<CommitId, FirstSeen>,
    /// Words that let a move start.
    pub spent: BTreeSet<Digest>,
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

/// A map as a list of its pairs: JSON has only text for keys.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Of a ring of which nothing is remembered.
static NOTHING: RingFacts = RingFacts {
    running: None,
    previous: None,
    moving: None,
    quarantine: BTreeMap::new(),
    rolled_back: false,
    proofs: BTreeMap::new(),
};

impl Facts {
    /// What is remembered of a ring.
    pub fn ring(&self, name: &RingName) -> &RingFacts {
        self.rings.get(name).unwrap_or(&NOTHING)
    }
}

impl TenantFacts {
    /// Release and files that it goes on with while nothing newer is taken: those asked for last, unless they failed.
    pub fn last(&self) -> Option<&(ReleaseId, FilesRef)> {
        let asked = self.asked.as_ref();
        let sound = asked.filter(|(_, f)| !self.quarantine.contains_key(&f.id));
        sound.or(self.good.as_ref()).or(asked)
    }
}

impl RingFacts {
    /// Whether a part of the ring was sick on what last ran healthy, and has not been healthy on `release` yet: then it is
    /// no evidence against that.
    pub fn was_sick(&self, owner: &Owner, release: &ReleaseId) -> bool {
        let part = |release: &ReleaseId| self.proofs.get(release).and_then(|p| p.parts.get(owner));
        let before = self.running.filter(|running| running != release);
        before
            .and_then(|running| part(&running))
            .is_some_and(|p| p.now == Answer::Fail)
            && part(release).is_none_or(|p| !p.was_healthy)
    }
}
