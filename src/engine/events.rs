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
    /// What happens from now on: to our containers, to networks and volumes with a name of ours, to a container on
    /// any network, and to any image (their events carry no labels). "Now" is the moment of this call, not of the first poll, so that a look taken between the two misses
    /// nothing. The stream ends with an error; the caller looks again and subscribes anew.
    pub fn events(&self) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + use<> {
        self.events_since(Timestamp::now())
    }

    /// The same from a moment on that was before.
    pub fn events_since(
        &self,
        from: Timestamp,
    ) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + use<> {
        let engine = self.clone();
        let since = format!(
            "{}.{:09}",
            from.as_second(),
            from.subsec_nanosecond().unsigned_abs()
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
            let suffix = format!(".{}", engine.instance());
            let read = move |item| match item {
                Ok(event) => Ok(read(event).filter(|event| concerns(event, &suffix))),
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

/// A network or a volume of somebody else's, by its name, is not ours to look after; where a container hangs on one it
/// may be ours.
fn concerns(event: &EngineEvent, suffix: &str) -> bool {
    match event.kind {
        EventKind::Network | EventKind::Volume => event.container.is_some() || event.name.ends_with(suffix),
        EventKind::Container | EventKind::Image => true,
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
        owner: if ours {
            labels::owner(|key| attributes.get(key).map(String::as_str))
        } else {
            None
        },
        service: if ours {
            attributes.get(labels::SERVICE).cloned()
        } else {
            None
        },
        container: attributes.get("container").cloned(),
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_volumes_of_others_wake_nobody() {
        let event = |kind, name: &str, container: Option<&str>| EngineEvent {
            kind,
            action: "create".to_owned(),
            id: name.to_owned(),
            name: name.to_owned(),
            owner: None,
            service: None,
            container: container.map(str::to_owned),
            at: Timestamp::UNIX_EPOCH,
        };
        for (kind, name, container, wakes) in [
            (EventKind::Network, "acme.shop", None, true),
            (EventKind::Network, "acme.workshop", None, false),
            (EventKind::Network, "bridge", None, false),
            (EventKind::Network, "bridge", Some("c"), true),
            (EventKind::Volume, "data.acme.shop", None, true),
            (EventKind::Volume, "0123456789abcdef", None, false),
            (EventKind::Image, "web:1", None, true),
            (EventKind::Container, "any", None, true),
        ] {
            assert_eq!(concerns(&event(kind, name, container), ".shop"), wakes, "{name}");
        }
    }
}
