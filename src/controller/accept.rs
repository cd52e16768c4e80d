//! What of the control branch is in force is written down, before anything follows from it.

use jiff::Timestamp;

use super::books::{Asked, Books, Control, Seen};
use super::{Controller, ControllerError, Request};
use crate::fleet::names::CommitId;
use crate::store::Store;

impl Controller {
    /// Where judging starts if nothing was accepted before.
    pub fn trust(&mut self, commit: CommitId) {
        self.parts.trust = Some(commit);
    }

    /// Accepts a commit of a rewritten control branch without a pass. What there is to know about it.
    pub fn accept_commit(&mut self, request: &Request) -> Result<Vec<String>, ControllerError> {
        let (books, store, now) = (&mut self.parts.books, &self.parts.store, Timestamp::now());
        books.begin_pass();
        let facts = store.facts()?;
        let mut seen = Seen::new(&facts, now);
        let asked = Asked {
            facts: &facts,
            person: request.person,
            accept: request.accept.as_ref(),
            trust: None,
        };
        let branches = books.branches()?;
        let control = books.control(&branches, &asked, &mut seen)?;
        accept(books, store, &control, now)?;
        store.saw(&seen.new_ones())?;
        Ok(control.conditions)
    }
}

/// Writes down what is accepted from now on. What there is to tell, if judging starts anew.
pub(super) fn accept(
    books: &Books,
    store: &Store,
    control: &Control,
    now: Timestamp,
) -> Result<Option<String>, ControllerError> {
    let facts = store.facts()?;
    let (commit, policy) = (&control.commit, &control.policy_commit);
    let known = (facts.accepted.as_ref(), facts.accepted_policy.as_ref());
    if known == (Some(commit), Some(policy)) && control.starts_at.is_none() {
        return Ok(None);
    }
    books.keep_all(&[
        ("control".to_owned(), commit.clone()),
        ("policy".to_owned(), policy.clone()),
    ])?;
    let mut told = None;
    if let Some(start) = &control.starts_at {
        store.accept(start, start, now)?;
        let branch = books.control_branch();
        let short = start.short();
        told = Some(match &facts.accepted {
            None => {
                format!("control branch `{branch}` is accepted as it is at {short}: judging starts here")
            }
            Some(before) => format!(
                "control branch `{branch}` was rewritten: {short} is accepted in place of {}",
                before.short()
            ),
        });
    }
    store.policies(&control.changes)?;
    store.accept(commit, policy, now)?;
    Ok(told)
}
