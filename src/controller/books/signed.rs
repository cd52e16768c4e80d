//! Who put a commit there: by its signature, at the time when it was first seen.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Books;
use crate::decide::facts::{Facts, FirstSeen};
use crate::digest::Digest;
use crate::fleet::names::{CommitId, PrincipalName};
use crate::fleet::principals::Principals;
use crate::git::{GitError, Repo, Signature};

/// When commits were first seen: what the ledger remembers, and what is seen now for the first time.
pub(in crate::controller) struct Seen<'a> {
    facts: &'a Facts,
    now: Timestamp,
    /// The commit that was accepted first.
    first: Option<CommitId>,
    new: BTreeMap<CommitId, FirstSeen>,
}

impl<'a> Seen<'a> {
    pub(in crate::controller) fn new(facts: &'a Facts, now: Timestamp) -> Self {
        Self {
            facts,
            now,
            first: facts.first_accepted.clone(),
            new: BTreeMap::new(),
        }
    }

    /// Nothing was accepted before: judging starts at this commit.
    pub(super) fn start(&mut self, first: &CommitId) {
        self.first.get_or_insert_with(|| first.clone());
    }

    /// When a commit was first seen: now, if it never was.
    pub(in crate::controller) fn at(&mut self, commit: &CommitId) -> Timestamp {
        if let Some(seen) = self.new.get(commit).or_else(|| self.facts.first_seen.get(commit)) {
            return seen.at;
        }
        let seen = FirstSeen {
            at: self.now,
            older: None,
        };
        self.new.insert(commit.clone(), seen);
        self.now
    }

    /// Whether a commit was there already when this ledger began.
    pub(in crate::controller) fn is_older(
        &mut self,
        repo: &Repo,
        commit: &CommitId,
    ) -> Result<bool, GitError> {
        let at = self.at(commit);
        let seen = self.new.get(commit).or_else(|| self.facts.first_seen.get(commit));
        if let Some(older) = seen.and_then(|seen| seen.older) {
            return Ok(older);
        }
        let older = match &self.first {
            // Where the first one is gone, so is all of its history: what is seen now came later.
            Some(first) => match repo.is_ancestor(commit, first) {
                Err(GitError::NoCommit { .. }) => false,
                asked => asked?,
            },
            None => false,
        };
        let older = Some(older);
        self.new.insert(commit.clone(), FirstSeen { at, older });
        Ok(older == Some(true))
    }

    /// What the ledger does not know yet.
    pub(in crate::controller) fn new_ones(self) -> BTreeMap<CommitId, FirstSeen> {
        self.new
    }
}

/// Whose word a commit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controller) struct Signed {
    pub(in crate::controller) word: Digest,
    pub(in crate::controller) seen: Timestamp,
    /// Who signed it; why nobody's word it is, and what to do.
    pub(in crate::controller) by: Result<PrincipalName, String>,
}

impl Books {
    /// Whose word a commit is. In a fleet without keys nobody signs.
    pub(in crate::controller) fn signed(
        &mut self,
        commit: &CommitId,
        principals: &Principals,
        seen: &mut Seen<'_>,
    ) -> Signed {
        let at = seen.at(commit);
        let short = commit.short();
        let repo = &self.repo;
        let signature = match self.signatures.get(commit, || repo.signature(commit)) {
            Ok(signature) => signature,
            Err(error) => {
                return Signed {
                    word: Signature::Unsigned.word(commit),
                    seen: at,
                    by: Err(format!("commit {short} cannot be read: {error}")),
                };
            }
        };
        let by = if principals.is_solo() {
            Ok(PrincipalName::solo())
        } else {
            match &signature {
                Signature::Good { fingerprint, .. } => match principals.signer(fingerprint, at) {
                    Ok(principal) => Ok(principal.name.clone()),
                    Err(why) => Err(format!("commit {short}: {why}")),
                },
                Signature::Unsigned => Err(format!(
                    "commit {short} is not signed: commit it anew with `git commit -S` and an SSH key of rings/principals.yaml"
                )),
                Signature::Bad { why } => Err(format!("commit {short}: {why}")),
                Signature::Unsupported { what, next } => Err(format!("commit {short}: {what}; {next}")),
            }
        };
        Signed {
            word: signature.word(commit),
            seen: at,
            by,
        }
    }
}
