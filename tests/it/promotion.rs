//! A release on its way from ring to ring: what lets it go, what holds it, and how it comes back.

mod moves;
mod page;
mod people;
mod soak;
mod walk;
mod write_back;

use crate::support::fleet::{agent_with, tenant};
use crate::support::simulated::SimulatedFleet;

const AGENT_FILE: &str = "desired/services/agent.yaml";

/// Rings dev (follows `main`) and staging (pinned), a tenant in each, on a simulated engine. Nothing is observed or drained
/// for long.
fn two_rings(name: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n  staging: {id: 1, rollout: {observe: 0s}}\n",
        )
        .write("ringfence.yaml", &format!("{}control_branch: main\n", fleet.settings()))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .write("desired/tenants/two.yaml", &tenant("two", "staging"))
        .commit("rings");
    release(&fleet, "1", "");
    fleet
}

/// Commits a release and lets dev take it. `fails_in`: the ring where it never gets healthy.
fn release(fleet: &SimulatedFleet, version: &str, fails_in: &str) -> String {
    let fail = match fails_in {
        "" => String::new(),
        ring => {
            // What a tenant of that ring gives it makes it fail there.
            let slug = if ring == "staging" { "two" } else { "one" };
            let file = tenant(slug, ring);
            fleet.write(
                &format!("desired/tenants/{slug}.yaml"),
                &format!("{file}config_overrides: {{FAIL: unhealthy}}\n"),
            );
            "${FAIL:-}".to_owned()
        }
    };
    let service = agent_with(version, &[("AGENT_FAIL", &fail)]);
    let commit = fleet
        .on("main")
        .write(
            AGENT_FILE,
            &format!("{service}    restart: unless-stopped\n    x-ringfence: {{rollout: {{drain: 5ms}}}}\n"),
        )
        .commit(&format!("agent {version}"));
    fleet.ringfence(&["apply", "dev"]).expect(0);
    commit
}
