//! What git says wrongly, or says no more, changes nothing that runs.

use crate::support::fleet::{TestFleet, agent, tenant};

const AGENT_FILE: &str = "desired/services/agent.yaml";

#[test]
fn an_error_in_the_base_keeps_what_runs_and_names_the_place() {
    let fleet = TestFleet::one_ring("base-error");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet
        .on("main")
        .write(
            AGENT_FILE,
            "services:\n  agent:\n    image: x:1\n    privilged: true\n",
        )
        .commit("a slip");
    fleet
        .ringfence(&["check"])
        .expect(1)
        .says("desired/services/agent.yaml:4:5");
    fleet
        .ringfence(&["apply"])
        .expect(4)
        .says("desired/services/agent.yaml:4:5");
    assert_eq!(fleet.ids(), before);
    fleet.on("main").write(AGENT_FILE, &agent("2")).commit("mended");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
}

#[test]
fn a_tenant_file_with_an_error_keeps_its_tenant_and_the_others_go_on() {
    let fleet = TestFleet::one_ring("tenant-error");
    fleet
        .on("main")
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("beta");
    fleet.ringfence(&["apply"]).expect(0);
    let acme = fleet.id("acme", "agent");
    fleet
        .on("main")
        .write(
            "desired/tenants/acme.yaml",
            &(tenant("acme", "dev") + "spirirt: work\n"),
        )
        .write(
            "desired/tenants/beta.yaml",
            &(tenant("beta", "dev") + "config_overrides: {LOG: debug}\n"),
        )
        .commit("a slip in one file");
    fleet.ringfence(&["apply"]).says("desired/tenants/acme.yaml:5:1");
    assert_eq!(fleet.id("acme", "agent"), acme);
    assert_eq!(fleet.env("beta", "agent", "LOG"), "debug");
    // It is healed from the files that it ran last.
    fleet.docker_ok(&["rm", "-f", &acme]);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.version("acme", "agent"), "1");
}

#[test]
fn a_missing_branch_is_waited_for_and_the_command_is_told() {
    let fleet = TestFleet::three_rings("missing-branch");
    fleet.git(&["branch", "-D", "staging"]);
    fleet
        .ringfence(&["apply"])
        .expect(4)
        .says("`git branch staging` makes it");
    assert!(fleet.in_phase("staging", "waiting"));
    assert_eq!(fleet.version("dev-one", "agent"), "1", "the others go on");
    fleet.git(&["branch", "staging"]);
    fleet.ringfence(&["apply"]).expect(0);
}

#[test]
fn a_deleted_branch_keeps_and_heals_what_runs() {
    let fleet = TestFleet::three_rings("deleted-branch");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet.git(&["branch", "-D", "develop"]);
    fleet.git(&["reflog", "expire", "--expire=now", "--all"]);
    fleet.git(&["gc", "-q", "--prune=now"]);
    fleet.ringfence(&["apply"]).says("`git branch develop` makes it");
    assert_eq!(fleet.ids(), before);
    fleet.docker_ok(&["rm", "-f", &fleet.id("dev-one", "agent")]);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.version("dev-one", "agent"), "1");
}

#[test]
fn a_pin_that_cannot_be_read_keeps_what_runs() {
    let fleet = TestFleet::three_rings("bad-pin");
    let one = fleet.git(&["rev-parse", "main"]);
    fleet.pin("staging", &one);
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet
        .on("main")
        .write("rings/pins/staging.yaml", "release: [not a commit]\n")
        .commit("a bad pin");
    fleet.ringfence(&["apply"]).says("rings/pins/staging.yaml:1:");
    assert_eq!(fleet.ids(), before);
    fleet.pin("staging", "0123456789012345678901234567890123456789");
    fleet.ringfence(&["apply"]).expect(4).says("01234567");
    assert_eq!(fleet.ids(), before);
}
