//! How a release did in the ring before: `lineage`, `health`, `soak`, `checks`.

use jiff::{SignedDuration, Timestamp};

use super::Case;
use crate::decide::facts::{PartProof, Proof, RingFacts};
use crate::decide::gate::{Answer, Gate};
use crate::fleet::names::{Owner, ReleaseId, RingName};

/// A release in the ring that it is promoted from.
pub(super) struct Proven<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) from: &'a RingName,
    pub(super) before: &'a RingFacts,
    pub(super) release: ReleaseId,
}

impl Proven<'_> {
    fn proof(&self) -> Option<&Proof> {
        self.before.proofs.get(&self.release)
    }

    fn runs(&self) -> bool {
        self.before.running == Some(self.release)
    }

    /// Whether it was ever healthy in all of the ring before.
    pub(super) fn lineage(&self) -> Gate {
        let (from, release) = (self.from, self.release);
        let since = self.proof().and_then(|p| p.succeeded);
        let gate = if self.runs() || since.is_some() {
            Gate::new(
                "lineage",
                Answer::Pass,
                format!("{release} was healthy in ring {from}"),
            )
        } else if self.before.moving.as_ref().is_some_and(|m| m.to == release) {
            let text = format!("{release} is on its way in ring {from}, and has not been healthy there yet");
            Gate::new("lineage", Answer::Unknown, text)
        } else {
            let text = format!(
                "{release} was never healthy in ring {from}: it goes there first (`ringfence promote {from}`, or its branch)"
            );
            Gate::new("lineage", Answer::Fail, text)
        };
        Gate { since, ..gate }
    }

    /// Whether every tenant of the ring before is healthy on it now, or was when it was displaced.
    pub(super) fn health(&self) -> Gate {
        let (from, release) = (self.from, self.release);
        let when = if self.runs() {
            "in"
        } else {
            "when it was displaced in"
        };
        let Some(proof) = self.proof().filter(|p| self.runs() || p.displaced.is_some()) else {
            let text = if self.runs() {
                format!("how {release} does in ring {from} has not been seen yet")
            } else {
                format!("{release} has not run in ring {from}")
            };
            return Gate::new("health", Answer::Unknown, text);
        };
        let mut sick = Vec::new();
        let mut bad = Vec::new();
        let mut unknown = Vec::new();
        let mut healthy = 0_usize;
        for (owner, part) in &proof.parts {
            let why = || {
                part.why
                    .as_ref()
                    .map_or_else(|| owner.to_string(), |why| format!("{owner} ({why})"))
            };
            match part.now {
                Answer::Pass => healthy += 1,
                // What does not get healthy beside the old one never serves, and nothing is known of it: no evidence either.
                Answer::Fail | Answer::Unknown if self.was_sick(owner, part) => sick.push(owner.to_string()),
                Answer::Fail => bad.push(why()),
                Answer::Unknown => unknown.push(why()),
            }
        }
        let mut evidence = format!("{healthy} of {} healthy {when} ring {from}", proof.parts.len());
        for (what, list) in [("not healthy", &bad), ("unknown", &unknown)] {
            if !list.is_empty() {
                evidence += &format!("; {what}: {}", list.join(", "));
            }
        }
        if !sick.is_empty() {
            evidence += &format!("; no evidence, since already sick before: {}", sick.join(", "));
        }
        let before = self.case.world.rings.get(from);
        evidence += &before
            .map(|input| input.not_run_here(release))
            .unwrap_or_default();
        let state = if !bad.is_empty() {
            Answer::Fail
        } else if !unknown.is_empty() || healthy == 0 {
            Answer::Unknown
        } else {
            Answer::Pass
        };
        Gate::new("health", state, evidence)
    }

    /// A tenant that was already sick there on the release that this ring runs now, and has not been healthy since.
    fn was_sick(&self, owner: &Owner, part: &PartProof) -> bool {
        let before = self.case.facts.running.and_then(|r| self.before.proofs.get(&r));
        let before = before.and_then(|p| p.parts.get(owner));
        !part.was_healthy && before.is_some_and(|b| b.now == Answer::Fail)
    }

    /// Whether it was healthy there for long enough without a break.
    pub(super) fn soak(&self) -> Gate {
        let (from, release) = (self.from, self.release);
        let needed = self.case.ring.soak_ms;
        let Some(proof) = self.proof() else {
            let text = format!(
                "{release} has not been watched in ring {from} yet; needs {}",
                time(needed)
            );
            return Gate::new("soak", Answer::Unknown, text);
        };
        let earned = format!(
            "{} of {} healthy in ring {from}",
            time(proof.healthy_ms),
            time(needed)
        );
        let broken = proof
            .broken
            .as_ref()
            .map_or_else(String::new, |why| format!("; began anew: {why}"));
        if proof.longest_ms >= needed {
            let text = format!(
                "{} of {} healthy in ring {from}",
                time(proof.longest_ms),
                time(needed)
            );
            return Gate::new("soak", Answer::Pass, text);
        }
        if !self.runs() {
            let text = format!("{earned}, then another release took its place: it cannot earn the rest");
            return Gate::new("soak", Answer::Fail, text);
        }
        let is_healthy = proof.parts.values().all(|p| p.now == Answer::Pass);
        let counted = proof.as_of.unwrap_or(self.case.world.now);
        Gate {
            until: is_healthy
                .then(|| after(counted, needed.saturating_sub(proof.healthy_ms)))
                .flatten(),
            ..Gate::new("soak", Answer::Unknown, format!("{earned}{broken}"))
        }
    }

    /// What the ring's own checks said of it there.
    pub(super) fn checks(&self) -> Option<Gate> {
        let checks = &self.case.ring.checks;
        if checks.is_empty() {
            return None;
        }
        let mut state = Answer::Pass;
        let mut evidence = Vec::new();
        for check in checks {
            let said = self.case.input.checks.get(&check.name);
            let said = said.filter(|s| s.release == self.release);
            let answer = said.map_or(Answer::Unknown, |s| s.answer);
            state = match (state, answer) {
                (Answer::Fail, _) | (_, Answer::Fail) => Answer::Fail,
                (Answer::Unknown, _) | (_, Answer::Unknown) => Answer::Unknown,
                _ => Answer::Pass,
            };
            let text = said.map_or("not asked yet", |s| s.evidence.as_str());
            evidence.push(format!("{}: {text}", check.name));
        }
        Some(Gate::new("checks", state, evidence.join("; ")))
    }
}

fn after(now: Timestamp, ms: u64) -> Option<Timestamp> {
    let ms = i64::try_from(ms).ok()?;
    now.checked_add(SignedDuration::from_millis(ms)).ok()
}

/// Milliseconds for people: `1d 2h`, `3m 5s`, `400ms`.
pub(super) fn time(ms: u64) -> String {
    if ms > 0 && ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = ms / 1000;
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(3);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || words.is_empty() {
            words.push(format!("{count}{name}"));
        }
    }
    words.join(" ")
}
