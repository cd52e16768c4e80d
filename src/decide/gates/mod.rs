//! The gates, in their order. Each looks at one move and answers with its evidence; none of them acts.

mod approval;
mod proven;
mod window;

use std::collections::BTreeSet;

use super::facts::RingFacts;
use super::gate::{Answer, Gate};
use super::records::Behind;
use super::{RingInput, World};
use crate::digest::Digest;
use crate::fleet::decisions::{Binding, Moved, WaivableGate};
use crate::fleet::names::{CommitId, PolicyId, ReleaseId};
use crate::fleet::rings::Ring;

/// One move, and all that its gates are judged by.
pub(super) struct Case<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) ring: &'a Ring,
    pub(super) input: &'a RingInput,
    pub(super) facts: &'a RingFacts,
    pub(super) request: &'a CommitId,
    pub(super) from: Option<Moved>,
    pub(super) to: Moved,
    pub(super) behind: &'a Behind,
    /// What its engine says to it.
    pub(super) resources: Option<Gate>,
    /// The policy that it is judged under.
    pub(super) policy: Option<PolicyId>,
}

/// The answers, and the words on record that they rest on.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) gates: Vec<Gate>,
    pub(super) words: BTreeSet<Digest>,
}

impl Case<'_> {
    /// All gates behind `release` that a release has to pass.
    pub(super) fn release(&self, release: ReleaseId) -> Judged {
        let mut judged = Judged::default();
        if let Some(from) = &self.ring.promote_from {
            let before = self.world.facts.ring(from);
            let proven = proven::Proven {
                case: self,
                from,
                before,
                release,
            };
            self.waivable(proven.lineage(), &mut judged);
            judged.gates.push(proven.health());
            if self.ring.soak_ms > 0 {
                self.waivable(proven.soak(), &mut judged);
            }
            judged.gates.extend(proven.checks());
        }
        self.common(&mut judged);
        judged
    }

    /// The gates behind `release` that a change of tenant files has to pass.
    pub(super) fn files(&self) -> Judged {
        if self.ring.tenant_changes == crate::fleet::rings::TenantChanges::Free {
            return self.rollback();
        }
        let mut judged = Judged::default();
        self.common(&mut judged);
        judged
    }

    /// The gates behind `release` of what was proven in the ring itself: only that it still fits beside the others.
    pub(super) fn rollback(&self) -> Judged {
        Judged {
            gates: self.resources.iter().cloned().collect(),
            ..Judged::default()
        }
    }

    fn common(&self, judged: &mut Judged) {
        judged
            .gates
            .extend(window::gate(&self.ring.windows, self.world.now));
        judged.gates.extend(self.resources.clone());
        if let Some(approvals) = &self.ring.approvals {
            let (gate, words) = self.approval(approvals);
            judged.gates.push(gate);
            judged.words.extend(words);
        }
    }

    /// A gate as it is, or as somebody who may waived it.
    fn waivable(&self, mut gate: Gate, judged: &mut Judged) {
        if gate.state != Answer::Pass && (gate.name != WaivableGate::Lineage.word() || self.is_fresh()) {
            gate.may = self.may_waive();
        }
        let waived = (gate.state != Answer::Pass).then(|| self.waiver(&gate)).flatten();
        let Some((gate, word)) = waived else {
            judged.gates.push(gate);
            return;
        };
        judged.words.insert(word);
        judged.gates.push(gate);
    }

    /// What an approval or a waiver of this move is bound to; none while the policy has no id.
    fn is_about(&self, binding: &Binding) -> bool {
        binding.ring == self.ring.name
            && binding.request == *self.request
            && binding.from == self.from
            && binding.to == self.to
            && Some(binding.policy) == self.policy
    }

    /// What of a binding differs, in words.
    fn difference(&self, binding: &Binding) -> &'static str {
        if binding.to != self.to {
            "it is for something else than what is asked for now"
        } else if binding.request != *self.request {
            "it is for an earlier request"
        } else if binding.from != self.from {
            "something else runs now than when it was given"
        } else {
            "the policy has changed since"
        }
    }
}
