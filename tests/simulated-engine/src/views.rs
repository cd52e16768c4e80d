//! What the engine says of what it has.

use serde_json::{Map, Value, json};

use crate::events::has_label;
use crate::networks::{Network, Volume};
use crate::world::{Answer, Container, State, World, list};

fn word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Restarting => "restarting",
        State::Exited => "exited",
        State::Removing => "removing",
        State::Dead => "dead",
    }
}

/// The text for people, in which alone the list tells health.
fn status(container: &Container) -> String {
    let code = container.exit_code;
    let health = match container.health {
        Some("starting") => " (health: starting)".to_owned(),
        Some(health) => format!(" ({health})"),
        None => String::new(),
    };
    match container.state {
        State::Created => "Created".to_owned(),
        State::Running => format!("Up 1 second{health}"),
        State::Paused => "Up 1 second (Paused)".to_owned(),
        State::Restarting => format!("Restarting ({code}) 1 second ago"),
        State::Exited => format!("Exited ({code}) 1 second ago"),
        State::Removing => "Removal In Progress".to_owned(),
        State::Dead => "Dead".to_owned(),
    }
}

impl World {
    fn ends(container: &Container, whole: bool) -> Value {
        let mut ends = Map::new();
        for (name, end) in &container.networks {
            let (aliases, links) = if whole {
                (json!(end.aliases), json!(end.links))
            } else {
                (Value::Null, Value::Null)
            };
            let one = json!({
                "NetworkID": end.network, "EndpointID": end.endpoint, "Gateway": "", "IPAddress": end.address, "IPPrefixLen": 0,
                "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "",
                "Aliases": aliases, "Links": links, "IPAMConfig": null, "DriverOpts": null,
            });
            ends.insert(name.clone(), one);
        }
        Value::Object(ends)
    }

    fn summary(container: &Container) -> Value {
        json!({
            "Id": container.id, "Names": [format!("/{}", container.name)], "Image": container.config["Image"],
            "ImageID": container.image, "Command": "", "Created": container.created.as_second(), "Ports": [],
            "Labels": container.labels, "State": word(container.state), "Status": status(container),
            "HostConfig": {"NetworkMode": container.host["NetworkMode"]},
            "NetworkSettings": {"Networks": Self::ends(container, false)}, "Mounts": mounts(container),
        })
    }

    pub(crate) fn list_containers(&self, all: bool, filters: &Value) -> Value {
        let labels = list(&filters["label"]);
        let found = self.containers.values().filter(|container| {
            (all || container.runs()) && labels.iter().all(|label| has_label(&container.labels, label))
        });
        found.map(Self::summary).collect()
    }

    pub(crate) fn inspect(&self, reference: &str) -> Answer {
        let id = self.find(reference)?;
        let container = &self.containers[&id];
        let moment = |at: Option<jiff::Timestamp>| {
            at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
        };
        let state = container.state;
        let mut said = json!({
            "Status": word(state), "Running": container.runs(), "Paused": state == State::Paused,
            "Restarting": state == State::Restarting, "OOMKilled": false, "Dead": state == State::Dead,
            "Pid": i32::from(container.runs()), "ExitCode": container.exit_code, "Error": container.error,
            "StartedAt": moment(container.started), "FinishedAt": moment(container.finished),
        });
        if let Some(health) = container.health {
            said["Health"] = json!({"Status": health, "FailingStreak": 0, "Log": []});
        }
        Ok(json!({
            "Id": id, "Name": format!("/{}", container.name), "Created": container.created.to_string(),
            "State": said, "Image": container.image, "RestartCount": container.restarts,
            "HostConfig": container.host, "Config": container.config, "Mounts": mounts(container),
            "NetworkSettings": {"Networks": Self::ends(container, true)},
        }))
    }

    pub(crate) fn list_networks(&self) -> Value {
        self.networks.values().map(network).collect()
    }

    pub(crate) fn list_volumes(&self, filters: &Value) -> Value {
        let labels = list(&filters["label"]);
        let found = self.volumes.values();
        let found = found.filter(|volume| labels.iter().all(|label| has_label(&volume.labels, label)));
        json!({"Volumes": found.map(volume).collect::<Value>(), "Warnings": null})
    }

    pub(crate) fn info(&self) -> Value {
        json!({
            "ID": self.id, "Name": "simulated", "ServerVersion": self.version.0, "NCPU": 2,
            "MemTotal": 8_u64 << 30, "CgroupVersion": "1", "SwapLimit": true, "LoggingDriver": "json-file", "Containers": self.containers.len(),
        })
    }

    pub(crate) fn version(&self) -> Value {
        let (version, newest, oldest) = &self.version;
        json!({
            "Version": version, "ApiVersion": format!("{}.{}", newest.0, newest.1),
            "MinAPIVersion": format!("{}.{}", oldest.0, oldest.1), "Os": "linux", "Arch": "amd64",
        })
    }
}

fn mounts(container: &Container) -> Value {
    let volumes = container.mounts.iter().map(|(target, (name, writes))| {
        json!({
            "Type": "volume", "Name": name, "Source": format!("/volumes/{name}"), "Destination": target,
            "Driver": "local", "Mode": "z", "RW": writes, "Propagation": "",
        })
    });
    let others = container.host["Mounts"].as_array().into_iter().flatten();
    let others = others.filter(|mount| mount["Type"] != "volume").map(|mount| {
        json!({
            "Type": mount["Type"], "Source": mount["Source"].as_str().unwrap_or_default(),
            "Destination": mount["Target"], "Mode": "", "RW": mount["ReadOnly"] != true, "Propagation": "rprivate",
        })
    });
    volumes.chain(others).collect()
}

fn network(network: &Network) -> Value {
    let config = network
        .subnet
        .as_ref()
        .map_or_else(|| json!([]), |subnet| json!([{"Subnet": subnet}]));
    json!({
        "Name": network.name, "Id": network.id, "Created": network.created.to_string(), "Scope": "local",
        "Driver": "bridge", "EnableIPv6": false, "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "Internal": false, "Attachable": false, "Ingress": false, "Containers": {}, "Options": {},
        "Labels": network.labels,
    })
}

pub(crate) fn volume(volume: &Volume) -> Value {
    json!({
        "Name": volume.name, "Driver": "local", "Mountpoint": format!("/volumes/{}", volume.name),
        "CreatedAt": volume.created.to_string(), "Labels": volume.labels, "Options": null, "Scope": "local",
    })
}
