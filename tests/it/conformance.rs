//! What our code takes for granted of an engine, held against every engine that there is: the simulated one, the one that
//! the tests run on, and those of `make test-engines`. Raw calls, so that nothing of ours stands in between.

// Expected and got read best as they come; so do the words for one thing after the other.
#![allow(clippy::needless_pass_by_value, clippy::similar_names)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ringfence::engine::{EngineEvent, labels};
use ringfence::fleet::names::Owner;
use serde_json::{Value, json};
use simulated_engine::{Behaviour, Health, SimulatedEngine};

use crate::support::engine::{TestEngine, eventually};

/// An engine under test: its answers, and what they should have been.
struct Bed {
    test: TestEngine,
    who: String,
    api: String,
    image: String,
    network: String,
    wrong: Mutex<Vec<String>>,
}

impl Bed {
    async fn new(test: TestEngine) -> Self {
        let info = test.engine.info().await.unwrap();
        let image = test.image("web", "1", "one").await;
        let network = test.network(&Owner::Tenant("acme".parse().unwrap())).await;
        Self {
            who: format!("{} {}", info.name, info.version),
            api: info.api,
            image,
            network,
            test,
            wrong: Mutex::default(),
        }
    }

    /// A call, and its status and body.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.api, method, path, body).await
    }

    async fn call_as(&self, api: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let socket = self.test.address.trim_start_matches("unix://");
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("/v{api}{path}"))
            .header("Host", "engine")
            .header("Content-Type", "application/json")
            .body(Full::new(body))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        let text = || json!(String::from_utf8_lossy(&bytes));
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
    }

    async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await.1
    }

    /// A change without a body: its status alone.
    async fn post(&self, path: &str) -> u16 {
        self.call("POST", path, Value::Null).await.0
    }

    async fn delete(&self, path: &str) -> u16 {
        self.call("DELETE", path, Value::Null).await.0
    }

    /// Notes a fact that does not hold.
    fn is<T: PartialEq + Debug>(&self, fact: &str, expected: T, got: T) {
        if expected != got {
            let who = &self.who;
            let line = format!("{fact} ({who}): expected {expected:?}, got {got:?}");
            self.wrong.lock().unwrap().push(line);
        }
    }

    /// A refusal: its status, and words of its message.
    fn refuses(&self, fact: &str, status: u16, words: &str, got: &(u16, Value)) {
        let message = got.1["message"].as_str().unwrap_or_default().to_lowercase();
        if got.0 != status || !message.contains(words) {
            let who = &self.who;
            let line = format!(
                "{fact} ({who}): expected {status} with `{words}`, got {} with {}",
                got.0, got.1
            );
            self.wrong.lock().unwrap().push(line);
        }
    }

    fn name(&self, part: &str) -> String {
        format!("{part}.acme.{}", self.test.instance)
    }

    /// The body of a create call: the tiny program with a command, in the tenant's network.
    fn body(&self, command: &[&str]) -> Value {
        let labels = BTreeMap::from([(labels::INSTANCE, self.test.instance.to_string())]);
        json!({
            "Image": self.image, "Cmd": command, "Labels": labels,
            "HostConfig": {"NetworkMode": self.network},
            "NetworkingConfig": {"EndpointsConfig": {(self.network.as_str()): {}}},
        })
    }

    async fn create(&self, part: &str, body: Value) -> (u16, Value) {
        let path = format!("/containers/create?name={}", self.name(part));
        self.call("POST", &path, body).await
    }

    /// A container that must be made; its id.
    async fn made(&self, part: &str, body: Value) -> String {
        let (status, answer) = self.create(part, body).await;
        assert_eq!(status, 201, "{}: cannot make {part}: {answer}", self.who);
        answer["Id"].as_str().unwrap().to_owned()
    }

    /// One that runs until it is stopped.
    async fn running(&self, part: &str) -> String {
        let id = self.made(part, self.body(&["wait"])).await;
        self.is(
            "a start is 204",
            204,
            self.post(&format!("/containers/{id}/start")).await,
        );
        id
    }

    async fn inspect(&self, id: &str) -> Value {
        self.get(&format!("/containers/{id}/json")).await
    }

    async fn state(&self, id: &str) -> Value {
        self.inspect(id).await["State"].clone()
    }

    async fn in_state(&self, id: &str, state: &str) {
        eventually(&format!("{}: {id} is {state}", self.who), async || {
            (self.state(id).await["Status"] == state).then_some(())
        })
        .await;
    }

    /// Containers go, whatever they do.
    async fn clear(&self) {
        for id in self
            .test
            .engine
            .observe()
            .await
            .unwrap()
            .containers
            .iter()
            .map(|one| &one.id)
        {
            self.is(
                "one that runs goes by force",
                204,
                self.delete(&format!("/containers/{id}?force=1")).await,
            );
        }
    }

    /// What the list says of a container.
    async fn listed(&self, id: &str) -> Value {
        let filter = format!("{{\"label\":[\"{}={}\"]}}", labels::INSTANCE, self.test.instance);
        let filter = filter.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let list = self
            .get(&format!("/containers/json?all=1&filters={filter}"))
            .await;
        let list = list.as_array().into_iter().flatten();
        list.into_iter()
            .find(|one| one["Id"] == id)
            .cloned()
            .unwrap_or_default()
    }
}

async fn names_and_ids(bed: &Bed) {
    let one = bed.made("one", bed.body(&["wait"])).await;
    bed.is("an id has 64 digits", 64, one.len());
    let two = bed.create("one", bed.body(&["wait"])).await;
    bed.refuses("a name is given once", 409, "is already in use", &two);
    let odd = bed
        .call("POST", "/containers/create?name=%2Fa%2Fb", bed.body(&["wait"]))
        .await;
    bed.refuses("a name has no slash", 400, "name", &odd);
    let mut missing = bed.body(&["wait"]);
    missing["Image"] = json!("ringfence-nobody:none");
    let missing = bed.create("none", missing).await;
    bed.refuses(
        "an image that is not there is no container",
        404,
        "no such image",
        &missing,
    );
    let mut bound = bed.body(&["wait"]);
    bound["HostConfig"]["Mounts"] = json!([{"Type": "bind", "Source": "/no/such/place", "Target": "/x"}]);
    let bound = bed.create("bound", bound).await;
    bed.refuses(
        "a bind of what is not there is refused",
        400,
        "does not exist",
        &bound,
    );
    let mut unknown = bed.body(&["wait"]);
    unknown["NoSuchField"] = json!(1);
    bed.is(
        "fields that it does not know are ignored",
        201,
        bed.create("unknown", unknown).await.0,
    );

    let other = bed.running("other").await;
    let rename = |id: &str, to: String| format!("/containers/{id}/rename?name={to}");
    let cased = format!("one.Acme.{}", bed.test.instance);
    bed.is(
        "a stopped one is renamed",
        204,
        bed.post(&rename(&one, cased.clone())).await,
    );
    let again = bed.call("POST", &rename(&one, cased), Value::Null).await;
    bed.refuses(
        "its own name is refused in these words",
        400,
        "with the same name",
        &again,
    );
    let back = rename(&other, bed.name("one"));
    bed.is(
        "one that runs takes a name that differs in case alone",
        204,
        bed.post(&back).await,
    );
    let taken = bed
        .call("POST", &rename(&one, bed.name("one")), Value::Null)
        .await;
    bed.refuses("a taken name is refused", 409, "is already in use", &taken);
    let gone = bed
        .call("POST", &rename(&"0".repeat(64), bed.name("x")), Value::Null)
        .await;
    bed.refuses(
        "what is not there is not renamed",
        404,
        "no such container",
        &gone,
    );
}

async fn a_life(bed: &Bed) {
    let id = bed.made("life", bed.body(&["wait"])).await;
    let born = bed.state(&id).await;
    bed.is("a new one is `created`", &json!("created"), &born["Status"]);
    bed.is(
        "one that never ran started in the year 1",
        &json!("0001-01-01T00:00:00Z"),
        &born["StartedAt"],
    );
    let path = |verb: &str| format!("/containers/{id}/{verb}");
    bed.is(
        "one that does not run is not stopped",
        304,
        bed.post(&path("stop")).await,
    );
    bed.is("a start is 204", 204, bed.post(&path("start")).await);
    bed.is(
        "one that runs is not started",
        304,
        bed.post(&path("start")).await,
    );
    let unpaused = bed.call("POST", &path("unpause"), Value::Null).await;
    bed.refuses(
        "what is not frozen is not thawed",
        unpaused.0,
        "is not paused",
        &unpaused,
    );
    bed.is("it is frozen", 204, bed.post(&path("pause")).await);
    bed.is(
        "a frozen one says so",
        &json!("paused"),
        &bed.listed(&id).await["State"],
    );
    let frozen = bed
        .call("DELETE", &format!("/containers/{id}"), Value::Null)
        .await;
    bed.is("a frozen one is not removed", 409, frozen.0);
    bed.is("it is thawed", 204, bed.post(&path("unpause")).await);
    let running = bed
        .call("DELETE", &format!("/containers/{id}"), Value::Null)
        .await;
    bed.is("one that runs is not removed", 409, running.0);

    let limits = json!({"Memory": 64 << 20, "MemorySwap": 64 << 20});
    bed.is(
        "limits change",
        200,
        bed.call("POST", &path("update"), limits).await.0,
    );
    let policy = json!({"RestartPolicy": {"Name": "always"}});
    bed.is(
        "a policy changes",
        200,
        bed.call("POST", &path("update"), policy).await.0,
    );
    let host = bed.inspect(&id).await["HostConfig"].clone();
    bed.is(
        "the policy is the new one",
        &json!("always"),
        &host["RestartPolicy"]["Name"],
    );
    bed.is(
        "a new policy leaves limits alone",
        &json!(64 << 20),
        &host["Memory"],
    );
    limits_that_stay(bed, &id).await;
    let listed = bed.listed(&id).await;
    bed.is(
        "the list has no policy",
        &Value::Null,
        &listed["HostConfig"]["RestartPolicy"],
    );

    bed.is("a stop is 204", 204, bed.post(&path("stop")).await);
    let stopped = bed.state(&id).await;
    bed.is(
        "a stopped one has ended, whatever its policy",
        &json!("exited"),
        &stopped["Status"],
    );
    bed.is(
        "it is removed",
        204,
        bed.delete(&format!("/containers/{id}")).await,
    );
    let gone = bed
        .call("DELETE", &format!("/containers/{id}"), Value::Null)
        .await;
    bed.refuses("what is gone is not removed", 404, "no such container", &gone);
    let gone = bed.call("GET", &path("json"), Value::Null).await;
    bed.refuses("what is gone is not seen", 404, "no such container", &gone);
}

/// What an update takes away: of most limits nothing, since it takes 0 and an empty text for "as it is".
async fn limits_that_stay(bed: &Bed, id: &str) {
    let update = async |body: Value| {
        let path = format!("/containers/{id}/update");
        let (status, said) = bed.call("POST", &path, body).await;
        let host = bed.inspect(id).await["HostConfig"].clone();
        (status, said, host)
    };
    let set = json!({"CpuShares": 512, "CpusetCpus": "0", "CpuQuota": 50_000, "PidsLimit": 50});
    let (_, _, host) = update(set).await;
    let all = |host: &Value| {
        json!([
            host["CpuShares"],
            host["CpusetCpus"],
            host["CpuQuota"],
            host["PidsLimit"]
        ])
    };
    bed.is(
        "limits are shown as they are set",
        json!([512, "0", 50_000, 50]),
        all(&host),
    );
    let (_, _, host) = update(json!({"CpuShares": 0, "CpusetCpus": "", "CpuQuota": 0, "PidsLimit": 0})).await;
    bed.is(
        "0 takes away the limit of processes alone",
        json!([512, "0", 50_000, 0]),
        all(&host),
    );
    let (_, _, host) = update(json!({"CpuQuota": -1})).await;
    bed.is("-1 is no quota", &json!(-1), &host["CpuQuota"]);
    let other = bed.running("limited").await;
    let path = format!("/containers/{other}/update");
    let (status, _) = bed.call("POST", &path, json!({"NanoCpus": 500_000_000})).await;
    bed.is("CPUs are limited", 200, status);
    let refused = bed.call("POST", &path, json!({"CpuQuota": 50_000})).await;
    bed.refuses(
        "a quota beside CPUs is refused",
        409,
        "conflicting options: cpu quota cannot be updated as nanocpus",
        &refused,
    );
}

async fn ends(bed: &Bed) {
    let id = bed.made("end", bed.body(&["exit", "3"])).await;
    bed.post(&format!("/containers/{id}/start")).await;
    bed.in_state(&id, "exited").await;
    bed.is(
        "an end has its code",
        &json!(3),
        &bed.state(&id).await["ExitCode"],
    );

    let mut again = bed.body(&["exit", "3"]);
    again["HostConfig"]["RestartPolicy"] = json!({"Name": "always"});
    let id = bed.made("again", again).await;
    bed.post(&format!("/containers/{id}/start")).await;
    eventually("it was started again and again", async || {
        (bed.inspect(&id).await["RestartCount"].as_u64() >= Some(4)).then_some(())
    })
    .await;
    // By now it waits for most of a second between two starts.
    bed.in_state(&id, "restarting").await;
    bed.is(
        "one between two starts is not started",
        304,
        bed.post(&format!("/containers/{id}/start")).await,
    );
    bed.in_state(&id, "restarting").await;
    let removed = bed
        .call("DELETE", &format!("/containers/{id}"), Value::Null)
        .await;
    bed.is("one between two starts is not removed", 409, removed.0);
    bed.in_state(&id, "restarting").await;
    let renamed = bed
        .call(
            "POST",
            &format!("/containers/{id}/rename?name={}", bed.name("more")),
            Value::Null,
        )
        .await;
    // Engine 28 does it, 20.10 does not.
    if renamed.0 != 204 {
        let fact = "one between two starts is renamed, or not for want of its sandbox";
        bed.refuses(fact, renamed.0.max(400), "sandbox", &renamed);
    }
    let policy = json!({"RestartPolicy": {"Name": "no"}});
    bed.call("POST", &format!("/containers/{id}/update"), policy)
        .await;
    bed.is(
        "one between two starts is stopped",
        204,
        bed.post(&format!("/containers/{id}/stop")).await,
    );
    bed.in_state(&id, "exited").await;
}

async fn health(bed: &Bed) {
    let image = bed.test.image_with_healthcheck("checked", "1", "one").await;
    let mut body = bed.body(&["wait"]);
    body["Image"] = json!(image);
    let id = bed.made("health", body.clone()).await;
    bed.post(&format!("/containers/{id}/start")).await;
    eventually("its image's check fails", async || {
        (bed.state(&id).await["Health"]["Status"] == "unhealthy").then_some(())
    })
    .await;
    let status = bed.listed(&id).await["Status"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    bed.is(
        "the list tells health in its text",
        true,
        status.contains("(unhealthy)"),
    );
    bed.is(
        "an unhealthy one runs on",
        &json!(true),
        &bed.state(&id).await["Running"],
    );
    bed.post(&format!("/containers/{id}/pause")).await;
    let status = bed.listed(&id).await["Status"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    bed.is(
        "a frozen one's text is of that alone",
        true,
        status.contains("(Paused)"),
    );
    body["Healthcheck"] = json!({"Test": ["NONE"]});
    let id = bed.made("unchecked", body).await;
    bed.post(&format!("/containers/{id}/start")).await;
    let health = bed.state(&id).await["Health"].clone();
    let none = health.is_null() || health["Status"] == "none";
    bed.is("an image's check is switched off", true, none);
}

async fn networks(bed: &Bed) {
    let subnets = bed.get("/networks").await;
    let of = |name: &str| {
        let found = subnets
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["Name"] == name);
        found.map(|one| (one["Id"].clone(), one["IPAM"]["Config"][0]["Subnet"].clone()))
    };
    let (id, subnet) = of(&bed.network).unwrap();
    let label = json!({(labels::INSTANCE): bed.test.instance.to_string()});
    let make = |name: String, subnet: Value| {
        json!({
            "Name": name, "CheckDuplicate": true, "Labels": label,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet}]},
        })
    };
    let overlap = bed
        .call("POST", "/networks/create", make(bed.name("n"), subnet))
        .await;
    bed.refuses("a subnet is given once", 403, "overlap", &overlap);
    let twice = make(bed.network.clone(), json!("10.254.253.0/29"));
    let twice = bed.call("POST", "/networks/create", twice).await;
    bed.refuses(
        "a name is given once where that is asked for",
        409,
        "already exists",
        &twice,
    );
    let second = bed.test.network(&Owner::Ring("staging".parse().unwrap())).await;

    let mut two = bed.body(&["wait"]);
    two["NetworkingConfig"]["EndpointsConfig"][&second] = json!({});
    let two = bed.create("two", two).await;
    let many = bed
        .api
        .split_once('.')
        .and_then(|(_, minor)| minor.parse().ok())
        .unwrap_or(0)
        >= 44;
    bed.is(
        "before API 1.44 a container is made in one network",
        if many { 201 } else { 400 },
        two.0,
    );

    let mut body = bed.body(&["wait"]);
    let end = json!({"Aliases": ["front"], "Links": [format!("redis.{}:redis", bed.test.instance)]});
    body["NetworkingConfig"]["EndpointsConfig"][&bed.network] = end;
    let web = bed.made("web", body).await;
    let connect = json!({"Container": web, "EndpointConfig": {"Aliases": ["more"]}});
    let path = format!("/networks/{second}/connect");
    bed.is(
        "a stopped one is connected",
        200,
        bed.call("POST", &path, connect.clone()).await.0,
    );
    bed.is(
        "a link may name what is not there",
        204,
        bed.post(&format!("/containers/{web}/start")).await,
    );
    let ends = bed.inspect(&web).await["NetworkSettings"]["Networks"].clone();
    let has = |network: &str, list: &str, word: &str| {
        ends[network][list]
            .as_array()
            .is_some_and(|list| list.iter().any(|one| one.as_str() == Some(word)))
    };
    bed.is("an alias is kept", true, has(&bed.network, "Aliases", "front"));
    let link = format!("redis.{}:redis", bed.test.instance);
    bed.is("a link is kept", true, has(&bed.network, "Links", &link));
    bed.is(
        "so is that of a later network",
        true,
        has(&second, "Aliases", "more"),
    );
    let address = ends[&second]["IPAddress"].as_str().unwrap_or_default();
    bed.is("it has an address in each", false, address.is_empty());
    let listed = bed.listed(&web).await["NetworkSettings"]["Networks"].clone();
    bed.is(
        "the list names the networks",
        2,
        listed.as_object().map_or(0, serde_json::Map::len),
    );
    bed.is(
        "the list has no aliases",
        &Value::Null,
        &listed[&second]["Aliases"],
    );
    let twice = bed.call("POST", &path, connect.clone()).await;
    bed.refuses(
        "a second connection is refused in these words",
        403,
        "already exists in network",
        &twice,
    );

    let busy = bed
        .call("DELETE", &format!("/networks/{second}"), Value::Null)
        .await;
    bed.refuses("a network in use stays", 403, "active endpoints", &busy);
    let path = format!("/networks/{second}/disconnect");
    let leave = json!({"Container": web, "Force": false});
    bed.is(
        "it is disconnected",
        200,
        bed.call("POST", &path, leave.clone()).await.0,
    );
    let twice = bed.call("POST", &path, leave).await;
    bed.refuses(
        "what is not connected is refused in these words",
        twice.0.max(400),
        "is not connected to",
        &twice,
    );
    bed.is(
        "a network that nobody uses goes",
        204,
        bed.delete(&format!("/networks/{second}")).await,
    );
    let gone = bed
        .call("DELETE", &format!("/networks/{second}"), Value::Null)
        .await;
    bed.refuses("a network that is gone is 404", 404, "not found", &gone);
    let gone = bed
        .call("POST", &format!("/networks/{second}/connect"), connect)
        .await;
    bed.refuses("nobody is connected to what is gone", 404, "not found", &gone);

    bed.post(&format!("/containers/{web}/stop?t=0")).await;
    let id = id.as_str().unwrap();
    bed.is(
        "a stopped one holds no network",
        204,
        bed.delete(&format!("/networks/{id}")).await,
    );
    let start = bed
        .call("POST", &format!("/containers/{web}/start"), Value::Null)
        .await;
    bed.refuses("without its network it does not start", 404, "not found", &start);
    // One of the same name is another network: what hung on the first must be hung on it.
    let again = bed.test.network(&Owner::Tenant("acme".parse().unwrap())).await;
    let start = bed
        .call("POST", &format!("/containers/{web}/start"), Value::Null)
        .await;
    bed.refuses(
        "another network of that name is another network",
        404,
        "not found",
        &start,
    );
    let leave = json!({"Container": web, "Force": false});
    let left = bed
        .call("POST", &format!("/networks/{again}/disconnect"), leave)
        .await
        .0;
    bed.is("a stopped one leaves it by the name", 200, left);
    let back = json!({"Container": web});
    let back = bed
        .call("POST", &format!("/networks/{again}/connect"), back)
        .await
        .0;
    bed.is("and is connected to the new one", 200, back);
    let first = bed.post(&format!("/containers/{web}/start")).await;
    bed.is("then it starts", 204, first);
    let end = |one: Value| one["NetworkSettings"]["Networks"][&again]["EndpointID"].clone();
    let before = end(bed.listed(&web).await);
    bed.post(&format!("/containers/{web}/stop?t=0")).await;
    bed.is(
        "one that ended has no end there",
        &json!(""),
        &end(bed.listed(&web).await),
    );
    bed.post(&format!("/containers/{web}/start")).await;
    bed.is(
        "each start has ends of its own",
        true,
        end(bed.listed(&web).await) != before,
    );
}

async fn ports(bed: &Bed) {
    // Free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let publish = || {
        let mut body = bed.body(&["wait"]);
        body["ExposedPorts"] = json!({"80/tcp": {}});
        body["HostConfig"]["PortBindings"] = json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]});
        body
    };
    let (one, two) = (
        bed.made("port1", publish()).await,
        bed.made("port2", publish()).await,
    );
    bed.is(
        "a port is published",
        204,
        bed.post(&format!("/containers/{one}/start")).await,
    );
    let taken = bed
        .call("POST", &format!("/containers/{two}/start"), Value::Null)
        .await;
    bed.refuses(
        "a host port is given once",
        500,
        "port is already allocated",
        &taken,
    );
    let state = bed.state(&two).await;
    bed.is(
        "what could not be started is left `created`",
        &json!("created"),
        &state["Status"],
    );
    let said = state["Error"].as_str().unwrap_or_default();
    bed.is("and says why", true, said.contains("port is already allocated"));
}

async fn volumes(bed: &Bed) {
    let name = bed.name("data");
    let make = |holder: &str| {
        let label = json!({(labels::INSTANCE): bed.test.instance.to_string(), "holder": holder});
        json!({"Name": name, "Driver": "local", "Labels": label})
    };
    let first = bed.call("POST", "/volumes/create", make("one")).await;
    bed.is("a volume is made", 201, first.0);
    let second = bed.call("POST", "/volumes/create", make("two")).await;
    bed.is("making it again is no error", 201, second.0);
    bed.is(
        "and answers with the first one's labels",
        &json!("one"),
        &second.1["Labels"]["holder"],
    );
    bed.is("and time", &first.1["CreatedAt"], &second.1["CreatedAt"]);
    let mounted = bed.name("mounted");
    let mut body = bed.body(&["wait"]);
    body["HostConfig"]["Mounts"] = json!([
        {"Type": "volume", "Source": name, "Target": "/data"},
        {"Type": "volume", "Source": mounted, "Target": "/more"},
    ]);
    let user = bed.made("user", body).await;
    let made = bed.call("GET", &format!("/volumes/{mounted}"), Value::Null).await;
    let made = (
        made.0,
        made.1["Labels"].as_object().map_or(0, serde_json::Map::len),
    );
    bed.is("a volume that is mounted is made, without labels", (200, 0), made);
    let used = bed.call("DELETE", &format!("/volumes/{name}"), Value::Null).await;
    bed.refuses("a volume in use stays, though nothing runs", 409, "in use", &used);
    bed.is(
        "its user goes",
        204,
        bed.delete(&format!("/containers/{user}")).await,
    );
    bed.is(
        "a volume goes",
        204,
        bed.delete(&format!("/volumes/{name}")).await,
    );
    let gone = bed.call("DELETE", &format!("/volumes/{name}"), Value::Null).await;
    bed.refuses("a volume that is gone is 404", 404, "no such volume", &gone);
    bed.delete(&format!("/volumes/{mounted}")).await;
}

/// The volumes of a container in the list, by path; a name that the engine made up is a dash.
async fn mounted(bed: &Bed, id: &str) -> BTreeMap<String, String> {
    let listed = bed.listed(id).await;
    let mounts = listed["Mounts"].as_array().cloned().unwrap_or_default();
    let volumes = mounts.into_iter().filter(|mount| mount["Type"] == "volume");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = volumes.map(|mount| {
        let name = text(&mount["Name"]);
        let made_up = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let shown = if made_up { "-".to_owned() } else { name };
        (text(&mount["Destination"]), format!("{shown} {}", mount["RW"]))
    });
    named.collect()
}

async fn declared_volumes(bed: &Bed) {
    let declared = json!({"/data/": {}, "/in-memory": {}, "/tmpfs": {}, "/bound": {}, "/up/below": {}});
    let image = bed
        .test
        .image_with("declares", "1", "one", &json!({ "Volumes": declared }))
        .await;
    let own = bed.name("own");
    let up = bed.name("up");
    let mounts = |more: Value| {
        let mut body = bed.body(&["wait"]);
        body["Image"] = json!(image);
        body["HostConfig"]["Tmpfs"] = json!({"/in-memory": "size=1m"});
        let mut mounts = vec![
            json!({"Type": "tmpfs", "Target": "/tmpfs"}),
            json!({"Type": "bind", "Source": bed.test.state(), "Target": "/bound"}),
            json!({"Type": "volume", "Source": up, "Target": "/up", "ReadOnly": true}),
        ];
        mounts.extend(more.as_array().cloned().unwrap_or_default());
        body["HostConfig"]["Mounts"] = json!(mounts);
        body
    };
    let list = |of: &[(&str, &str)]| -> BTreeMap<String, String> {
        let of = of.iter();
        of.map(|(path, name)| ((*path).to_owned(), (*name).to_owned()))
            .collect()
    };
    let id = bed.made("declares", mounts(json!([]))).await;
    bed.is(
        "a path that an image declares gets a volume without a name, unless something is mounted at that very path",
        list(&[("/data", "- true"), ("/up", &format!("{up} false")), ("/up/below", "- true")]),
        mounted(bed, &id).await,
    );
    let mounts = mounts(json!([
        {"Type": "volume", "Source": own, "Target": "/data"},
        {"Type": "volume", "Source": own, "Target": "/up/below"},
    ]));
    let id = bed.made("mounts", mounts).await;
    let own = format!("{own} true");
    bed.is(
        "one that is mounted there takes its place",
        list(&[
            ("/data", &own),
            ("/up", &format!("{up} false")),
            ("/up/below", &own),
        ]),
        mounted(bed, &id).await,
    );
    bed.clear().await;
    for volume in [bed.name("own"), up.clone()] {
        bed.delete(&format!("/volumes/{volume}")).await;
    }
}

async fn images(bed: &Bed) {
    let seen = bed.get(&format!("/images/{}/json", bed.image)).await;
    let id = seen["Id"].as_str().unwrap_or_default().to_owned();
    bed.is(
        "an id is a digest",
        true,
        id.starts_with("sha256:") && id.len() == 71,
    );
    bed.is(
        "a loaded image has no digest of a registry",
        true,
        seen["RepoDigests"].as_array().is_none_or(Vec::is_empty),
    );
    let kept = format!("ringfence-kept/{}", bed.test.instance);
    let path = format!("/images/{id}/tag?repo={kept}&tag=x");
    bed.is("an image is tagged by its id", 201, bed.post(&path).await);
    let filter = format!("%7B%22reference%22:[%22{kept}%22]%7D");
    let listed = bed.get(&format!("/images/json?filters={filter}")).await;
    bed.is(
        "tags are listed by their repository",
        &json!([format!("{kept}:x")]),
        &listed[0]["RepoTags"],
    );
    let user = bed.made("image", bed.body(&["wait"])).await;
    let made = bed.inspect(&user).await;
    bed.is("a container tells its image's id", &json!(id), &made["Image"]);
    bed.is(
        "and its name in the configuration",
        &json!(bed.image),
        &made["Config"]["Image"],
    );
    bed.is(
        "a tag goes, though the image is in use",
        200,
        bed.delete(&format!("/images/{}", bed.image)).await,
    );
    bed.is(
        "the image stays with the other",
        200,
        bed.call("GET", &format!("/images/{id}/json"), Value::Null)
            .await
            .0,
    );
    let last = bed
        .call("DELETE", &format!("/images/{kept}:x"), Value::Null)
        .await;
    bed.refuses("the last tag of an image in use stays", 409, "conflict", &last);
    let gone = bed
        .call("DELETE", &format!("/images/{}", bed.image), Value::Null)
        .await;
    bed.refuses("a tag that is gone is 404", 404, "no such image", &gone);
    bed.delete(&format!("/containers/{user}")).await;
    bed.is(
        "and goes when nobody uses it",
        200,
        bed.delete(&format!("/images/{kept}:x")).await,
    );
}

async fn commands(bed: &Bed) {
    let id = bed.running("asked").await;
    let exec = async |id: &str, code: &str| {
        let command = ["/tiny", "exit", code].map(str::to_owned);
        bed.test.engine.exec(id, &command, Duration::from_secs(20)).await
    };
    for (code, ends) in [("0", 0), ("3", 3)] {
        let ended = exec(&id, code).await.unwrap();
        bed.is("a command ends with its own code", Some(ends), ended);
    }
    let body = bed.body(&["wait"]);
    let created = bed.made("unasked", body).await;
    let error = exec(&created, "0").await.unwrap_err();
    let refused = matches!(error, ringfence::engine::EngineError::Conflict { .. });
    bed.is("a container that does not run takes no command", true, refused);
}

async fn events(bed: &Bed) {
    let stream = bed.test.engine.events();
    let id = bed.running("told").await;
    let other = bed.name("renamed");
    bed.post(&format!("/containers/{id}/rename?name={other}")).await;
    let policy = json!({"RestartPolicy": {"Name": "no"}});
    bed.call("POST", &format!("/containers/{id}/update"), policy)
        .await;
    bed.post(&format!("/containers/{id}/stop?t=0")).await;
    bed.delete(&format!("/containers/{id}")).await;
    futures_util::pin_mut!(stream);
    let mut told: Vec<EngineEvent> = Vec::new();
    // Two streams, of containers and of all else: neither waits for the other.
    let over = |told: &[EngineEvent]| {
        let has = |action: &str| told.iter().any(|event| event.action == action);
        has("destroy") && has("disconnect")
    };
    while !over(&told) {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
        let event = next
            .unwrap_or_else(|_| panic!("{}: no end of {id} in {told:?}", bed.who))
            .unwrap()
            .unwrap();
        if event.id == id || event.container.as_deref() == Some(&id) {
            told.push(event);
        }
    }
    let position = |action: &str| told.iter().position(|event| event.action == action);
    for action in [
        "create",
        "connect",
        "start",
        "rename",
        "update",
        "die",
        "disconnect",
        "destroy",
    ] {
        bed.is(&format!("`{action}` is told"), true, position(action).is_some());
    }
    let in_order = ["create", "start", "rename", "die", "destroy"].map(position);
    bed.is("events come in order", true, in_order.is_sorted());
    let renamed = told
        .iter()
        .find(|event| event.action == "rename")
        .map(|event| event.name.clone());
    bed.is(
        "a rename tells the new name",
        Some(other),
        renamed.map(|name| name.trim_start_matches('/').to_owned()),
    );
}

async fn protocol(bed: &Bed) {
    let new = bed.call_as("9.99", "GET", "/containers/json", Value::Null).await;
    bed.refuses("a version from the future is refused", 400, "too new", &new);
    let none = bed.call("GET", "/no/such/path", Value::Null).await;
    bed.refuses(
        "a path that it does not know is 404 in these words",
        404,
        "page not found",
        &none,
    );
}

async fn all(test: TestEngine) {
    let mut bed = Bed::new(test).await;
    names_and_ids(&bed).await;
    bed.clear().await;
    a_life(&bed).await;
    ends(&bed).await;
    health(&bed).await;
    bed.clear().await;
    ports(&bed).await;
    volumes(&bed).await;
    declared_volumes(&bed).await;
    commands(&bed).await;
    events(&bed).await;
    protocol(&bed).await;
    bed.clear().await;
    // These take the image and the network away.
    images(&bed).await;
    bed.image = bed.test.image("web", "2", "two").await;
    networks(&bed).await;
    let wrong = bed.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} facts do not hold:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn the_engine_is_as_we_take_it_to_be() {
    all(TestEngine::new("facts").await).await;
}

#[tokio::test]
async fn the_simulated_engine_is_as_we_take_engines_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let engine = SimulatedEngine::start(folder.path());
    // What the tiny program would do.
    engine.with(|world| {
        world.behave(|container| {
            let word = |n: usize| container.config["Cmd"][n].as_str().unwrap_or_default();
            let moment = Duration::from_millis(5);
            Behaviour {
                health: Health::Unhealthy(moment),
                exit: (word(0) == "exit").then(|| (moment, word(1).parse().unwrap_or(0))),
                ..Behaviour::default()
            }
        });
    });
    all(TestEngine::simulated("facts", &engine.address()).await).await;
}
