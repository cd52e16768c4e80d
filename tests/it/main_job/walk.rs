//! From a repository to running containers, and what follows a commit.

use serde_json::Value;

use crate::support::fleet::{TestFleet, agent, tenant, text};

#[test]
fn the_example_fleet_checks_plans_and_applies_and_a_second_apply_does_nothing() {
    let fleet = TestFleet::example("example");
    fleet.ringfence(&["check"]).expect(0);
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(2)
        .says("to create");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(0)
        .says("0 to create, 0 to replace, 0 to repair, 0 to remove.");

    let before = fleet.ids();
    assert_eq!(
        before.len(),
        3,
        "dev-lab's agent and web, and the backbone: {before:?}"
    );
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(fleet.ids(), before);

    // The words of DESIGN 8.
    let status = fleet.status();
    let has = |value: &Value, keys: &[&str]| {
        for key in keys {
            assert!(value.get(key).is_some(), "no `{key}` in {value}");
        }
    };
    has(&status, &["rings", "tenants", "conditions"]);
    let rings = [
        "name",
        "id",
        "declared",
        "running",
        "previous",
        "tenant_files",
        "phase",
        "moves",
        "tenants",
    ];
    has(&status["rings"][0], &rings);
    let phases: Vec<String> = status["rings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| text(&r["phase"]))
        .collect();
    assert_eq!(phases, ["synced", "empty", "empty"]);
    let lab = fleet.tenant("dev-lab");
    has(&lab, &["slug", "ring", "release", "files", "phase", "conditions"]);
    let service = ["name", "container", "image", "state", "health", "restarts"];
    has(&lab["services"][0], &service);
    assert_eq!(lab["services"].as_array().unwrap().len(), 2);
    assert!(
        lab["services"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["state"] == "running" && s["health"] == "healthy"),
        "{lab}"
    );
    assert!(
        text(&fleet.ring("dev")["running"]).starts_with("rel-"),
        "a release's id is hex after `rel-`"
    );
    fleet
        .ringfence(&["status"])
        .expect(0)
        .says("no daemon: nothing keeps this so");
}

#[test]
fn in_a_fleet_of_one_branch_a_commit_and_a_new_tenant_are_followed() {
    let fleet = TestFleet::one_ring("one-branch");
    let daemon = fleet.daemon();
    fleet.eventually("acme runs version 1", |f| {
        f.synced("dev") && f.version("acme", "agent") == "1"
    });
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("version 2");
    fleet.eventually("acme runs version 2", |f| {
        f.version("acme", "agent") == "2" && f.synced("dev")
    });
    let acme = fleet.id("acme", "agent");
    fleet
        .on("main")
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("beta");
    fleet.eventually("beta is up", |f| f.tenant("beta")["phase"] == "synced");
    assert_eq!(
        fleet.id("acme", "agent"),
        acme,
        "acme is not touched by beta's coming"
    );
    assert_eq!(fleet.containers().len(), 2, "the old ones are gone");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(fleet.containers().len(), 2, "they outlive the daemon");
}

#[test]
fn three_branches_are_followed_each_by_its_ring() {
    let fleet = TestFleet::three_rings("three");
    let _daemon = fleet.daemon();
    fleet.eventually("dev is up", |f| f.synced("dev"));
    assert!(fleet.in_phase("staging", "empty") && fleet.in_phase("prod", "empty"));

    // dev follows its branch.
    let two = fleet
        .on("develop")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("version 2");
    fleet.eventually("dev runs version 2", |f| {
        f.version("dev-one", "agent") == "2" && f.synced("dev")
    });
    assert_eq!(fleet.containers().len(), 1, "nobody else runs anything");

    // staging is pinned on main.
    fleet.pin("staging", &two);
    fleet.eventually("staging runs version 2", |f| {
        f.version("stage-one", "agent") == "2" && f.synced("staging")
    });
    assert_eq!(fleet.ring("staging")["running"], fleet.ring("dev")["running"]);

    // A tenant of staging comes and goes on the branch staging.
    let first = fleet.id("stage-one", "agent");
    fleet
        .on("staging")
        .write("desired/tenants/newcomer.yaml", &tenant("newcomer", "staging"))
        .commit("newcomer");
    fleet.eventually("newcomer is up", |f| f.tenant("newcomer")["phase"] == "synced");
    assert_eq!(
        fleet.version("newcomer", "agent"),
        "2",
        "it runs the ring's release, not its branch's"
    );
    assert_eq!(fleet.id("stage-one", "agent"), first);

    // prod asks for an approval: it waits with nothing deployed.
    fleet.pin("prod", &two);
    fleet.eventually("prod waits", |f| f.in_phase("prod", "waiting"));
    assert!(fleet.ring("prod")["running"].is_null());
    assert_eq!(fleet.id("prod-one", "agent"), "");
    let gates = text(&fleet.ring("prod")["moves"][0]["gates"].to_string().into());
    assert!(gates.contains("approval"), "{gates}");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(0)
        .says("approval");

    // The next commit to dev moves dev alone.
    fleet
        .on("develop")
        .write("desired/services/agent.yaml", &agent("3"))
        .commit("version 3");
    fleet.eventually("dev runs version 3", |f| {
        f.version("dev-one", "agent") == "3" && f.synced("dev")
    });
    assert_eq!(fleet.id("stage-one", "agent"), first);
}

#[test]
fn apply_of_one_ring_leaves_the_others_as_they_are() {
    let fleet = TestFleet::three_rings("one-of-three");
    let one = fleet.git(&["rev-parse", "main"]);
    fleet.pin("staging", &one);
    fleet.ringfence(&["apply", "dev"]).expect(0);
    assert_eq!(fleet.version("dev-one", "agent"), "1");
    assert_eq!(fleet.id("stage-one", "agent"), "");
    fleet.ringfence(&["apply", "staging"]).expect(0);
    assert_eq!(fleet.version("stage-one", "agent"), "1");
}

#[test]
fn three_rings_on_one_branch_go_by_their_pins() {
    let fleet = TestFleet::new("one-branch-three");
    let one = fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n  staging: {id: 1, rollout: {observe: 1s}}\n  prod: {id: 2, approval_required: true}\n",
        )
        .write("desired/services/agent.yaml", &agent("1"))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .write("desired/tenants/two.yaml", &tenant("two", "staging"))
        .write("desired/tenants/three.yaml", &tenant("three", "prod"))
        .commit("all on one branch");
    fleet.ringfence(&["check"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("one", "agent"), "1");

    fleet.pin("staging", &one);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("two", "agent"), "1");
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("version 2");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("one", "agent"), "2");
    assert_eq!(fleet.version("two", "agent"), "1", "pinned to version 1");
    assert_eq!(fleet.id("three", "agent"), "", "prod has no pin");
}
