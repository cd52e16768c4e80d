//! What happened: told to whoever listens, and kept as shortly as an engine does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::world::{World, list};

/// An engine keeps so many.
const KEPT: usize = 256;
/// A slow reader loses what comes after so many.
const BUFFER: usize = 1024;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `container`, `network`, `volume`, `image`.
    pub kind: String,
    /// `start`, `health_status: healthy` …
    pub action: String,
    /// The object.
    pub id: String,
    /// What is said of it: a container's labels among it.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: Timestamp,
}

impl Event {
    pub(crate) fn line(&self) -> String {
        let event = json!({
            "Type": self.kind, "Action": self.action, "scope": "local",
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "time": self.at.as_second(), "timeNano": i64::try_from(self.at.as_nanosecond()).unwrap_or(0),
        });
        format!("{event}\n")
    }
}

type Drops = dyn Fn(&Event) -> bool + Send + Sync;

/// The last events, and who listens.
#[derive(Clone)]
pub(crate) struct Events {
    kept: VecDeque<Arc<Event>>,
    pub sender: broadcast::Sender<Arc<Event>>,
    pub drops: Arc<Drops>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            sender: broadcast::Sender::new(BUFFER),
            drops: Arc::new(|_| false),
        }
    }
}

impl Events {
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub fn since(&self, since: Timestamp) -> Vec<Arc<Event>> {
        self.kept
            .iter()
            .filter(|event| event.at >= since)
            .cloned()
            .collect()
    }
}

impl World {
    /// Which events nobody hears of from now on.
    pub fn drop_events(&mut self, which: impl Fn(&Event) -> bool + Send + Sync + 'static) {
        self.events.drops = Arc::new(which);
    }

    pub(crate) fn tell(&mut self, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let event = Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            at: Self::now(),
        };
        if (self.events.drops)(&event) {
            return;
        }
        let event = Arc::new(event);
        if self.events.kept.len() == KEPT {
            self.events.kept.pop_front();
        }
        self.events.kept.push_back(Arc::clone(&event));
        let _ = self.events.sender.send(event);
    }

    pub(crate) fn tell_container(&mut self, id: &str, action: &str, more: &[(&str, &str)]) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let mut attributes = container.labels.clone();
        attributes.insert("name".to_owned(), container.name.clone());
        attributes.insert("image".to_owned(), container.image.clone());
        attributes.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        self.tell("container", action, id, attributes);
    }

    pub(crate) fn tell_network(&mut self, name: &str, action: &str, container: Option<&str>) {
        if let Some(id) = self.network(name).map(|network| network.id.clone()) {
            self.tell_network_of(&id, name, action, container);
        }
    }

    pub(crate) fn tell_network_of(&mut self, id: &str, name: &str, action: &str, container: Option<&str>) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), "bridge".to_owned()),
        ]);
        if let Some(container) = container {
            attributes.insert("container".to_owned(), container.to_owned());
        }
        self.tell("network", action, id, attributes);
    }
}

/// The filters of a call for events.
pub(crate) struct Filter(Value);

impl Filter {
    /// As the query has them: `{"type":["container"],…}`.
    pub fn new(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    pub fn lets(&self, event: &Event) -> bool {
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            let wanted = list(&self.0[key]);
            wanted.is_empty() || wanted.iter().any(|word| test(word))
        };
        let action = event.action.split(':').next().unwrap_or_default();
        any("type", &|kind| kind == event.kind)
            && any("event", &|wanted| wanted == action || wanted == event.action)
            && list(&self.0["label"])
                .iter()
                .all(|label| has_label(&event.attributes, label))
    }
}

/// `key` or `key=value`.
pub(crate) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}
