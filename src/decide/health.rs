//! How long a release has been healthy in a ring: from one look to the next.
//!
//! Healthy time is watched time: what happened while nobody looked neither counts nor is held against a release, but for
//! gaps so short that the same containers vouch for them. It is counted by a clock that nobody can set.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::facts::{PartProof, Proof};
use super::gate::Answer;
use crate::fleet::names::{FilesId, Owner};

/// Gaps in the watching up to this long, in milliseconds, are bridged if the same containers run (DESIGN 4, Soak).
const BRIDGED_MS: u64 = 60_000;

/// A moment of a clock that only goes on, and starts anew with the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which run of the machine; empty: not known, and like no other.
    pub boot: String,
    /// Milliseconds since that run began, without the time that the machine slept.
    pub ms: u64,
}

impl Mark {
    /// Milliseconds from an earlier moment of the same run to this one.
    fn after(&self, earlier: &Self) -> Option<u64> {
        if self.boot.is_empty() || self.boot != earlier.boot {
            return None;
        }
        self.ms.checked_sub(earlier.ms)
    }
}

/// One run of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its id.
    pub container: String,
    /// How often the engine restarted it.
    pub restarts: u64,
    /// When it was started, as the engine says.
    pub started: Option<Timestamp>,
}

/// What a look found of one tenant (or of shared services) on the release that it shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSeen {
    /// Healthy, not, or not known.
    pub now: Answer,
    /// Why not, in half a sentence.
    pub why: Option<String>,
    /// The containers that serve, by service, as far as their lives are known.
    pub lives: BTreeMap<String, Life>,
    /// The tenant files that it runs with.
    pub files: Option<FilesId>,
    /// Whether it is evidence for or against the release: not while its own files change or have failed.
    pub counts: bool,
    /// Nothing in it has a healthcheck: its containers count as healthy only once they have run through `observe`.
    pub unchecked: bool,
}

/// What is remembered beside a [`Proof`] to go on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The last look.
    pub at: Mark,
    /// What was seen of each part then.
    #[serde(with = "super::facts::pairs")]
    pub parts: BTreeMap<Owner, PartWatch>,
}

/// What is remembered of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartWatch {
    /// The last known life of each of its services.
    pub lives: BTreeMap<String, Life>,
    /// The files that it ran with.
    pub files: Option<FilesId>,
}

/// A look at one release in one ring.
pub struct Look<'a> {
    /// Its parts.
    pub seen: &'a BTreeMap<Owner, PartSeen>,
    /// Now.
    pub now: &'a Mark,
    /// Since when the engine has been watched without a gap.
    pub since: &'a Mark,
    /// How long what has no healthcheck ran before it counted as healthy.
    pub observe_ms: u64,
    /// Parts that were sick before the release came.
    pub sick: &'a dyn Fn(&Owner) -> bool,
}

/// Goes on with a proof. What ended a healthy stretch of all of the ring, and how long it had been, if one ended.
pub fn go_on(proof: &mut Proof, watch: &mut Watch, look: &Look<'_>) -> Option<(String, u64)> {
    let added = watched(&watch.at, look.now, look.since);
    let mut counted = 0_usize;
    let mut all = true;
    let mut broken = None;
    proof.parts.retain(|owner, _| look.seen.contains_key(owner));
    watch.parts.retain(|owner, _| look.seen.contains_key(owner));
    for (owner, seen) in look.seen {
        let remembered = watch.parts.entry(owner.clone()).or_default();
        let is_known = proof.parts.contains_key(owner);
        let own_change = is_known && remembered.files != seen.files;
        let ended = another_life(remembered, seen).filter(|_| !own_change);
        let part = proof.parts.entry(owner.clone()).or_insert_with(|| PartProof {
            now: Answer::Unknown,
            why: None,
            healthy_ms: 0,
            was_healthy: false,
        });
        let goes_on = part.now == Answer::Pass && seen.now == Answer::Pass && ended.is_none() && !own_change;
        if goes_on {
            part.healthy_ms = part.healthy_ms.saturating_add(added);
        } else if own_change || ended.is_some() || seen.now == Answer::Fail {
            part.healthy_ms = 0;
        }
        if seen.now == Answer::Pass && seen.unchecked {
            part.healthy_ms = part.healthy_ms.max(look.observe_ms);
        }
        part.now = seen.now;
        part.why.clone_from(&seen.why);
        part.was_healthy |= seen.now == Answer::Pass;
        remembered.files = seen.files;
        remembered.lives.extend(seen.lives.clone());
        if !seen.counts || own_change || (look.sick)(owner) {
            continue;
        }
        counted += 1;
        all &= goes_on;
        let unhealthy = (seen.now == Answer::Fail).then(|| seen.why.clone().unwrap_or_default());
        broken = broken.or_else(|| Some((owner, ended.or(unhealthy)?)));
    }
    watch.at = look.now.clone();
    let Some((owner, why)) = broken else {
        if all && counted > 0 {
            proof.healthy_ms = proof.healthy_ms.saturating_add(added);
            proof.longest_ms = proof.longest_ms.max(proof.healthy_ms);
        }
        return None;
    };
    let lasted = std::mem::take(&mut proof.healthy_ms);
    let why = format!("{owner}: {why}");
    proof.broken = Some(why.clone());
    (lasted > 0).then_some((why, lasted))
}

/// Milliseconds between two looks that were watched, or bridge a short gap.
fn watched(last: &Mark, now: &Mark, since: &Mark) -> u64 {
    let Some(passed) = now.after(last) else {
        return 0;
    };
    let gap = since.after(last).unwrap_or(0);
    if gap <= BRIDGED_MS {
        return passed;
    }
    now.after(since).unwrap_or(0)
}

/// Which service runs another life than the one that was seen last.
fn another_life(remembered: &PartWatch, seen: &PartSeen) -> Option<String> {
    seen.lives.iter().find_map(|(service, life)| {
        let last = remembered.lives.get(service)?;
        if last.container != life.container {
            return Some(format!("{service} was replaced"));
        }
        (last != life).then(|| format!("{service} was restarted"))
    })
}

#[cfg(test)]
#[path = "tests/health.rs"]
mod tests;
