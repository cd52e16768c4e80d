//! Networks and volumes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::containers::{end_of, not_going};
use crate::world::{Answer, End, Refusal, State, World, strings};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name; several may have it.
    pub name: String,
    /// `10.201.0.0/27`
    pub subnet: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

impl World {
    /// Makes a network, whatever the others are, and gives its id.
    pub fn add_network(
        &mut self,
        name: &str,
        subnet: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> String {
        let id = self.new_id();
        let network = Network {
            id: id.clone(),
            name: name.to_owned(),
            subnet: subnet.map(str::to_owned),
            labels,
            created: Self::now(),
        };
        self.networks.insert(id.clone(), network);
        self.tell_network_of(&id, name, "create", None);
        id
    }

    pub(crate) fn create_network(&mut self, body: &Value) -> Answer {
        let name = body["Name"].as_str().unwrap_or_default();
        let check = body["CheckDuplicate"] == true || self.version.1 >= (1, 44);
        let subnet = body["IPAM"]["Config"][0]["Subnet"].as_str();
        if matches!(name, "bridge" | "host" | "none" | "default") {
            let message = format!("operation is not permitted on predefined {name} network ");
            return Err(Refusal(403, message));
        }
        if check && self.network(name).is_some() {
            return Err(Refusal(409, format!("network with name {name} already exists")));
        }
        if let Some(subnet) = subnet {
            let Some(wanted) = span(subnet) else {
                return Err(Refusal(400, format!("invalid CIDR address: {subnet}")));
            };
            let mut others = self
                .networks
                .values()
                .filter_map(|other| span(other.subnet.as_deref()?));
            if others.any(|(low, high)| low <= wanted.1 && wanted.0 <= high) {
                let message = "Pool overlaps with other one on this address space";
                return Err(Refusal(403, message.to_owned()));
            }
        }
        let id = self.add_network(name, subnet, strings(&body["Labels"]));
        Ok(json!({"Id": id, "Warning": ""}))
    }

    /// By id, else by a name that only one has.
    fn find_network(&self, reference: &str) -> Answer<String> {
        if self.networks.contains_key(reference) {
            return Ok(reference.to_owned());
        }
        let mut named = self.networks.values().filter(|network| network.name == reference);
        match (named.next(), named.count()) {
            (Some(network), 0) => Ok(network.id.clone()),
            (Some(_), more) => Err(Refusal(
                400,
                format!(
                    "network {reference} is ambiguous ({} matches found on name)",
                    more + 1
                ),
            )),
            (None, _) => Err(Refusal(404, format!("network {reference} not found"))),
        }
    }

    pub(crate) fn remove_network(&mut self, reference: &str) -> Answer {
        let id = self.find_network(reference)?;
        let name = self.networks[&id].name.clone();
        let alone = self
            .networks
            .values()
            .filter(|network| network.name == name)
            .count()
            == 1;
        let in_use = self
            .containers
            .values()
            .any(|container| container.runs() && container.networks.contains_key(&name));
        if alone && in_use {
            let message =
                format!("error while removing network: network {name} id {id} has active endpoints");
            return Err(Refusal(403, message));
        }
        self.networks.remove(&id);
        self.tell_network_of(&id, &name, "destroy", None);
        Ok(Value::Null)
    }

    pub(crate) fn connect(&mut self, reference: &str, body: &Value) -> Answer {
        let network = self.find_network(reference)?;
        let name = self.networks[&network].name.clone();
        let id = self.find(body["Container"].as_str().unwrap_or_default())?;
        let new = self.new_end(&name);
        let container = self.get(&id)?;
        not_going(container, "connect")?;
        let runs = matches!(container.state, State::Running | State::Paused);
        if container.networks.contains_key(&name) {
            if !runs {
                return Ok(Value::Null);
            }
            let who = container.name.clone();
            return Err(Refusal(
                403,
                format!("endpoint with name {who} already exists in network {name}"),
            ));
        }
        let mut end = end_of(&body["EndpointConfig"]);
        if runs {
            end = End {
                aliases: end.aliases,
                links: end.links,
                ..new
            };
        }
        container.networks.insert(name.clone(), end);
        if runs {
            self.tell_network(&name, "connect", Some(&id));
        }
        Ok(Value::Null)
    }

    pub(crate) fn disconnect(&mut self, reference: &str, body: &Value) -> Answer {
        let network = self.find_network(reference)?;
        let name = self.networks[&network].name.clone();
        let id = self.find(body["Container"].as_str().unwrap_or_default())?;
        let container = self.get(&id)?;
        if container.networks.remove(&name).is_none() {
            return Err(Refusal(
                if container.runs() { 403 } else { 500 },
                format!("container {id} is not connected to network {name}"),
            ));
        }
        if container.runs() {
            self.tell_network(&name, "disconnect", Some(&id));
        }
        Ok(Value::Null)
    }

    /// An end of a container that runs.
    pub(crate) fn new_end(&self, network: &str) -> End {
        End {
            address: self.address(network),
            network: self
                .network(network)
                .map(|network| network.id.clone())
                .unwrap_or_default(),
            endpoint: self.new_id(),
            ..End::default()
        }
    }

    /// An address that nobody has there.
    fn address(&self, network: &str) -> String {
        let subnet = self
            .network(network)
            .and_then(|network| span(network.subnet.as_deref()?));
        let Some((first, last)) = subnet else {
            return String::new();
        };
        let ends = self.containers.values().filter_map(|c| c.networks.get(network));
        let taken: std::collections::BTreeSet<u32> = ends
            .filter_map(|end| end.address.parse::<Ipv4Addr>().ok().map(u32::from))
            .collect();
        let free = (first + 2..last).find(|address| !taken.contains(address));
        free.map_or_else(String::new, |address| Ipv4Addr::from(address).to_string())
    }

    /// Makes a volume, unless there is one of this name: that one then stays as it is.
    pub fn create_volume(&mut self, name: &str, labels: BTreeMap<String, String>) -> Value {
        if !self.volumes.contains_key(name) {
            let volume = Volume {
                name: name.to_owned(),
                labels,
                created: Self::now(),
            };
            self.volumes.insert(name.to_owned(), volume);
            self.tell(
                "volume",
                "create",
                name,
                BTreeMap::from([("driver".to_owned(), "local".to_owned())]),
            );
        }
        crate::views::volume(&self.volumes[name])
    }

    pub(crate) fn inspect_volume(&self, name: &str) -> Answer {
        let volume = self.volumes.get(name).map(crate::views::volume);
        volume.ok_or_else(|| Refusal(404, format!("get {name}: no such volume")))
    }

    pub(crate) fn remove_volume(&mut self, name: &str) -> Answer {
        if !self.volumes.contains_key(name) {
            return Err(Refusal(404, format!("get {name}: no such volume")));
        }
        let holds = |c: &&crate::Container| c.mounts.values().any(|(volume, _)| volume == name);
        let holders: Vec<&str> = self
            .containers
            .values()
            .filter(holds)
            .map(|c| c.id.as_str())
            .collect();
        if !holders.is_empty() {
            let holders = holders.join(", ");
            return Err(Refusal(
                409,
                format!("remove {name}: volume is in use - [{holders}]"),
            ));
        }
        self.volumes.remove(name);
        self.tell("volume", "destroy", name, BTreeMap::new());
        Ok(Value::Null)
    }
}

/// First and last address.
fn span(subnet: &str) -> Option<(u32, u32)> {
    let (address, prefix) = subnet.split_once('/')?;
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let size = 1_u32.checked_shl(32_u32.checked_sub(prefix.parse().ok()?)?)?;
    let first = address / size * size;
    Some((first, first + (size - 1)))
}
