//! A commit at a URL: made in the mirror, where no branch names it until the remote took it.

use std::time::Duration;

use super::hand::At;
use super::objects::{self, Made};
use super::problem::WriteProblem;
use super::push::{Pushed, Remote};
use super::{Ask, Change, Writer, Written, nothing};
use crate::git::GitError;
use crate::git::repo::oid;

/// So often the remote's head may move away before it is given up.
const TRIES: u32 = 12;
/// How long one fetch between may take.
const FETCH: Duration = Duration::from_secs(60);

impl Writer<'_> {
    pub(super) fn commit_there(
        &self,
        at: &At<'_>,
        url: &str,
        change: &Change,
        condition: Ask<'_>,
    ) -> Result<Written, GitError> {
        let remote = Remote::url(url, at.branch);
        // A signature for a head that is long gone would be asked for in vain.
        self.repo.fetch(FETCH)?;
        let blobs = objects::blobs(at, change)?;
        let mut author = None;
        for _ in 0..TRIES {
            let head = self.head(at, condition)?;
            let Some(tree) = objects::tree(at, &head, &blobs)? else {
                return Ok(nothing(head));
            };
            let author = match author.take() {
                Some(known) => author.insert(known),
                None => author.insert(objects::author(at, change.signing)?),
            };
            let ours = objects::commit(at, &tree, &head, &change.message, author)?;
            let written = Written {
                commit: ours.commit.clone(),
                is_new: true,
                signed: ours.signed,
                checkout: None,
                pushed: Some(remote.label()),
            };
            let said = match remote.push(at, &ours.commit)? {
                Pushed::Taken => {
                    self.follow(at, &ours);
                    return Ok(written);
                }
                Pushed::Refused { said, .. } => said,
            };
            let not_pushed = |next| {
                at.problem(WriteProblem::NotPushed {
                    remote: remote.label(),
                    detail: said.clone(),
                    next,
                })
            };
            // Whatever git said: the remote's head tells whether it moved, or took it and the answer was lost.
            if self.repo.fetch(FETCH).is_err() {
                return Err(not_pushed(
                    "whether it arrived cannot be told, since it cannot be fetched either; look again when it answers",
                ));
            }
            let tip = self.tip(at)?;
            if self.repo.is_ancestor(&ours.commit, &tip)? {
                return Ok(written);
            }
            if tip == head {
                return Err(not_pushed(
                    "nothing was changed; take it up with the owner of that branch's rules, or push as one who may",
                ));
            }
        }
        Err(at.problem(WriteProblem::Contended { tries: TRIES }))
    }

    /// The mirror's branch after a push: the next fetch would say the same.
    fn follow(&self, at: &At<'_>, made: &Made) {
        let moved = self.repo.git2().and_then(|repo| {
            let name = format!("refs/heads/{}", at.branch);
            repo.reference_matching(
                &name,
                oid(&made.commit)?,
                true,
                oid(&made.parent)?,
                "ringfence: pushed",
            )
            .map(drop)
            .map_err(self.repo.fault("cannot note what was pushed"))
        });
        if let Err(error) = moved {
            tracing::debug!(%error, "the next fetch brings it");
        }
    }
}
