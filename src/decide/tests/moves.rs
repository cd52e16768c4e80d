//! Which of a ring's moves runs, and what goes together.

use super::*;
use crate::decide::facts::{PartProof, Proof};
use crate::fleet::names::Owner;

const RINGS: &[(&str, &str)] = &[("dev", "auto_deploy: true")];

/// Ring dev runs 1 with one tenant, whose files may have changed.
fn room(more: &str) -> Room {
    let mut room = Room::new(RINGS);
    room.runs("dev", 1)
        .asked("dev", 1)
        .has("dev", "acme", 1, "")
        .file("dev", "acme", more);
    room
}

fn of(room: &Room) -> (Option<ReleaseId>, Option<FilesId>) {
    let decision = room.decide();
    let acme = &decision.tenants[&slug("acme")];
    (acme.release, acme.files.as_ref().map(|f| f.id))
}

#[allow(clippy::unnecessary_wraps)] // compared with the optional files of a decision
fn id(more: &str) -> Option<FilesId> {
    Some(files("acme", "dev", more).files)
}

#[test]
fn tenant_files_go_before_a_release() {
    let mut room = room("spirit: new");
    room.asked("dev", 2);
    assert_eq!(of(&room), (Some(rel(1)), id("spirit: new")));
    let decision = room.decide();
    let waits = decision.rings[0]
        .moves
        .iter()
        .find(|m| m.kind == MoveKind::Release)
        .unwrap();
    assert_eq!(waits.state, MoveState::Waiting);
    assert!(
        waits
            .gates
            .last()
            .unwrap()
            .evidence
            .contains("tenant files of acme go first")
    );
    // While they are under way too.
    room.facts.tenants.get_mut("acme").unwrap().asked =
        Some((rel(1), files_ref("acme", "dev", "spirit: new")));
    assert_eq!(of(&room), (Some(rel(1)), id("spirit: new")));
    // Those that failed hold nothing up.
    let failed = files_ref("acme", "dev", "spirit: new").id;
    room.facts
        .tenants
        .get_mut("acme")
        .unwrap()
        .quarantine
        .insert(failed, quarantine());
    assert_eq!(of(&room), (Some(rel(2)), id("")));
}

#[test]
fn files_wait_for_a_release_under_way_unless_it_waits_for_their_tenant() {
    let mut room = room("spirit: new");
    room.asked("dev", 2).moves("dev", 2);
    let part = |now| PartProof {
        now,
        why: None,
        healthy_ms: 0,
        was_healthy: false,
    };
    let acme = Owner::Tenant(slug("acme"));
    let with = |now| Proof {
        parts: BTreeMap::from([(acme.clone(), part(now)), (Owner::Fleet, part(Answer::Fail))]),
        ..Proof::default()
    };
    room.ring_facts("dev").proofs.insert(rel(2), with(Answer::Pass));
    assert_eq!(of(&room), (Some(rel(2)), id("")), "it runs already");
    room.ring_facts("dev").proofs.insert(rel(2), with(Answer::Fail));
    assert_eq!(
        of(&room),
        (Some(rel(2)), id("spirit: new")),
        "they may be what it needs"
    );
}

#[test]
fn what_is_being_observed_is_not_replaced_and_what_is_not_healthy_is() {
    let mut room = room("");
    room.asked("dev", 3).moves("dev", 2);
    let proof = |now| Proof {
        parts: BTreeMap::from([(
            Owner::Tenant(slug("acme")),
            PartProof {
                now,
                why: None,
                healthy_ms: 0,
                was_healthy: false,
            },
        )]),
        ..Proof::default()
    };
    for (now, to) in [(Answer::Pass, 2), (Answer::Unknown, 3), (Answer::Fail, 3)] {
        room.ring_facts("dev").proofs.insert(rel(2), proof(now));
        assert_eq!(of(&room).0, Some(rel(to)), "{now:?}");
    }
}

#[test]
fn one_commit_that_changed_both_moves_both() {
    let mut room = room("spirit: new");
    room.asked("dev", 2);
    room.input("dev").tenants.get_mut("acme").unwrap().asks.with = Some(release(2).content);
    // With the older release they would not go.
    let id1 = id("spirit: new").unwrap();
    room.input("dev").misfits.insert(
        (slug("acme"), id1, rel(1)),
        vec!["they came with a later base".to_owned()],
    );
    let decision = room.decide();
    let [both] = decision.rings[0].moves.as_slice() else {
        panic!("{:?}", decision.rings[0].moves);
    };
    let ten = |more| {
        files_of_ring(&BTreeMap::from([(
            slug("acme"),
            files("acme", "dev", more).files,
        )]))
    };
    assert_eq!(both.kind, MoveKind::Both);
    assert_eq!(both.from, Some(Moved::Both(rel(1), ten(""))));
    assert_eq!(both.to, Some(Moved::Both(rel(2), ten("spirit: new"))));
    assert_eq!(of(&room), (Some(rel(2)), id("spirit: new")));
}

#[test]
fn files_that_came_with_a_base_that_runs_already_go_alone() {
    let mut room = room("spirit: new");
    room.input("dev").tenants.get_mut("acme").unwrap().asks.with = Some(release(1).content);
    assert_eq!(of(&room), (Some(rel(1)), id("spirit: new")));
    assert_eq!(room.decide().rings[0].moves[0].kind, MoveKind::Tenants);
}

#[test]
fn a_tenant_that_names_what_only_the_next_release_has_goes_with_it_where_neither_goes_alone() {
    let mut room = room("spirit: new");
    room.asked("dev", 2);
    let new = id("spirit: new").unwrap();
    let lacks = || vec!["no spirit is called `new`".to_owned()];
    room.input("dev")
        .misfits
        .insert((slug("acme"), new, rel(1)), lacks());
    // The old files go with the new release: one after the other.
    assert_eq!(of(&room), (Some(rel(2)), id("")));
    // They do not: both at once.
    room.input("dev")
        .misfits
        .insert((slug("acme"), id("").unwrap(), rel(2)), lacks());
    assert_eq!(of(&room), (Some(rel(2)), id("spirit: new")));
    assert_eq!(room.decide().rings[0].moves[0].kind, MoveKind::Both);
}

#[test]
fn a_release_that_lacks_what_a_tenant_names_fails_its_release_gate() {
    let mut room = room("");
    room.asked("dev", 2);
    let old = id("").unwrap();
    room.input("dev").misfits.insert(
        (slug("acme"), old, rel(2)),
        vec!["no stack is called `x`".to_owned()],
    );
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(1)));
    let gate = &decision.rings[0].moves[0].gates[0];
    assert_eq!((gate.name.as_str(), gate.state), ("release", Answer::Fail));
    assert!(
        gate.evidence.contains("tenant acme: no stack is called `x`"),
        "{}",
        gate.evidence
    );
}

#[test]
fn a_promotion_that_waits_keeps_its_approval_when_a_tenant_is_added() {
    let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", "approval_required: true")]);
    room.proven("dev", 2).runs("prod", 1).asked("prod", 2);
    room.has("prod", "acme", 1, "").file("prod", "acme", "");
    let before = room.decide().ring(&ring("prod")).unwrap().moves[0].clone();
    room.file("prod", "newcomer", "");
    let decision = room.decide();
    let moves = &decision.ring(&ring("prod")).unwrap().moves;
    let after = moves.iter().find(|m| m.kind == MoveKind::Release).unwrap();
    assert_eq!(
        (before.from, before.to, &before.request),
        (after.from, after.to, &after.request)
    );
    assert!(
        moves
            .iter()
            .any(|m| m.kind == MoveKind::Tenants && m.state == MoveState::Waiting)
    );
}

#[test]
fn a_first_deployment_that_has_begun_takes_no_tenant_that_nobody_approved() {
    let mut room = Room::new(&[("prod", "approval_required: true")]);
    room.asked("prod", 1).file("prod", "acme", "");
    room.has("prod", "acme", 1, "");
    room.facts.tenants.get_mut("acme").unwrap().good = None;
    let begun = BTreeMap::from([(slug("acme"), files("acme", "prod", "").files)]);
    room.moves("prod", 1);
    let moving = room.ring_facts("prod").moving.as_mut().unwrap();
    moving.files = Some(files_of_ring(&begun));
    assert!(room.decide().tenants.contains_key("acme"));
    room.file("prod", "newcomer", "");
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(1)), "it goes on");
    assert!(decision.tenants.contains_key("acme"));
    assert!(
        !decision.tenants.contains_key("newcomer"),
        "{:?}",
        decision.rings[0].moves
    );
}

#[test]
fn files_that_go_along_with_a_rollback_pass_their_own_gates() {
    let mut room = Room::new(&[("dev", ""), ("prod", "approval_required: true")]);
    room.runs("prod", 2).asked("prod", 1);
    room.ring_facts("prod").previous = Some(rel(1));
    room.input("prod").candidate.as_mut().unwrap().pinned = true;
    room.has("prod", "acme", 2, "");
    let target = |room: &Room| room.decide().ring(&ring("prod")).unwrap().target;
    room.file("prod", "acme", "");
    assert_eq!(target(&room), Some(rel(1)), "the release alone goes back at once");
    // What runs does not fit the older release, and what is on the branch was approved by nobody.
    room.file("prod", "acme", "spirit: new");
    let lacks = vec!["no spirit is called so".to_owned()];
    let (old, new) = (
        files("acme", "prod", "").files,
        files("acme", "prod", "spirit: new").files,
    );
    room.input("prod")
        .misfits
        .insert((slug("acme"), old, rel(1)), lacks.clone());
    room.input("prod")
        .misfits
        .insert((slug("acme"), new, rel(2)), lacks);
    let decision = room.decide();
    let [both] = decision.ring(&ring("prod")).unwrap().moves.as_slice() else {
        panic!("{:?}", decision.rings);
    };
    assert_eq!((both.kind, both.state), (MoveKind::Both, MoveState::Waiting));
    let names: Vec<&str> = both.gates.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["release", "approval"]);
    assert_eq!(target(&room), Some(rel(2)));
}
