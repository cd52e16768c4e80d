//! One service changes: only its container is replaced, and a client that looks the name up for each of its connections
//! loses nothing.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::engine::address;
use crate::support::fleet::{AGENT, TestFleet, agent_service, tenant};

const TENANTS: usize = 8;
/// In each tenant; one more is shared by all.
const SERVICES: usize = 5;
const REPLACEMENTS: usize = 20;
/// The client ends when its container has this file.
const STOP: &str = "/stop";

/// A tenant whose service `s1` has a variable of its own.
fn with_variable(slug: &str, value: &str) -> String {
    format!(
        "{}config_overrides: {{s1: {{GREETING: \"{value}\"}}}}\n",
        tenant(slug, "dev")
    )
}

fn hub(value: &str, image: &str) -> String {
    let lines = format!(
        "environment: {{GREETING: \"{value}\"}}\nx-ringfence: {{scope: fleet, probe: {{http: \":8080/healthz\", interval: 1s}}}}"
    );
    format!(
        "services:\n{}",
        agent_service("hub", &lines).replace(AGENT, image)
    )
}

/// A tag of this test's own: another checkout's tests may load another image under the common one meanwhile, and then
/// each commit would be a release with another image.
struct Image<'f>(&'f TestFleet, String);

impl<'f> Image<'f> {
    fn new(fleet: &'f TestFleet) -> Self {
        let name = format!("{}-agent:1", fleet.instance);
        fleet.docker_ok(&["tag", AGENT, &name]);
        Self(fleet, name)
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        self.0.docker(&["rmi", &self.1]);
    }
}

/// 40 services in 8 tenants, and one for all of them.
fn deploy(fleet: &TestFleet, image: &str) {
    let services: String = (1..=SERVICES)
        .map(|n| {
            agent_service(
                &format!("s{n}"),
                "environment: {GREETING: \"${GREETING:-none}\"}\nx-ringfence: {probe: {http: \":8080/healthz\", interval: 1s}}",
            )
        })
        .collect();
    // The engine's own healthcheck of 41 containers would be the test's main work; the probe is asked from outside.
    let services = services
        .replace("interval: 1s, timeout: 5s", "interval: 60s, timeout: 5s")
        .replace(AGENT, image);
    let change = fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        )
        .write("desired/services/own.yaml", &format!("services:\n{services}"))
        .write("desired/services/hub.yaml", &hub("0", image));
    (1..=TENANTS)
        .fold(change, |change, n| {
            let slug = format!("ten{n}");
            change.write(
                &format!("desired/tenants/{slug}.yaml"),
                &with_variable(&slug, "0"),
            )
        })
        .commit("40 services");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.ids().len(), TENANTS * SERVICES + 1);
}

/// A client inside a tenant's network: a new look-up and a new connection every 5 ms, none tried again.
struct Client<'f> {
    fleet: &'f TestFleet,
    container: String,
    child: Child,
}

impl<'f> Client<'f> {
    fn start(fleet: &'f TestFleet, container: String, url: &str) -> Self {
        let child = Command::new("docker")
            .args(["-H", &address(), "exec", &container, "/agent", "hammer", url])
            .args(["--every-ms", "5", "--until", STOP])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            fleet,
            container,
            child,
        }
    }

    /// Ends it and gives what it counted.
    fn end(mut self) -> Value {
        let file = self.fleet.home().join("stop");
        std::fs::write(&file, "").unwrap();
        self.fleet.docker_ok(&[
            "cp",
            file.to_str().unwrap(),
            &format!("{}:{STOP}", self.container),
        ]);
        let mut said = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        self.child.wait().unwrap();
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }
}

/// Ids by the name in small letters: which of the two spellings it has does not matter here.
fn ids(fleet: &TestFleet) -> BTreeMap<String, String> {
    fleet
        .ids()
        .into_iter()
        .map(|(name, id)| (name.to_lowercase(), id))
        .collect()
}

/// The variable of the container that has the name in either spelling. Cheaper than a look at all 41.
fn greeting(fleet: &TestFleet, name: &str, value: &str) -> bool {
    let (service, rest) = name.split_once('.').unwrap();
    let other = format!("{service}.{}{}", rest[..1].to_uppercase(), &rest[1..]);
    let output = fleet.docker(&["inspect", "-f", "{{json .Config.Env}}", name, &other]);
    String::from_utf8_lossy(&output.stdout).contains(&format!("\"GREETING={value}\""))
}

/// Replaces twenty times in a row by `change`; each time exactly the container `replaced` (in small letters) is another.
fn twenty(fleet: &TestFleet, owner: &str, service: &str, client: Client<'_>, change: impl Fn(&str)) {
    let name = match owner {
        "" => format!("{service}.{}", fleet.instance),
        owner => format!("{service}.{owner}.{}", fleet.instance),
    };
    let mut before = ids(fleet);
    for n in 1..=REPLACEMENTS {
        let value = format!("v{n}");
        change(&value);
        fleet.eventually(&format!("replacement {n} is through"), |f| {
            greeting(f, &name, &value) && {
                let status = f.status();
                status["settled"] == true && status["rings"][0]["phase"] == "synced"
            }
        });
        let after = ids(fleet);
        let changed: Vec<&String> = after
            .iter()
            .filter(|(n, id)| before.get(*n) != Some(id))
            .map(|(n, _)| n)
            .collect();
        assert_eq!(changed, [&name], "exactly one container is replaced");
        assert_eq!(before.len(), after.len(), "nothing stays behind: {after:?}");
        before = after;
    }
    let counted = client.end();
    assert_eq!(counted["failed"], 0, "{counted}");
    assert_eq!(counted["unanswered"], 0, "{counted}");
    let sent = counted["sent"].as_u64().unwrap();
    assert!(sent > 1000, "the client was at work: {counted}");
}

#[test]
fn twenty_replacements_in_a_row_lose_no_request_of_a_tenants_service() {
    let fleet = TestFleet::new("zero-loss-own");
    let image = Image::new(&fleet);
    deploy(&fleet, &image.1);
    let daemon = fleet.daemon();
    let client = Client::start(&fleet, fleet.id("ten1", "s2"), "http://s1:8080/");
    twenty(&fleet, "ten1", "s1", client, |value| {
        fleet
            .on("main")
            .write("desired/tenants/ten1.yaml", &with_variable("ten1", value))
            .commit(value);
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn twenty_replacements_in_a_row_lose_no_request_of_a_shared_service() {
    let fleet = TestFleet::new("zero-loss-shared");
    let image = Image::new(&fleet);
    deploy(&fleet, &image.1);
    let daemon = fleet.daemon();
    let client = Client::start(&fleet, fleet.id("ten1", "s2"), "http://hub:8080/");
    twenty(&fleet, "", "hub", client, |value| {
        fleet
            .on("main")
            .write("desired/services/hub.yaml", &hub(value, &image.1))
            .commit(value);
    });
    assert_eq!(daemon.stop(), 0);
}
