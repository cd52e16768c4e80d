//! Which policy is in force. Commits of the control branch are judged one by one, first parent first, each under the
//! policy that was accepted before it. In a fleet with keys a change of policy needs the owners of the policy before it.
//!
//! A signature accepts only what stands directly on the accepted policy: whoever signs a commit on top of a change that
//! waits has not accepted that change. So these count for exactly one change: the signature of a commit that makes it in
//! one step, that of the merge that brings such a commit to the control branch, and that of a commit whose message says
//! `Accepts-policy: pol-…` with the whole id of the policy that waits.

use std::collections::{BTreeMap, BTreeSet};

use super::signed::Seen;
use super::{Books, first_error, has_policy_errors};
use crate::fleet::names::{CommitId, PolicyId, PrincipalName};
use crate::fleet::policy_id::{FILES, of_files};
use crate::fleet::principals::{PrincipalKind, Principals};
use crate::fleet::{Policy, PolicyRead};
use crate::git::{GitError, Marks};

/// The trailer by which an owner accepts a policy that waits.
const ACCEPTS: &str = "Accepts-policy";

/// What judging found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    /// The commit whose policy is in force.
    pub(super) policy: CommitId,
    /// Commits that change policy, each with the one whose policy was in force before it.
    pub(super) changes: BTreeMap<CommitId, CommitId>,
    /// What waits, for whom, and how it is accepted.
    pub(super) waits: Option<String>,
}

impl Judged {
    /// The policy of a commit stays.
    pub(super) fn nothing_new(policy: &CommitId) -> Self {
        Self {
            policy: policy.clone(),
            changes: BTreeMap::new(),
            waits: None,
        }
    }
}

/// What was judged last.
pub(super) struct Known {
    from: CommitId,
    to: CommitId,
    accepted: Option<CommitId>,
    judged: Judged,
}

impl Known {
    fn answers(&self, from: &CommitId, to: &CommitId, accepted: Option<&CommitId>) -> bool {
        self.from == *from && self.to == *to && self.accepted.as_ref() == accepted
    }
}

/// How far the judging of a history has come.
struct Judging {
    judged: Judged,
    /// The newest commit that changes policy.
    newest: CommitId,
    /// The policy in force, as git names its files.
    marks: Marks,
    /// Whether the history leads here from the policy in force: else nothing is known of the way, and its end is judged.
    whole: bool,
    /// Whether it is that of the branch: else its merges are somebody's pull, and accept nothing.
    straight: bool,
    /// Owners who signed a change from the policy in force, by where it goes.
    signed: BTreeMap<Marks, BTreeSet<PrincipalName>>,
    /// Owners who named a policy by its id.
    named: BTreeMap<PolicyId, BTreeSet<PrincipalName>>,
    /// Signatures that do not count, each with why.
    not_counted: Vec<String>,
}

impl Judging {
    /// A commit's policy is in force from here on.
    fn accept(&mut self, commit: &CommitId, marks: Marks) {
        self.judged.policy = commit.clone();
        self.judged.waits = None;
        self.marks = marks;
        self.signed.clear();
        self.named.clear();
        self.not_counted.clear();
    }
}

impl Books {
    /// Judges the commits after the one whose policy is in force. `accepted` is the head that was last accepted.
    pub(super) fn judge(
        &mut self,
        from: &CommitId,
        to: &CommitId,
        accepted: Option<&CommitId>,
        seen: &mut Seen<'_>,
    ) -> Result<Judged, GitError> {
        if from == to {
            return Ok(Judged::nothing_new(from));
        }
        if let Some(known) = self.judged.as_ref().filter(|k| k.answers(from, to, accepted)) {
            return Ok(known.judged.clone());
        }
        let chain = match self.repo.first_parents(from, to) {
            Err(GitError::Shallow { .. }) => None,
            found => found?,
        };
        let whole = chain.is_some();
        let chain = chain.unwrap_or_else(|| vec![to.clone()]);
        let straight = whole && accepted.is_none_or(|a| a == from || chain.contains(a));
        let mut judging = Judging {
            judged: Judged::nothing_new(from),
            newest: from.clone(),
            marks: self.marks(from)?,
            whole,
            straight,
            signed: BTreeMap::new(),
            named: BTreeMap::new(),
            not_counted: Vec::new(),
        };
        let mut before = judging.marks.clone();
        for commit in &chain {
            let marks = self.marks(commit)?;
            if marks != before {
                let in_force = judging.judged.policy.clone();
                judging.judged.changes.insert(commit.clone(), in_force);
                judging.newest.clone_from(commit);
                before = marks.clone();
            }
            self.step(commit, marks, &mut judging, seen)?;
        }
        self.judged = Some(Known {
            from: from.clone(),
            to: to.clone(),
            accepted: accepted.cloned(),
            judged: judging.judged.clone(),
        });
        Ok(judging.judged)
    }

    /// One commit of the history.
    fn step(
        &mut self,
        commit: &CommitId,
        marks: Marks,
        judging: &mut Judging,
        seen: &mut Seen<'_>,
    ) -> Result<(), GitError> {
        if marks == judging.marks {
            judging.accept(commit, marks);
            return Ok(());
        }
        let stays = judging.judged.policy.clone();
        let read = match self.policy(commit) {
            Ok(read) => read,
            Err(error) => {
                let reason = format!("cannot be read ({error})");
                judging.judged.waits = Some(refused(&judging.newest, &reason, &stays));
                return Ok(());
            }
        };
        if let Some(reason) = self.why_not(&read) {
            judging.judged.waits = Some(refused(&judging.newest, &reason, &stays));
            return Ok(());
        }
        let in_force = self.policy(&stays)?;
        let Some(policy) = in_force.policy.as_ref().filter(|p| !p.principals.is_solo()) else {
            judging.accept(commit, marks);
            return Ok(());
        };
        let brought = if judging.whole {
            self.repo.brought(commit)?
        } else {
            self.repo.since(&stays, commit)?
        };
        for one in brought {
            self.signature_of(&one, one == *commit, policy, judging, seen)?;
        }
        let id = of_files(&*self.tree(commit)?);
        let both = [judging.signed.get(&marks), judging.named.get(&id)];
        let owners: BTreeSet<PrincipalName> = both.into_iter().flatten().flatten().cloned().collect();
        let required = required(&policy.principals);
        if owners.len() >= required {
            judging.accept(commit, marks);
            return Ok(());
        }
        let not_counted = &judging.not_counted;
        let waits = self.waiting(&judging.newest, &stays, id, &owners, policy, not_counted);
        judging.judged.waits = Some(waits);
        Ok(())
    }

    /// What the signature of a commit accepts.
    fn signature_of(
        &mut self,
        commit: &CommitId,
        on_branch: bool,
        policy: &Policy,
        judging: &mut Judging,
        seen: &mut Seen<'_>,
    ) -> Result<(), GitError> {
        let parents = self.repo.parents_of(commit)?;
        let one_step = parents.len() < 2 || (on_branch && judging.straight);
        let marks = self.marks(commit)?;
        let mut changes = false;
        if let Some(first) = parents.first().filter(|_| one_step) {
            changes = marks != judging.marks && self.marks(first)? == judging.marks;
        }
        let named = self.repo.trailers(commit, ACCEPTS)?;
        let named: Vec<PolicyId> = named.iter().filter_map(|id| id.parse().ok()).collect();
        if !changes && named.is_empty() {
            return Ok(());
        }
        match self.signed(commit, &policy.principals, seen).by {
            Ok(name) if may_accept(&policy.principals, &name) => {
                if changes {
                    judging.signed.entry(marks).or_default().insert(name.clone());
                }
                for id in named {
                    judging.named.entry(id).or_default().insert(name.clone());
                }
            }
            Ok(name) => judging
                .not_counted
                .push(format!("commit {}: {name} is no owner", commit.short())),
            Err(why) => judging.not_counted.push(why),
        }
        Ok(())
    }

    /// What a person should know of a change that waits.
    fn waiting(
        &self,
        commit: &CommitId,
        stays: &CommitId,
        id: PolicyId,
        owners: &BTreeSet<PrincipalName>,
        policy: &Policy,
        not_counted: &[String],
    ) -> String {
        let principals = &policy.principals;
        let names = |all: Vec<&PrincipalName>| all.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        let left = principals.all.keys().filter(|name| {
            may_accept(principals, name) && principals.can_sign(name) && !owners.contains(*name)
        });
        let signed = if owners.is_empty() {
            String::new()
        } else {
            format!(" ({})", names(owners.iter().collect()))
        };
        let not_counted = if not_counted.is_empty() {
            String::new()
        } else {
            format!("; not counted: {}", not_counted.join("; "))
        };
        format!(
            "the policy at {} waits for the owners: {} of {}{signed} signed exactly this change; may sign: {}{not_counted}. One of them accepts it by a signed commit on `{}`: `git commit -S --allow-empty -m \"Accept the policy\" --trailer \"{ACCEPTS}: {}\"`; until then the policy of {} stays in force",
            commit.short(),
            owners.len(),
            required(principals),
            names(left.collect()),
            self.control_branch,
            id.full(),
            stays.short(),
        )
    }

    fn marks(&mut self, commit: &CommitId) -> Result<Marks, GitError> {
        let repo = &self.repo;
        self.marks.get(commit, || repo.marks(commit, &FILES))
    }

    /// The policy in force before a commit that changes policy itself; none: it does not.
    pub(in crate::controller) fn policy_before(
        &mut self,
        commit: &CommitId,
        changes: &BTreeMap<CommitId, CommitId>,
    ) -> Option<std::sync::Arc<PolicyRead>> {
        let repo = &self.repo;
        let parents = self.parents.get(commit, || repo.parents_of(commit)).ok()?;
        let first = parents.first()?;
        if self.marks(commit).ok()? == self.marks(first).ok()? {
            return None;
        }
        // What was there before this ledger was accepted as it was.
        let before = changes.get(commit).unwrap_or(first).clone();
        self.policy(&before).ok().filter(|read| read.policy.is_some())
    }

    /// Why a new policy is not taken, whoever signed it.
    pub(super) fn why_not(&self, read: &PolicyRead) -> Option<String> {
        if has_policy_errors(read) {
            let errors = read.findings.iter().filter(|f| super::is_policy(f));
            return Some(format!("has errors ({})", first_error(errors)));
        }
        let instance = &read.policy.as_ref()?.settings.instance;
        (*instance != self.instance).then(|| {
            let kept = &self.instance;
            format!("calls the instance `{instance}`, and this ringfence keeps `{kept}`: stop it and remove what `{kept}` owns first")
        })
    }
}

fn refused(commit: &CommitId, reason: &str, stays: &CommitId) -> String {
    format!(
        "the policy at {} {reason}; that of {} stays in force",
        commit.short(),
        stays.short()
    )
}

/// How many owners allow a change.
fn required(principals: &Principals) -> usize {
    let required = principals.owners.as_ref().map_or(1, |owners| owners.required);
    usize::try_from(required).unwrap_or(usize::MAX)
}

/// Whether somebody's signature allows a change of policy: an owner's who is a person.
fn may_accept(principals: &Principals, name: &PrincipalName) -> bool {
    let human = principals
        .all
        .get(name)
        .is_some_and(|p| p.kind == PrincipalKind::Human);
    human && principals.is_owner(name)
}
