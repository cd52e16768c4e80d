//! What the engine says that happened. Events are a hint to look, never the truth.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::error::{Attempt, EngineError, of};
use super::{Engine, labels};
use crate::fleet::names::Owner;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A container of ours.
    Container,
    /// Any network.
    Network,
    /// Any volume.
    Volume,
    /// Any image.
    Image,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// To what kind of object.
    pub kind: EventKind,
    /// The engine's word: `start`, `die`, `health_status: healthy`, `connect` …
    pub action: String,
    /// The object's full id (a volume's: its name).
    pub id: String,
    /// Its name; after a `rename` the new one.
    pub name: String,
    /// Whose, by the labels; containers only.
    pub owner: Option<Owner>,
    /// Its service, by the labels; containers only.
    pub service: Option<String>,
    /// The container that a network event is about.
    pub container: Option<String>,
    /// When, by the engine's clock.
    pub at: Timestamp,
}

/// What changes a container for us. `exec_…` is left out at the engine: each healthcheck makes three of them.
const CONTAINER_ACTIONS: &[&str] = &[
    "create",
    "start",
    "die",
    "stop",
    "kill",
    "destroy",
    "rename",
    "update",
    "pause",
    "unpause",
    "oom",
    "health_status",
];
const OTHER_ACTIONS: &[&str] = &[
    "create",
    "destroy",
    "remove",
    "connect",
    "disconnect",
    "tag",
    "untag",
    "delete",
    "load",
    "pull",
    "import",
];

impl Engine {
    /// What happens from now on: to our containers, to any network, volume and image (their events carry no
    /// labels). "Now" is the moment of this call, not of the first poll, so that a look taken between the two misses
    /// nothing. The stream ends with an error; the caller looks again and subscribes anew.
    pub fn events(&self) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + use<> {
        let engine = self.clone();
        let now = Timestamp::now();
        let since = format!(
            "{}.{:09}",
            now.as_second(),
            now.subsec_nanosecond().unsigned_abs()
        );
        stream::once(async move {
            let attempt = Attempt::read("follow the engine's events");
            let docker = engine.connection().await?.docker;
            let follow = |filters: HashMap<String, Vec<String>>| {
                docker.events(Some(EventsOptions {
                    since: Some(since.clone()),
                    until: None,
                    filters: Some(filters),
                }))
            };
            let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            let mut ours = engine.ours();
            ours.insert("type".to_owned(), words(&["container"]));
            ours.insert("event".to_owned(), words(CONTAINER_ACTIONS));
            let others = HashMap::from([
                ("type".to_owned(), words(&["network", "volume", "image"])),
                ("event".to_owned(), words(OTHER_ACTIONS)),
            ]);
            let ended = || {
                stream::once(ready(Err(EngineError::Unreachable {
                    what: "follow the engine's events".to_owned(),
                    reason: "the stream of events ended".to_owned(),
                })))
            };
            let read = move |item| match item {
                Ok(event) => Ok(read(event)),
                Err(error) => Err(of(&attempt, error)),
            };
            let again = read.clone();
            Ok::<_, EngineError>(stream::select(
                follow(ours).map(read).chain(ended()),
                follow(others).map(again).chain(ended()),
            ))
        })
        .try_flatten()
        .try_filter_map(|event| ready(Ok(event)))
        .scan(false, |over, item| {
            let before = std::mem::replace(over, item.is_err());
            ready((!before).then_some(item))
        })
    }
}

/// None: of a kind that was not asked for.
fn read(event: EventMessage) -> Option<EngineEvent> {
    let kind = match event.typ? {
        EventMessageTypeEnum::CONTAINER => EventKind::Container,
        EventMessageTypeEnum::NETWORK => EventKind::Network,
        EventMessageTypeEnum::VOLUME => EventKind::Volume,
        EventMessageTypeEnum::IMAGE => EventKind::Image,
        _ => return None,
    };
    let actor = event.actor.unwrap_or_default();
    let attributes: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
    let id = actor.id?;
    let at = match (event.time_nano, event.time) {
        (Some(nanos), _) => Timestamp::from_nanosecond(i128::from(nanos)).ok(),
        (None, Some(seconds)) => Timestamp::from_second(seconds).ok(),
        (None, None) => None,
    };
    let name = attributes.get("name").cloned().unwrap_or_else(|| id.clone());
    let ours = kind == EventKind::Container;
    Some(EngineEvent {
        kind,
        action: event.action?,
        id,
        name,
        owner: if ours { labels::owner(&attributes) } else { None },
        service: if ours {
            attributes.get(labels::SERVICE).cloned()
        } else {
            None
        },
        container: attributes.get("container").cloned(),
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}
