//! From objects and an observation to what is to be done, each with its cause. Pure.
//!
//! A [`Plan`] is data: `plan` prints it, the TUI shows it, `apply` carries it out. For each service it holds the aim,
//! what was seen, the next call, and all calls foreseen after it.

pub mod foresee;
pub mod health;
mod live;
mod look;
pub mod replace;
pub mod seen;
pub mod services;
pub mod show;
#[cfg(test)]
mod tests;
pub mod volumes;
pub mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::facts::Facts;
use crate::fleet::names::{Owner, ServiceKey, SpecHash};
use crate::render::object::{ContainerSpec, NetworkObject, Objects, VolumeObject};
use look::{ByKey, Look};
use replace::Health;
use seen::{Cgroups, Observation, SeenContainer};
pub use services::{Action, ServicePlan};

/// What an owner's objects may be subjected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Everything: what is not wanted goes.
    Free,
    /// Nothing is removed (its documents have an error, say); what is wanted is healed.
    NoPrune,
    /// Nothing at all is done.
    Untouched,
}

/// All that a plan is made from.
pub struct Input<'a> {
    /// What shall exist.
    pub wanted: &'a Objects,
    /// What may be done to owners that are not simply wanted; an owner that is seen, not wanted and not named here
    /// is left untouched: unknown is never taken for empty.
    pub holds: &'a BTreeMap<Owner, Hold>,
    /// Owners whose volumes go too (`state: erased`).
    pub erased: &'a BTreeSet<Owner>,
    /// One look at the engine.
    pub seen: &'a Observation,
    /// What the ledger remembers.
    pub facts: &'a Facts,
    /// Names and specs that a pass of ours wrote down before it made them.
    pub known: &'a BTreeMap<String, Option<SpecHash>>,
    /// Specs by hash, for differences.
    pub specs: &'a BTreeMap<SpecHash, Arc<ContainerSpec>>,
    /// The paths for which images declare a volume, by their exact reference, of those that were looked at.
    pub declared: &'a BTreeMap<String, BTreeSet<String>>,
    /// What the probes say, by container id.
    pub probed: &'a BTreeMap<String, Health>,
    /// When containers gave their name up, by id.
    pub gave_up: &'a BTreeMap<String, Timestamp>,
    /// The live directories as they are, by folder.
    pub live: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Those that are to be and that the disk certainly does not have: what could not be read is not among them.
    pub lost_live: &'a BTreeSet<String>,
    /// Runs of containers that see a live directory which was lost, as they were written down before it was made anew.
    pub stale: &'a Stale,
    /// What the engine makes of limits.
    pub cgroups: Cgroups,
    /// Since when the engine has been watched without a gap.
    pub watched_since: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// Runs of containers: when the run began that is meant, by container id; none: not known.
pub type Stale = BTreeMap<String, Option<Timestamp>>;

/// What is to be done.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Plan {
    /// Networks to make.
    pub make_networks: Vec<NetworkObject>,
    /// Volumes to make.
    pub make_volumes: Vec<VolumeObject>,
    /// Volumes that were there and are gone: an empty one is never made in their place unasked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_volumes: Vec<VolumeObject>,
    /// In which volume a service keeps what its image declares as data, where the ledger does not know it yet.
    #[serde(skip)]
    pub image_volumes: Vec<(ServiceKey, String, String)>,
    /// Live directories to write, by folder, with the files that differ.
    pub write_live: BTreeMap<String, Vec<String>>,
    /// Services that are not as they shall be.
    pub services: Vec<ServicePlan>,
    /// Networks of ours that share a name (two passes made one, the first of them killed): all but one go, and until then
    /// nothing is hung on that name, which the engine calls ambiguous.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub double_networks: Vec<GoneNetwork>,
    /// Networks to remove: nothing hangs on them.
    pub remove_networks: Vec<GoneNetwork>,
    /// Volumes to remove once nothing uses them.
    pub remove_volumes: Vec<VolumeObject>,
    /// Objects with our label that nobody wrote down: they are left alone.
    pub unknown: Vec<String>,
    /// Those of them that a person may take as ours, by the name and spec to write down.
    #[serde(skip)]
    pub adoptable: Vec<Adoptable>,
    /// What is not as it should be and cannot be repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Services that have containers now.
    #[serde(skip)]
    pub running: Vec<ServiceKey>,
    /// Whose the live directories are, by folder.
    #[serde(skip)]
    pub owners: BTreeMap<String, Owner>,
    /// Runs that see a live directory which is lost, by folder: to be written down before it is made anew.
    #[serde(skip)]
    pub stale: BTreeMap<String, Stale>,
}

/// Something unknown with our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoptable {
    /// Whose it is, by its labels.
    pub owner: Owner,
    /// The name to write down.
    pub name: String,
    /// A container's spec, by its label.
    pub spec: Option<SpecHash>,
}

impl Adoptable {
    /// None: its labels do not say enough. A container's name need not be one of ours.
    fn container(seen: &SeenContainer) -> Option<Self> {
        let service = seen.service.as_deref()?;
        let own = seen
            .name
            .strip_prefix(service)
            .is_some_and(|rest| rest.starts_with('.'));
        Some(Self {
            owner: seen.owner.clone()?,
            name: if own {
                seen.name.clone()
            } else {
                format!("{service}.{}", seen.id)
            },
            spec: Some(seen.spec?),
        })
    }
}

/// A network that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct GoneNetwork {
    /// Its name.
    pub name: String,
    /// Its full id.
    pub id: String,
    /// Whose it was.
    pub owner: Owner,
}

impl Plan {
    /// A service's part, if it is not as it shall be.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServicePlan> {
        // They come in the order of their keys, and nothing reorders them.
        let at = self.services.binary_search_by(|s| s.key.cmp(key)).ok()?;
        self.services.get(at)
    }

    /// The parts of an owner's services.
    pub fn services_of(&self, owner: &Owner) -> &[ServicePlan] {
        let from = self.services.partition_point(|s| s.key.owner < *owner);
        let until = self.services.partition_point(|s| s.key.owner <= *owner);
        self.services.get(from..until).unwrap_or_default()
    }

    /// Keeps only what belongs to some owners.
    pub fn retain(&mut self, keep: impl Fn(&Owner) -> bool) {
        self.make_networks.retain(|n| keep(&n.owner));
        self.make_volumes.retain(|v| keep(&v.owner));
        self.lost_volumes.retain(|v| keep(&v.owner));
        self.image_volumes.retain(|(key, ..)| keep(&key.owner));
        self.adoptable.retain(|a| keep(&a.owner));
        self.double_networks.retain(|n| keep(&n.owner));
        self.remove_networks.retain(|n| keep(&n.owner));
        self.remove_volumes.retain(|v| keep(&v.owner));
        self.services.retain(|s| keep(&s.key.owner));
        let owners = &self.owners;
        let of_kept = |name: &str| owners.get(name).is_some_and(&keep);
        self.write_live.retain(|folder, _| of_kept(folder));
    }

    /// Whether nothing is to be done and nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.make_networks.is_empty()
            && self.make_volumes.is_empty()
            && self.write_live.is_empty()
            && self.services.is_empty()
            && self.double_networks.is_empty()
            && self.remove_networks.is_empty()
            && self.remove_volumes.is_empty()
    }
}

/// Makes the plan.
pub fn plan(input: &Input<'_>) -> Plan {
    let look = Look::new(input);
    let mut plan = Plan::default();
    let mut by_key = ByKey::new();
    for container in &input.seen.containers {
        if let (Some(owner), Some(service)) = (&container.owner, &container.service) {
            let key = ServiceKey {
                owner: owner.clone(),
                service: service.clone(),
            };
            if look.is_known(&key, container) {
                by_key.entry(key).or_default().push(container);
                continue;
            }
        }
        plan.unknown.push(container.name.clone());
        plan.adoptable.extend(Adoptable::container(container));
    }
    plan.running = by_key.keys().cloned().collect();
    services::plan(&look, &by_key, &mut plan);
    networks(&look, &mut plan);
    volumes(&look, &mut plan);
    for live in input.wanted.live.values() {
        let now = input.live.get(&live.folder);
        let differ: Vec<String> = live
            .files
            .iter()
            .filter(|(name, text)| now.and_then(|n| n.get(*name)) != Some(*text))
            .map(|(n, _)| n.clone())
            .collect();
        if !differ.is_empty() && look.hold(&live.owner) != Hold::Untouched {
            plan.write_live.insert(live.folder.clone(), differ);
            plan.owners.insert(live.folder.clone(), live.owner.clone());
        }
    }
    plan
}

fn networks(look: &Look<'_>, plan: &mut Plan) {
    let (wanted, seen) = (&look.input.wanted.networks, &look.input.seen.networks);
    for network in wanted.values() {
        if !look.has_network(&network.name) && look.hold(&network.owner) != Hold::Untouched {
            plan.make_networks.push(network.clone());
        }
    }
    for network in seen.iter().filter(|n| n.ours && look.is_double(&n.name)) {
        let Some(owner) = &network.owner else { continue };
        if look.hold(owner) != Hold::Untouched && look.is_written(&network.name) {
            plan.double_networks.push(GoneNetwork {
                name: network.name.clone(),
                id: network.id.clone(),
                owner: owner.clone(),
            });
        }
    }
    for network in seen.iter().filter(|n| n.ours && !wanted.contains_key(&n.name)) {
        let Some(owner) = &network.owner else { continue };
        if look.hold(owner) != Hold::Free || look.is_used(&network.name) {
            continue;
        }
        if look.is_written(&network.name) {
            plan.remove_networks.push(GoneNetwork {
                name: network.name.clone(),
                id: network.id.clone(),
                owner: owner.clone(),
            });
        } else {
            plan.unknown.push(network.name.clone());
            plan.adoptable.push(Adoptable {
                owner: owner.clone(),
                name: network.name.clone(),
                spec: None,
            });
        }
    }
}

fn volumes(look: &Look<'_>, plan: &mut Plan) {
    let seen = &look.input.seen.volumes;
    for volume in look.input.wanted.volumes.values() {
        if look.has_volume(&volume.name) || look.hold(&volume.owner) == Hold::Untouched {
            continue;
        }
        if look.is_lost(&volume.name) {
            plan.lost_volumes.push(volume.clone());
        } else {
            plan.make_volumes.push(volume.clone());
        }
    }
    for owner in look.input.erased {
        let Owner::Tenant(slug) = owner else { continue };
        if look.is_present(owner) || look.hold(owner) != Hold::Free {
            continue;
        }
        for volume in seen {
            if volume.labels.get("dev.ringfence.tenant").map(String::as_str) != Some(slug.as_str()) {
                continue;
            }
            if look.is_written(&volume.name) {
                plan.remove_volumes.push(VolumeObject {
                    name: volume.name.clone(),
                    owner: owner.clone(),
                });
            } else {
                plan.unknown.push(volume.name.clone());
                plan.adoptable.push(Adoptable {
                    owner: owner.clone(),
                    name: volume.name.clone(),
                    spec: None,
                });
            }
        }
        let nameless = nameless_volumes(look.input, owner);
        plan.remove_volumes.extend(nameless.map(|name| VolumeObject {
            name: name.clone(),
            owner: owner.clone(),
        }));
    }
}

/// The volumes of an owner that the engine named: they carry no label, and the ledger alone knows them.
fn nameless_volumes<'a>(input: &'a Input<'_>, owner: &'a Owner) -> impl Iterator<Item = &'a String> {
    let services = input
        .facts
        .image_volumes
        .iter()
        .filter(|(key, _)| key.owner == *owner);
    let named = services.flat_map(|(_, paths)| paths.values());
    named.filter(|name| volumes::is_nameless(name))
}

/// The volumes of all tenants that are erased.
fn erased_volumes<'a>(input: &'a Input<'_>) -> impl Iterator<Item = String> + 'a {
    let tenants = input.erased.iter().filter_map(|owner| match owner {
        Owner::Tenant(slug) => Some((owner, slug)),
        _ => None,
    });
    tenants.flat_map(|(owner, slug)| {
        let own = input.seen.volumes.iter().filter(move |v| {
            v.labels
                .get("dev.ringfence.tenant")
                .is_some_and(|t| t == slug.as_str())
        });
        let own = own.map(|v| &v.name).chain(nameless_volumes(input, owner));
        own.cloned()
    })
}
