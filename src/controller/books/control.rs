//! The control branch at a moment: the head whose decisions are read, and the commit whose policy is in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::judge::Judged;
use super::signed::Seen;
use super::{Books, Control};
use crate::decide::facts::Facts;
use crate::diagnostic::Findings;
use crate::fleet::names::CommitId;
use crate::fleet::{self, Policy, rings};
use crate::git::GitError;

/// What is known before the branch is looked at, and what a person asks for.
pub struct Asked<'a> {
    /// What was accepted before.
    pub facts: &'a Facts,
    /// A person stands behind this pass.
    pub person: bool,
    /// A commit of a rewritten branch that a person accepts.
    pub accept: Option<&'a CommitId>,
    /// Where judging starts if nothing was accepted before; none: at the head.
    pub trust: Option<&'a CommitId>,
}

/// Where judging starts, and where it goes.
struct Span {
    /// The commit whose policy is in force before.
    from: CommitId,
    head: CommitId,
    /// The head that was accepted before.
    accepted: Option<CommitId>,
    /// Whether `from` is accepted now, as it is.
    first: bool,
}

impl Span {
    /// What was accepted last stays.
    fn stays(facts: &Facts, accepted: &CommitId) -> Self {
        Self {
            from: facts.accepted_policy.as_ref().unwrap_or(accepted).clone(),
            head: accepted.clone(),
            accepted: Some(accepted.clone()),
            first: false,
        }
    }

    fn to(self, head: &CommitId) -> Self {
        Self {
            head: head.clone(),
            ..self
        }
    }

    fn starts(from: &CommitId, head: &CommitId) -> Self {
        Self {
            from: from.clone(),
            head: head.clone(),
            accepted: None,
            first: true,
        }
    }
}

/// The policy of one commit with the decisions of another.
pub(super) struct Mixed {
    made_of: (CommitId, CommitId),
    policy: Arc<Policy>,
    findings: Arc<Findings>,
}

impl Books {
    /// While the repository is away: what was accepted last, and the branches as they were last read. So what runs is
    /// kept and healed, and nothing new comes.
    pub fn without_repository(
        &mut self,
        facts: &Facts,
        accepted: &CommitId,
        error: &GitError,
    ) -> Result<(Control, BTreeMap<String, CommitId>), GitError> {
        let span = Span::stays(facts, accepted);
        let conditions = vec![format!(
            "the repository cannot be read: {error}. The last accepted state {} stays: what runs is kept and healed, and nothing is removed",
            accepted.short()
        )];
        let judged = Judged::nothing_new(&span.from);
        let control = self.in_force(&span, judged, conditions)?;
        Ok((control, self.heads.clone()))
    }

    /// What of the control branch is in force. With nothing accepted yet its head is taken as it is. A head that does not
    /// descend from the accepted commit is refused until a person accepts it.
    pub(in crate::controller) fn control(
        &mut self,
        branches: &BTreeMap<String, CommitId>,
        asked: &Asked<'_>,
        seen: &mut Seen<'_>,
    ) -> Result<Control, GitError> {
        let mut conditions = Vec::new();
        if let Some(preview) = self.preview.clone() {
            let span = Span {
                first: false,
                ..Span::starts(&preview, &preview)
            };
            return self.in_force(&span, Judged::nothing_new(&preview), conditions);
        }
        let mut span = self.span(branches.get(&self.control_branch), asked, &mut conditions)?;
        if span.first {
            seen.start(&span.from);
        }
        if let Some(accepted) = asked.facts.accepted.as_ref().filter(|a| **a != span.head)
            && let Some(condition) = self.not_taken(&span, accepted)
        {
            conditions.push(condition);
            span = Span::stays(asked.facts, accepted);
        }
        let judged = match self.judge(&span.from, &span.head, span.accepted.as_ref(), seen) {
            Ok(judged) => judged,
            Err(error) => {
                conditions.push(format!(
                    "changes of policy up to {} cannot be judged: {error}; the policy of {} stays in force",
                    span.head.short(),
                    span.from.short()
                ));
                Judged::nothing_new(&span.from)
            }
        };
        conditions.extend(judged.waits.clone());
        self.in_force(&span, judged, conditions)
    }

    /// What history allows.
    fn span(
        &mut self,
        head: Option<&CommitId>,
        asked: &Asked<'_>,
        conditions: &mut Vec<String>,
    ) -> Result<Span, GitError> {
        let branch = self.control_branch.clone();
        let (head, accepted) = match (head, &asked.facts.accepted) {
            (None, None) => {
                return Err(GitError::NoBranch {
                    repo: crate::text::Safe::new(&self.name),
                });
            }
            (None, Some(accepted)) => {
                let short = accepted.short();
                conditions.push(format!("control branch `{branch}` is gone: the last accepted state {short} stays, and nothing is removed"));
                return Ok(Span::stays(asked.facts, accepted));
            }
            (Some(head), None) => return Ok(Span::starts(asked.trust.unwrap_or(head), head)),
            (Some(head), Some(accepted)) => (head, accepted),
        };
        let stays = Span::stays(asked.facts, accepted);
        if head == accepted {
            return Ok(stays);
        }
        match self.repo.is_ancestor(accepted, head) {
            Ok(true) => return Ok(stays.to(head)),
            Ok(false) => {}
            Err(error) => {
                conditions.push(self.unreadable(head, accepted, &error));
                return Ok(stays);
            }
        }
        let (new, old) = (head.short(), accepted.short());
        if let Some(commit) = asked.accept {
            if self.repo.is_ancestor(commit, head)? {
                let short = commit.short();
                conditions.push(format!(
                    "control branch `{branch}` was rewritten; {short} was accepted by your command"
                ));
                return Ok(Span::starts(commit, head));
            }
            conditions.push(format!(
                "{} is not on control branch `{branch}`: it was not accepted",
                commit.short()
            ));
        }
        let solo = self.policy(&stays.from)?;
        let solo = solo.policy.as_ref().is_none_or(|p| p.principals.is_solo());
        if asked.person && solo {
            conditions.push(format!(
                "control branch `{branch}` was rewritten; {new} was accepted by your command"
            ));
            return Ok(Span::starts(head, head));
        }
        let or = if solo { " (or `ringfence apply`)" } else { "" };
        conditions.push(format!(
            "control branch `{branch}` was rewritten: {new} does not descend from the accepted {old}, which stays; if that is meant, `ringfence accept {new}`{or} on this machine accepts it"
        ));
        Ok(stays)
    }

    /// Why a new head is not taken at all, so that what was accepted last stays.
    fn not_taken(&mut self, span: &Span, accepted: &CommitId) -> Option<String> {
        let (head, old) = (span.head.short().to_owned(), accepted.short());
        match self.tree(&span.head) {
            Err(error) => return Some(self.unreadable(&span.head, accepted, &error)),
            Ok(tree) if tree.get(rings::PATH).is_none() => {
                return Some(format!(
                    "the policy at {head} has errors (there is no {}); that of {old} stays in force",
                    rings::PATH
                ));
            }
            Ok(_) => {}
        }
        if !span.first {
            return None;
        }
        let reason = match self.policy(&span.from) {
            Ok(read) => self.why_not(&read)?,
            Err(error) => format!("cannot be read ({error})"),
        };
        Some(format!(
            "the policy at {} {reason}; that of {old} stays in force",
            span.from.short()
        ))
    }

    fn unreadable(&self, head: &CommitId, accepted: &CommitId, error: &GitError) -> String {
        format!(
            "control branch `{}` cannot be read at {}: {error}; the last accepted state {} stays, and nothing is removed",
            self.control_branch,
            head.short(),
            accepted.short()
        )
    }

    /// The policy of one commit with the decisions of another.
    fn in_force(
        &mut self,
        span: &Span,
        judged: Judged,
        conditions: Vec<String>,
    ) -> Result<Control, GitError> {
        let read = self.policy(&judged.policy)?;
        let mut control = Control {
            commit: span.head.clone(),
            policy_commit: judged.policy,
            policy: read.policy.clone().map(Arc::new),
            findings: Arc::new(read.findings.clone()),
            starts_at: span.first.then(|| span.from.clone()),
            changes: judged.changes,
            conditions,
        };
        if control.commit == control.policy_commit {
            return Ok(control);
        }
        let Some(policy) = &read.policy else {
            return Ok(control);
        };
        let made_of = (control.policy_commit.clone(), control.commit.clone());
        let mixed = match self.mixed.take().filter(|mixed| mixed.made_of == made_of) {
            Some(known) => known,
            None => {
                let on_record = fleet::on_record(&*self.tree(&control.commit)?, &policy.rings);
                Mixed {
                    made_of,
                    policy: Arc::new(Policy {
                        pins: on_record.pins,
                        decisions: on_record.decisions,
                        ..policy.clone()
                    }),
                    findings: Arc::new(on_record.findings),
                }
            }
        };
        control.policy = Some(Arc::clone(&mixed.policy));
        control.findings = Arc::clone(&mixed.findings);
        self.mixed = Some(mixed);
        Ok(control)
    }
}
