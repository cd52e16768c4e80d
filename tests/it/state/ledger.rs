//! The ledger and the state directory break, or go away: refused by name, never made anew in silence, nothing lost.

use std::path::PathBuf;

use crate::support::fleet::TestFleet;

fn ledger(fleet: &TestFleet) -> PathBuf {
    fleet.state().join("ledger.sqlite")
}

/// Where a SQLite file keeps `user_version`, ringfence's schema.
const SCHEMA: std::ops::Range<usize> = 60..64;

#[test]
fn a_ledger_that_cannot_be_trusted_is_refused_and_left_as_it_is() {
    let fleet = TestFleet::one_ring("bad-ledger");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let good = std::fs::read(ledger(&fleet)).unwrap();
    let newer = {
        let mut bytes = good.clone();
        bytes[SCHEMA].copy_from_slice(&99_u32.to_be_bytes());
        bytes
    };
    let torn = {
        let mut bytes = good.clone();
        bytes.truncate(good.len() / 2);
        bytes[4096..].fill(0xa5);
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("zeroed", vec![0; good.len()], "is damaged"),
        ("empty", Vec::new(), "is damaged"),
        ("no database", b"shopping list\n".repeat(400), "is damaged"),
        ("torn", torn, "is damaged"),
        ("newer", newer, "schema 99"),
    ];
    for (case, bytes, says) in cases {
        std::fs::write(ledger(&fleet), &bytes).unwrap();
        for verb in ["apply", "run", "status"] {
            let answer = fleet.ringfence(&[verb]).expect(1).complains(says);
            answer.complains("ledger.sqlite");
        }
        assert!(
            std::fs::read(ledger(&fleet)).unwrap() == bytes,
            "{case}: it is left as it is"
        );
    }
    assert_eq!(fleet.ids(), before);
    std::fs::write(ledger(&fleet), good).unwrap();
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.ids(), before);
}

#[test]
fn a_ledger_that_is_taken_away_while_it_is_used_is_told_and_waited_for() {
    let fleet = TestFleet::one_ring("ledger-gone");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev") && f.status()["settled"] == true);
    let aside = fleet.home().join("aside");
    std::fs::rename(ledger(&fleet), &aside).unwrap();
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.eventually("it is told", |f| {
        f.conditions().contains("was removed or replaced")
    });
    assert!(!ledger(&fleet).exists(), "it is not made anew");
    assert!(fleet.ids().is_empty(), "what cannot be written down is not done");
    std::fs::rename(&aside, ledger(&fleet)).unwrap();
    fleet.eventually("drift is repaired", |f| {
        f.version("acme", "agent") == "1" && f.synced("dev") && f.conditions().is_empty()
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_linked_state_directory_is_refused_and_nothing_is_written_through_it() {
    let fleet = TestFleet::one_ring("state-link");
    let real = fleet.home().join("elsewhere");
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, fleet.state()).unwrap();
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("is a symbolic link");
    assert_eq!(std::fs::read_dir(&real).unwrap().count(), 0);
    std::fs::remove_file(fleet.state()).unwrap();
    fleet.ringfence(&["apply"]).expect(0);
    // The ledger alone.
    std::fs::rename(ledger(&fleet), real.join("ledger.sqlite")).unwrap();
    std::os::unix::fs::symlink(real.join("ledger.sqlite"), ledger(&fleet)).unwrap();
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("is a symbolic link");
}
