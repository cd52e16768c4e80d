//! What inspections said, and when one is made again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::plan::seen::{Details, Observation};
use crate::store::{Store, StoreError};

/// So many inspections are made again at a look that nothing woke.
const RENEWED_AT_ONCE: usize = 5;

/// The last inspection of each container. It holds while the list shows the same run of the same container; what the list
/// never shows (`docker update`) is found by events, in turn, or by a person's `--refresh`.
#[derive(Default)]
pub(super) struct Looks {
    by_id: HashMap<String, Look>,
    /// Whether they differ from what the store has.
    changed: bool,
    /// Where the round of renewed inspections stands.
    renewed: String,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Look {
    stamp: String,
    details: Details,
}

impl Looks {
    /// What the last process has left: nobody watched since. A look that this version cannot read is made again.
    pub(super) fn kept(store: &Store) -> Result<Self, StoreError> {
        let kept = store.looks()?.into_iter();
        let by_id = kept.filter_map(|(id, text)| Some((id, serde_json::from_str(&text).ok()?)));
        Ok(Self {
            by_id: by_id.collect(),
            changed: false,
            renewed: String::new(),
        })
    }

    /// Leaves them to the next process. Equal ones are not written again.
    pub(super) fn keep(&self, store: &Store) -> Result<(), StoreError> {
        if !self.changed {
            return Ok(());
        }
        let before = store.looks()?;
        let now: BTreeMap<String, String> = self
            .by_id
            .iter()
            .filter_map(|(id, look)| Some((id.clone(), serde_json::to_string(look).ok()?)))
            .collect();
        let gone: Vec<&String> = before.keys().filter(|id| !now.contains_key(*id)).collect();
        let new: Vec<(&String, &String)> = now
            .iter()
            .filter(|(id, text)| before.get(*id) != Some(*text))
            .collect();
        store.keep_looks(&new, &gone)
    }

    /// Which containers must be inspected. What is known of those that are gone is forgotten.
    pub(super) fn missing(&mut self, seen: &Observation) -> Vec<(String, String)> {
        let ids: BTreeSet<&String> = seen.containers.iter().map(|c| &c.id).collect();
        let before = self.by_id.len();
        self.by_id.retain(|id, _| ids.contains(id));
        self.changed |= self.by_id.len() < before;
        seen.containers
            .iter()
            .filter(|c| self.by_id.get(&c.id).is_none_or(|look| look.stamp != c.stamp))
            .map(|c| (c.id.clone(), c.stamp.clone()))
            .collect()
    }

    /// An inspection, with the stamp of the list that asked for it.
    pub(super) fn note(&mut self, id: String, stamp: String, details: Details) {
        self.changed = true;
        self.by_id.insert(id, Look { stamp, details });
    }

    /// What is known of a container; one whose new inspection failed is known by its last one.
    pub(super) fn of(&self, id: &str) -> Option<&Details> {
        self.by_id.get(id).map(|look| &look.details)
    }

    /// A container is inspected again at the next look.
    pub(super) fn drop_one(&mut self, id: &str) {
        self.changed |= self.by_id.remove(id).is_some();
    }

    /// All are.
    pub(super) fn clear(&mut self) {
        self.changed = true;
        self.by_id.clear();
    }

    /// A few are: what no event told is found in turn.
    pub(super) fn drop_some(&mut self) {
        let mut ids: Vec<String> = self
            .by_id
            .keys()
            .filter(|id| **id > self.renewed)
            .cloned()
            .collect();
        ids.sort();
        ids.truncate(RENEWED_AT_ONCE);
        self.renewed = ids.last().cloned().unwrap_or_default();
        for id in ids {
            self.changed |= self.by_id.remove(&id).is_some();
        }
    }
}
