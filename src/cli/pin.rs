//! What `promote` and `rollback` have in common: a release, and the pin that names it.

use super::commit::Decision;
use super::error::CliError;
use super::fleet::Fleet;
use super::status::short;
use super::why::release_and_commit;
use crate::controller::status::{ReleaseStatus, RingStatus, Status};
use crate::fleet::decisions::Reason;
use crate::fleet::names::{CommitId, ContentId, RingName};
use crate::fleet::rings::{NewPin, Ring};

/// A release that a ring can be pinned to.
pub(super) struct Chosen {
    /// The commit that has it.
    pub(super) commit: CommitId,
    /// The release, where its images are known.
    pub(super) release: Option<ReleaseStatus>,
    /// The ring it was proven in.
    pub(super) proven_in: Option<RingName>,
}

impl Chosen {
    /// A release that a ring runs, or ran.
    pub(super) fn of(release: &ReleaseStatus, proven_in: Option<RingName>) -> Result<Self, CliError> {
        Ok(Self {
            commit: release.commit.parse().map_err(CliError::new)?,
            release: Some(release.clone()),
            proven_in,
        })
    }

    /// For people: the release where it is known, with its commit.
    pub(super) fn told(&self) -> String {
        match &self.release {
            Some(release) => release_and_commit(&release.id, &release.commit),
            None => format!("commit {}", self.commit.short()),
        }
    }

    /// `rel-…` with 8 digits, where it is known.
    pub(super) fn id(&self) -> Option<String> {
        self.release.as_ref().map(|r| short(&r.id))
    }

    pub(super) fn pin(&self, reason: Option<&Reason>) -> NewPin {
        NewPin {
            release: self.commit.clone(),
            proven_in: self.proven_in.clone(),
            images: self
                .release
                .as_ref()
                .map(|r| r.images.clone())
                .unwrap_or_default(),
            reason: reason.cloned(),
        }
    }
}

impl Fleet {
    /// The release of a revision: a commit without errors that a branch reaches. Its images are those that a ring runs, or
    /// ran, with the same content: this ring's own, else those of the ring before, else any other's.
    pub(super) fn chosen(&self, rev: &str, ring: &Ring, status: &Status) -> Result<Chosen, CliError> {
        let commit = self.repo.resolve(rev)?;
        let tips: Vec<CommitId> = self.repo.branches()?.into_values().collect();
        if !self.repo.reachable_from_any(&commit, &tips)? {
            return Err(
                CliError::new(format!("no branch reaches {}", commit.short())).hint(
                    "commit it on a branch (and push that) first: a pin names what stays in the repository",
                ),
            );
        }
        let tree = self.repo.tree(&commit)?;
        let base = crate::fleet::base(&tree);
        if base.findings.has_errors() {
            let first = crate::controller::books::first_error(base.findings.iter());
            return Err(
                CliError::new(format!("{} is no release: {first}", commit.short()))
                    .hint("name a commit without errors; `ringfence check` shows those of the work tree"),
            );
        }
        let from = ring.promote_from.as_ref();
        let rank = |name: &str| match name {
            own if own == ring.name.as_str() => 0,
            before if from.is_some_and(|f| f.as_str() == before) => 1,
            _ => 2,
        };
        let mut known: Vec<(&RingStatus, &ReleaseStatus)> = status
            .rings
            .iter()
            .flat_map(|r| r.release.iter().chain(&r.before).map(move |release| (r, release)))
            .filter(|(_, release)| release.content == base.base.content.full())
            .collect();
        known.sort_by_key(|(r, _)| rank(&r.name));
        let proven = from.filter(|from| known.iter().any(|(r, _)| r.name == from.as_str()));
        Ok(Chosen {
            commit,
            release: known.first().map(|(_, release)| (*release).clone()),
            proven_in: proven.cloned(),
        })
    }

    /// Whether a ring's pin names this release already, with the same images.
    pub(super) fn is_pinned(&self, ring: &Ring, pin: &NewPin) -> bool {
        let Some(old) = self.policy.pins.get(&ring.name) else {
            return false;
        };
        let images = old.images.iter().map(|(name, id)| (name, &id.value));
        images.eq(pin.images.iter())
            && (old.release.value == pin.release
                || self
                    .content(&old.release.value)
                    .is_some_and(|c| Some(c) == self.content(&pin.release)))
    }

    fn content(&self, commit: &CommitId) -> Option<ContentId> {
        Some(crate::fleet::content_id(&self.repo.tree(commit).ok()?))
    }
}

/// A ring's pin, to be written.
pub(super) fn decision(ring: &Ring, pin: &NewPin, verb: &str, chosen: &Chosen, status: &Status) -> Decision {
    Decision {
        path: NewPin::path(&ring.name),
        text: Some(pin.to_yaml()),
        subject: format!("{verb} {} to {}", ring.name, chosen.told()),
        reason: pin.reason.clone(),
        next: next(ring, status),
    }
}

/// What comes after a pin.
fn next(ring: &Ring, status: &Status) -> Vec<String> {
    let mut next = vec![super::commit::look(ring.name.as_str())];
    if !status.daemon {
        next.push(format!(
            "`ringfence apply {}` acts on it, or `ringfence run`: no daemon does now",
            ring.name
        ));
    }
    if ring.auto_deploy {
        next.push(follows_again(ring));
    }
    next
}

/// How a pin of a ring that follows its branch ends.
fn follows_again(ring: &Ring) -> String {
    let branch = ring
        .branch
        .as_ref()
        .map_or("the control branch", |b| b.value.as_str());
    format!(
        "ring {} follows {} again once its pin is gone: `git rm {}`, and commit",
        ring.name,
        crate::text::Safe::new(branch),
        NewPin::path(&ring.name)
    )
}
