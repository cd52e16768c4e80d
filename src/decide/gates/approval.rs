//! Whose word a ring asks for, and whose it has. `approve` never starts anything and never lets a failed gate pass.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Case;
use crate::decide::gate::{Answer, Gate};
use crate::decide::records::Record;
use crate::digest::Digest;
use crate::fleet::decisions::{Approval, Verdict, Waiver};
use crate::fleet::names::PrincipalName;
use crate::fleet::principals::{PrincipalKind, Principals};
use crate::fleet::rings::Approvals;
use crate::text::Safe;

impl Case<'_> {
    fn principals(&self) -> &Principals {
        &self.world.policy.principals
    }

    /// The gate, and the words that let it pass.
    pub(super) fn approval(&self, asked: &Approvals) -> (Gate, BTreeSet<Digest>) {
        let mut yes: BTreeMap<&PrincipalName, (&Record<Approval>, Timestamp)> = BTreeMap::new();
        let mut not_counted = Vec::new();
        for record in self.world.records.approvals.iter().filter(|r| self.concerns(r)) {
            let name = record.value.principal.as_str();
            let verdict = record.value.verdict;
            match self.counts(record, asked) {
                Ok((by, _)) if verdict == Verdict::Reject => {
                    let why = record
                        .value
                        .reason
                        .as_ref()
                        .map(|r| format!(": {}", Safe::new(r.as_str())));
                    let text = format!("rejected by {by}{}", why.unwrap_or_default());
                    let gate = Gate::new("approval", Answer::Fail, text);
                    return (
                        Gate {
                            since: Some(record.seen),
                            may: vec![by.clone()],
                            ..gate
                        },
                        BTreeSet::new(),
                    );
                }
                Ok((by, until)) => {
                    let better = yes.get(by).is_none_or(|(_, known)| *known < until);
                    if better {
                        yes.insert(by, (record, until));
                    }
                }
                Err(why) => not_counted.push(format!("{name}: {why}")),
            }
        }
        let required = usize::try_from(asked.required).unwrap_or(usize::MAX);
        let enough = yes.len() >= required;
        let names: Vec<String> = yes.keys().map(ToString::to_string).collect();
        let mut evidence = format!("{} of {required}", names.len().min(required));
        if !names.is_empty() {
            evidence += &format!(": {}", names.join(", "));
        }
        if self.principals().is_solo() && enough {
            evidence += " (self-approved: a fleet without keys has one person)";
        }
        if !not_counted.is_empty() {
            evidence += &format!("; not counted: {}", not_counted.join("; "));
        }
        if !self.behind.unsigned.is_empty() && !asked.allow_self {
            let unsigned = self.behind.unsigned.join("; ");
            evidence += &format!("; not known who else asks for it: {unsigned}");
        }
        let left = self.left(asked, &yes.keys().copied().collect());
        if !enough {
            evidence += &self.who_may(&left, yes.len(), required);
        }
        let gate = Gate {
            since: enough.then(|| yes.values().map(|(r, _)| r.seen).max()).flatten(),
            until: yes.values().map(|(_, until)| *until).min(),
            may: left,
            ..Gate::new(
                "approval",
                if enough { Answer::Pass } else { Answer::Unknown },
                evidence,
            )
        };
        let words = yes.values().map(|(record, _)| record.word);
        (gate, if enough { words.collect() } else { BTreeSet::new() })
    }

    /// Whether a record is worth a word of explanation here: it is about this ring's request, or where it goes.
    fn concerns(&self, record: &Record<Approval>) -> bool {
        let binding = &record.value.binding;
        binding.ring == self.ring.name && (binding.request == *self.request || binding.to == self.to)
    }

    /// Whose word it is and until when it counts; why it does not.
    fn counts<'r>(
        &self,
        record: &'r Record<Approval>,
        asked: &Approvals,
    ) -> Result<(&'r PrincipalName, Timestamp), String> {
        let by = record.by.as_ref().map_err(Clone::clone)?;
        if !self.is_about(&record.value.binding) {
            return Err(format!("stale, {}", self.difference(&record.value.binding)));
        }
        let until = ends(record.seen, asked.expires_ms, record.value.expires);
        if until <= self.world.now {
            return Err(format!("expired at {until}"));
        }
        if self.principals().is_solo() {
            self.unspent(record.word)?;
            return Ok((by, until));
        }
        let kind = self.principals().all.get(by).map(|p| p.kind);
        if kind != Some(PrincipalKind::Human) {
            return Err("only a human's word counts".to_owned());
        }
        if !self.principals().approvers(&asked.from).contains(by) {
            return Err("not among those whom the ring asks".to_owned());
        }
        if record.value.verdict == Verdict::Reject {
            return Ok((by, until));
        }
        self.unspent(record.word)?;
        if !asked.allow_self {
            self.is_another(by)?;
        }
        Ok((by, until))
    }

    fn unspent(&self, word: Digest) -> Result<(), String> {
        if self.world.facts.spent.contains(&word) {
            return Err("it has let a move start already, and counts once".to_owned());
        }
        Ok(())
    }

    /// Whoever asks for a move does not approve it; nor do its authors, where policy says so.
    fn is_another(&self, by: &PrincipalName) -> Result<(), String> {
        if self.behind.requesters.contains(by) {
            return Err("asked for it".to_owned());
        }
        match &self.behind.authors {
            Some(Err(why)) => Err(format!("its authors are not known ({why})")),
            Some(Ok(authors)) if authors.contains(by) => Err("wrote some of it".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whose yes would count besides those who gave it.
    fn left(&self, asked: &Approvals, given: &BTreeSet<&PrincipalName>) -> Vec<PrincipalName> {
        let principals = self.principals();
        if principals.is_solo() {
            return vec![PrincipalName::solo()];
        }
        let approvers = principals.approvers(&asked.from).into_iter();
        approvers
            .filter(|name| principals.can_sign(name) && !given.contains(name))
            .filter(|name| asked.allow_self || self.is_another(name).is_ok())
            .collect()
    }

    /// Who is left to ask.
    fn who_may(&self, left: &[PrincipalName], given: usize, required: usize) -> String {
        if self.principals().is_solo() {
            return format!("; `ringfence approve {}` says yes", self.ring.name);
        }
        let names: Vec<&str> = left.iter().map(PrincipalName::as_str).collect();
        if given + left.len() < required {
            return format!(
                "; nobody is left who may approve: {} may, {required} are asked for",
                if left.is_empty() {
                    "nobody else".to_owned()
                } else {
                    names.join(", ")
                }
            );
        }
        format!("; may approve: {}", names.join(", "))
    }

    /// A gate as an owner waived it, with the word that did.
    pub(super) fn waiver(&self, gate: &Gate) -> Option<(Gate, Digest)> {
        let mut waivers = self.world.records.waivers.iter();
        let (record, by, until) = waivers.find_map(|record| {
            let (by, until) = self.waives(record, gate)?;
            Some((record, by, until))
        })?;
        let reason = Safe::new(record.value.reason.as_str());
        let text = format!("waived by {by}: {reason} (it was: {})", gate.evidence);
        let gate = Gate {
            since: Some(record.seen),
            until: Some(until),
            ..Gate::new(&gate.name, Answer::Pass, text)
        };
        Some((gate, record.word))
    }

    /// Who may waive what can be waived: the owners.
    pub(super) fn may_waive(&self) -> Vec<PrincipalName> {
        let principals = self.principals();
        if principals.is_solo() {
            return vec![PrincipalName::solo()];
        }
        let owners = principals.all.keys().filter(|name| principals.is_owner(name));
        owners.filter(|name| principals.can_sign(name)).cloned().collect()
    }

    /// `lineage` only where there is no history: a ring that is built anew after a disaster.
    pub(super) fn is_fresh(&self) -> bool {
        self.facts.running.is_none() && self.facts.proofs.is_empty()
    }

    fn waives<'r>(&self, record: &'r Record<Waiver>, gate: &Gate) -> Option<(&'r PrincipalName, Timestamp)> {
        use crate::fleet::decisions::WaivableGate;
        let waiver = &record.value;
        let by = record.by.as_ref().ok()?;
        let fits =
            waiver.gate.word() == gate.name && (waiver.gate != WaivableGate::Lineage || self.is_fresh());
        let expires_ms = self.ring.approvals.as_ref().map_or(DAY_MS, |a| a.expires_ms);
        let until = ends(record.seen, expires_ms, waiver.expires);
        let may = self.principals().is_solo() || self.principals().is_owner(by);
        let counts = fits
            && may
            && self.is_about(&waiver.binding)
            && until > self.world.now
            && self.unspent(record.word).is_ok();
        counts.then_some((by, until))
    }
}

/// A waiver in a ring that asks for no approval counts for a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// When a word ends: as policy says, or earlier as it says itself.
fn ends(seen: Timestamp, expires_ms: u64, own: Option<Timestamp>) -> Timestamp {
    let span = SignedDuration::from_millis(i64::try_from(expires_ms).unwrap_or(i64::MAX));
    let policy = seen.checked_add(span).unwrap_or(Timestamp::MAX);
    own.map_or(policy, |own| own.min(policy))
}
