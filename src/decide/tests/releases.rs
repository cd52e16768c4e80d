//! Which release a ring runs.

use super::*;

const RINGS: &[(&str, &str)] = &[("dev", "auto_deploy: true"), ("prod", "")];

#[test]
fn a_ring_goes_to_what_is_asked_for_when_it_has_no_gates() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).asked("dev", 2);
    let decision = room.decide();
    let dev = decision.ring(&ring("dev")).unwrap();
    assert_eq!((dev.target, dev.declared), (Some(rel(2)), Some(rel(2))));
    assert_eq!(dev.request, Some(commit(2)));
    assert_eq!(dev.moves[0].state, MoveState::Open);
    assert_eq!(dev.moves[0].kind, MoveKind::Release);
    // Nobody asked for anything in the other one.
    let prod = decision.ring(&ring("prod")).unwrap();
    assert_eq!((prod.target, prod.phase), (None, Phase::Empty));
}

#[test]
fn the_first_release_of_a_ring_moves_files_too() {
    let mut room = Room::new(RINGS);
    room.asked("dev", 1);
    let decision = room.decide();
    assert_eq!(decision.rings[0].moves[0].kind, MoveKind::Both);
    assert_eq!(decision.rings[0].target, Some(rel(1)));
}

#[test]
fn every_declared_gate_keeps_a_ring_where_it_is_and_says_why() {
    let cases = [
        ("approval_required: true", "approval", "0 of 1"),
        ("approvals: {required: 1}", "approval", "0 of 1"),
        ("soak: 24h", "soak", "needs 1d"),
        (
            "checks: [{tcp: \"web:80\"}]",
            "checks",
            "tcp web:80: not asked yet",
        ),
        (
            "windows: [{deny: \"Fri 15:00..Mon 08:00\"}]",
            "window",
            "closed until 2026-11-23T08:00:00Z",
        ),
    ];
    for (policy, gate, words) in cases {
        for running in [None, Some(1)] {
            let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", policy)]);
            room.proven("dev", 2).asked("prod", 2);
            if let Some(n) = running {
                room.runs("prod", n);
            }
            if gate == "soak" {
                room.facts
                    .rings
                    .get_mut("dev")
                    .unwrap()
                    .proofs
                    .get_mut(&rel(2))
                    .unwrap()
                    .longest_ms = 0;
            }
            let decision = room.decide();
            let prod = decision.ring(&ring("prod")).unwrap();
            assert_eq!(prod.target, running.map(rel), "{policy}");
            assert_eq!(prod.phase, Phase::Waiting);
            assert_eq!(prod.declared, Some(rel(2)));
            let waits = &prod.moves[0];
            assert_eq!(waits.state, MoveState::Waiting);
            let open = waits.gates.iter().find(|g| g.name == gate).unwrap();
            assert_ne!(open.state, Answer::Pass, "{policy}");
            assert!(
                open.evidence.contains(words) || gate == "soak",
                "{}",
                open.evidence
            );
        }
    }
}

#[test]
fn a_release_that_cannot_be_had_is_a_failed_gate() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).asked("dev", 2);
    room.input("dev").candidate.as_mut().unwrap().release =
        Err("image web:2 of service web is missing".to_owned());
    let decision = room.decide();
    let dev = &decision.rings[0];
    assert_eq!(
        (dev.target, dev.phase, dev.declared),
        (Some(rel(1)), Phase::Waiting, None)
    );
    assert_eq!(dev.moves[0].gates[0].state, Answer::Fail);
    assert!(dev.moves[0].gates[0].evidence.contains("web:2"));
}

#[test]
fn a_missing_branch_waits_with_the_command_that_makes_it() {
    let mut room = Room::new(RINGS);
    room.input("dev").tip = None;
    let decision = room.decide();
    let dev = &decision.rings[0];
    assert_eq!(
        (dev.phase, dev.target, dev.no_prune),
        (Phase::Waiting, None, true)
    );
    assert!(
        dev.conditions[0].contains("`git branch b-dev`"),
        "{:?}",
        dev.conditions
    );
    // What runs is kept.
    room.runs("dev", 1);
    assert_eq!(room.decide().rings[0].target, Some(rel(1)));
}

#[test]
fn an_undeclared_target_waits_with_the_line_that_declares_it() {
    for asked in [false, true] {
        let mut room = Room::new(RINGS);
        if asked {
            room.asked("dev", 1);
        }
        room.input("dev").unknown_target = Some("moon".to_owned());
        let decision = room.decide();
        let dev = &decision.rings[0];
        assert_eq!((dev.phase, dev.target), (Phase::Waiting, None));
        assert!(dev.conditions[0].contains("`targets: {moon: {same_as: local-docker}}`"));
    }
}

#[test]
fn a_move_under_way_goes_on_when_its_pin_its_branch_or_its_gates_change() {
    let mut room = Room::new(&[("dev", ""), ("prod", "approval_required: true")]);
    for name in ["dev", "prod"] {
        room.runs(name, 1).moves(name, 2);
        assert_eq!(room.decide().ring(&ring(name)).unwrap().target, Some(rel(2)));
        room.asked(name, 2);
        let decision = room.decide();
        let seen = decision.ring(&ring(name)).unwrap();
        assert_eq!(seen.target, Some(rel(2)));
        assert_eq!(seen.moves[0].state, MoveState::Open, "{name}: it runs");
        room.input(name).tip = None;
        assert_eq!(room.decide().ring(&ring(name)).unwrap().target, Some(rel(2)));
    }
    // A newer one that has to wait does not stop it.
    room.asked("prod", 3);
    let decision = room.decide();
    let prod = decision.ring(&ring("prod")).unwrap();
    assert_eq!(
        (prod.target, prod.moves[0].state),
        (Some(rel(2)), MoveState::Waiting)
    );
    assert_eq!(prod.request, Some(commit(2)));
}

#[test]
fn a_newer_request_replaces_a_move_and_the_running_release_takes_it_back() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).moves("dev", 2).asked("dev", 3);
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(3)));
    assert_eq!(decision.rings[0].request, Some(commit(3)));
    room.asked("dev", 1);
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(1)));
    assert_eq!(decision.rings[0].request, Some(commit(1)));
    assert!(decision.rings[0].moves.is_empty());
}

#[test]
fn what_failed_and_went_back_is_not_tried_again() {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1).asked("dev", 2).has("dev", "acme", 1, "");
    room.file("dev", "acme", "");
    room.ring_facts("dev").quarantine.insert(rel(2), quarantine());
    room.ring_facts("dev").rolled_back = true;
    let decision = room.decide();
    let dev = &decision.rings[0];
    assert_eq!((dev.target, dev.phase), (Some(rel(1)), Phase::RolledBack));
    assert_eq!(dev.moves[0].state, MoveState::Quarantined);
    assert!(
        dev.moves[0]
            .gates
            .iter()
            .any(|g| g.evidence.contains("web is unhealthy"))
    );
    // Another release may come.
    room.asked("dev", 3);
    assert_eq!(room.decide().rings[0].target, Some(rel(3)));
    // A fourth one succeeded since: the first failure is still not forgotten.
    room.runs("dev", 4).asked("dev", 2).has("dev", "acme", 4, "");
    room.ring_facts("dev").rolled_back = false;
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(4)), "2 is quarantined");
    assert_eq!(decision.rings[0].phase, Phase::Waiting);
}

#[test]
fn without_a_rollback_the_ring_keeps_what_its_tenants_have() {
    let mut room = Room::new(&[("dev", "rollback_on_failure: false, auto_deploy: true")]);
    room.runs("dev", 1).asked("dev", 2).has("dev", "acme", 1, "");
    room.ring_facts("dev").quarantine.insert(rel(2), quarantine());
    room.facts.tenants.get_mut("acme").unwrap().asked = Some((rel(2), files_ref("acme", "dev", "")));
    let decision = room.decide();
    assert_eq!(
        (decision.rings[0].target, decision.rings[0].phase),
        (Some(rel(2)), Phase::Degraded)
    );
    // Also when nobody asks for it any more, or when the next one has to wait.
    room.input("dev").candidate = None;
    let decision = room.decide();
    assert_eq!(
        (decision.rings[0].target, decision.rings[0].phase),
        (Some(rel(2)), Phase::Degraded)
    );
    room.asked("dev", 3);
    room.input("dev").candidate.as_mut().unwrap().release = Err("no image".to_owned());
    assert_eq!(room.decide().rings[0].target, Some(rel(2)));
    room.asked("dev", 1);
    assert_eq!(
        room.decide().rings[0].target,
        Some(rel(1)),
        "a request takes it back"
    );
}

#[test]
fn rings_without_input_are_left_out_and_the_others_keep_their_order() {
    let mut room = Room::new(&[("dev", ""), ("test", ""), ("prod", "")]);
    room.rings.remove("test");
    let names: Vec<String> = room.decide().rings.iter().map(|r| r.name.to_string()).collect();
    assert_eq!(names, ["dev", "prod"]);
}
