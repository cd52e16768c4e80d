//! Tenants stop, go and come; removals have a budget.

use crate::support::fleet::{TestFleet, tenant};

fn file(slug: &str) -> String {
    format!("desired/tenants/{slug}.yaml")
}

/// `acme`, with a volume that has data.
fn with_volume(name: &str) -> TestFleet {
    let fleet = TestFleet::one_ring(name);
    let service = crate::support::fleet::agent_service("agent", "volumes: [\"data:/data\"]");
    fleet
        .on("main")
        .write(
            "desired/services/agent.yaml",
            &format!("services:\n{service}volumes:\n  data: {{}}\n"),
        )
        .commit("a volume");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.volumes().iter().filter(|v| v.contains("data")).count(), 1);
    fleet
}

#[test]
fn a_stopped_tenant_loses_its_containers_and_keeps_its_data() {
    let fleet = with_volume("stopped");
    let volumes = fleet.volumes();
    fleet
        .on("main")
        .write(&file("acme"), &(tenant("acme", "dev") + "state: stopped\n"))
        .commit("stop acme");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.containers().is_empty());
    assert_eq!(fleet.volumes(), volumes);
    fleet
        .on("main")
        .write(&file("acme"), &tenant("acme", "dev"))
        .commit("start acme");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.containers().len(), 1);
    assert_eq!(fleet.volumes(), volumes);
}

#[test]
fn a_tenant_whose_file_is_gone_stops_and_its_volumes_stay() {
    let fleet = with_volume("file-gone");
    let volumes = fleet.volumes();
    fleet.on("main").remove(&file("acme")).commit("acme goes");
    fleet.ringfence(&["plan"]).expect(0).says("1 to remove");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.containers().is_empty());
    assert_eq!(fleet.volumes(), volumes);
}

#[test]
fn an_erased_tenant_loses_its_data_too() {
    let fleet = with_volume("erased");
    fleet
        .on("main")
        .write(&file("acme"), &(tenant("acme", "dev") + "state: erased\n"))
        .commit("erase acme");
    fleet.ringfence(&["plan"]).expect(0).says("erased");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.containers().is_empty());
    assert!(
        !fleet.volumes().iter().any(|v| v.contains("data")),
        "{:?}",
        fleet.volumes()
    );
    fleet.ringfence(&["plan", "--exit-code"]).expect(0);
}

#[test]
fn three_of_four_tenants_do_not_go_at_once_without_a_persons_word() {
    let fleet = TestFleet::one_ring("budget");
    for slug in ["beta", "gamma", "delta"] {
        fleet.write(&file(slug), &tenant(slug, "dev"));
    }
    fleet.on("main").commit("four tenants");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    assert_eq!(before.len(), 4);
    fleet
        .on("main")
        .remove(&file("beta"))
        .remove(&file("gamma"))
        .remove(&file("delta"))
        .commit("three go");
    fleet
        .ringfence(&["apply"])
        .says("`ringfence apply dev --prune` allows it");
    assert_eq!(fleet.ids(), before);
    fleet.ringfence(&["apply", "dev", "--prune"]).expect(0);
    assert_eq!(fleet.containers().len(), 1);
    assert_eq!(fleet.version("acme", "agent"), "1");
}
