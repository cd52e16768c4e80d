//! What a rollback writes back to git: a pin that names what runs, in place of the one that names what failed.
//!
//! Only where a pin asked for the loser; a ring that follows its branch has nothing to correct. Compare-and-swap: only while
//! the head's pin still names the loser, so that a person's newer word is never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Controller;
use super::gather::Gathered;
use crate::apply::Progress;
use crate::decide::facts::Facts;
use crate::decide::{MoveState, RingDecision};
use crate::fleet;
use crate::fleet::names::{CommitId, ReleaseId, RingName};
use crate::fleet::release::Release;
use crate::fleet::rings::NewPin;
use crate::git::{Ask, Change, Condition, GitError, WriteBack};

/// One git of the daemon may take so long.
const LIMIT: Duration = Duration::from_secs(20);

/// What was tried: the ring's loser and the control head it was tried on, and what a person should know of it.
pub(super) type Tried = BTreeMap<RingName, (ReleaseId, CommitId, Option<String>)>;

impl Controller {
    /// Makes the pins of rings that went back agree with what they run.
    pub(super) fn write_back(&mut self, gathered: &mut Gathered, facts: &Facts) {
        let mut tried = Tried::new();
        for ring in &mut gathered.decision.rings {
            let Some((loser, winner)) = gone_back(ring, facts) else {
                self.withdraw(&ring.name);
                continue;
            };
            let before = self.written_back.remove(&ring.name);
            let same = before.filter(|(id, head, _)| *id == loser && *head == gathered.control);
            let told = match same {
                Some((.., told)) => told,
                None => self.write_one(ring, loser, winner, facts),
            };
            ring.conditions.extend(told.clone());
            tried.insert(ring.name.clone(), (loser, gathered.control.clone(), told));
        }
        self.written_back = tried;
    }

    /// What a look tells of it: nothing is written.
    pub(super) fn tell_proposed(&self, gathered: &mut Gathered, facts: &Facts) {
        for ring in &mut gathered.decision.rings {
            if let Some((loser, winner)) = gone_back(ring, facts)
                && let Some(command) = self.parts.books.taking(&ring.name)
            {
                ring.conditions
                    .push(diverged(loser, winner, "it may not write there", &command));
            }
        }
    }

    /// What was proposed for a ring that has not gone back, or was asked for something else since, is wanted no more.
    fn withdraw(&mut self, ring: &RingName) {
        let from_before = self.pass == 1 && self.parts.books.taking(ring).is_some();
        if from_before || self.written_back.contains_key(ring) {
            self.parts.books.withdraw(ring);
        }
    }

    /// Writes one ring's pin, or proposes it; what a person should know.
    fn write_one(
        &self,
        ring: &RingDecision,
        loser: ReleaseId,
        winner: ReleaseId,
        facts: &Facts,
    ) -> Option<String> {
        let release = facts.releases.get(&winner)?;
        let failed = facts.ring(&ring.name).quarantine.get(&loser)?;
        let lost = facts.releases.get(&loser)?;
        let first = failed.reason.lines().next().unwrap_or_default();
        let change = Change {
            branch: self.parts.books.control_branch().to_owned(),
            files: BTreeMap::from([(
                NewPin::path(&ring.name),
                Some(pin(release, loser, first).into_bytes()),
            )]),
            message: format!(
                "{}: back to {winner}, since {loser} failed\n\n{first}\n\nWritten by ringfence.\n",
                ring.name
            ),
            ..Change::default()
        };
        let (name, lost) = (ring.name.clone(), lost.commit.clone());
        let fleet = self.parts.books.repo().name();
        let still: Ask<'_> = &|head| {
            let read = fleet::policy(&head.tree()?, &fleet);
            let pin = read.policy.as_ref().and_then(|policy| policy.pins.get(&name));
            Ok(match pin {
                Some(pin) if pin.release.value == lost => Condition::Holds,
                _ => Condition::Gone(format!("the pin of ring {name} names something else by now")),
            })
        };
        let books = &self.parts.books;
        match tokio::task::block_in_place(|| books.write_back(&ring.name, &change, still, LIMIT)) {
            Ok(None) => None,
            Ok(Some(WriteBack::Written(written))) => {
                let text = format!(
                    "the pin of ring {} names {winner} again, in commit {}",
                    ring.name,
                    written.commit.short()
                );
                self.parts.progress.tell(Progress::Note { text });
                None
            }
            Ok(Some(WriteBack::Proposed { why, .. })) => {
                let command = books.taking(&ring.name)?;
                Some(diverged(loser, winner, &why.to_string(), &command))
            }
            Err(error) if is_overtaken(&error) => None,
            Err(error) => Some(format!(
                "diverged from git: the pin still names {loser}, and the ring runs {winner}; a commit that says so cannot be made: {error}"
            )),
        }
    }
}

/// The loser and the winner of a ring whose pin asks for what failed there.
fn gone_back(ring: &RingDecision, facts: &Facts) -> Option<(ReleaseId, ReleaseId)> {
    let of_ring = facts.ring(&ring.name);
    let winner = of_ring.running.filter(|_| of_ring.rolled_back)?;
    let lost = ring
        .moves
        .iter()
        .find(|m| m.pinned && m.state == MoveState::Quarantined)?;
    let loser = lost.to?.release()?;
    (loser != winner).then_some((loser, winner))
}

fn diverged(loser: ReleaseId, winner: ReleaseId, why: &str, command: &str) -> String {
    format!(
        "diverged from git: the pin still names {loser}, and the ring runs {winner}. ringfence keeps a commit that says so and does not write it ({why}): take it with `{command}`, or pin another release"
    )
}

fn pin(release: &Release, loser: ReleaseId, why: &str) -> String {
    let pin = NewPin {
        release: release.commit.clone(),
        proven_in: None,
        images: release.images.clone(),
        reason: format!("{loser} failed here and went back: {why}").parse().ok(),
    };
    pin.to_yaml()
}

fn is_overtaken(error: &GitError) -> bool {
    use crate::git::WriteProblem;
    matches!(error, GitError::Write { problem, .. } if matches!(**problem, WriteProblem::Overtaken { .. }))
}
