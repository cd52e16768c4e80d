//! A pinned ring that went back: git is made to agree with what runs, and nobody's word is lost over it.

use super::{release, two_rings};
use crate::support::simulated::SimulatedFleet;

const PIN: &str = "rings/pins/staging.yaml";

/// Staging ran version 1, was asked for version 2 by a pin, and went back. The commit of version 1.
fn gone_back(name: &str, meanwhile: impl FnOnce(&SimulatedFleet)) -> (SimulatedFleet, String) {
    let fleet = two_rings(name);
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    let good = fleet.ring("staging")["commit"].as_str().unwrap().to_owned();
    release(&fleet, "2", "staging");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    meanwhile(&fleet);
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.serves("two", "agent"), "1");
    (fleet, good)
}

fn pin_at(fleet: &SimulatedFleet, branch: &str) -> String {
    fleet.git(&["show", &format!("{branch}:{PIN}")])
}

#[test]
fn a_branch_that_nobody_has_checked_out_takes_the_commit() {
    let (fleet, good) = gone_back("wb-written", |fleet| {
        fleet.git(&["switch", "-q", "-c", "elsewhere"]);
    });
    let pin = pin_at(&fleet, "main");
    let said = fleet.ringfence(&["why", "staging"]);
    assert!(
        pin.contains(&good) && pin.contains("failed here and went back"),
        "{pin}
{said}"
    );
    let log = fleet.git(&["log", "-1", "--format=%an %s", "main"]);
    assert!(log.starts_with("ringfence staging: back to rel-"), "{log}");
    // From now on git says what runs: nothing is left to do, and nothing is written twice.
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.in_phase("staging", "synced"), "{}", fleet.ring("staging"));
    assert_eq!(fleet.git(&["log", "-1", "--format=%an %s", "main"]), log);
}

#[test]
fn a_checked_out_branch_is_left_alone_and_why_says_how_to_take_the_commit() {
    let (fleet, good) = gone_back("wb-proposed", |_| {});
    assert!(
        !pin_at(&fleet, "main").contains(&good),
        "the user's branch was not written to"
    );
    assert_eq!(fleet.git(&["status", "--porcelain"]), "");
    let why = fleet.ringfence(&["why", "staging"]).expect(0);
    let said = why.says("diverged from git").stdout;
    let command = said.split('`').find(|part| part.starts_with("git ")).unwrap();
    let done = std::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .output()
        .unwrap();
    assert!(done.status.success(), "{command}: {done:?}");
    assert!(pin_at(&fleet, "main").contains(&good));
    assert_eq!(fleet.git(&["status", "--porcelain"]), "");
    fleet.ringfence(&["apply"]).expect(0).says("synced");
    let why = fleet.ringfence(&["why", "staging"]).expect(0);
    assert!(!why.stdout.contains("diverged"), "{why}");
}

#[test]
fn a_newer_pin_is_not_written_over() {
    let (fleet, _) = gone_back("wb-newer", |_| {});
    release(&fleet, "3", "");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    let asked = pin_at(&fleet, "main");
    fleet.git(&["switch", "-q", "-c", "elsewhere"]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(pin_at(&fleet, "main"), asked);
    assert_eq!(fleet.serves("two", "agent"), "3");
}
