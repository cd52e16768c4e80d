//! What an engine has and what services take of it, through all of ringfence.

use crate::support::fleet::{agent_service, tenant};
use crate::support::simulated::SimulatedFleet;

/// The simulated engine has 8 GiB. The agent in a version that reserves so much.
fn version(version: u32, reserves: &str) -> String {
    let lines = format!(
        "environment: {{AGENT_VERSION: \"{version}\"}}\nmem_reservation: {reserves}\nx-ringfence: {{rollout: {{drain: 5ms}}}}"
    );
    format!("services:\n{}", agent_service("agent", &lines))
}

#[test]
fn a_release_that_does_not_fit_beside_the_old_one_stops_first_and_one_that_does_not_fit_at_all_waits() {
    let fleet = SimulatedFleet::new("res-memory");
    let services = "desired/services/agent.yaml";
    let rings = "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n";
    let change = |v, reserves| {
        fleet
            .on("main")
            .write(services, &version(v, reserves))
            .commit("a version")
    };
    fleet
        .on("main")
        .write("rings/rings.yaml", rings)
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write(services, &version(1, "3g"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);

    change(2, "4g");
    fleet.ringfence(&["plan"]).expect(0).says("start-first");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("acme", "agent"), "2");

    change(3, "5g");
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("stop-first: beside what it replaces, 9 GiB of memory would be reserved, of 8 GiB");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("acme", "agent"), "3");

    change(4, "9g");
    fleet.ringfence(&["apply"]).expect(4);
    let gates = fleet.ring("dev")["moves"][0]["gates"].to_string();
    assert!(
        gates.contains("5 GiB of memory reserved now, 9 GiB on the way, of 8 GiB: 1 GiB too much"),
        "{gates}"
    );
    assert_eq!(fleet.serves("acme", "agent"), "3", "what runs is left alone");
}
