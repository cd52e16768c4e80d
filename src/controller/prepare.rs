//! Makes what containers need before they are made, and removes what nothing hangs on any more.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::wanted::{Wanted, in_scope};
use super::{Controller, ControllerError, Request};
use crate::engine::{EngineError, labels, subnets};
use crate::fleet::Policy;
use crate::plan::replace::Call;
use crate::render::object::NetworkObject;
use crate::store::NewEvent;

/// So often another subnet is tried when the engine says that one overlaps.
const SUBNET_TRIES: usize = 64;

impl Controller {
    /// Files, networks, volumes. What will be created is written down first.
    pub(super) async fn prepare(
        &mut self,
        wanted: &Wanted,
        request: &Request,
        policy: &Policy,
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
                self.parts.files.write_live(&folder, &live.files)?;
                self.live.insert(folder, live.files.clone());
            }
        }
        let networks = self.last.plan.make_networks.clone();
        self.make_networks(&networks, policy).await?;
        for volume in self.last.plan.make_volumes.clone() {
            let labels = labels::of_owner(&self.parts.instance, &policy.settings.fleet, &volume.owner);
            match self.parts.engine.create_volume(&volume.name, &labels).await {
                Ok(found)
                    if found.get(labels::INSTANCE).map(String::as_str)
                        == Some(self.parts.instance.as_str()) => {}
                Ok(_) => self.last.conditions.push(format!(
                    "volume {} was there and is not labelled as ours: it is used as it is",
                    volume.name
                )),
                Err(error) => self
                    .last
                    .conditions
                    .push(format!("volume {} cannot be made: {error}", volume.name)),
            }
        }
        self.remove_left_overs().await;
        Ok(())
    }

    /// Names and specs of all that this pass may make: only what stands in the ledger is ever removed.
    fn write_down(&self) -> Result<(), ControllerError> {
        let plan = &self.last.plan;
        let mut creates: Vec<_> = Vec::new();
        let mut specs: Vec<_> = Vec::new();
        for service in plan
            .services
            .iter()
            .filter(|s| s.steps.iter().any(|c| matches!(c, Call::Create { .. })))
        {
            if let Some(object) = &service.object {
                creates.push((
                    format!("{}.{}", object.base_name, object.hash.0.short()),
                    Some(object.hash),
                ));
                specs.push((object.hash, &object.spec));
            }
        }
        creates.extend(plan.make_networks.iter().map(|n| (n.name.clone(), None)));
        creates.extend(plan.make_volumes.iter().map(|v| (v.name.clone(), None)));
        self.parts.store.know(&creates, Timestamp::now())?;
        self.parts.store.keep_specs(&specs)?;
        Ok(())
    }

    async fn remove_left_overs(&mut self) {
        self.remove_doubles().await;
        for network in self.last.plan.remove_networks.clone() {
            if let Err(error) = self.parts.engine.remove_network(&network.id).await {
                self.last
                    .conditions
                    .push(format!("network {} cannot be removed: {error}", network.name));
            }
        }
        for volume in self.last.plan.remove_volumes.clone() {
            if let Err(error) = self.parts.engine.remove_volume(&volume.name).await {
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

    /// Each network gets the next free subnet of the pool; one that the engine refuses as overlapping is skipped.
    async fn make_networks(
        &mut self,
        networks: &[NetworkObject],
        policy: &Policy,
    ) -> Result<(), ControllerError> {
        let mut taken: Vec<String> = self
            .last
            .seen
            .networks
            .iter()
            .flat_map(|n| n.subnets.iter().cloned())
            .collect();
        taken.extend(subnets::host_routes().unwrap_or_default());
        let pool = policy.settings.address_pool;
        let mut made = Vec::new();
        self.stuck_networks.clear();
        for network in networks {
            for _ in 0..SUBNET_TRIES {
                let Some(subnet) = subnets::next_free(&pool, &taken) else {
                    self.stuck_networks.insert(network.name.clone());
                    self.last.conditions.push(format!(
                        "network {} has no address: `address_pool` in ringfence.yaml is used up",
                        network.name
                    ));
                    break;
                };
                taken.push(subnet.clone());
                match self.parts.engine.create_network(network, &subnet).await {
                    Ok(()) => {
                        made.push(network.name.clone());
                        self.networks.insert(network.name.clone());
                        break;
                    }
                    Err(EngineError::Overlap { .. }) => {}
                    Err(EngineError::NameTaken { .. }) => {
                        self.stuck_networks.insert(network.name.clone());
                        self.last.conditions.push(format!(
                            "a network called {} is there already and is not ours: rename or remove it, or choose another `instance:`",
                            network.name
                        ));
                        break;
                    }
                    Err(error) => {
                        self.stuck_networks.insert(network.name.clone());
                        self.last
                            .conditions
                            .push(format!("network {} cannot be made: {error}", network.name));
                        break;
                    }
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
