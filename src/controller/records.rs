//! What people put on record: each decision at the control branch's accepted head, with who signed the commit that
//! brought it and when that was first seen.

use std::collections::BTreeMap;

use super::books::{Books, Control, Seen, Signed, first_error};
use crate::decide::records::{Held, Record, Records};
use crate::diagnostic::{Finding, Severity, Spanned};
use crate::fleet::Policy;
use crate::fleet::decisions::{APPROVALS, HOLDS, Hold, WAIVERS};
use crate::fleet::names::{CommitId, PrincipalName, RingName, Slug};

impl Books {
    /// What is on record, and what of it cannot be read.
    pub(super) fn records(
        &mut self,
        control: &Control,
        policy: &Policy,
        seen: &mut Seen<'_>,
    ) -> (Records, Vec<String>) {
        let decisions = &policy.decisions;
        let mut records = Records::default();
        let unread = unread(control);
        let mut paths: Vec<String> = decisions.approvals.keys().cloned().collect();
        paths.extend(decisions.waivers.keys().cloned());
        paths.extend(decisions.held_rings.keys().map(ring_hold));
        paths.extend(decisions.held_tenants.keys().map(tenant_hold));
        paths.extend(unread.keys().filter(|path| path.starts_with(HOLDS)).cloned());
        let brought = self.introducers(&control.commit, &paths);
        let mut desk = Desk {
            books: self,
            policy,
            head: &control.commit,
            brought,
            seen,
        };
        for (path, Spanned { value, .. }) in &decisions.approvals {
            let record = desk.record(path, value, &value.principal);
            records.approvals.push(record);
        }
        for (path, Spanned { value, .. }) in &decisions.waivers {
            let record = desk.record(path, value, &value.principal);
            records.waivers.push(record);
        }
        for (ring, Spanned { value, .. }) in &decisions.held_rings {
            let held = desk.held(&ring_hold(ring), Ok(value.clone()));
            records.held_rings.insert(ring.clone(), held);
        }
        for (slug, Spanned { value, .. }) in &decisions.held_tenants {
            let held = desk.held(&tenant_hold(slug), Ok(value.clone()));
            records.held_tenants.insert(slug.clone(), held);
        }
        let mut conditions = Vec::new();
        for (path, why) in unread {
            // Whom it means to pause its name says, and what cannot be read pauses.
            if let Some(slug) = named::<Slug>(&path, &format!("{HOLDS}tenants/")) {
                let held = desk.held(&path, Err(why));
                records.held_tenants.insert(slug, held);
            } else if let Some(ring) =
                named::<RingName>(&path, HOLDS).filter(|r| policy.rings.get(r.as_str()).is_some())
            {
                let held = desk.held(&path, Err(why));
                records.held_rings.insert(ring, held);
            } else if path.starts_with(HOLDS) {
                conditions.push(format!("a hold pauses nothing: {why}"));
            } else {
                conditions.push(format!("a word counts for nothing: {why}"));
            }
        }
        (records, conditions)
    }
}

/// Where records are judged.
struct Desk<'b, 's, 'f> {
    books: &'b mut Books,
    policy: &'b Policy,
    head: &'b CommitId,
    /// Path → the commit that brought it; the error: why that cannot be said.
    brought: Result<BTreeMap<String, CommitId>, String>,
    seen: &'s mut Seen<'f>,
}

impl Desk<'_, '_, '_> {
    /// The commit that brought a file, and whose word it is.
    fn signed(&mut self, path: &str) -> (CommitId, Signed) {
        let found = match &self.brought {
            Ok(found) => found
                .get(path)
                .cloned()
                .ok_or_else(|| "it is not there".to_owned()),
            Err(why) => Err(why.clone()),
        };
        let commit = found.as_ref().unwrap_or(self.head).clone();
        let mut signed = self.books.signed(&commit, &self.policy.principals, self.seen);
        if let Err(why) = found {
            signed.by = Err(format!("which commit brought {path} cannot be said: {why}"));
        }
        (commit, signed)
    }

    /// An approval or a waiver: a word of whoever is named counts only with that one's signature, and only if it came
    /// after this ledger began, which knows what was used up since then.
    fn record<T: Clone>(&mut self, path: &str, value: &T, named: &PrincipalName) -> Record<T> {
        let (commit, signed) = self.signed(path);
        let by = signed.by.and_then(|by| {
            if by != *named && !self.policy.principals.is_solo() {
                return Err(format!(
                    "its commit {} is signed by {by}, not by {named}: each signs their own (`ringfence approve` names the file after who signs)",
                    commit.short()
                ));
            }
            match self.seen.is_older(self.books.repo(), &commit) {
                Ok(false) => Ok(by),
                Ok(true) => Err(
                    "older than this ledger, which does not know whether it was used: remove it, and approve again"
                        .to_owned(),
                ),
                Err(error) => Err(format!("whether it is older than this ledger cannot be said: {error}")),
            }
        });
        Record {
            path: path.to_owned(),
            value: value.clone(),
            word: signed.word,
            seen: signed.seen,
            commit,
            by,
        }
    }

    fn held(&mut self, path: &str, hold: Result<Hold, String>) -> Held {
        let (_, signed) = self.signed(path);
        Held { hold, by: signed.by }
    }
}

/// Decisions that cannot be read, by path, each with its first error.
fn unread(control: &Control) -> BTreeMap<String, String> {
    let mut unread: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    for finding in control.findings.iter().filter(|f| f.severity == Severity::Error) {
        let path = finding.path().unwrap_or_default();
        if [HOLDS, APPROVALS, WAIVERS]
            .iter()
            .any(|folder| path.starts_with(folder))
        {
            unread.entry(path.to_owned()).or_default().push(finding);
        }
    }
    let told = unread.into_iter();
    told.map(|(path, findings)| (path, first_error(findings.into_iter())))
        .collect()
}

fn ring_hold(ring: &RingName) -> String {
    format!("{HOLDS}{ring}.yaml")
}

fn tenant_hold(slug: &Slug) -> String {
    format!("{HOLDS}tenants/{slug}.yaml")
}

/// Whom a file in a folder is named after.
fn named<T: std::str::FromStr>(path: &str, folder: &str) -> Option<T> {
    path.strip_prefix(folder)?.strip_suffix(".yaml")?.parse().ok()
}
