//! Starts, stops, ends by itself, health, and the engine's own restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::behaviour::Health;
use crate::containers::not_going;
use crate::world::{Answer, End, Refusal, State, Tick, World};

/// An engine's first wait before it starts a container again by its policy; it doubles up to a minute.
const FIRST_RESTART: Duration = Duration::from_millis(100);
const LONGEST_RESTART: Duration = Duration::from_secs(60);

/// What a stop has to wait for.
pub(crate) struct Stopping {
    pub id: String,
    pub run: u64,
    pub takes: Duration,
    pub code: i64,
}

impl World {
    pub(crate) fn start(&mut self, reference: &str) -> Answer {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        match container.state {
            State::Running | State::Restarting => return Err(Refusal(304, String::new())),
            State::Paused => {
                let message = "cannot start a paused container, try unpause instead";
                return Err(Refusal(409, message.to_owned()));
            }
            _ => {}
        }
        not_going(container, "start")?;
        if let Err(Refusal(status, why)) = self.can_start(&id) {
            let container = self.get(&id)?;
            container.exit_code = 128;
            container.error.clone_from(&why);
            return Err(Refusal(status, why));
        }
        self.get(&id)?.restarts = 0;
        self.run(&id);
        Ok(Value::Null)
    }

    /// A command in a container that runs. It ends at once, with the number that it ends in, if it does.
    pub(crate) fn make_exec(&mut self, reference: &str, body: &Value) -> Answer {
        let id = self.find(reference)?;
        if self.get(&id)?.state != State::Running {
            return Err(Refusal(409, format!("Container {id} is not running")));
        }
        let words = body["Cmd"].as_array().and_then(|words| words.last());
        let code = words.and_then(|word| word.as_str()?.parse().ok()).unwrap_or(0);
        let exec = self.new_id();
        self.execs.insert(exec.clone(), code);
        Ok(json!({ "Id": exec }))
    }

    pub(crate) fn exec(&self, id: &str) -> Answer {
        let code = self.execs.get(id);
        code.map(|code| json!({"ID": id, "Running": false, "ExitCode": code}))
            .ok_or_else(|| Refusal(404, format!("No such exec instance: {id}")))
    }

    /// Its networks must be there, and its host ports free.
    fn can_start(&self, id: &str) -> Answer<()> {
        let Some(container) = self.containers.get(id) else {
            return Err(Refusal(404, format!("No such container: {id}")));
        };
        for (name, end) in &container.networks {
            // Another network of the same name is another network.
            let there = if end.network.is_empty() {
                self.network(name).is_some()
            } else {
                self.networks.contains_key(&end.network)
            };
            if !there {
                let which = if end.network.is_empty() {
                    name
                } else {
                    &end.network
                };
                return Err(Refusal(404, format!("network {which} not found")));
            }
        }
        let wanted = ports(&container.host);
        if wanted.is_empty() {
            return Ok(());
        }
        for other in self
            .containers
            .values()
            .filter(|other| other.runs() && other.id != id)
        {
            if let Some(port) = ports(&other.host).into_iter().find(|port| wanted.contains(port)) {
                let name = &container.name;
                return Err(Refusal(
                    500,
                    format!(
                        "driver failed programming external connectivity on endpoint {name}: Bind for {port} failed: port is already allocated"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Lets a container run, whatever it was before.
    pub fn run(&mut self, id: &str) {
        let run = self.next();
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let behaviour = (self.behave)(container);
        let checked = self.has_check(container);
        let names: Vec<String> = container.networks.keys().cloned().collect();
        let ends: Vec<End> = names.iter().map(|name| self.new_end(name)).collect();
        let adds_id = self.version.1 < (1, 44);
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        for (end, new) in container.networks.values_mut().zip(ends) {
            end.address = new.address;
            end.endpoint = new.endpoint;
            end.network = new.network;
            let short = &id[..12];
            if adds_id && !end.aliases.iter().any(|alias| alias == short) {
                end.aliases.push(short.to_owned());
            }
        }
        container.run = run;
        container.state = State::Running;
        container.started = Some(Self::now());
        container.finished = None;
        container.exit_code = 0;
        container.error = String::new();
        container.stopped = false;
        container.health = checked.then_some("starting");
        for name in names {
            self.tell_network(&name, "connect", Some(id));
        }
        self.tell_container(id, "start", &[]);
        if checked {
            let (after, health) = match behaviour.health {
                Health::Healthy(after) => (after, "healthy"),
                Health::Unhealthy(after) => (after, "unhealthy"),
                Health::Never => (Duration::MAX, "starting"),
            };
            self.later(
                after,
                Tick::Health {
                    id: id.to_owned(),
                    run,
                    health,
                },
            );
        }
        if let Some((after, code)) = behaviour.exit {
            self.later(
                after,
                Tick::Exit {
                    id: id.to_owned(),
                    run,
                    code,
                },
            );
        }
    }

    fn later(&mut self, after: Duration, tick: Tick) {
        if after.is_zero() && matches!(tick, Tick::Health { .. }) {
            self.tick(&tick);
        } else if after < Duration::MAX {
            self.ticks.push((after, tick));
        }
    }

    /// Something comes by itself; what belongs to an earlier start does nothing.
    pub(crate) fn tick(&mut self, tick: &Tick) {
        let (Tick::Health { id, run, .. } | Tick::Exit { id, run, .. } | Tick::Restart { id, run }) = tick;
        let (id, run) = (id.clone(), *run);
        let Some(container) = self.containers.get_mut(&id).filter(|c| c.run == run && c.runs()) else {
            return;
        };
        match *tick {
            Tick::Health { health, .. } if container.state == State::Running => {
                container.health = Some(health);
                self.tell_container(&id, &format!("health_status: {health}"), &[]);
            }
            Tick::Exit { code, .. } => {
                let max = container.host["RestartPolicy"]["MaximumRetryCount"]
                    .as_u64()
                    .unwrap_or(0);
                let again = match container.policy() {
                    "always" | "unless-stopped" => true,
                    "on-failure" => code != 0 && (max == 0 || container.restarts < max),
                    _ => false,
                };
                self.ended(&id, code);
                if again && let Some(container) = self.containers.get_mut(&id) {
                    container.state = State::Restarting;
                    let doubled =
                        2_u32.saturating_pow(u32::try_from(container.restarts).unwrap_or(u32::MAX).min(10));
                    container.restarts += 1;
                    self.later(
                        (FIRST_RESTART * doubled).min(LONGEST_RESTART),
                        Tick::Restart { id, run },
                    );
                }
            }
            Tick::Restart { .. } => self.run(&id),
            Tick::Health { .. } => {}
        }
    }

    /// A container's process is gone.
    pub fn ended(&mut self, id: &str, code: i64) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.state = State::Exited;
        container.finished = Some(Self::now());
        container.exit_code = code;
        if container.health.is_some() {
            container.health = Some("unhealthy");
        }
        let names: Vec<String> = container.networks.keys().cloned().collect();
        for end in container.networks.values_mut() {
            end.address = String::new();
            end.endpoint = String::new();
        }
        self.tell_container(id, "die", &[("exitCode", &code.to_string())]);
        for name in names {
            self.tell_network(&name, "disconnect", Some(id));
        }
    }

    pub(crate) fn stop_begins(&mut self, reference: &str) -> Answer<Stopping> {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        if !container.runs() {
            return Err(Refusal(304, String::new()));
        }
        let run = container.run;
        let behaviour = (self.behave)(&self.containers[&id]);
        self.tell_container(&id, "kill", &[("signal", "15")]);
        Ok(Stopping {
            id,
            run,
            takes: behaviour.stop,
            code: behaviour.stop_code,
        })
    }

    pub(crate) fn stop_ends(&mut self, stopping: &Stopping) {
        let Some(container) = self.containers.get_mut(&stopping.id) else {
            return;
        };
        container.stopped = true;
        if container.run == stopping.run && container.runs() {
            self.ended(&stopping.id, stopping.code);
        }
        self.tell_container(&stopping.id, "stop", &[]);
    }

    pub(crate) fn pause(&mut self, reference: &str, pause: bool) -> Answer {
        let id = self.find(reference)?;
        let container = self.get(&id)?;
        let (from, to, why) = if pause {
            (State::Running, State::Paused, "is not running")
        } else {
            (State::Paused, State::Running, "is not paused")
        };
        if container.state != from {
            let status = if pause { 409 } else { 500 };
            return Err(Refusal(status, format!("Container {id} {why}")));
        }
        container.state = to;
        self.tell_container(&id, if pause { "pause" } else { "unpause" }, &[]);
        Ok(Value::Null)
    }

    /// The engine ends and comes again: its events are forgotten, all processes end, and those run again that their
    /// policies name; a *stopped* one with `always` as well.
    pub fn restart(&mut self) {
        self.events.forget();
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in &ids {
            let Some(container) = self.containers.get(id) else {
                continue;
            };
            let (ran, restarting) = (container.runs(), container.state == State::Restarting);
            if ran {
                self.ended(id, 137);
            }
            let Some(container) = self.containers.get(id) else {
                continue;
            };
            let again = match container.policy() {
                "always" => container.state == State::Exited,
                "unless-stopped" => ran || container.state == State::Exited && !container.stopped,
                "on-failure" => ran || restarting,
                _ => false,
            };
            if again && self.can_start(id).is_ok() {
                self.run(id);
            }
        }
    }
}

/// `127.0.0.1:80/tcp`, for fixed host ports.
fn ports(host: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (key, bindings) in host["PortBindings"].as_object().into_iter().flatten() {
        let protocol = key.rsplit('/').next().unwrap_or("tcp");
        for binding in bindings.as_array().into_iter().flatten() {
            let port = binding["HostPort"].as_str().unwrap_or_default();
            let address = binding["HostIp"]
                .as_str()
                .filter(|ip| !ip.is_empty())
                .unwrap_or("0.0.0.0");
            if !port.is_empty() {
                found.push(format!("{address}:{port}/{protocol}"));
            }
        }
    }
    found
}
