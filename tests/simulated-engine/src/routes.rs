//! From a call to what it does.

use serde_json::{Value, json};

use crate::lifecycle::Stopping;
use crate::script::Call;
use crate::world::{Answer, Refusal, World, strings};

/// What comes of a call.
pub(crate) enum Done {
    /// It is done: status and body.
    Now(u16, Value),
    /// A stop takes its time.
    Stops(Stopping),
    /// A stream of events begins.
    Events,
}

/// The list that tells what a call changes, or asks for. What hangs on a network is told of containers.
fn told_by(parts: &[&str]) -> &'static str {
    match parts {
        ["networks", _, "connect" | "disconnect"] => "containers",
        ["networks", ..] => "networks",
        ["volumes", ..] => "volumes",
        ["images", ..] => "images",
        _ => "containers",
    }
}

impl World {
    /// Carries a call out. `archive` is its body where that is no JSON. `stale`: a list is answered as it was before.
    pub(crate) fn carry_out(&mut self, call: &Call, archive: &[u8], stale: bool) -> Answer<Done> {
        self.speaks(&call.version)?;
        let parts: Vec<&str> = call.path.split('/').skip(1).collect();
        if call.changes() {
            self.note_before(told_by(&parts));
        }
        if stale {
            self.note_stale(told_by(&parts));
        }
        let query = |key: &str| call.query.get(key).map(String::as_str).unwrap_or_default();
        let yes = |key: &str| matches!(query(key), "1" | "true" | "True");
        let filters = || serde_json::from_str(query("filters")).unwrap_or_else(|_| json!({}));
        let body = &call.body;
        let seen = if stale {
            self.before(told_by(&parts))
        } else {
            &*self
        };
        let ok = |answer: Value| Ok(Done::Now(200, answer));
        let made = |answer: Value| Ok(Done::Now(201, answer));
        let done = |_: Value| Ok(Done::Now(204, Value::Null));
        match (call.method.as_str(), parts.as_slice()) {
            (_, ["_ping"]) => ok(Value::String("OK".to_owned())),
            ("GET", ["version"]) => ok(self.version()),
            ("GET", ["info"]) => ok(self.info()),
            ("GET", ["events"]) => Ok(Done::Events),
            ("GET", ["containers", "json"]) => ok(seen.list_containers(yes("all"), &filters())),
            ("POST", ["containers", "create"]) => {
                made(json!({"Id": self.create(query("name"), body)?, "Warnings": []}))
            }
            ("GET", ["containers", id, "json"]) => ok(self.inspect(id)?),
            ("GET", ["containers", id, "logs"]) => self.find(id).map(|_| Done::Now(200, Value::Null)),
            ("POST", ["containers", id, "exec"]) => self.make_exec(id, body).and_then(made),
            ("POST", ["exec", id, "start"]) => self.exec(id).map(|_| Done::Now(200, Value::Null)),
            ("GET", ["exec", id, "json"]) => self.exec(id).and_then(ok),
            ("POST", ["containers", id, "start"]) => self.start(id).and_then(done),
            ("POST", ["containers", id, "stop"]) => self.stop_begins(id).map(Done::Stops),
            ("POST", ["containers", id, "rename"]) => self.rename_call(id, query("name")).and_then(done),
            ("POST", ["containers", id, "update"]) => self.update(id, body).and_then(ok),
            ("POST", ["containers", id, "pause"]) => self.pause(id, true).and_then(done),
            ("POST", ["containers", id, "unpause"]) => self.pause(id, false).and_then(done),
            ("DELETE", ["containers", id]) => self.remove(id, yes("force")).and_then(done),
            ("GET", ["networks"]) => ok(seen.list_networks()),
            ("POST", ["networks", "create"]) => self.create_network(body).and_then(made),
            ("POST", ["networks", name, "connect"]) => self.connect(name, body).and_then(ok),
            ("POST", ["networks", name, "disconnect"]) => self.disconnect(name, body).and_then(ok),
            ("DELETE", ["networks", name]) => self.remove_network(name).and_then(done),
            ("GET", ["volumes"]) => ok(seen.list_volumes(&filters())),
            ("POST", ["volumes", "create"]) => {
                let name = body["Name"].as_str().unwrap_or_default();
                made(self.create_volume(name, strings(&body["Labels"])))
            }
            ("GET", ["volumes", name]) => self.inspect_volume(name).and_then(ok),
            ("DELETE", ["volumes", name]) => self.remove_volume(name).and_then(done),
            ("GET", ["images", "json"]) => {
                let filters: Value = filters();
                ok(seen.list_images(&crate::world::list(&filters["reference"])))
            }
            ("POST", ["images", "load"]) => self.load(archive).and_then(ok),
            ("POST", ["images", "create"]) => self.pull(query("fromImage"), query("tag")).and_then(ok),
            ("GET", ["images", name @ .., "json"]) => self.inspect_image(&name.join("/")).and_then(ok),
            ("POST", ["images", name @ .., "tag"]) => self
                .tag(&name.join("/"), query("repo"), query("tag"))
                .and_then(made),
            ("DELETE", ["images", name @ ..]) => self.remove_image(&name.join("/")).and_then(ok),
            ("GET", ["distribution", name @ .., "json"]) => self.distribution(&name.join("/")).and_then(ok),
            _ => Err(Refusal(404, "page not found".to_owned())),
        }
    }

    fn speaks(&self, version: &str) -> Answer<()> {
        let Some((major, minor)) = version.split_once('.') else {
            return Ok(());
        };
        let (_, newest, oldest) = &self.version;
        let asked = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        let refuse = |what: &str| Err(Refusal(400, format!("client version {version} is too {what}")));
        if asked > *newest {
            return refuse(&format!(
                "new. Maximum supported API version is {}.{}",
                newest.0, newest.1
            ));
        }
        if asked < *oldest {
            return refuse(&format!(
                "old. Minimum supported API version is {}.{}, please upgrade your client to a newer version",
                oldest.0, oldest.1
            ));
        }
        Ok(())
    }

    /// The name of what a path is about, for the log.
    pub(crate) fn name_of(&self, path: &str, body: &Value) -> String {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let container = |reference: &str| {
            let id = self.find(reference).ok()?;
            Some(self.containers.get(&id)?.name.clone())
        };
        match parts.as_slice() {
            ["containers", reference, ..] => container(reference),
            ["networks", name, ..] => match body["Container"].as_str() {
                Some(reference) => container(reference),
                None => self.networks.get(*name).map(|network| network.name.clone()),
            },
            _ => None,
        }
        .unwrap_or_default()
    }
}
