//! What people put on record (approvals, rejections, waivers, holds), with what git knows of who did it and when it was
//! first seen. The documents themselves are `fleet::decisions`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::digest::Digest;
use crate::fleet::decisions::{Approval, Hold, Waiver};
use crate::fleet::names::{CommitId, PrincipalName, RingName, Slug};
use crate::text::Safe;

/// All that is on record at the control branch's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Approvals and rejections.
    pub approvals: Vec<Record<Approval>>,
    /// Waivers.
    pub waivers: Vec<Record<Waiver>>,
    /// Paused rings. A file that cannot be read pauses too.
    pub held_rings: BTreeMap<RingName, Held>,
    /// Paused tenants.
    pub held_tenants: BTreeMap<Slug, Held>,
}

impl Records {
    /// When what is paused now goes on by itself.
    pub fn ends(&self, now: Timestamp) -> Vec<Timestamp> {
        let held = self.held_rings.values().chain(self.held_tenants.values());
        held.filter(|held| held.holds(now))
            .filter_map(Held::until)
            .collect()
    }
}

/// A document, and the commit that brought its present content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T> {
    /// Its path.
    pub path: String,
    /// What it says.
    pub value: T,
    /// The commit that brought it.
    pub commit: CommitId,
    /// What was signed there (of an unsigned commit: its id). Two spellings of one signature give two commits and one
    /// word: a word counts once.
    pub word: Digest,
    /// When ringfence first saw that commit: keys and expiry are judged by it, never by the commit's own date.
    pub seen: Timestamp,
    /// Who signed it; why nobody's word it is. In a fleet without keys: [`PrincipalName::solo`].
    pub by: Result<PrincipalName, String>,
}

/// A hold, and who wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The hold; why its file cannot be read (then it holds until the file is mended).
    pub hold: Result<Hold, String>,
    /// Who signed it, as far as that is known.
    pub by: Result<PrincipalName, String>,
}

/// Who stands behind what a ring is asked to do: they do not approve it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// Who signed the commits that ask for it.
    pub requesters: BTreeSet<PrincipalName>,
    /// Commits among them that nobody known signed, each with why.
    pub unsigned: Vec<String>,
    /// Who wrote what changes, by the addresses of the author lines (co-authors too); only where policy excludes authors.
    /// The error: why that cannot be said (then no approval counts).
    pub authors: Option<Result<BTreeSet<PrincipalName>, String>>,
}

impl Behind {
    /// Takes in who stands behind something else that goes along.
    pub fn join(&mut self, other: &Self) {
        self.requesters.extend(other.requesters.iter().cloned());
        for commit in &other.unsigned {
            if !self.unsigned.contains(commit) {
                self.unsigned.push(commit.clone());
            }
        }
        self.authors = match (self.authors.take(), other.authors.clone()) {
            (Some(Ok(mut one)), Some(Ok(two))) => {
                one.extend(two);
                Some(Ok(one))
            }
            (Some(Err(why)), _) | (_, Some(Err(why))) => Some(Err(why)),
            (one, two) => one.or(two),
        };
    }
}

impl Held {
    /// Whether it holds at a moment: what cannot be read does.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.hold.as_ref().map_or(true, |hold| hold.holds(now))
    }

    /// Why and until when, in a sentence.
    pub fn tell(&self) -> String {
        let by = self.by.as_ref().map_or("somebody unknown", PrincipalName::as_str);
        match &self.hold {
            Ok(hold) => format!(
                "held by {by} until {}: {}",
                hold.until,
                Safe::new(hold.reason.as_str())
            ),
            Err(why) => format!("held, because its hold cannot be read ({why}): mend or remove the file"),
        }
    }

    /// When it ends by itself.
    pub fn until(&self) -> Option<Timestamp> {
        self.hold.as_ref().ok().map(|hold| hold.until)
    }
}
