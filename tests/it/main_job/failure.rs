//! What is bad goes back by itself, and what has nothing to go back to says so.

use crate::support::fleet::{TestFleet, agent, agent_with, tenant, text};

const AGENT_FILE: &str = "desired/services/agent.yaml";

fn failed_ones(fleet: &TestFleet) -> Vec<String> {
    fleet
        .containers()
        .into_iter()
        .filter(|(name, _)| name.contains(".failed-"))
        .map(|(name, one)| format!("{name} {}", text(&one["State"]["Status"])))
        .collect()
}

#[test]
fn a_bad_release_is_rolled_back_and_is_not_tried_again() {
    let fleet = TestFleet::one_ring("rollback");
    fleet.ringfence(&["apply"]).expect(0);
    let good = fleet.ring("dev")["running"].clone();

    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("2", &[("AGENT_FAIL", "unhealthy")]))
        .commit("version 2 is bad");
    let answer = fleet.ringfence(&["apply"]).expect(3);
    assert!(
        answer.stderr.contains("version 2 listens"),
        "its last log lines are told: {answer}"
    );
    assert_eq!(fleet.version("acme", "agent"), "1", "the old one has the name");
    assert!(
        fleet
            .get("acme", "agent", "http://agent:8080/healthz")
            .contains("\"version\":\"1\"")
    );
    let ring = fleet.ring("dev");
    assert_eq!(ring["phase"], "rolled_back");
    assert_eq!(ring["running"], good);
    assert_ne!(ring["declared"], good);
    let kept = failed_ones(&fleet);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].ends_with(" exited"), "{kept:?}");
    fleet.ringfence(&["events"]).expect(0).says("failed in dev");
    fleet
        .ringfence(&["events", "-o", "json"])
        .expect(0)
        .says("version 2 listens");

    // Not tried again, by as many passes as you like: declared, but quarantined.
    let before = fleet.ids();
    fleet.ringfence(&["apply"]).expect(4).says("Nothing to do.");
    fleet
        .ringfence(&["apply", "dev"])
        .expect(4)
        .says("Nothing to do.");
    assert_eq!(fleet.ids(), before);

    // A person may ask for it again; it fails again and goes back again.
    fleet.ringfence(&["apply", "dev", "--again"]).expect(3);
    assert_eq!(fleet.version("acme", "agent"), "1");
    assert_eq!(failed_ones(&fleet).len(), 1, "one a service is kept");

    // A different release comes.
    fleet
        .on("main")
        .write(AGENT_FILE, &agent("3"))
        .commit("version 3 is good");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "3");
    assert!(fleet.in_phase("dev", "synced"));
    assert_eq!(fleet.ring("dev")["previous"], good);
}

#[test]
fn a_release_that_exits_is_rolled_back_while_the_daemon_runs_and_the_next_comes() {
    let fleet = TestFleet::one_ring("rollback-run");
    let _daemon = fleet.daemon();
    fleet.eventually("version 1", |f| {
        f.synced("dev") && f.version("acme", "agent") == "1"
    });
    let one = fleet.id("acme", "agent");
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("2", &[("AGENT_FAIL", "exit")]))
        .commit("version 2 ends by itself");
    fleet.eventually("it went back", |f| f.in_phase("dev", "rolled_back"));
    assert_eq!(fleet.version("acme", "agent"), "1");
    assert_eq!(fleet.id("acme", "agent"), one, "the very same container");
    fleet.ringfence(&["apply"]).expect(4);
    fleet
        .on("main")
        .write(AGENT_FILE, &agent("3"))
        .commit("version 3");
    fleet.eventually("version 3", |f| {
        f.synced("dev") && f.version("acme", "agent") == "3"
    });
}

#[test]
fn a_bad_release_takes_back_every_tenant_of_the_ring() {
    let fleet = TestFleet::one_ring("rollback-all");
    fleet
        .on("main")
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .write(AGENT_FILE, &agent_with("1", &[("AGENT_FAIL", "${FAIL:-}")]))
        .commit("two tenants");
    fleet.ringfence(&["apply"]).expect(0);
    // Only beta's is bad: its own value takes effect in version 2.
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("2", &[("AGENT_FAIL", "${FAIL_TWO:-}")]))
        .commit("version 2");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .write(
            "desired/tenants/beta.yaml",
            &(tenant("beta", "dev") + "config_overrides: {FAIL_THREE: unhealthy}\n"),
        )
        .commit("a value that version 3 reads");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("3", &[("AGENT_FAIL", "${FAIL_THREE:-}")]))
        .commit("version 3");
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert_eq!(fleet.version("beta", "agent"), "2");
}

#[test]
fn a_bad_change_of_a_tenants_file_goes_back_alone() {
    let fleet = TestFleet::one_ring("bad-file");
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("1", &[("AGENT_FAIL", "${FAIL:-}")]))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("two tenants");
    fleet.ringfence(&["apply"]).expect(0);
    let (acme, running) = (fleet.id("acme", "agent"), fleet.ring("dev")["running"].clone());

    fleet
        .on("main")
        .write(
            "desired/tenants/beta.yaml",
            &(tenant("beta", "dev") + "config_overrides: {FAIL: unhealthy}\n"),
        )
        .commit("beta breaks itself");
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.env("beta", "agent", "AGENT_FAIL"), "");
    assert_eq!(fleet.id("acme", "agent"), acme);
    assert_eq!(
        fleet.ring("dev")["running"],
        running,
        "the release is not to blame"
    );
    let told = fleet.tenant("beta")["conditions"].to_string();
    assert!(told.contains("its files failed"), "{told}");
    assert_eq!(fleet.tenant("beta")["phase"], "rolled_back");
    assert_eq!(fleet.tenant("acme")["phase"], "synced");
    let before = fleet.ids();
    fleet.ringfence(&["apply"]).expect(4);
    assert_eq!(fleet.ids(), before, "not tried again");

    // A change that is good is taken.
    fleet
        .on("main")
        .write(
            "desired/tenants/beta.yaml",
            &(tenant("beta", "dev") + "config_overrides: {LOG_LEVEL: debug}\n"),
        )
        .commit("beta mends itself");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.env("beta", "agent", "LOG_LEVEL"), "debug");
}

#[test]
fn a_first_deployment_that_never_gets_healthy_is_degraded_and_a_commit_heals_it() {
    let fleet = TestFleet::one_ring("never-healthy");
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("1", &[("AGENT_FAIL", "unhealthy")]))
        .commit("bad from the start");
    let answer = fleet.ringfence(&["apply"]).expect(1);
    assert!(answer.stderr.contains("version 1 listens"), "{answer}");
    assert!(fleet.in_phase("dev", "degraded"));
    assert_eq!(fleet.containers().len(), 1, "nothing is removed");
    let before = fleet.ids();
    fleet.ringfence(&["apply"]).expect(1);
    assert_eq!(fleet.ids(), before);

    fleet.on("main").write(AGENT_FILE, &agent("2")).commit("good");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert!(fleet.in_phase("dev", "synced"));
}

#[test]
fn an_image_that_cannot_be_had_keeps_what_runs_and_the_ring_waits() {
    let fleet = TestFleet::one_ring("no-image");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet
        .on("main")
        .write(
            AGENT_FILE,
            "services:\n  agent:\n    image: registry.invalid/agent:9\n    pull_policy: never\n",
        )
        .commit("an image that nobody has");
    fleet
        .ringfence(&["apply"])
        .expect(4)
        .says("registry.invalid/agent:9")
        .says("`agent`");
    assert!(fleet.in_phase("dev", "waiting"));
    assert_eq!(fleet.ids(), before);

    // Asked of a registry that is not there: the same.
    fleet
        .on("main")
        .write(
            AGENT_FILE,
            "services:\n  agent:\n    image: registry.invalid/agent:9\n",
        )
        .commit("an image of a registry that nobody reaches");
    fleet
        .ringfence(&["apply"])
        .expect(4)
        .says("registry.invalid/agent:9");
    assert_eq!(fleet.ids(), before);

    fleet
        .on("main")
        .write(AGENT_FILE, &agent("2"))
        .commit("an image that is there");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
}

#[test]
fn with_rollback_switched_off_the_bad_release_stays_and_says_so() {
    let fleet = TestFleet::one_ring("no-rollback");
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollback_on_failure: false, rollout: {observe: 1s}}\n",
        )
        .commit("no rollback");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("2", &[("AGENT_FAIL", "unhealthy")]))
        .commit("bad");
    fleet.ringfence(&["apply"]).expect(1);
    assert!(fleet.in_phase("dev", "degraded"));
    assert_eq!(
        fleet.version("acme", "agent"),
        "1",
        "the old one serves as long as the new one is not well"
    );
    fleet.on("main").write(AGENT_FILE, &agent("3")).commit("good");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "3");
}
