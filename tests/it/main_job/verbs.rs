//! The verbs that tell, and `init`.

use crate::support::fleet::{AGENT, TestFleet};

#[test]
fn the_verbs_that_tell_say_what_the_example_fleet_declares() {
    let fleet = TestFleet::example("verbs");
    fleet
        .ringfence(&["tenant", "list"])
        .expect(0)
        .says("dev-lab")
        .says("canary");
    let list = fleet
        .ringfence(&["tenant", "list", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(list.as_array().unwrap().len(), 4);
    fleet
        .ringfence(&["tenant", "show", "dev-lab"])
        .expect(0)
        .says("agent, web")
        .says("uncapped");
    let env = fleet
        .ringfence(&["tenant", "env", "dev-lab", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(env["TENANT_DB_NAME"]["value"], "aither_dev_lab");
    assert_eq!(env["TENANT_STACK"]["in"], "live");
    fleet
        .ringfence(&["tenant", "show", "nobody"])
        .expect(1)
        .complains("nobody");

    fleet
        .ringfence(&["stack", "list"])
        .expect(0)
        .says("cloud-offload *");
    fleet
        .ringfence(&["stack", "preview", "hyperscaler"])
        .expect(0)
        .says("aither-hyperscaler");
    fleet
        .ringfence(&["stack", "preview", "hyperscalr"])
        .expect(1)
        .complains("did you mean `hyperscaler`?");

    fleet.ringfence(&["spirit", "list"]).expect(0).says("teaching");
    fleet
        .ringfence(&["spirit", "render", "dev-lab"])
        .expect(0)
        .says("You are a colleague on a team that ships")
        .complains("desired/spirits/tenants/dev-lab.md");

    fleet.ringfence(&["history"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .ringfence(&["history", "dev"])
        .expect(0)
        .says("dev runs rel-");
    let events = fleet.ringfence(&["events", "-o", "json"]).expect(0).json();
    assert!(!events.as_array().unwrap().is_empty());
    fleet
        .ringfence(&["logs", "dev-lab/agent"])
        .expect(0)
        .says("agent: version 1.0 listens on port 8080");
    fleet
        .ringfence(&["logs", "dev-lab"])
        .expect(0)
        .says("web.dev-lab");
    fleet.ringfence(&["logs", "dev-lab/nothing"]).expect(1);
}

#[test]
fn wrong_calls_are_told_with_64() {
    let fleet = TestFleet::one_ring("usage");
    for args in [
        &["aply"][..],
        &[],
        &["plan", "--no-such-flag"],
        &["apply", "Not A Name"],
        &["logs"],
        &["status", "-o", "xml"],
    ] {
        fleet.ringfence(args).expect(64);
    }
    fleet.ringfence(&["--help"]).expect(0).says("init");
    fleet.ringfence(&["--version"]).expect(0).says("ringfence");
}

#[test]
fn what_init_makes_passes_check_and_runs_at_once() {
    for (name, more) in [("init-three", None), ("init-one", Some("--one-branch"))] {
        let fleet = TestFleet::new(name);
        // The folder's name is the instance's.
        let folder = fleet.home().join(&fleet.instance);
        let at = folder.to_str().unwrap();
        let mut init = vec!["init", at, "--image", AGENT];
        init.extend(more);
        fleet.ringfence(&init).expect(0).says("ringfence -C");
        let on = |args: &[&str]| fleet.ringfence(&[&["--repo", at], args].concat());
        fleet.ringfence(&["check", at]).expect(0);
        on(&["plan", "--exit-code"]).expect(2);
        on(&["apply"]).expect(0);
        on(&["plan", "--exit-code"]).expect(0);
        assert_eq!(fleet.containers().len(), 1);
        assert_eq!(fleet.env("lab", "web", "GREETING"), "hello from the lab");
        fleet.ringfence(&init).expect(1);
    }
}
