//! An engine with ten thousand containers: what a pass asks of it grows with what changes, not with what there is. Counts,
//! never times.

use std::collections::BTreeSet;

use simulated_engine::Call;

use crate::support::fleet::{agent_service, tenant};
use crate::support::simulated::SimulatedFleet;

const TENANTS: usize = 20;
const SERVICES: usize = 20;
const ALL: usize = 10_000;

fn services() -> String {
    let own =
        "restart: unless-stopped\nenvironment: {AGENT_VERSION: \"1\"}\nx-ringfence: {rollout: {drain: 5ms}}";
    let of = |n: usize| agent_service(&format!("s{n}"), own);
    format!("services:\n{}", (0..SERVICES).map(of).collect::<String>())
}

/// Four hundred containers of a fleet, and of others as many as make ten thousand.
fn large() -> SimulatedFleet {
    let fleet = SimulatedFleet::new("scale");
    for n in 0..TENANTS {
        let slug = format!("tenant-{n}");
        fleet.write(&format!("desired/tenants/{slug}.yaml"), &tenant(&slug, "dev"));
    }
    let pool = "address_pool: {base: 10.201.0.0/16, prefix: 24}\n";
    fleet
        .on("main")
        .write("ringfence.yaml", &format!("{}{pool}", fleet.settings()))
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n",
        )
        .write("desired/services/all.yaml", &services())
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.all().len(), TENANTS * SERVICES);
    fleet.engine.with(|world| {
        let ours: Vec<_> = world.containers.values().cloned().collect();
        for (n, one) in (ours.len()..ALL).zip(ours.into_iter().cycle()) {
            let mut other = one;
            other.id = format!("{n:064x}");
            other.name = format!("other-{n}");
            other
                .labels
                .insert("dev.ringfence.instance".to_owned(), "another".to_owned());
            world.containers.insert(other.id.clone(), other);
        }
        assert_eq!(world.containers.len(), ALL);
    });
    fleet
}

/// `apply`, and what it asked for.
fn calls(fleet: &SimulatedFleet) -> Vec<Call> {
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(0);
    fleet.engine.calls()
}

/// The containers that calls were about, but for the part that they play.
fn about(fleet: &SimulatedFleet, calls: &[Call]) -> BTreeSet<String> {
    let named = calls
        .iter()
        .map(|call| call.query.get("name").unwrap_or(&call.name));
    let end = format!(".{}", fleet.instance);
    let service = |name: &String| {
        name.to_lowercase()
            .split_once(&end)
            .map(|(service, _)| service.to_owned())
    };
    named.filter_map(service).collect()
}

#[test]
fn among_ten_thousand_containers_a_pass_asks_for_what_changes() {
    let fleet = large();
    let nothing = calls(&fleet);
    assert_eq!(nothing.len(), 3, "{nothing:#?}");
    assert!(nothing.iter().all(|call| !call.changes()), "{nothing:#?}");

    // One service of one tenant.
    let file = format!(
        "{}config_overrides: {{s3: {{THEME: dark}}}}\n",
        tenant("tenant-4", "dev")
    );
    fleet
        .on("main")
        .write("desired/tenants/tenant-4.yaml", &file)
        .commit("a theme");
    let one = calls(&fleet);
    let changes: Vec<String> = one
        .iter()
        .filter(|call| call.changes())
        .map(Call::to_string)
        .collect();
    // Create, start, take the name; give the name up, policy, stop, remove.
    assert_eq!(changes.len(), 7, "{changes:#?}");
    assert_eq!(
        about(&fleet, &one),
        BTreeSet::from(["s3.tenant-4".to_owned()]),
        "looks among them"
    );

    // All of one tenant is lost, and nobody heard of it.
    let lost: Vec<String> = fleet
        .all()
        .into_keys()
        .filter(|name| name.contains(".tenant-7."))
        .collect();
    assert_eq!(lost.len(), SERVICES);
    fleet.engine.with(|world| {
        for name in &lost {
            world.forget(name);
        }
    });
    let back = calls(&fleet);
    let changes: Vec<String> = back
        .iter()
        .filter(|call| call.changes())
        .map(Call::to_string)
        .collect();
    assert_eq!(
        changes.len(),
        3 * SERVICES,
        "create, start and name each: {changes:#?}"
    );
    assert!(
        about(&fleet, &back)
            .iter()
            .all(|name| name.ends_with(".tenant-7")),
        "{back:#?}"
    );
    assert_eq!(fleet.all().len(), TENANTS * SERVICES);
    assert_eq!(calls(&fleet).len(), 3);
}
