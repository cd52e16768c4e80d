//! Decisions of people, as files of `rings/`: approvals, waivers and holds. Who made one is who *signed* the commit that
//! brought the file, which git knows; a document only says whom its writer meant.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::names::{CommitId, FilesId, PolicyId, PrincipalName, ReleaseId, RingName, Slug};
use crate::diagnostic::Spanned;
use crate::text::is_unseen;

pub use read::read;

/// Where the approvals of all rings stand.
pub const APPROVALS: &str = "rings/approvals/";
/// Where the waivers of all rings stand.
pub const WAIVERS: &str = "rings/waivers/";
/// Where the holds stand.
pub const HOLDS: &str = "rings/holds/";

/// In bytes.
const LONGEST_REASON: usize = 2000;

/// What people decided. A file with an error is absent and has a finding; it spoils no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// By their paths.
    pub approvals: BTreeMap<String, Spanned<Approval>>,
    /// By their paths.
    pub waivers: BTreeMap<String, Spanned<Waiver>>,
    /// Paused rings.
    pub held_rings: BTreeMap<RingName, Spanned<Hold>>,
    /// Paused tenants.
    pub held_tenants: BTreeMap<Slug, Spanned<Hold>>,
}

/// What an approval or a waiver is about. If any of it differs from the move that is asked for, it does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The ring.
    pub ring: RingName,
    /// The commit that asks for the move.
    pub request: CommitId,
    /// What runs; none: nothing does.
    pub from: Option<Moved>,
    /// What shall run.
    pub to: Moved,
    /// The policy it was judged under.
    pub policy: PolicyId,
}

/// What moves, at one of its ends: `rel-…`, `ten-…` or `rel-…+ten-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moved {
    /// A release.
    Release(ReleaseId),
    /// The ring's tenant files.
    Files(FilesId),
    /// Both at once.
    Both(ReleaseId, FilesId),
}

impl Moved {
    /// The word for it in file names: `rel`, `ten` or `both`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Release(_) => "rel",
            Self::Files(_) => "ten",
            Self::Both(..) => "both",
        }
    }

    /// The release in it.
    pub fn release(&self) -> Option<ReleaseId> {
        match self {
            Self::Release(release) | Self::Both(release, _) => Some(*release),
            Self::Files(_) => None,
        }
    }

    /// The files in it.
    pub fn files(&self) -> Option<FilesId> {
        match self {
            Self::Files(files) | Self::Both(_, files) => Some(*files),
            Self::Release(_) => None,
        }
    }

    /// For people: with 8 digits of each id.
    pub fn short(&self) -> String {
        match self {
            Self::Release(release) => release.to_string(),
            Self::Files(files) => files.to_string(),
            Self::Both(release, files) => format!("{release}+{files}"),
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(release) => f.write_str(&release.full()),
            Self::Files(files) => f.write_str(&files.full()),
            Self::Both(release, files) => write!(f, "{}+{}", release.full(), files.full()),
        }
    }
}

impl FromStr for Moved {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('+') {
            Some((release, files)) => Ok(Self::Both(release.parse()?, files.parse()?)),
            None if text.starts_with("ten-") => text.parse().map(Self::Files),
            None => text.parse().map(Self::Release),
        }
    }
}

/// One principal's word about one move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The move.
    pub binding: Binding,
    /// Whose word the file's name says it is.
    pub principal: PrincipalName,
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<Reason>,
    /// When it ends; never later than policy lets an approval count.
    pub expires: Option<Timestamp>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

impl Verdict {
    const WORDS: &[(&'static str, Self)] = &[("approve", Self::Approve), ("reject", Self::Reject)];
}

/// A named gate of one move, skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The move.
    pub binding: Binding,
    /// Whose word the file's name says it is.
    pub principal: PrincipalName,
    /// Which gate.
    pub gate: WaivableGate,
    /// Why.
    pub reason: Reason,
    /// When it ends; never later than policy lets an approval count.
    pub expires: Option<Timestamp>,
}

/// The gates that can be waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaivableGate {
    /// Healthy time in the ring before.
    Soak,
    /// Whether it was healthy in the ring before: only for a ring without history.
    Lineage,
}

impl WaivableGate {
    const WORDS: &[(&'static str, Self)] = &[("soak", Self::Soak), ("lineage", Self::Lineage)];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Soak => "soak",
            Self::Lineage => "lineage",
        }
    }
}

/// A pause of a ring or a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: Reason,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Hold {
    /// Whether it holds at a moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// Why somebody decided so: some text that can be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// The text. From outside: print it as `Safe`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("an empty reason");
        }
        if text.len() > LONGEST_REASON {
            return Err("a reason of more than 2000 bytes");
        }
        if text.contains(|c| is_unseen(c) && !matches!(c, '\n' | '\t')) {
            return Err("a reason with characters that nobody sees");
        }
        Ok(Self(text.to_owned()))
    }
}
