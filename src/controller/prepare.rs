//! Makes what containers need before they are made, and removes what nothing hangs on any more.

use std::collections::BTreeSet;
use std::future::ready;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::wanted::{Wanted, in_scope};
use super::{Controller, ControllerError, Request};
use crate::engine::{Engine, EngineError, labels, subnets};
use crate::fleet::Policy;
use crate::fleet::settings::AddressPool;
use crate::render::object::NetworkObject;
use crate::store::NewEvent;

/// So often another subnet is tried when the engine says that one overlaps.
const SUBNET_TRIES: usize = 64;
/// So many networks or volumes are made or removed at once: the engine does most of it one after another anyway.
const AT_ONCE: usize = 4;

impl Controller {
    /// Files, volumes, networks. What will be created is written down first. As soon as a network is there, services on it
    /// start: the engine makes networks one after another, and two hundred containers need not wait for the last.
    pub(super) async fn prepare(
        &mut self,
        wanted: &Wanted,
        request: &Request,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        self.write_down()?;
        for set in wanted.objects.content.values() {
            self.parts.files.write_content(set)?;
        }
        let folders: Vec<String> = self.last.plan.write_live.keys().cloned().collect();
        for folder in folders {
            let Some(live) = wanted.objects.live.get(&folder) else {
                continue;
            };
            if in_scope(request, &self.last.decision, &live.owner) {
                self.write_down_stale(&folder)?;
                self.parts.files.write_live(&folder, &live.files)?;
                if let Some(read) = self.live.get_mut() {
                    read.insert(folder, live.files.clone());
                }
            }
        }
        self.make_volumes(policy).await;
        self.make_networks(policy, now).await?;
        self.remove_left_overs().await;
        Ok(())
    }

    /// Names and specs of all that this pass may make: only what stands in the ledger is ever removed.
    fn write_down(&self) -> Result<(), ControllerError> {
        let (plan, known) = (&self.last.plan, self.parts.store.known()?);
        let mut creates: Vec<_> = Vec::new();
        let mut specs: Vec<_> = Vec::new();
        for service in plan.services.iter().filter(|s| s.makes()) {
            let Some(object) = &service.object else { continue };
            let name = format!("{}.{}", object.base_name, object.hash.0.short());
            // Until a create is through each pass plans it again; it was written down by the first.
            if known.get(&name) != Some(&Some(object.hash)) {
                creates.push((name, Some(object.hash)));
                specs.push((object.hash, object.spec.as_ref()));
            }
        }
        creates.extend(plan.make_networks.iter().map(|n| (n.name.clone(), None)));
        creates.extend(plan.make_volumes.iter().map(|v| (v.name.clone(), None)));
        // A spec without its name harms nothing; a name promises that its spec can be shown.
        self.parts.store.keep_specs(&specs)?;
        self.parts.store.image_volumes(&plan.image_volumes)?;
        self.parts.store.know(&creates, Timestamp::now())?;
        Ok(())
    }

    /// Which runs see a live directory that was lost: once it is there again, nothing else tells them from others.
    fn write_down_stale(&self, folder: &str) -> Result<(), ControllerError> {
        let Some(runs) = self.last.plan.stale.get(folder) else {
            return Ok(());
        };
        let ids: BTreeSet<&String> = self.last.seen.containers.iter().map(|c| &c.id).collect();
        let mut stale = self.parts.store.stale()?;
        stale.retain(|id, _| ids.contains(id));
        stale.extend(runs.clone());
        Ok(self.parts.store.set_stale(&stale)?)
    }

    async fn remove_left_overs(&mut self) {
        self.remove_doubles().await;
        let engine = &self.parts.engine;
        let networks = stream::iter(self.last.plan.remove_networks.clone()).map(|network| async move {
            let removed = engine.remove_network(&network.id).await;
            let told = |error| format!("network {} cannot be removed: {error}", network.name);
            removed.err().map(told)
        });
        let told: Vec<_> = networks.buffered(AT_ONCE).filter_map(ready).collect().await;
        if told.len() < self.last.plan.remove_networks.len() {
            // A tenant of which nothing is left is forgotten, and what waited for its end goes on.
            self.look_again();
        }
        self.last.conditions.extend(told);
        for volume in self.last.plan.remove_volumes.clone() {
            let removed = self.parts.engine.remove_volume(&volume.name).await;
            let forget = |()| {
                self.parts
                    .store
                    .volumes(std::slice::from_ref(&volume.name), false)
            };
            let forgotten = removed
                .map_err(ControllerError::from)
                .and_then(|gone| Ok(forget(gone)?));
            if let Err(error) = forgotten {
                self.last
                    .conditions
                    .push(format!("volume {} cannot be removed: {error}", volume.name));
            }
        }
    }

    /// Of networks with one name all but one go. The engine refuses to remove one that is in use, so it is that one which
    /// stays, whichever it is.
    async fn remove_doubles(&mut self) {
        let doubles = self.last.plan.double_networks.clone();
        let names: BTreeSet<&String> = doubles.iter().map(|n| &n.name).collect();
        for name in names {
            let mut left = doubles.iter().filter(|n| n.name == *name).count();
            for network in doubles.iter().filter(|n| n.name == *name) {
                if left > 1 && self.parts.engine.remove_network(&network.id).await.is_ok() {
                    left -= 1;
                }
            }
            if left > 1 {
                self.last.conditions.push(format!(
                    "network {name} is there {left} times and in use: disconnect what hangs on one of them"
                ));
            }
        }
    }

    async fn make_volumes(&mut self, policy: &Policy) {
        let (engine, instance) = (&self.parts.engine, &self.parts.instance);
        let volumes = stream::iter(self.last.plan.make_volumes.clone());
        let made = volumes.map(|volume| async move {
            let labels = labels::of_owner(instance, &policy.settings.fleet, &volume.owner);
            let name = volume.name;
            match engine.create_volume(&name, &labels).await {
                Ok(found) if found.get(labels::INSTANCE).map(String::as_str) == Some(instance.as_str()) => {
                    None
                }
                Ok(_) => Some((
                    format!("volume {name} was there and is not labelled as ours: it is used as it is"),
                    None,
                )),
                Err(error) => Some((format!("volume {name} cannot be made: {error}"), Some(name))),
            }
        });
        let told: Vec<_> = made.buffered(AT_ONCE).filter_map(ready).collect().await;
        let (conditions, missing): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        self.last.conditions.extend(conditions);
        self.missing_volumes = missing.into_iter().flatten().collect();
    }

    async fn make_networks(&mut self, policy: &Policy, now: Timestamp) -> Result<(), ControllerError> {
        self.stuck_networks.clear();
        if self.last.plan.make_networks.is_empty() {
            return Ok(());
        }
        let seen = &self.last.seen.networks;
        let mut taken: Vec<String> = seen.iter().flat_map(|n| n.subnets.iter().cloned()).collect();
        taken.extend(subnets::host_routes().unwrap_or_default());
        let (taken, engine) = (Mutex::new(taken), self.parts.engine.clone());
        let pool = policy.settings.address_pool;
        let networks = stream::iter(self.last.plan.make_networks.clone());
        let making = networks.map(|network| {
            let (taken, engine) = (&taken, &engine);
            async move {
                let done = make_network(engine, &network, &pool, taken).await;
                (network.name, done)
            }
        });
        let mut making = pin!(making.buffer_unordered(AT_ONCE));
        let mut made = Vec::new();
        while let Some((name, done)) = making.next().await {
            match done {
                Ok(()) => {
                    self.networks.insert(name.clone());
                    self.start_services(now, Some(&name));
                    made.push(name);
                }
                Err(reason) => {
                    self.last.conditions.push(reason);
                    self.stuck_networks.insert(name);
                }
            }
        }
        if !made.is_empty() {
            self.parts.store.event(&NewEvent {
                kind: "networks".to_owned(),
                ring: None,
                tenant: None,
                service: None,
                message: format!("made {}", made.join(", ")),
                detail: serde_json::Value::Null,
            })?;
        }
        Ok(())
    }
}

/// A network gets the next free subnet of the pool; one that the engine refuses as overlapping is skipped.
async fn make_network(
    engine: &Engine,
    network: &NetworkObject,
    pool: &AddressPool,
    taken: &Mutex<Vec<String>>,
) -> Result<(), String> {
    let name = &network.name;
    for _ in 0..SUBNET_TRIES {
        let next = {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            let next = subnets::next_free(pool, &taken);
            taken.extend(next.clone());
            next
        };
        let Some(subnet) = next else {
            return Err(format!(
                "network {name} has no address: `address_pool` in ringfence.yaml is used up"
            ));
        };
        match engine.create_network(network, &subnet).await {
            Ok(()) => return Ok(()),
            Err(EngineError::Overlap { .. }) => {}
            Err(EngineError::NameTaken { .. }) => {
                return Err(format!(
                    "a network called {name} is there already and is not ours: rename or remove it, or choose another `instance:`"
                ));
            }
            Err(error) => return Err(format!("network {name} cannot be made: {error}")),
        }
    }
    Err(format!(
        "network {name} cannot be made: the engine says of {SUBNET_TRIES} subnets that they overlap with another network; choose another `address_pool` in ringfence.yaml"
    ))
}
