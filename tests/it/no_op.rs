//! What a look costs where nothing is to be done.

use std::process::Stdio;

use crate::support::fleet::{TestFleet, agent_service, tenant};
use crate::support::proxy::Proxy;

const LISTS: [&str; 3] = [
    "GET /v1.41/containers/json",
    "GET /v1.41/networks",
    "GET /v1.41/volumes",
];

/// One ring and two tenants, with services of every kind of health, a shared one, one with a volume and a job.
fn fleet(name: &str) -> TestFleet {
    let fleet = TestFleet::new(name);
    let services = [
        agent_service("agent", "volumes: [\"data:/data\"]"),
        agent_service(
            "web",
            "x-ringfence: {probe: {http: \":8080/healthz\", interval: 1s}}",
        ),
        agent_service(
            "hub",
            "x-ringfence: {scope: fleet, probe: {http: \":8080/healthz\", interval: 1s}}",
        ),
        agent_service(
            "setup",
            "entrypoint: [/agent, check, \"http://hub:8080/healthz\"]",
        ),
        agent_service(
            "late",
            "depends_on: {setup: {condition: service_completed_successfully}}",
        ),
    ]
    .concat();
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        )
        .write(
            "desired/services/all.yaml",
            &format!("services:\n{services}volumes: {{data: {{}}}}\n"),
        )
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
}

/// The major part of the version may be another engine's.
fn without_version(calls: Vec<String>) -> Vec<String> {
    let mut calls: Vec<String> = calls
        .into_iter()
        .map(|call| match call.split_once("/v1.") {
            Some((method, rest)) => {
                let path = rest.split_once('/').map_or("", |(_, path)| path);
                format!("{method}/v1.41/{path}")
            }
            None => call,
        })
        .collect();
    calls.sort();
    calls
}

#[test]
fn an_apply_with_nothing_to_do_makes_three_calls() {
    let fleet = fleet("noop-apply");
    let before = fleet.ids();
    let proxy = Proxy::open(&fleet.home().join("engine.sock"));
    let through = |args: &[&str]| {
        let output = fleet
            .command(args)
            .env("DOCKER_HOST", proxy.address())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{complained}");
        (said, without_version(proxy.calls()))
    };
    let (said, calls) = through(&["apply"]);
    assert!(said.contains("Nothing to do."), "{said}");
    assert_eq!(calls, LISTS);
    for looks in [["status"], ["plan"]] {
        assert_eq!(through(&looks).1, LISTS, "{looks:?}");
    }
    // A person trusts nothing: each container is inspected.
    let (said, calls) = through(&["apply", "--refresh"]);
    assert!(said.contains("Nothing to do."), "{said}");
    let inspected = calls
        .iter()
        .filter(|call| call.ends_with("/json") && call.contains("/containers/"));
    assert_eq!(inspected.count(), before.len() + 1, "{calls:?}");
    assert!(calls.iter().all(|call| call.starts_with("GET ")), "{calls:?}");
    assert_eq!(through(&["apply"]).1, LISTS, "what was looked at anew is kept");
    assert_eq!(fleet.ids(), before);
    proxy.cut();
}

#[test]
fn probes_are_asked_by_every_apply() {
    let fleet = fleet("noop-probes");
    fleet.ledger_is_old();
    // One that finds all at rest would leave that (`quiet.rs`), and the next one would ask nobody.
    for _ in 0..2 {
        fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    }
    assert!(!fleet.state().join("quiet.json").exists());
}

#[test]
fn a_pass_of_the_daemon_with_nothing_to_do_makes_three_calls() {
    let fleet = fleet("noop-run");
    let proxy = Proxy::open(&fleet.home().join("engine.sock"));
    let mut daemon = fleet
        .command(&["run"])
        .env("DOCKER_HOST", proxy.address())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fleet.eventually("it has looked at everything", |f| {
        let status = f.status();
        status["daemon"] == true && status["settled"] == true
    });
    let start = without_version(proxy.calls());
    let changes: Vec<&String> = start.iter().filter(|call| !call.starts_with("GET ")).collect();
    assert!(
        changes.is_empty(),
        "a start with nothing to do changes nothing: {changes:?}"
    );
    // A look that time woke may fall between the two.
    fleet.eventually("a pass makes three calls", |f| {
        proxy.calls();
        f.ringfence(&["apply"]).expect(0).says("Nothing to do.");
        without_version(proxy.calls()) == LISTS
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    proxy.cut();
}

#[test]
fn an_engine_that_no_longer_speaks_the_version_of_before_is_asked() {
    let fleet = TestFleet::one_ring("noop-version");
    fleet.ringfence(&["apply"]).expect(0);
    let ledger = rusqlite::Connection::open(fleet.state().join("ledger.sqlite")).unwrap();
    let set = ledger
        .execute("UPDATE meta SET value = '1.53' WHERE key = 'engine.api'", [])
        .unwrap();
    assert_eq!(set, 1);
    drop(ledger);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
}
