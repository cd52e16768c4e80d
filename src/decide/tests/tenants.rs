//! Who runs which slug, with which release and files.

use super::*;

const RINGS: &[(&str, &str)] = &[("dev", "auto_deploy: true"), ("prod", "")];
const GATED: &[(&str, &str)] = &[("dev", "auto_deploy: true"), ("prod", "approval_required: true")];

#[allow(clippy::unnecessary_wraps)] // compared with the optional files of a decision
fn id(name: &str, ring: &str, more: &str) -> Option<FilesId> {
    Some(files(name, ring, more).files)
}

fn condition<'a>(decision: &'a Decision, name: &str) -> &'a str {
    decision.tenants[&slug(name)]
        .conditions
        .first()
        .map_or("", String::as_str)
}

#[test]
fn a_new_tenant_comes_with_its_rings_release() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).asked("dev", 1).file("dev", "acme", "");
    let decision = room.decide();
    assert_eq!(
        tenant(&decision, "acme"),
        Some((Task::Run, "dev".into(), Some(rel(1)), id("acme", "dev", "")))
    );
    assert!(decision.tenants[&slug("acme")].moves);
    let moved = &decision.rings[0].moves[0];
    assert_eq!((moved.kind, moved.state), (MoveKind::Tenants, MoveState::Open));
    assert_eq!(moved.request, commit(49));
}

#[test]
fn the_first_deployment_is_one_move_and_waits_for_no_gate_of_files() {
    let mut room = Room::new(RINGS);
    room.asked("dev", 1).file("dev", "acme", "");
    let decision = room.decide();
    assert_eq!(decision.rings[0].moves.len(), 1);
    assert!(decision.tenants.contains_key("acme"));
    // Where the ring's own gates hold it back, no tenant comes either.
    let mut room = Room::new(GATED);
    room.asked("prod", 1).file("prod", "acme", "");
    assert!(room.decide().tenants.is_empty());
}

#[test]
fn a_tenant_at_rest_moves_nothing() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1)
        .asked("dev", 1)
        .file("dev", "acme", "")
        .has("dev", "acme", 1, "");
    let decision = room.decide();
    assert!(!decision.tenants[&slug("acme")].moves);
    assert!(decision.rings[0].moves.is_empty());
    assert_eq!(decision.rings[0].phase, Phase::Synced);
}

#[test]
fn a_file_that_is_gone_stops_its_tenant_and_is_a_move() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).has("dev", "acme", 1, "");
    let decision = room.decide();
    assert_eq!(tenant(&decision, "acme").unwrap().0, Task::Stop);
    assert_eq!(decision.rings[0].moves[0].kind, MoveKind::Tenants);
    assert_eq!(decision.rings[0].moves[0].request, commit(50));
}

#[test]
fn nothing_stops_while_its_branch_cannot_be_read_or_has_errors() {
    for case in ["no branch", "an error", "the file itself", "no such ring"] {
        let mut room = Room::new(RINGS);
        room.runs("dev", 1).has("dev", "acme", 1, "");
        match case {
            "no branch" => room.input("dev").tip = None,
            "an error" => room
                .input("dev")
                .tenant_errors
                .push("other.yaml:1:1: bad".to_owned()),
            "the file itself" => drop(room.file("dev", "acme", "wibble: 1")),
            _ => room.facts.tenants.get_mut("acme").unwrap().ring = ring("gone-ring"),
        }
        let decision = room.decide();
        let (task, _, release, files) = tenant(&decision, "acme").unwrap();
        assert_eq!(
            (task, release, files),
            (Task::Run, Some(rel(1)), id("acme", "dev", "")),
            "{case}"
        );
        assert!(!condition(&decision, "acme").is_empty(), "{case}");
    }
}

#[test]
fn a_stop_or_an_erasure_waits_while_other_files_of_the_ring_have_errors() {
    for state in ["state: stopped", "state: erased"] {
        let mut room = Room::new(RINGS);
        room.runs("dev", 1)
            .file("dev", "acme", state)
            .has("dev", "acme", 1, "");
        let stop = room.decide().tenants[&slug("acme")].task;
        assert!(matches!(stop, Task::Stop | Task::Erase));
        room.input("dev")
            .tenant_errors
            .push("other.yaml:1:1: bad".to_owned());
        let decision = room.decide();
        assert_eq!(
            tenant(&decision, "acme"),
            Some((Task::Run, "dev".into(), Some(rel(1)), id("acme", "dev", "")))
        );
        // What has stopped already is left as it is.
        room.facts.tenants.clear();
        assert!(room.decide().tenants.is_empty());
    }
}

#[test]
fn what_has_stopped_is_no_open_move() {
    for rings in [RINGS, GATED] {
        let mut room = Room::new(rings);
        room.runs("prod", 1)
            .asked("prod", 1)
            .file("prod", "acme", "state: stopped");
        let decision = room.decide();
        assert_eq!(tenant(&decision, "acme").unwrap().0, Task::Stop);
        assert!(!decision.tenants[&slug("acme")].moves);
        let prod = decision.ring(&ring("prod")).unwrap();
        assert!(prod.moves.is_empty() && prod.conditions.is_empty(), "{prod:?}");
    }
}

#[test]
fn files_that_are_not_taken_leave_the_tenant_with_those_it_has() {
    for case in ["error", "misfit", "quarantine"] {
        let mut room = Room::new(RINGS);
        room.runs("dev", 2).asked("dev", 2).has("dev", "acme", 1, "");
        room.file(
            "dev",
            "acme",
            if case == "error" {
                "wibble: 1"
            } else {
                "spirit: new"
            },
        );
        match case {
            "misfit" => {
                room.misfit("dev", "acme");
            }
            "quarantine" => {
                let facts = room.facts.tenants.get_mut("acme").unwrap();
                let new = files_ref("acme", "dev", "spirit: new");
                facts.quarantine.insert(new.id, quarantine());
                facts.asked = Some((rel(2), new));
            }
            _ => {}
        }
        let decision = room.decide();
        assert_eq!(
            tenant(&decision, "acme"),
            Some((Task::Run, "dev".into(), Some(rel(2)), id("acme", "dev", ""))),
            "{case}: old files, the ring's release"
        );
        assert!(decision.rings[0].moves.is_empty(), "{case} counts as what runs");
        // A new tenant with such files is not taken, and the ring says why.
        if case != "quarantine" {
            room.facts.tenants.clear();
            let decision = room.decide();
            assert!(decision.tenants.is_empty());
            assert!(
                decision.rings[0].conditions[0].starts_with("tenant acme: "),
                "{case}"
            );
        }
    }
}

#[test]
fn files_under_way_are_kept_when_the_next_ones_have_an_error() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1)
        .has("dev", "acme", 1, "")
        .file("dev", "acme", "wibble: 1");
    room.facts.tenants.get_mut("acme").unwrap().asked =
        Some((rel(1), files_ref("acme", "dev", "spirit: new")));
    assert_eq!(
        tenant(&room.decide(), "acme").unwrap().3,
        id("acme", "dev", "spirit: new")
    );
}

#[test]
fn a_change_of_files_waits_for_window_and_approval_of_its_ring_but_not_for_soak() {
    for (policy, free) in [
        ("approval_required: true", false),
        ("windows: [{deny: \"Fri 15:00..Mon 08:00\"}]", false),
        ("soak: 1h", true),
        ("approval_required: true, tenant_changes: free", true),
    ] {
        let mut room = Room::new(&[("dev", ""), ("prod", policy)]);
        room.runs("prod", 1)
            .asked("prod", 1)
            .has("prod", "acme", 1, "")
            .file("prod", "acme", "spirit: new");
        let decision = room.decide();
        let want = if free { "spirit: new" } else { "" };
        assert_eq!(
            tenant(&decision, "acme").unwrap().3,
            id("acme", "prod", want),
            "{policy}"
        );
        let moved = &decision.rings[1].moves[0];
        assert_eq!(moved.kind, MoveKind::Tenants);
        assert_eq!(
            moved.state,
            if free { MoveState::Open } else { MoveState::Waiting }
        );
        // Its stop waits as well.
        room.input("prod").tenants.clear();
        let task = room.decide().tenants[&slug("acme")].task;
        assert_eq!(task, if free { Task::Stop } else { Task::Run }, "{policy}");
    }
}

#[test]
fn a_slug_that_two_rings_claim_stays_with_the_one_that_runs_it() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1)
        .runs("prod", 2)
        .asked("dev", 1)
        .asked("prod", 2);
    room.file("dev", "acme", "")
        .file("prod", "acme", "")
        .has("prod", "acme", 2, "");
    let decision = room.decide();
    let (task, name, release, _) = tenant(&decision, "acme").unwrap();
    assert_eq!((task, name.as_str(), release), (Task::Run, "prod", Some(rel(2))));
    assert!(condition(&decision, "acme").contains("rings dev and prod both claim it: prod keeps it"));
    assert!(
        decision.rings[0].moves.is_empty(),
        "the other ring has no open move for it"
    );
    // If none runs it, the first.
    room.facts.tenants.clear();
    assert_eq!(tenant(&room.decide(), "acme").unwrap().1, "dev");
}

#[test]
fn a_tenant_that_moves_goes_to_the_new_ring_when_both_let_it() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1)
        .runs("prod", 2)
        .asked("dev", 1)
        .asked("prod", 2);
    room.file("prod", "acme", "").has("dev", "acme", 1, "");
    let (task, name, release, files) = tenant(&room.decide(), "acme").unwrap();
    assert_eq!((task, name.as_str(), release), (Task::Run, "prod", Some(rel(2))));
    assert_eq!(files, id("acme", "prod", ""));
}

#[test]
fn a_tenant_that_moves_stays_whole_until_both_rings_let_it() {
    for case in [
        "from has no branch",
        "from has errors",
        "from is gated",
        "to is gated",
        "to runs nothing",
        "to has an error",
    ] {
        let (from, to) = if case == "to is gated" {
            ("dev", "prod")
        } else {
            ("prod", "dev")
        };
        let gates = if case.ends_with("is gated") { GATED } else { RINGS };
        let mut room = Room::new(gates);
        room.runs(from, 1).has(from, "acme", 1, "").file(to, "acme", "");
        if case != "to runs nothing" {
            room.runs(to, 2);
        }
        match case {
            "from has no branch" => room.input(from).tip = None,
            "from has errors" => room.input(from).tenant_errors.push("bad".to_owned()),
            "to has an error" => drop(room.file(to, "acme", "wibble: 1")),
            _ => {}
        }
        let decision = room.decide();
        assert_eq!(
            tenant(&decision, "acme"),
            Some((Task::Run, from.into(), Some(rel(1)), id("acme", from, ""))),
            "{case}"
        );
        assert!(!condition(&decision, "acme").is_empty(), "{case}");
    }
}

/// A ring of so many tenants, of which the first `gone` have no file any more.
fn crowd(all: usize, gone: usize) -> Room {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).asked("dev", 1);
    for i in 0..all {
        let name = format!("tenant-{i}");
        room.has("dev", &name, 1, "");
        if i >= gone {
            room.file("dev", &name, "");
        }
    }
    room
}

fn stops(decision: &Decision) -> usize {
    decision.tenants.values().filter(|t| t.task == Task::Stop).count()
}

#[test]
fn removals_up_to_the_budget_happen_and_one_more_stops_none() {
    for (all, most) in [(1, 1), (4, 1), (5, 1), (9, 1), (10, 2), (20, 4)] {
        assert_eq!(stops(&crowd(all, most).decide()), most, "{all} tenants");
        if all == most {
            continue;
        }
        let mut room = crowd(all, most + 1);
        let decision = room.decide();
        assert_eq!(stops(&decision), 0, "{all} tenants");
        let words = condition(&decision, "tenant-0");
        assert!(words.contains("`ringfence apply dev --prune`"), "{words}");
        assert_eq!(
            tenant(&decision, "tenant-0").unwrap(),
            (Task::Run, "dev".into(), Some(rel(1)), id("tenant-0", "dev", ""))
        );
        room.prune.insert(ring("dev"));
        assert_eq!(stops(&room.decide()), most + 1);
        // A permission for another ring is none.
        room.prune = BTreeSet::from([ring("prod")]);
        assert_eq!(stops(&room.decide()), 0);
    }
}

#[test]
fn a_held_stop_keeps_the_files_that_ran() {
    let mut room = crowd(4, 1);
    room.file("dev", "tenant-1", "state: stopped");
    let decision = room.decide();
    assert_eq!(
        tenant(&decision, "tenant-1").unwrap(),
        (Task::Run, "dev".into(), Some(rel(1)), id("tenant-1", "dev", ""))
    );
}

#[test]
fn the_hash_of_a_rings_files_depends_on_slug_and_files() {
    let one = |name: &str, more: &str| {
        files_of_ring(&BTreeMap::from([(slug(name), files(name, "dev", more).files)]))
    };
    assert_eq!(one("acme", ""), one("acme", ""));
    assert_ne!(one("acme", ""), one("acme", "spirit: x"));
    assert_ne!(one("acme", ""), one("acme2", ""));
}
