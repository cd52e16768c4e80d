//! Making, naming, changing and removing containers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{Answer, Container, End, Refusal, State, World, list, strings};

impl World {
    /// Makes a container from the body of a create call and gives its id. Also for a test's own set-up.
    pub fn create(&mut self, name: &str, body: &Value) -> Result<String, Refusal> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(good) || name.len() < 2
        {
            let only = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
            return Err(Refusal(400, format!("Invalid container name ({name}), {only}")));
        }
        let reference = body["Image"].as_str().unwrap_or_default();
        let image = self.image_of(reference)?;
        let ends = ends(&body["NetworkingConfig"]["EndpointsConfig"]);
        if ends.len() > 1 && self.version.1 < (1, 44) {
            let names: Vec<_> = ends.into_keys().collect();
            let message = format!(
                "Container cannot be connected to network endpoints: {}",
                names.join(", ")
            );
            return Err(Refusal(400, message));
        }
        for mount in body["HostConfig"]["Mounts"].as_array().into_iter().flatten() {
            let source = mount["Source"].as_str().unwrap_or_default();
            if mount["Type"] == "bind" && !Path::new(source).exists() {
                let why = format!("bind source path does not exist: {source}");
                return Err(Refusal(
                    400,
                    format!("invalid mount config for type \"bind\": {why}"),
                ));
            }
        }
        self.name_is_free(name)?;
        let (config, host) = parts(body);
        let mut labels = image.labels.clone();
        labels.extend(strings(&config["Labels"]));
        let mounts = self.mounts(&host, &image.volumes);
        let id = self.new_id();
        let networks = if ends.is_empty() {
            let mode = host["NetworkMode"].as_str().unwrap_or_default();
            let mode = if matches!(mode, "" | "default") {
                "bridge"
            } else {
                mode
            };
            BTreeMap::from([(mode.to_owned(), End::default())])
        } else {
            ends
        };
        let container = Container {
            id: id.clone(),
            name: name.to_owned(),
            created: Self::now(),
            image: image.id,
            config,
            host,
            labels,
            networks,
            state: State::Created,
            health: None,
            started: None,
            finished: None,
            exit_code: 0,
            error: String::new(),
            restarts: 0,
            stopped: false,
            mounts,
            run: 0,
        };
        self.names.insert(name.to_owned(), id.clone());
        self.containers.insert(id.clone(), container);
        self.tell_container(&id, "create", &[]);
        Ok(id)
    }

    fn name_is_free(&self, name: &str) -> Answer<()> {
        let Some(holder) = self.names.get(name) else {
            return Ok(());
        };
        let hint = "You have to remove (or rename) that container to be able to reuse that name.";
        Err(Refusal(
            409,
            format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". {hint}"
            ),
        ))
    }

    /// Named volumes that are not there yet are made, without labels. A path that the image declares and where nothing is
    /// mounted gets a volume with a name of 64 digits.
    fn mounts(&mut self, host: &Value, of_image: &[String]) -> BTreeMap<String, (String, bool)> {
        let mut mounts = BTreeMap::new();
        for mount in host["Mounts"].as_array().into_iter().flatten() {
            let target = mount["Target"].as_str().unwrap_or_default().to_owned();
            let source = mount["Source"].as_str().unwrap_or_default().to_owned();
            if mount["Type"] == "volume" {
                let source = if source.is_empty() { self.new_id() } else { source };
                let _ = self.create_volume(&source, BTreeMap::new());
                mounts.insert(target, (source, mount["ReadOnly"] != true));
            }
        }
        let others = host["Mounts"].as_array().into_iter().flatten();
        let others = others.filter_map(|mount| mount["Target"].as_str());
        let in_memory = host["Tmpfs"].as_object().into_iter().flatten();
        let taken: BTreeSet<&str> = others.chain(in_memory.map(|(path, _)| path.as_str())).collect();
        for path in of_image.iter().filter(|path| !taken.contains(path.as_str())) {
            let name = self.new_id();
            let _ = self.create_volume(&name, BTreeMap::new());
            mounts.insert(path.clone(), (name, true));
        }
        mounts
    }

    pub(crate) fn rename_call(&mut self, reference: &str, to: &str) -> Answer {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        if container.name == to {
            let message = "Renaming a container with the same name as its current name";
            return Err(Refusal(400, message.to_owned()));
        }
        if container.state == State::Restarting {
            return Err(Refusal(404, format!("sandbox {id} not found")));
        }
        let from = container.name.clone();
        self.name_is_free(to).map_err(|Refusal(status, why)| {
            Refusal(status, format!("Error when allocating new name: {why}"))
        })?;
        self.rename(&id, to);
        self.tell_container(&id, "rename", &[("oldName", &format!("/{from}"))]);
        Ok(Value::Null)
    }

    pub(crate) fn update(&mut self, reference: &str, body: &Value) -> Answer {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        not_going(container, "update")?;
        let has = |key: &str| container.host[key].as_i64().is_some_and(|n| n > 0);
        if body["CpuQuota"].as_i64().is_some_and(|n| n > 0) && has("NanoCpus") {
            let why = "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set";
            return Err(Refusal(409, format!("Cannot update container {id}: {why}")));
        }
        for (key, value) in body.as_object().into_iter().flatten() {
            // 0 and an empty text mean "as it is", but for processes.
            let says = !matches!(value, Value::Null) && *value != json!(0) && *value != json!("");
            if says || key == "PidsLimit" && !value.is_null() {
                container.host[key.as_str()] = value.clone();
            }
        }
        self.tell_container(&id, "update", &[]);
        Ok(json!({"Warnings": []}))
    }

    pub(crate) fn remove(&mut self, reference: &str, force: bool) -> Answer {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        let refuse = |what: &str, hint: &str| {
            Err(Refusal(
                409,
                format!("You cannot remove a {what} container {id}. {hint}"),
            ))
        };
        let stop = "Stop the container before attempting removal or force remove";
        match container.state {
            State::Removing => {
                return Err(Refusal(
                    409,
                    format!("removal of container {reference} is already in progress"),
                ));
            }
            State::Running if !force => return refuse("running", stop),
            State::Restarting if !force => return refuse("restarting", stop),
            State::Paused if !force => {
                return refuse(
                    "paused",
                    "Unpause and then stop the container before attempting removal or force remove",
                );
            }
            _ => {}
        }
        if container.runs() {
            self.ended(&id, 137);
        }
        self.tell_container(&id, "destroy", &[]);
        if let Some(container) = self.containers.remove(&id) {
            self.names.remove(&container.name);
        }
        Ok(Value::Null)
    }
}

/// What is being removed takes no other call.
pub(crate) fn not_going(container: &Container, what: &str) -> Answer<()> {
    if matches!(container.state, State::Removing | State::Dead) {
        let message = format!("Container is marked for removal and cannot be \"{what}\".");
        return Err(Refusal(409, message));
    }
    Ok(())
}

/// Configuration and host configuration of a create call's body.
fn parts(body: &Value) -> (Value, Value) {
    let mut config = body.clone();
    let mut host = config["HostConfig"].take();
    if let Some(map) = config.as_object_mut() {
        map.remove("HostConfig");
        map.remove("NetworkingConfig");
    }
    if host.is_null() {
        host = json!({});
    }
    if host["RestartPolicy"].is_null() {
        host["RestartPolicy"] = json!({"Name": "no", "MaximumRetryCount": 0});
    }
    (config, host)
}

fn ends(config: &Value) -> BTreeMap<String, End> {
    let map = config.as_object().into_iter().flatten();
    map.map(|(name, end)| (name.clone(), end_of(end))).collect()
}

pub(crate) fn end_of(config: &Value) -> End {
    End {
        aliases: list(&config["Aliases"]),
        links: list(&config["Links"]),
        ..End::default()
    }
}
