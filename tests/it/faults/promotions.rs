//! Promotions and rollbacks of a pinned ring, for the flows; and what of them is not on the engine: what git and the ledger
//! have of them.

use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::flows::{ALL, services};
use crate::support::fleet::tenant;
use crate::support::simulated::SimulatedFleet;

/// Of staging: its settings beside `id`, and its tenants with what they override.
pub type Staging = (&'static str, &'static [(&'static str, &'static str)]);

/// staging asks for an approval.
pub const APPROVED: Staging = ("approval_required: true, rollout: {observe: 0s}", &[("two", "")]);
/// What `FAIL` makes fail comes last; the canary and one other run it before.
pub const WAVES: Staging = (
    "rollout: {observe: 0s, canary: [three], max_parallel: 1}",
    &[("two", "config_overrides: {FAIL: unhealthy}\n"), ("three", "")],
);
/// Nothing is asked.
pub const ONE: Staging = ("rollout: {observe: 0s}", &[("two", "")]);

/// Rings dev (follows `main`) and staging (pinned), with tenants; both run these services.
pub fn both_run(fleet: &SimulatedFleet, staging: Staging, all: &[(&str, &str, &str)]) {
    let (settings, tenants) = staging;
    let mut change = fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            &format!(
                "rings:\n  dev: {{id: 0, auto_deploy: true, rollout: {{observe: 0s}}}}\n  staging: {{id: 1, {settings}}}\n"
            ),
        )
        .write("desired/tenants/one.yaml", &tenant("one", "dev"));
    for (slug, more) in tenants {
        let file = tenant(slug, "staging");
        change = change.write(&format!("desired/tenants/{slug}.yaml"), &format!("{file}{more}"));
    }
    change.write(ALL, &services(all)).commit("rings");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    ask(fleet, staging);
    fleet.ringfence(&["apply"]).expect(0);
}

/// dev runs these services, and a pin asks for them in staging.
pub fn promote(fleet: &SimulatedFleet, staging: Staging, all: &[(&str, &str, &str)]) {
    fleet
        .on("main")
        .write(ALL, &services(all))
        .commit("another release");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    ask(fleet, staging);
}

fn ask(fleet: &SimulatedFleet, staging: Staging) {
    fleet.ringfence(&["promote", "staging"]).expect(0);
    if staging == APPROVED {
        fleet.ringfence(&["approve", "staging", "--yes"]).expect(0);
    }
}

/// What the ledger and git keep of a fleet's moves, without times: approvals that are spent, how often a ring began, arrived
/// and failed, and what is proposed.
pub fn records(fleet: &SimulatedFleet) -> Value {
    let db = Connection::open(fleet.state().join("ledger.sqlite")).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut rows = db.prepare(sql).unwrap();
        let rows = rows.query_map((), |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    json!({
        "spent": list("SELECT ring || ' ' || word FROM spent ORDER BY 1"),
        "moving": list("SELECT name FROM rings WHERE moving IS NOT NULL"),
        "told": list(
            "SELECT kind || ' ' || coalesce(ring, '') FROM events WHERE kind LIKE '%.failed' OR kind LIKE 'ring.%' ORDER BY 1"
        ),
        "proposed": proposed(fleet, "%(refname) %(tree) on %(parent)"),
    })
}

/// The commits that are proposed.
pub fn proposed(fleet: &SimulatedFleet, format: &str) -> String {
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(fleet.state().join("git"))
        .args(["for-each-ref", "--format", format, "refs/ringfence/proposed"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
