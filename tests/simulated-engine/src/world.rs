//! What the engine has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::behaviour::Behaviour;
use crate::events::Events;
use crate::images::Image;
use crate::networks::{Network, Volume};

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Between two restarts.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// A removal failed half-way.
    Dead,
}

/// A container's end on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Its further names there.
    pub aliases: Vec<String>,
    /// Its links there.
    pub links: Vec<String>,
    /// Its address; empty while it does not run.
    pub address: String,
    /// The network's id, from the first start on.
    pub network: String,
    /// The end's own id, another with each start; empty while it does not run.
    pub endpoint: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its image's id.
    pub image: String,
    /// What it was made with, but for host configuration and networks.
    pub config: Value,
    /// Its host configuration.
    pub host: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its ends by network name.
    pub networks: BTreeMap<String, End>,
    /// How it is.
    pub state: State,
    /// `starting`, `healthy`, `unhealthy`; none without a healthcheck, or before its first start.
    pub health: Option<&'static str>,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub exit_code: i64,
    /// Why it could not be started.
    pub error: String,
    /// How often its policy started it again.
    pub restarts: u64,
    /// Somebody stopped it, so that `unless-stopped` leaves it so.
    pub stopped: bool,
    /// Its volumes: by path, with whether they may be written.
    pub mounts: BTreeMap<String, (String, bool)>,
    /// Counts starts, so that what belongs to one does not reach the next.
    pub(crate) run: u64,
}

impl Container {
    /// Whether a process is there.
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Paused | State::Restarting)
    }

    /// Its restart policy's name.
    pub fn policy(&self) -> &str {
        self.host["RestartPolicy"]["Name"].as_str().unwrap_or_default()
    }

    /// A variable of its environment.
    pub fn env(&self, key: &str) -> Option<&str> {
        let list = self.config["Env"].as_array()?;
        list.iter()
            .filter_map(|pair| pair.as_str()?.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }
}

/// What comes later by itself.
#[derive(Debug, Clone)]
pub(crate) enum Tick {
    Health {
        id: String,
        run: u64,
        health: &'static str,
    },
    Exit {
        id: String,
        run: u64,
        code: i64,
    },
    Restart {
        id: String,
        run: u64,
    },
}

/// A refusal: status and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub u16, pub String);

pub(crate) type Answer<T = Value> = Result<T, Refusal>;
type Behave = dyn Fn(&Container) -> Behaviour + Send + Sync;

/// All that the engine has. Its fields may be changed at will between calls.
#[derive(Clone)]
pub struct World {
    /// By id.
    pub containers: BTreeMap<String, Container>,
    /// By id.
    pub networks: BTreeMap<String, Network>,
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// By id.
    pub images: BTreeMap<String, Image>,
    /// What a registry would have: `name:tag` and the image.
    pub registry: BTreeMap<String, Image>,
    /// The engine's id.
    pub id: String,
    /// Its version, and the newest and oldest API that it speaks.
    pub version: (String, (u32, u32), (u32, u32)),
    pub(crate) events: Events,
    pub(crate) ticks: Vec<(Duration, Tick)>,
    pub(crate) behave: Arc<Behave>,
    pub(crate) names: HashMap<String, String>,
    /// Commands in containers, by id, with the codes that they end with.
    pub(crate) execs: HashMap<String, i64>,
    /// Never goes back, not even with the world.
    count: Arc<AtomicU64>,
    /// The world before the last change of what a list tells, by the list.
    before: BTreeMap<&'static str, Arc<World>>,
    last_changed: Option<&'static str>,
    was_stale: bool,
    remembers: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            registry: BTreeMap::new(),
            id: "SIMU:LATE".to_owned(),
            version: ("20.10.24".to_owned(), (1, 41), (1, 12)),
            events: Events::default(),
            ticks: Vec::new(),
            behave: Arc::new(|_| Behaviour::default()),
            names: HashMap::new(),
            execs: HashMap::new(),
            count: Arc::default(),
            before: BTreeMap::new(),
            last_changed: None,
            was_stale: false,
            remembers: false,
        };
        for (name, subnet) in [("bridge", Some("172.17.0.0/16")), ("host", None), ("none", None)] {
            world.add_network(name, subnet, BTreeMap::new());
        }
        world
    }

    /// Another number each time.
    pub(crate) fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new id of 64 digits.
    pub(crate) fn new_id(&self) -> String {
        hex(&Sha256::digest(self.next().to_be_bytes()))
    }

    /// The engine's clock.
    pub(crate) fn now() -> Timestamp {
        Timestamp::now()
    }

    /// What containers do from now on, by what they were made from.
    pub fn behave(&mut self, behave: impl Fn(&Container) -> Behaviour + Send + Sync + 'static) {
        self.behave = Arc::new(behave);
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.get(self.names.get(name)?)
    }

    /// The network of this name.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.values().find(|network| network.name == name)
    }

    /// By full id, then by name, then by the beginning of an id.
    pub(crate) fn find(&self, reference: &str) -> Answer<String> {
        if self.containers.contains_key(reference) {
            return Ok(reference.to_owned());
        }
        if let Some(id) = self.names.get(reference) {
            return Ok(id.clone());
        }
        let mut by_prefix = self
            .containers
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference));
        match (by_prefix.next(), by_prefix.next()) {
            (Some((id, _)), None) if !reference.is_empty() => Ok(id.clone()),
            _ => Err(Refusal(404, format!("No such container: {reference}"))),
        }
    }

    pub(crate) fn get(&mut self, id: &str) -> Answer<&mut Container> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Refusal(404, format!("No such container: {id}")))
    }

    /// Gives a container another name, whoever has it.
    pub fn rename(&mut self, id: &str, name: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            self.names.remove(&container.name);
            name.clone_into(&mut container.name);
            self.names.insert(name.to_owned(), id.to_owned());
        }
    }

    /// Takes a container away without a word: no event tells it.
    pub fn forget(&mut self, name: &str) -> Option<Container> {
        let id = self.names.remove(name)?;
        self.containers.remove(&id)
    }

    /// From now on the world before each change is kept, for [`Fault::Stale`](crate::Fault::Stale).
    pub fn remember(&mut self, yes: bool) {
        self.remembers = yes;
        self.before.clear();
        self.last_changed = None;
        self.was_stale = false;
    }

    /// A change of what this list tells is about to be made.
    pub(crate) fn note_before(&mut self, list: &'static str) {
        if self.remembers {
            // What was before that is no part of it, or each would keep all that were before it.
            let before = std::mem::take(&mut self.before);
            let copy = Self {
                remembers: false,
                ..self.clone()
            };
            self.before = before;
            self.before.insert(list, Arc::new(copy));
            self.last_changed = Some(list);
        }
    }

    /// The world before the last change of what this list tells; this one, if none is known.
    pub(crate) fn before(&self, list: &str) -> &Self {
        self.before.get(list).map_or(self, AsRef::as_ref)
    }

    /// Whether what this list tells was changed since the world is remembered.
    pub fn has_before(&self, list: &str) -> bool {
        self.before.contains_key(list)
    }

    /// A list is about to be answered as it was before.
    pub(crate) fn note_stale(&mut self, list: &str) {
        self.was_stale |= self.has_before(list);
    }

    /// Whether a list was answered as it was before a change, since the world is remembered.
    pub fn was_stale(&self) -> bool {
        self.was_stale
    }

    /// The list that tells the last change that is kept: `containers`, `networks`, `volumes` or `images`.
    pub fn last_changed(&self) -> Option<&'static str> {
        self.last_changed
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A JSON map of strings.
pub(crate) fn strings(value: &Value) -> BTreeMap<String, String> {
    let map = value.as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// A JSON list of strings.
pub(crate) fn list(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}
