//! What inspections said, and when one is made again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::plan::seen::{Details, Observation};
use crate::store::{Store, StoreError};

/// So many inspections are made again at a look that nothing woke.
const RENEWED_AT_ONCE: usize = 5;

/// What kept looks begin with. It changes with the fields of [`Details`]: what was not asked for then is not known now.
const FORMAT: &str = "2 ";

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
    details: Arc<Details>,
}

impl Looks {
    /// What the last process has left: nobody watched since. A look that this version cannot read is made again.
    pub(super) fn kept(store: &Store) -> Result<Self, StoreError> {
        let by_id = store.looks(|text| serde_json::from_str(text.strip_prefix(FORMAT)?).ok())?;
        Ok(Self {
            by_id,
            changed: false,
            renewed: String::new(),
        })
    }

    /// Leaves them to the next process. Equal ones are not written again.
    pub(super) fn keep(&self, store: &Store) -> Result<(), StoreError> {
        if !self.changed {
            return Ok(());
        }
        let before: BTreeMap<String, String> = store.looks(|text| Some(text.to_owned()))?;
        let now: BTreeMap<String, String> = self
            .by_id
            .iter()
            .filter_map(|(id, look)| {
                let text = serde_json::to_string(look).ok()?;
                Some((id.clone(), format!("{FORMAT}{text}")))
            })
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
        let details = Arc::new(details);
        self.by_id.insert(id, Look { stamp, details });
    }

    /// What is known of a container; one whose new inspection failed is known by its last one.
    pub(super) fn of(&self, id: &str) -> Option<&Arc<Details>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::compose::service::Restart;
    use crate::plan::seen::SeenLimits;

    /// A look at which nothing is left out.
    fn whole() -> Details {
        let one = |text: &str| BTreeMap::from([(text.to_owned(), text.to_owned())]);
        Details {
            restart: Restart::Always,
            limits: SeenLimits {
                memory: 1,
                memory_swap: 1,
                memory_reservation: 1,
                nano_cpus: 1,
                cpu_quota: 1,
                cpu_shares: 1,
                cpu_realtime: 1,
                cpuset: "0".to_owned(),
                memory_nodes: "0".to_owned(),
                blkio_weight: 1,
                pids: 1,
            },
            started_at: Some(jiff::Timestamp::UNIX_EPOCH),
            finished_at: Some(jiff::Timestamp::UNIX_EPOCH),
            restart_count: 1,
            exit_code: Some(1),
            error: "no".to_owned(),
            oom_killed: true,
            networks: BTreeMap::from([("n".to_owned(), (BTreeSet::new(), BTreeSet::new()))]),
            addresses: one("n"),
        }
    }

    #[test]
    fn what_is_kept_has_the_fields_of_its_format() {
        let kept = serde_json::to_value(whole()).unwrap();
        let names = |value: &serde_json::Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            (FORMAT, &*names(&kept), &*names(&kept["limits"])),
            (
                "2 ",
                "restart limits started_at finished_at restart_count exit_code error oom_killed networks addresses",
                "memory memory_swap memory_reservation nano_cpus cpu_quota cpu_shares cpu_realtime cpuset memory_nodes \
                 blkio_weight pids"
            ),
            "a field more needs another format: those that were kept before do not know it"
        );
    }

    #[test]
    fn looks_come_back_as_they_were_and_those_of_another_format_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("ledger.db")).unwrap();
        let mut looks = Looks::default();
        looks.note("a".to_owned(), "s".to_owned(), whole());
        looks.keep(&store).unwrap();
        let back = Looks::kept(&store).unwrap();
        assert_eq!(**back.of("a").unwrap(), whole());
        let texts: BTreeMap<String, String> = store.looks(|text| Some(text.to_owned())).unwrap();
        let text = texts["a"].replacen(FORMAT, "1 ", 1);
        store.keep_looks(&[(&"b".to_owned(), &text)], &[]).unwrap();
        let back = Looks::kept(&store).unwrap();
        assert!(back.of("a").is_some() && back.of("b").is_none());
    }
}
