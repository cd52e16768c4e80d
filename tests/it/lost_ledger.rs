//! The ledger is gone: what runs is read back from history, or left alone until a person takes it.

use crate::support::engine::address;
use crate::support::fleet::{AGENT, TestFleet, agent, agent_service, tenant, text};

/// Removes the ledger, and nothing else of the state directory.
fn lose_the_ledger(fleet: &TestFleet) {
    for end in ["", "-wal", "-shm"] {
        let path = fleet.state().join(format!("ledger.sqlite{end}"));
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn conditions(fleet: &TestFleet) -> String {
    let status = fleet.status();
    format!("{} {}", status["conditions"], status["rings"])
}

#[test]
fn what_runs_is_read_back_from_history_and_goes_on_from_there() {
    let fleet = TestFleet::new("lost-history");
    let hub = agent_service("hub", "x-ringfence: {scope: ring}");
    let services = |version: &str| agent(version) + &hub;
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        )
        .write("desired/services/agent.yaml", &services("1"))
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    let (before, release) = (fleet.ids(), fleet.ring("dev")["running"].clone());
    lose_the_ledger(&fleet);
    fleet.ringfence(&["plan", "--exit-code"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(
        (fleet.ids(), fleet.ring("dev")["running"].clone()),
        (before.clone(), release.clone())
    );
    fleet
        .ringfence(&["events"])
        .expect(0)
        .says("the ledger knew nothing of ring dev");

    // Branch and files have gone on: the ring goes on from what runs, one container after the other.
    fleet
        .on("main")
        .replace(
            "desired/tenants/beta.yaml",
            "display_name",
            "config_overrides: {THEME: dark}\ndisplay_name",
        )
        .commit("beta is dark");
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &services("2"))
        .commit("agent 2");
    lose_the_ledger(&fleet);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert_eq!(fleet.env("beta", "agent", "THEME"), "dark");
    assert_eq!(
        fleet.ring("dev")["previous"],
        release,
        "it knows what it came from"
    );
    assert_eq!(fleet.ids().len(), before.len(), "nothing is left over");
    assert_eq!(conditions(&fleet).matches("no pass of ours").count(), 0);
}

#[test]
fn a_ring_without_its_ledger_does_not_pass_its_gates_by_that() {
    let fleet = TestFleet::three_rings("lost-gates");
    let first = fleet.git(&["rev-parse", "main"]);
    fleet.pin("staging", &first);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.version("stage-one", "agent"), "1");
    let before = fleet.ids();
    fleet
        .on("staging")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("newer than the pin");
    lose_the_ledger(&fleet);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.ids(), before);
    assert_eq!(text(&fleet.ring("staging")["phase"]), "synced");
}

#[test]
fn images_are_read_back_from_what_runs_and_not_resolved_anew() {
    let fleet = TestFleet::one_ring("lost-image");
    let mine = format!("{}:1", fleet.instance);
    fleet.docker_ok(&["tag", AGENT, &mine]);
    fleet
        .on("main")
        .replace("desired/services/agent.yaml", AGENT, &mine)
        .commit("an image of its own");
    fleet.ringfence(&["apply"]).expect(0);
    let (before, release) = (fleet.ids(), fleet.ring("dev")["running"].clone());
    let mut import = std::process::Command::new("docker");
    import.args(["-H", &address(), "import", "-", &mine]);
    let mut child = import
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[0; 1024]).unwrap();
    assert!(child.wait().unwrap().success());
    lose_the_ledger(&fleet);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(
        (fleet.ids(), fleet.ring("dev")["running"].clone()),
        (before, release)
    );
    fleet.docker_ok(&["rmi", &mine]);
}

#[test]
fn what_matches_nothing_is_started_and_not_changed_until_a_person_adopts_it() {
    let fleet = TestFleet::one_ring("lost-unknown");
    fleet
        .on("main")
        .write(
            "desired/services/agent.yaml",
            &(agent("9") + "    restart: unless-stopped\n"),
        )
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("nine, and beta");
    fleet.ringfence(&["apply"]).expect(0);
    // Another history, in which it never was.
    fleet.write("desired/services/agent.yaml", &agent("7"));
    fleet.git(&["rm", "-q", "desired/tenants/beta.yaml"]);
    fleet.git(&["commit", "-q", "-a", "--amend", "-m", "seven"]);
    lose_the_ledger(&fleet);
    let id = fleet.id("acme", "agent");
    fleet.docker_ok(&["stop", "-t", "1", &id]);
    let plan = fleet.ringfence(&["plan"]).expect(0);
    assert!(plan.stdout.contains("apply dev --adopt"), "{plan}");
    fleet.ringfence(&["apply"]).expect(1);
    assert!(fleet.in_phase("dev", "unknown"));
    assert_eq!(fleet.id("acme", "agent"), id, "it is not changed");
    assert_eq!(
        fleet.serving("acme", "agent")["State"]["Running"],
        true,
        "it is started"
    );
    assert_eq!(fleet.version("acme", "agent"), "9");
    let daemon = fleet.daemon();
    fleet.eventually("the daemon says so too", |f| f.in_phase("dev", "unknown"));
    assert_eq!(fleet.id("acme", "agent"), id);
    assert_eq!(daemon.stop(), 0);
    fleet.ringfence(&["apply", "dev", "--adopt"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "7");
    assert!(fleet.synced("dev"));
    // What no ring declares was not asked for.
    assert_eq!(fleet.version("beta", "agent"), "9");
    assert!(
        conditions(&fleet).contains("no ring declares run here: beta"),
        "{}",
        conditions(&fleet)
    );
    fleet.ringfence(&["apply", "--adopt"]).expect(0);
    let names: Vec<String> = fleet.ids().into_keys().map(|n| n.to_lowercase()).collect();
    assert_eq!(names, [format!("agent.acme.{}", fleet.instance)]);
    let networks = fleet.docker_ok(&["network", "ls", "-q", "--filter", &fleet.label()]);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert!(!conditions(&fleet).contains("beta"), "{}", conditions(&fleet));
    assert_eq!(
        fleet.docker_ok(&["network", "ls", "-q", "--filter", &fleet.label()]),
        networks
    );
}

#[test]
fn a_tenant_whose_file_went_meanwhile_is_found_and_stops() {
    let fleet = TestFleet::one_ring("lost-tenant");
    let service = agent_service("agent", "volumes: [\"data:/data\"]");
    fleet
        .on("main")
        .write(
            "desired/services/agent.yaml",
            &format!("services:\n{service}volumes: {{data: {{}}}}\n"),
        )
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("beta");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .remove("desired/tenants/beta.yaml")
        .commit("no beta");
    lose_the_ledger(&fleet);
    fleet.ringfence(&["apply"]).expect(0);
    let names: Vec<String> = fleet.ids().into_keys().collect();
    assert_eq!(names, [format!("agent.acme.{}", fleet.instance)]);
    let data = format!("data.beta.{}", fleet.instance);
    assert!(fleet.volumes().contains(&data), "data stays");
}

#[test]
fn an_unknown_container_is_taken_by_a_person_and_goes() {
    let fleet = TestFleet::one_ring("lost-stray");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let labels = [
        format!("dev.ringfence.instance={}", fleet.instance),
        "dev.ringfence.tenant=acme".to_owned(),
        "dev.ringfence.service=agent".to_owned(),
        format!("dev.ringfence.spec=1:{}", "0123456789abcdef".repeat(4)),
    ];
    let labels: Vec<&str> = labels.iter().flat_map(|l| ["--label", l]).collect();
    let name = format!("mine.{}", fleet.instance);
    let args = [
        &["run", "-d", "--name", &name],
        labels.as_slice(),
        &[AGENT, "serve"],
    ]
    .concat();
    fleet.docker_ok(&args);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.ids().len(), before.len() + 1, "it is left alone");
    assert!(
        conditions(&fleet).contains("apply --adopt"),
        "{}",
        conditions(&fleet)
    );
    fleet.ringfence(&["apply", "--adopt"]).expect(0);
    assert_eq!(fleet.ids(), before);
}
