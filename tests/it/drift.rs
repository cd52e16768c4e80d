//! What people do by hand on the engine while `run` keeps the fleet: each is repaired, or reported and left alone.

mod more;

use serde_json::Value;

use crate::support::engine::address;
use crate::support::fleet::{AGENT, Daemon, TestFleet, agent_service, tenant, text};

/// One ring, two tenants, in each an `agent` and a `web`, and a `hub` for the whole fleet.
fn fleet(name: &str) -> TestFleet {
    let fleet = TestFleet::new(name);
    let probed = "restart: unless-stopped\nx-ringfence: {probe: {http: \":8080/healthz\", interval: 1s}}";
    let shared = "restart: unless-stopped\nx-ringfence: {scope: fleet, probe: {http: \":8080/healthz\", interval: 1s}}";
    let services = [
        agent_service("agent", probed),
        agent_service(
            "web",
            &format!("{probed}\nmem_limit: 200m\ncpus: 0.5\npids_limit: 100"),
        ),
        agent_service("hub", shared),
    ]
    .concat();
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        )
        .write("desired/services/all.yaml", &format!("services:\n{services}"))
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
}

fn name_of(one: &Value) -> String {
    text(&one["Name"]).trim_start_matches('/').to_owned()
}

fn conditions(fleet: &TestFleet) -> String {
    fleet.status()["conditions"].to_string()
}

/// All is as it shall be, with nothing left to do.
fn settled(fleet: &TestFleet) -> bool {
    let status = fleet.status();
    status["settled"] == true && status["rings"][0]["phase"] == "synced"
}

fn reaches(fleet: &TestFleet, from: &str, url: &str) -> bool {
    let id = fleet.id("acme", from);
    !id.is_empty()
        && fleet
            .docker(&["exec", &id, "/agent", "check", url])
            .status
            .success()
}

fn networks_of(one: &Value) -> Vec<String> {
    one["NetworkSettings"]["Networks"]
        .as_object()
        .map(|networks| networks.keys().cloned().collect())
        .unwrap_or_default()
}

/// The daemon hears of what is done here when all of it is done: it would repair the first half before the second.
fn unseen(daemon: &Daemon, by_hand: impl FnOnce()) {
    daemon.signal(rustix::process::Signal::STOP);
    by_hand();
    daemon.signal(rustix::process::Signal::CONT);
}

/// Does something by hand to acme's web while the daemon runs, and waits until the effect is gone. Nothing else may be
/// touched by the repair.
fn repaired(name: &str, by_hand: impl Fn(&TestFleet, &str), well: impl Fn(&TestFleet, &Value) -> bool) {
    let fleet = fleet(name);
    let daemon = fleet.daemon();
    let before = fleet.ids();
    let web = fleet.serving("acme", "web");
    let (id, serving) = (text(&web["Id"]), name_of(&web));
    unseen(&daemon, || by_hand(&fleet, &id));
    fleet.eventually("it is repaired", |f| {
        let now = f.serving("acme", "web");
        now["State"]["Running"] == true && well(f, &now) && settled(f)
    });
    assert!(
        reaches(&fleet, "agent", "http://web:8080/healthz"),
        "its name answers"
    );
    let others = |mut ids: std::collections::BTreeMap<String, String>| {
        ids.retain(|name, _| !name.eq_ignore_ascii_case(&serving));
        ids
    };
    assert_eq!(
        others(before),
        others(fleet.ids()),
        "only what was changed by hand was touched"
    );
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_removed_container_is_made_again() {
    repaired(
        "drift-removed",
        |f, id| {
            f.docker_ok(&["rm", "-f", id]);
        },
        |_, _| true,
    );
}

#[test]
fn a_stopped_container_is_started_again() {
    repaired(
        "drift-stopped",
        |f, id| {
            f.docker_ok(&["stop", id]);
        },
        |_, _| true,
    );
}

#[test]
fn a_paused_container_is_thawed() {
    repaired(
        "drift-paused",
        |f, id| {
            f.docker_ok(&["pause", id]);
        },
        |_, now| now["State"]["Paused"] == false,
    );
}

#[test]
fn a_renamed_container_gets_its_name_back_without_a_restart() {
    let started = std::sync::Mutex::new(Value::Null);
    repaired(
        "drift-renamed",
        |f, id| {
            *started.lock().unwrap() = f.serving("acme", "web")["State"]["StartedAt"].clone();
            f.docker_ok(&["rename", id, &format!("mine.{}", f.instance)]);
        },
        |_, now| now["State"]["StartedAt"] == *started.lock().unwrap(),
    );
}

#[test]
fn a_container_taken_off_its_network_is_connected_again() {
    let network = |f: &TestFleet| format!("acme.{}", f.instance);
    repaired(
        "drift-network",
        |f, id| {
            f.docker_ok(&["network", "disconnect", &network(f), id]);
        },
        |f, now| networks_of(now) == [network(f)],
    );
}

#[test]
fn a_changed_restart_policy_is_set_back() {
    repaired(
        "drift-restart",
        |f, id| {
            f.docker_ok(&["update", "--restart", "no", id]);
        },
        |_, now| now["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped",
    );
}

#[test]
fn a_removed_network_is_made_again_with_all_that_hung_on_it() {
    let fleet = fleet("drift-net-gone");
    let daemon = fleet.daemon();
    let network = format!("acme.{}", fleet.instance);
    let old = fleet.docker_ok(&["network", "inspect", "-f", "{{.Id}}", &network]);
    unseen(&daemon, || {
        for (owner, service) in [("acme", "agent"), ("acme", "web"), ("", "hub")] {
            fleet.docker_ok(&["network", "disconnect", &old, &fleet.id(owner, service)]);
        }
        fleet.docker_ok(&["network", "rm", &old]);
    });
    fleet.eventually("all is well again", |f| {
        settled(f)
            && networks_of(&f.serving("acme", "web")) == [network.clone()]
            && reaches(f, "agent", "http://web:8080/healthz")
            && reaches(f, "agent", "http://hub:8080/healthz")
    });
    // It starts again, too.
    fleet.docker_ok(&["stop", &fleet.id("acme", "web")]);
    fleet.eventually("it starts on its new network", |f| {
        settled(f) && reaches(f, "agent", "http://web:8080/healthz")
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_shared_service_taken_off_one_tenant_is_connected_again() {
    let fleet = fleet("drift-shared");
    let daemon = fleet.daemon();
    let before = fleet.ids();
    let network = format!("acme.{}", fleet.instance);
    fleet.docker_ok(&["network", "disconnect", &network, &fleet.id("", "hub")]);
    fleet.eventually("it is connected", |f| {
        networks_of(&f.serving("", "hub")).contains(&network)
            && reaches(f, "agent", "http://hub:8080/healthz")
            && settled(f)
    });
    assert_eq!(before, fleet.ids(), "nothing was restarted");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_stop_by_hand_while_nothing_runs_is_repaired_by_the_next_apply() {
    let fleet = fleet("drift-offline");
    let before = fleet.ids();
    fleet.docker_ok(&["stop", &fleet.id("acme", "web")]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serving("acme", "web")["State"]["Running"], true);
    let after = fleet.ids();
    let web = fleet.serving("acme", "web");
    let changed: Vec<&String> = after
        .iter()
        .filter(|(n, id)| before.get(*n) != Some(*id))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(changed, [&name_of(&web)]);
}

/// A container that is not ours, removed when dropped.
struct Stranger<'f>(&'f TestFleet, String);

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.0.docker(&["rm", "-f", "-v", &self.1]);
    }
}

fn stranger<'f>(fleet: &'f TestFleet, name: &str, more: &[&str]) -> Stranger<'f> {
    let args = [&["run", "-d", "--name", name], more, &[AGENT, "serve"]].concat();
    Stranger(fleet, fleet.docker_ok(&args))
}

fn started_at(fleet: &TestFleet, id: &str) -> String {
    fleet.docker_ok(&[
        "inspect",
        "-f",
        "{{.Name}} {{.State.StartedAt}} {{.State.Running}}",
        id,
    ])
}

/// A stranger takes a name that acme's web needs, while nothing runs and acme's web is gone.
fn name_taken(test: &str, wanted: impl Fn(&TestFleet) -> String) {
    let fleet = fleet(test);
    let name = wanted(&fleet);
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "web")]);
    let theirs = stranger(&fleet, &name, &[]);
    let before = started_at(&fleet, &theirs.1);
    let daemon = fleet.daemon();
    fleet.eventually("it is told whose name is taken", |f| {
        text(&f.service("acme", "web")["error"]).contains("the name is taken")
    });
    // The rest of the fleet is kept meanwhile.
    fleet.docker_ok(&["rm", "-f", &fleet.id("beta", "web")]);
    fleet.eventually("another tenant is repaired", |f| !f.id("beta", "web").is_empty());
    assert_eq!(
        started_at(&fleet, &theirs.1),
        before,
        "the stranger is not touched"
    );
    drop(theirs);
    fleet.eventually("work goes on when the stranger has gone", |f| {
        settled(f) && reaches(f, "agent", "http://web:8080/healthz")
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_stranger_with_the_serving_name_is_reported_and_never_touched() {
    name_taken("drift-serving", |f| format!("web.acme.{}", f.instance));
}

#[test]
fn a_stranger_with_the_passing_name_is_reported_and_never_touched() {
    name_taken("drift-passing", |f| {
        let spec = text(&f.serving("acme", "web")["Config"]["Labels"]["dev.ringfence.spec"]);
        let hex = spec.split(':').next_back().unwrap();
        format!("web.acme.{}.{}", f.instance, &hex[..8])
    });
}

#[test]
fn nothing_of_ours_is_hung_on_a_strangers_network() {
    let fleet = fleet("drift-stranger");
    let daemon = fleet.daemon();
    let network = format!("gamma.{}", fleet.instance);
    // It carries no label of ours, so a killed run has left it.
    fleet.docker(&["rm", "-f", &format!("stranger.{}", fleet.instance)]);
    fleet.docker(&["network", "rm", &network]);
    fleet.docker_ok(&["network", "create", &network]);
    let theirs = stranger(
        &fleet,
        &format!("stranger.{}", fleet.instance),
        &["--network", &network],
    );
    fleet
        .on("main")
        .write("desired/tenants/gamma.yaml", &tenant("gamma", "dev"))
        .commit("gamma");
    fleet.eventually("it is told", |f| {
        conditions(f).contains(&format!(
            "a network called {network} is there already and is not ours"
        )) && text(&f.service("gamma", "web")["error"]).contains("not ours")
    });
    // The others are served: a new hub, too.
    fleet.docker_ok(&["rm", "-f", &fleet.id("", "hub")]);
    fleet.eventually("the hub is made again", |f| {
        reaches(f, "agent", "http://hub:8080/healthz")
    });
    // A person's apply ends, and says that it is not done.
    fleet.ringfence(&["apply"]).expect(1);
    let on_it = fleet.docker_ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{end}}",
        &network,
    ]);
    assert_eq!(on_it, format!("stranger.{}", fleet.instance));
    drop(theirs);
    fleet.docker_ok(&["network", "rm", &network]);
    fleet.eventually("work goes on when the stranger has gone", |f| {
        settled(f)
            && !f.id("gamma", "web").is_empty()
            && networks_of(&f.serving("", "hub")).contains(&network)
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_unknown_container_with_our_labels_is_listed_and_left_alone() {
    let fleet = fleet("drift-unknown");
    let name = format!("mine.{}", fleet.instance);
    let labels = [
        format!("dev.ringfence.instance={}", fleet.instance),
        "dev.ringfence.tenant=acme".to_owned(),
        "dev.ringfence.service=web".to_owned(),
        format!("dev.ringfence.spec=1:{}", "0123456789abcdef".repeat(4)),
    ];
    let labels: Vec<&str> = labels.iter().flat_map(|l| ["--label", l]).collect();
    let daemon = fleet.daemon();
    let theirs = stranger(&fleet, &name, &labels);
    let before = fleet.ids();
    fleet.eventually("it is listed", |f| {
        conditions(f).contains(&format!("{name} carries our labels"))
    });
    fleet.ringfence(&["apply"]).expect(0);
    fleet.ringfence(&["plan", "--exit-code"]).expect(0).says(&name);
    assert_eq!(fleet.ids(), before, "nothing was touched");
    drop(theirs);
    assert_eq!(daemon.stop(), 0);
}

/// Makes a network as a killed pass may have left it: with the name and labels of one that is there. The command line
/// would check for the name; the engine's API does so only when asked.
fn twin_network(fleet: &TestFleet, name: &str) {
    use std::io::{Read as _, Write as _};
    let address = address();
    let socket = address.strip_prefix("unix://").unwrap();
    let body = serde_json::json!({
        "Name": name,
        "Labels": {"dev.ringfence.instance": fleet.instance, "dev.ringfence.fleet": "test", "dev.ringfence.tenant": "acme"},
        "IPAM": {"Config": [{"Subnet": "10.255.254.0/29"}]},
    })
    .to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1.41/networks/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn of_two_networks_with_one_name_the_one_in_use_stays() {
    let fleet = TestFleet::one_ring("drift-twin");
    fleet.ringfence(&["apply"]).expect(0);
    let name = format!("acme.{}", fleet.instance);
    let before = fleet.ids();
    twin_network(&fleet, &name);
    fleet.ringfence(&["plan"]).expect(0).says("has its name twice");
    fleet.ringfence(&["apply"]).expect(0);
    let label = fleet.label();
    let list = ["network", "ls", "-q", "--filter", label.as_str()];
    assert_eq!(fleet.docker_ok(&list).lines().count(), 1);
    assert_eq!(fleet.ids(), before, "what runs was not touched");

    // The same with nothing on either of them: a container is made in the one that stays.
    twin_network(&fleet, &name);
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.docker_ok(&list).lines().count(), 1);
    assert_eq!(fleet.service("acme", "agent")["health"], "healthy");
}
