//! One look at the engine and what shall be there, ready to be asked: every question is a look-up, so that a plan of
//! many containers stays linear.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::health::activity;
use super::replace::Activity;
use super::seen::SeenContainer;
use super::{Hold, Input};
use crate::fleet::compose::service::Protocol;
use crate::fleet::names::{Owner, ServiceKey, SpecHash};
use crate::render::object::{ContainerSpec, ServiceObject};

/// An input with its indexes.
pub(super) struct Look<'a> {
    pub(super) input: &'a Input<'a>,
    /// Owners of whom something is wanted.
    wanted: BTreeSet<&'a Owner>,
    /// Our networks that exist.
    networks: BTreeSet<&'a str>,
    /// Networks that some container hangs on, known or not.
    used: BTreeSet<&'a str>,
    /// Owners of whom some container is seen, known or not.
    present: BTreeSet<&'a Owner>,
    /// Names that were written down, by spec.
    written: HashMap<SpecHash, Vec<&'a str>>,
    /// Names that several of our networks have.
    doubles: BTreeSet<&'a str>,
    /// Networks that are not ours.
    strangers: BTreeSet<&'a str>,
    /// Whose our networks are.
    network_owners: BTreeMap<&'a str, &'a Owner>,
    /// A container of a service that nobody wrote down.
    unknown: BTreeMap<ServiceKey, &'a str>,
    /// Fixed host ports that something wanted publishes, with their addresses.
    ports: BTreeMap<HostPort, Vec<&'a str>>,
    /// The same of services that are wanted no more and still run.
    held: BTreeMap<HostPort, Vec<&'a str>>,
    /// Our volumes that exist.
    volumes: BTreeSet<&'a str>,
}

/// A port of the host, and for what.
type HostPort = (u16, Protocol);

/// The fixed host ports of a spec, with their addresses.
fn host_ports(spec: &ContainerSpec) -> impl Iterator<Item = (HostPort, &str)> {
    let ports = spec.ports.iter();
    ports.filter_map(|port| Some(((port.host?, port.protocol), port.ip.as_str())))
}

/// Whether one port cannot be held on both addresses.
fn clash(one: &str, other: &str) -> bool {
    let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    one == other || any(one) || any(other)
}

impl<'a> Look<'a> {
    pub(super) fn new(input: &'a Input<'a>) -> Self {
        let mut written: HashMap<SpecHash, Vec<&'a str>> = HashMap::new();
        for (name, spec) in input.known {
            if let Some(spec) = spec {
                written.entry(*spec).or_default().push(name);
            }
        }
        let containers = || input.seen.containers.iter();
        let networks = || input.seen.networks.iter();
        let mut names = BTreeSet::new();
        let doubles = networks()
            .filter(|n| n.ours)
            .map(|n| n.name.as_str())
            .filter(|n| !names.insert(*n))
            .collect();
        let mut look = Self {
            doubles,
            strangers: networks().filter(|n| !n.ours).map(|n| n.name.as_str()).collect(),
            network_owners: networks()
                .filter_map(|n| Some((n.name.as_str(), n.owner.as_ref()?)))
                .collect(),
            unknown: BTreeMap::new(),
            ports: BTreeMap::new(),
            held: BTreeMap::new(),
            volumes: input.seen.volumes.iter().map(|v| v.name.as_str()).collect(),
            input,
            wanted: input.wanted.networks.values().map(|n| &n.owner).collect(),
            networks: input
                .seen
                .networks
                .iter()
                .filter(|n| n.ours)
                .map(|n| n.name.as_str())
                .collect(),
            used: containers()
                .flat_map(|c| c.networks.iter().map(String::as_str))
                .collect(),
            present: containers().filter_map(|c| c.owner.as_ref()).collect(),
            written,
        };
        for object in input.wanted.services.values() {
            if look.hold(&object.key.owner) != Hold::Untouched {
                for (port, ip) in host_ports(&object.spec) {
                    look.ports.entry(port).or_default().push(ip);
                }
            }
        }
        let mut unknown = BTreeMap::new();
        for container in containers() {
            if let (Some(owner), Some(service)) = (&container.owner, &container.service) {
                let key = ServiceKey {
                    owner: owner.clone(),
                    service: service.clone(),
                };
                let known = look.is_known(&key, container);
                let goes = !input.wanted.services.contains_key(&key) && look.hold(owner) != Hold::Untouched;
                if known && goes && activity(container) != Activity::Stopped {
                    for (port, ip) in look.ports_of(container) {
                        look.held.entry(port).or_default().push(ip);
                    }
                }
                if !known {
                    unknown.insert(key, container.name.as_str());
                }
            }
        }
        look.unknown = unknown;
        look
    }

    fn ports_of(&self, container: &SeenContainer) -> Vec<(HostPort, &'a str)> {
        let spec = container.spec.and_then(|spec| self.input.specs.get(&spec));
        spec.map(|spec| host_ports(spec).collect()).unwrap_or_default()
    }

    /// Whether one of these containers has a host port that something wanted publishes.
    pub(super) fn gives_way(&self, seen: &[&SeenContainer]) -> bool {
        let mut ports = seen.iter().flat_map(|c| self.ports_of(c));
        ports.any(|(port, ip)| {
            let wanted = self.ports.get(&port);
            wanted.is_some_and(|wanted| wanted.iter().any(|other| clash(ip, other)))
        })
    }

    /// Whether a service that is wanted no more still has a host port of this one.
    pub(super) fn port_is_held(&self, object: &ServiceObject) -> bool {
        host_ports(&object.spec).any(|(port, ip)| {
            let held = self.held.get(&port);
            held.is_some_and(|held| held.iter().any(|other| clash(ip, other)))
        })
    }

    /// Whether a volume of ours is there.
    pub(super) fn has_volume(&self, name: &str) -> bool {
        self.volumes.contains(name)
    }

    /// Whether a volume was there and is gone.
    pub(super) fn is_lost(&self, volume: &str) -> bool {
        !self.has_volume(volume) && self.input.facts.volumes.contains(volume)
    }

    /// A container that carries a service's labels and that nobody wrote down.
    pub(super) fn unknown_of(&self, key: &ServiceKey) -> Option<&'a str> {
        self.unknown.get(key).copied()
    }

    /// Whether several of our networks have this name.
    pub(super) fn is_double(&self, name: &str) -> bool {
        self.doubles.contains(name)
    }

    /// Whether only a network that is not ours has this name.
    pub(super) fn is_strangers(&self, name: &str) -> bool {
        self.strangers.contains(name) && !self.networks.contains(name)
    }

    /// Whether a container may be taken off a network: a stranger's, or one of ours that is wanted by somebody, or whose
    /// owner may go. Of an owner about whom nothing is known, nothing is cut off.
    pub(super) fn may_leave(&self, network: &str) -> bool {
        if self.is_strangers(network) {
            return true;
        }
        let Some(owner) = self
            .network_owners
            .get(network)
            .filter(|_| self.networks.contains(network))
        else {
            return false;
        };
        self.hold(owner) != Hold::Untouched
    }

    /// What may be done to an owner.
    pub(super) fn hold(&self, owner: &Owner) -> Hold {
        match self.input.holds.get(owner) {
            Some(hold) => *hold,
            None if self.wanted.contains(owner) => Hold::Free,
            None => Hold::Untouched,
        }
    }

    /// Whether a network of ours is there.
    pub(super) fn has_network(&self, name: &str) -> bool {
        self.networks.contains(name)
    }

    /// Whether a container hangs on a network.
    pub(super) fn is_used(&self, network: &str) -> bool {
        self.used.contains(network)
    }

    /// Whether any container of an owner is left.
    pub(super) fn is_present(&self, owner: &Owner) -> bool {
        self.present.contains(owner)
    }

    /// Whether a pass of ours made this container: it was written down, or its spec is one that we want or know as
    /// good. A name given by hand does not hide whose it is: then its spec and service decide.
    pub(super) fn is_known(&self, key: &ServiceKey, container: &SeenContainer) -> bool {
        let Some(spec) = container.spec else { return false };
        let wanted = self.input.wanted.services.get(key);
        if wanted.is_some_and(|o| o.hash == spec) || self.input.facts.good_specs.get(key) == Some(&spec) {
            return true;
        }
        self.written.get(&spec).is_some_and(|names| {
            names.iter().any(|name| {
                name.strip_prefix(key.service.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            })
        })
    }

    /// Whether a network or volume was written down before it was made.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.input.known.contains_key(name)
    }
}

/// Containers of a service.
pub(super) type ByKey<'a> = BTreeMap<ServiceKey, Vec<&'a SeenContainer>>;
