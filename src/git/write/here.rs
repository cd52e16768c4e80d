//! A commit in a local repository: the branch moves, and the work tree that has it checked out with it.

use std::time::Duration;

use super::checkout::{Brought, Checkout};
use super::hand::At;
use super::objects::{self, Author, Blobs, Made};
use super::problem::{WriteProblem, lock_in, words};
use super::push::{Pushed, Remote};
use super::transaction::Transaction;
use super::{Ask, Change, Writer, Written, nothing};
use crate::fleet::names::CommitId;
use crate::git::GitError;
use crate::text::Safe;

/// So often the head may move away before it is given up.
const TRIES: u32 = 40;
/// While another git holds a lock.
const PAUSE: Duration = Duration::from_millis(50);

/// One attempt's end.
enum Attempt {
    Done(Written),
    /// The head moved, or was checked out meanwhile: once more.
    Moved,
    /// Another git works in the checkout: once more, a little later.
    Locked(Safe),
}

/// What the attempts have in common.
struct Work {
    blobs: Blobs,
    author: Option<Author>,
    /// Kept for the next attempt on the same head, so that nobody signs twice.
    made: Option<Made>,
    /// The remote that has the commit already.
    pushed: Option<Safe>,
}

impl Work {
    /// The commit on `head`.
    fn make(&mut self, at: &At<'_>, change: &Change, tree: &str, head: &CommitId) -> Result<Made, GitError> {
        match self.made.take() {
            Some(made) if made.parent == *head => return Ok(made),
            // Another commit than the one that the remote has would part the two for good.
            Some(_) if self.pushed.is_some() => {
                return Err(at.problem(WriteProblem::Contended { tries: 1 }));
            }
            _ => {}
        }
        let author = match self.author.take() {
            Some(author) => author,
            None => objects::author(at, change.signing)?,
        };
        let made = objects::commit(at, tree, head, &change.message, &author)?;
        self.author = Some(author);
        Ok(made)
    }

    /// An error after the remote took the commit says so.
    fn explain(&self, at: &At<'_>, error: GitError) -> GitError {
        let Some(remote) = self.pushed.clone() else {
            return error;
        };
        let detail = match error {
            GitError::Write { problem, .. } => problem.to_string(),
            other => other.to_string(),
        };
        at.problem(WriteProblem::OnlyPushed {
            remote,
            detail: Safe::lines(&detail),
        })
    }
}

impl Writer<'_> {
    pub(super) fn commit_here(
        &self,
        at: &At<'_>,
        change: &Change,
        condition: Ask<'_>,
    ) -> Result<Written, GitError> {
        let mut work = Work {
            blobs: objects::blobs(at, change)?,
            author: None,
            made: None,
            pushed: None,
        };
        let mut problem = WriteProblem::Contended { tries: TRIES };
        for _ in 0..TRIES {
            match self.once(at, change, condition, &mut work) {
                Ok(Attempt::Done(written)) => return Ok(written),
                Ok(Attempt::Moved) => problem = WriteProblem::Contended { tries: TRIES },
                Ok(Attempt::Locked(detail)) => {
                    problem = WriteProblem::Locked { detail };
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(work.explain(at, error)),
            }
        }
        Err(work.explain(at, at.problem(problem)))
    }

    fn once(
        &self,
        at: &At<'_>,
        change: &Change,
        condition: Ask<'_>,
        work: &mut Work,
    ) -> Result<Attempt, GitError> {
        let head = self.head(at, condition)?;
        let Some(tree) = objects::tree(at, &head, &work.blobs)? else {
            return Ok(Attempt::Done(nothing(head)));
        };
        let checkout = self.checkout(at)?;
        if let Some(checkout) = &checkout {
            // Before a person is asked for a signature.
            checkout.refuse_edits(at, &work.blobs)?;
        }
        let made = work.make(at, change, &tree, &head)?;
        let made = work.made.insert(made);
        if change.push && work.pushed.is_none() {
            // First there: what the server refuses leaves nothing behind here.
            work.pushed = Some(push(at, &made.commit)?);
        }
        if let Some(other) = self.put(at, checkout.as_ref(), made, &work.blobs, &change.message)? {
            return Ok(other);
        }
        Ok(Attempt::Done(Written {
            commit: made.commit.clone(),
            is_new: true,
            signed: made.signed,
            checkout: checkout.map(|c| c.work_dir().to_owned()),
            pushed: work.pushed.clone(),
        }))
    }

    /// Where the branch is checked out: no place for the daemon.
    fn checkout(&self, at: &At<'_>) -> Result<Option<Checkout>, GitError> {
        match Checkout::find(at)? {
            Some(checkout) if !self.hand.is_person() => Err(at.problem(WriteProblem::CheckedOut {
                work_dir: checkout.work_dir().to_owned(),
            })),
            found => Ok(found),
        }
    }

    /// Moves the branch, and the checkout before it. None: done.
    fn put(
        &self,
        at: &At<'_>,
        checkout: Option<&Checkout>,
        made: &Made,
        blobs: &Blobs,
        message: &str,
    ) -> Result<Option<Attempt>, GitError> {
        let name = format!("refs/heads/{}", at.branch);
        let here = checkout.map_or(*at, |c| c.at(at));
        let step = (&made.parent, &made.commit);
        let reason = format!("ringfence: {}", message.lines().next().unwrap_or_default());
        let transaction = match Transaction::prepare(here.command(""), &name, step, &reason)? {
            Ok(transaction) => transaction,
            Err(_) if self.tip(at)? != made.parent => return Ok(Some(Attempt::Moved)),
            Err(said) => {
                return Err(at.problem(match lock_in(&said) {
                    Some(detail) => WriteProblem::Locked { detail },
                    None => WriteProblem::Refused { detail: words(&said) },
                }));
            }
        };
        // Under the lock: somebody may have checked it out since, or begun a rebase.
        if self.checkout(at)?.as_ref() != checkout {
            return Ok(Some(Attempt::Moved));
        }
        if let Some(checkout) = checkout
            && let Brought::Locked(lock) = checkout.bring(at, step, blobs)?
        {
            return Ok(Some(Attempt::Locked(lock)));
        }
        if let Err(said) = transaction.commit() {
            if let Some(checkout) = checkout {
                checkout.take_back(at, step)?;
            }
            return Err(at.problem(WriteProblem::Refused { detail: words(&said) }));
        }
        Ok(None)
    }
}

/// `--push` of a local repository.
fn push(at: &At<'_>, commit: &CommitId) -> Result<Safe, GitError> {
    let remote = Remote::of_branch(at)?;
    match remote.push(at, commit)? {
        Pushed::Taken => Ok(remote.label()),
        Pushed::Refused { said, moved } => Err(at.problem(WriteProblem::NotPushed {
            remote: remote.label(),
            detail: said,
            next: if moved {
                "nothing was changed; bring the branch up to date with `git pull` and repeat it"
            } else {
                "nothing was changed; take it up with the owner of that branch's rules, or leave out `--push`"
            },
        })),
    }
}
