//! `rings/principals.yaml`: who is who, by the keys that they sign with. The author line of a commit counts for nothing.

mod quorum;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ssh_key::HashAlg;
use ssh_key::public::KeyData;

use super::names::PrincipalName;
use crate::diagnostic::{At, Spanned};
use crate::text::Safe;

pub use quorum::fits;
pub(super) use read::names;
pub use read::read;
pub(crate) use read::verifiable;

/// Where the principals stand.
pub const PATH: &str = "rings/principals.yaml";

/// Who may do what in a fleet. Empty where there is no such file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principals {
    /// By name.
    pub all: BTreeMap<PrincipalName, Principal>,
    /// Principals by the name of their group.
    pub groups: BTreeMap<PrincipalName, Group>,
    /// Who allows a change of policy; none where the file names nobody.
    pub owners: Option<Owners>,
    /// Keys that count no more, whosever they were.
    pub revoked: BTreeSet<Fingerprint>,
}

/// One who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its key in the file.
    pub name: PrincipalName,
    /// Where it is declared.
    pub at: At,
    /// What it is.
    pub kind: PrincipalKind,
    /// Addresses of its author lines, in lower case: they exclude an author, and prove nothing.
    pub emails: BTreeSet<String>,
    /// What it signs with.
    pub keys: Vec<PrincipalKey>,
}

/// What a principal is. Only a human's approval counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// A program that acts by itself: it may request and hold.
    Agent,
    /// A pipeline.
    Ci,
}

/// A key and the time in which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalKey {
    /// Which.
    pub fingerprint: Fingerprint,
    /// Where it is written.
    pub at: At,
    /// From this moment on.
    pub valid_after: Option<Timestamp>,
    /// Until just before this moment.
    pub valid_before: Option<Timestamp>,
}

/// A group of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where it is declared.
    pub at: At,
    /// Who is in it.
    pub members: BTreeSet<PrincipalName>,
}

/// Who allows a change of policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// Groups resolved.
    pub members: BTreeSet<PrincipalName>,
    /// How many of them.
    pub required: u32,
}

/// A public key's SHA-256, as `ssh-keygen -l` prints it: `SHA256:…`.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a key.
    pub fn of(key: &KeyData) -> Self {
        Self(key.fingerprint(HashAlg::Sha256).to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<ssh_key::Fingerprint>() {
            Ok(fingerprint) if fingerprint.is_sha256() => Ok(Self(fingerprint.to_string())),
            _ => Err(format!(
                "`{}` is no SHA-256 fingerprint of a key",
                Safe::new(text)
            )),
        }
    }
}

/// Why a good signature is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// No principal has the key.
    #[error("no principal has the key {0}; its owner's entry goes into `keys` in rings/principals.yaml")]
    Unknown(Fingerprint),
    /// It stands under `revoked`.
    #[error("the key {0} is revoked; sign with another one")]
    Revoked(Fingerprint),
    /// Seen before its time.
    #[error("the key {key} of {principal} counts from {from} on")]
    NotYet {
        /// Which.
        key: Fingerprint,
        /// Whose.
        principal: PrincipalName,
        /// When.
        from: Timestamp,
    },
    /// Seen after its time.
    #[error("the key {key} of {principal} counted until {until}; sign with a newer one")]
    Expired {
        /// Which.
        key: Fingerprint,
        /// Whose.
        principal: PrincipalName,
        /// When.
        until: Timestamp,
    },
}

impl Principals {
    /// Whether the fleet has no key at all: nobody signs, and one's own approval counts.
    pub fn is_solo(&self) -> bool {
        self.all.values().all(|p| p.keys.is_empty())
    }

    /// Who signed with a key in a commit that ringfence first saw at `seen`.
    ///
    /// # Errors
    /// Why the key counts for nobody.
    pub fn signer(&self, key: &Fingerprint, seen: Timestamp) -> Result<&Principal, NotAccepted> {
        if self.revoked.contains(key) {
            return Err(NotAccepted::Revoked(key.clone()));
        }
        let held = self
            .all
            .values()
            .find_map(|p| Some((p, p.keys.iter().find(|k| k.fingerprint == *key)?)));
        let Some((principal, held)) = held else {
            return Err(NotAccepted::Unknown(key.clone()));
        };
        let (key, name) = (key.clone(), principal.name.clone());
        match (held.valid_after, held.valid_before) {
            (Some(from), _) if seen < from => Err(NotAccepted::NotYet {
                key,
                principal: name,
                from,
            }),
            (_, Some(until)) if seen >= until => Err(NotAccepted::Expired {
                key,
                principal: name,
                until,
            }),
            _ => Ok(principal),
        }
    }

    /// Whose address stands in an author line. It proves nothing: fit to exclude, never to allow.
    pub fn by_email(&self, email: &str) -> Option<&Principal> {
        let email = email.to_lowercase();
        self.all.values().find(|p| p.emails.contains(&email))
    }

    /// Names of principals and groups as principals; what is unknown is left out (it has a finding).
    pub fn members<'a>(&self, names: impl IntoIterator<Item = &'a PrincipalName>) -> BTreeSet<PrincipalName> {
        let mut members = BTreeSet::new();
        for name in names {
            match self.groups.get(name) {
                Some(group) => members.extend(group.members.iter().cloned()),
                None => members.extend(self.all.get(name).map(|p| p.name.clone())),
            }
        }
        members
    }

    /// The humans who may approve where policy says `from`; nobody named: every human.
    pub fn approvers(&self, from: &[Spanned<PrincipalName>]) -> BTreeSet<PrincipalName> {
        if from.is_empty() {
            return self.humans(self.all.keys());
        }
        self.humans(&self.members(from.iter().map(|n| &n.value)))
    }

    /// Those of them who are people.
    fn humans<'a>(&self, names: impl IntoIterator<Item = &'a PrincipalName>) -> BTreeSet<PrincipalName> {
        let known = names.into_iter().filter_map(|name| self.all.get(name));
        known
            .filter(|p| p.kind == PrincipalKind::Human)
            .map(|p| p.name.clone())
            .collect()
    }

    /// Whether somebody is an owner; where the file names none, every human is.
    pub fn is_owner(&self, name: &PrincipalName) -> bool {
        match &self.owners {
            Some(owners) => owners.members.contains(name),
            None => self.all.get(name).is_some_and(|p| p.kind == PrincipalKind::Human),
        }
    }

    /// Whether a principal has a key that is not revoked.
    pub fn can_sign(&self, name: &PrincipalName) -> bool {
        let keys = self.all.get(name).map(|p| &p.keys);
        keys.is_some_and(|keys| keys.iter().any(|k| !self.revoked.contains(&k.fingerprint)))
    }
}
