//! Who stands behind what a ring is asked for: whoever asks for a move does not approve it.

use std::collections::BTreeSet;

use super::books::{Books, Seen};
use crate::decide::Asks;
use crate::decide::records::Behind;
use crate::fleet::Policy;
use crate::fleet::names::{CommitId, PrincipalName, Slug};
use crate::fleet::rings::{PINS, Ring};
use crate::git::GitError;

/// Whose word a ring asks for, and when words were seen.
pub(super) struct Asker<'p, 's, 'f> {
    pub(super) ring: &'p Ring,
    pub(super) policy: &'p Policy,
    pub(super) seen: &'s mut Seen<'f>,
}

impl Asker<'_, '_, '_> {
    /// Whether it matters who asks: where nobody's word is asked for, or nobody signs, it does not.
    fn matters(&self) -> bool {
        self.ring.approvals.is_some() && !self.policy.principals.is_solo()
    }

    fn excludes_authors(&self) -> bool {
        self.ring.approvals.as_ref().is_some_and(|a| a.exclude_authors)
    }

    /// Behind a pin: all who signed it while it names this release, and who wrote what it brings.
    pub(super) fn pin(
        &mut self,
        books: &mut Books,
        request: &CommitId,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Behind {
        if !self.matters() {
            return Behind::default();
        }
        let path = format!("{PINS}{}.yaml", self.ring.name);
        let commits = books.pin_commits(&self.ring.name, request, &self.policy.rings);
        let mut behind = self.signers(books, commits, &[&path]);
        behind.authors = self.base_authors(books, from, to);
        behind
    }

    /// Behind a candidate that follows by itself: who signed what came with the commit that made it.
    pub(super) fn candidate(
        &mut self,
        books: &mut Books,
        request: &CommitId,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Behind {
        if !self.matters() {
            return Behind::default();
        }
        let commits = books.base_commits(request);
        let mut behind = self.signers(books, commits, &["desired", "stacks"]);
        behind.authors = self.base_authors(books, from, to);
        behind
    }

    /// Who asks for a change of a tenant's files.
    pub(super) fn asks(
        &mut self,
        books: &mut Books,
        slug: &Slug,
        tip: &CommitId,
        from: Option<&CommitId>,
    ) -> Asks {
        let (request, age) = books.request_of(tip, slug.as_str());
        Asks {
            age,
            behind: self.files(books, slug, tip, from),
            with: books.made(&request),
            request,
        }
    }

    /// Behind it: who signed the commits that changed them since what runs.
    fn files(&mut self, books: &mut Books, slug: &Slug, tip: &CommitId, from: Option<&CommitId>) -> Behind {
        if !self.matters() {
            return Behind::default();
        }
        let paths = super::books::tenant_paths(slug.as_str());
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let commits = books.file_commits(tip, &paths, from);
        let authors = match (&commits, from) {
            _ if !self.excludes_authors() => None,
            (Ok(commits), Some(_)) => Some(self.authors(books, commits, &paths)),
            _ => Some(Ok(BTreeSet::new())),
        };
        let mut behind = self.signers(books, commits, &paths);
        behind.authors = behind.authors.or(authors);
        behind
    }

    fn signers(
        &mut self,
        books: &mut Books,
        commits: Result<Vec<CommitId>, GitError>,
        paths: &[&str],
    ) -> Behind {
        let mut behind = Behind::default();
        let commits = match commits {
            Ok(commits) => commits,
            Err(error) => {
                behind.authors = Some(Err(format!("who asks for it cannot be said: {error}")));
                return behind;
            }
        };
        for commit in commits {
            match books.signed(&commit, &self.policy.principals, self.seen).by {
                Ok(name) => drop(behind.requesters.insert(name)),
                // A forge's merge hands on what others have signed.
                Err(_) if books.only_merges(&commit, paths) => {}
                Err(why) => behind.unsigned.push(why),
            }
        }
        behind
    }

    /// Who wrote what a release has and the one before has not; with none before nobody is excluded.
    fn base_authors(
        &self,
        books: &mut Books,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Option<Result<BTreeSet<PrincipalName>, String>> {
        if !self.excludes_authors() {
            return None;
        }
        let Some(from) = from else {
            return Some(Ok(BTreeSet::new()));
        };
        let found = books.base_authors(from, to);
        Some(self.known(found))
    }

    fn authors(
        &self,
        books: &mut Books,
        commits: &[CommitId],
        paths: &[&str],
    ) -> Result<BTreeSet<PrincipalName>, String> {
        let found = books.authors_of(commits, paths);
        self.known(found)
    }

    fn known(
        &self,
        addresses: Result<BTreeSet<String>, GitError>,
    ) -> Result<BTreeSet<PrincipalName>, String> {
        let addresses = addresses.map_err(|error| error.to_string())?;
        let known = addresses
            .iter()
            .filter_map(|address| self.policy.principals.by_email(address));
        Ok(known.map(|principal| principal.name.clone()).collect())
    }
}
