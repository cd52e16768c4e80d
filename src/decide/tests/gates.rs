//! Gates, one guard a test: each of them fails without what it guards.

use super::*;
use crate::decide::facts::{PartProof, Proof};
use crate::decide::records::{Held, Record};
use crate::fleet::decisions::{Approval, Binding, Hold, Verdict, WaivableGate, Waiver};
use crate::fleet::names::{Owner, PrincipalName};
use jiff::ToSpan as _;

pub(super) const PRINCIPALS: &str = "principals:
  ana: {kind: human, keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJtsolHqF/p/gHAisKxgg8jHvRBSU2vPWtIXhycB4o2S\"]}
  ben: {kind: human, keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAozERp7jl+0eW2KxvG09Ikbx/H3VD0DvgmcgYvHDbYT\"]}
  cho: {kind: human, keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIChNdKuzjAp4l/NX3+fRmUJPuTdhP5aYO6vHG1HT8663\"]}
  atlas: {kind: agent, keys: [\"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJtsolHqF/p/gHAisKxgg8jHvRBSU2vPWtIXhycB4o2SAAAABHNzaDo=\"]}
groups: {release: [ana, ben]}
owners: {members: [ana], required: 1}
";

/// Ring prod runs 1 and is asked for 2, which is proven in dev.
pub(super) fn asked_room(principals: Option<&str>, prod: &str) -> Room {
    let keys = if principals.is_some() { "" } else { prod };
    let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", keys)]);
    if let Some(principals) = principals {
        let tree = Tree::of_files([
            ("ringfence.yaml", "fleet: aither\n".to_owned()),
            (
                "rings/rings.yaml",
                format!(
                    "rings:\n  dev: {{id: 0, branch: b-dev, auto_deploy: true}}\n  prod: {{id: 1, branch: b-prod, {prod}}}\n"
                ),
            ),
            ("rings/principals.yaml", principals.to_owned()),
        ]);
        let read = crate::fleet::policy(&tree, "aither");
        room.policy = read.policy.unwrap_or_else(|| panic!("{:?}", read.findings));
    }
    room.proven("dev", 2).runs("prod", 1).asked("prod", 2);
    room
}

pub(super) fn signed(prod: &str) -> Room {
    asked_room(Some(PRINCIPALS), prod)
}

pub(super) fn person(name: &str) -> PrincipalName {
    name.parse().unwrap()
}

fn binding() -> Binding {
    Binding {
        ring: ring("prod"),
        request: commit(2),
        from: Some(Moved::Release(rel(1))),
        to: Moved::Release(rel(2)),
        policy: policy_id(1),
    }
}

/// An approval of exactly what prod is asked for, signed by whom its file names.
pub(super) fn approval(by: &str) -> Record<Approval> {
    Record {
        path: format!("rings/approvals/prod/{by}.yaml"),
        value: Approval {
            binding: binding(),
            principal: person(by),
            verdict: Verdict::Approve,
            reason: None,
            expires: None,
        },
        commit: commit(70),
        word: Digest::of("word", &by),
        seen: SATURDAY.parse().unwrap(),
        by: Ok(person(by)),
    }
}

impl Room {
    pub(super) fn approved(&mut self, by: &str, change: impl FnOnce(&mut Record<Approval>)) -> &mut Self {
        let mut record = approval(by);
        change(&mut record);
        self.records.approvals.push(record);
        self
    }

    /// The state of one of prod's gates, with its evidence, and whether prod goes.
    pub(super) fn gate(&self, name: &str) -> (Answer, String, bool) {
        let decision = self.decide();
        let prod = decision.ring(&ring("prod")).unwrap();
        let gate = prod.moves[0].gates.iter().find(|g| g.name == name);
        let gate = gate.unwrap_or_else(|| panic!("no gate {name}: {:?}", prod.moves[0].gates));
        (gate.state, gate.evidence.clone(), prod.target == Some(rel(2)))
    }

    pub(super) fn behind(&mut self) -> &mut Behind {
        &mut self.input("prod").candidate.as_mut().unwrap().behind
    }

    /// How dev does on a release.
    pub(super) fn proof(&mut self, n: u8) -> &mut Proof {
        self.ring_facts("dev").proofs.get_mut(&rel(n)).unwrap()
    }

    fn part(&mut self, n: u8) -> &mut PartProof {
        self.proof(n).parts.values_mut().next().unwrap()
    }
}

impl Room {
    /// A release runs healthy in a ring, with one tenant, through the longest soak.
    pub(super) fn proven(&mut self, name: &str, n: u8) -> &mut Self {
        self.runs(name, n);
        let part = PartProof {
            now: Answer::Pass,
            why: None,
            healthy_ms: u64::MAX / 2,
            was_healthy: true,
        };
        let proof = Proof {
            succeeded: Some(Timestamp::UNIX_EPOCH),
            healthy_ms: u64::MAX / 2,
            longest_ms: u64::MAX / 2,
            parts: BTreeMap::from([(Owner::Tenant(slug("lab-one")), part)]),
            ..Proof::default()
        };
        self.ring_facts(name).proofs.insert(rel(n), proof);
        self
    }
}

#[test]
fn one_word_of_another_person_lets_a_release_go() {
    let mut room = signed("approval_required: true");
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(
        evidence.contains("0 of 1; may approve: ana, ben, cho"),
        "{evidence}"
    );
    room.approved("ben", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!(
        (state, evidence.as_str(), goes),
        (Answer::Pass, "1 of 1: ben", true)
    );
    let decision = room.decide();
    assert_eq!(
        decision.rings[1].moves[0].words,
        BTreeSet::from([approval("ben").word])
    );
}

#[test]
fn an_approval_of_anything_else_does_not_count() {
    type Change = fn(&mut Binding);
    let cases: &[(&str, Change)] = &[
        ("something else than what is asked for", |b| {
            b.to = Moved::Release(rel(3));
        }),
        ("something else runs now", |b| {
            b.from = Some(Moved::Release(rel(4)));
        }),
        ("something else runs now", |b| b.from = None),
        ("the policy has changed", |b| b.policy = policy_id(2)),
        ("an earlier request", |b| b.request = commit(9)),
    ];
    for (why, change) in cases {
        let mut room = signed("approval_required: true");
        room.approved("ben", |r| change(&mut r.value.binding));
        let (state, evidence, goes) = room.gate("approval");
        assert_eq!((state, goes), (Answer::Unknown, false), "{why}");
        assert!(evidence.contains(why), "{evidence}");
    }
    // Of another ring it is not even worth a word.
    let mut room = signed("approval_required: true");
    room.approved("ben", |r| r.value.binding.ring = ring("dev"));
    let (state, evidence, _) = room.gate("approval");
    assert_eq!(state, Answer::Unknown);
    assert!(!evidence.contains("not counted"), "{evidence}");
}

#[test]
fn a_word_that_has_let_a_move_start_lets_no_other_start() {
    let mut room = signed("approval_required: true");
    room.approved("ben", |_| ());
    room.facts.spent.insert(approval("ben").word);
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(evidence.contains("counts once"), "{evidence}");
}

#[test]
fn who_asks_for_a_move_does_not_approve_it() {
    let mut room = signed("approval_required: true");
    room.behind().requesters.insert(person("ben"));
    room.approved("ben", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(evidence.contains("ben: asked for it"), "{evidence}");
    assert!(evidence.ends_with("may approve: ana, cho"), "{evidence}");
    let mut room = signed("approvals: {required: 1, allow_self: true}");
    room.behind().requesters.insert(person("ben"));
    room.approved("ben", |_| ());
    assert!(room.gate("approval").2, "policy lifts it");
}

#[test]
fn who_wrote_what_changes_does_not_approve_it_where_policy_says_so() {
    for (authors, goes) in [
        (None, true),
        (Some(Ok(BTreeSet::new())), true),
        (Some(Ok(BTreeSet::from([person("ben")]))), false),
        (Some(Err("its history is shallow".to_owned())), false),
    ] {
        let mut room = signed("approvals: {exclude: [requester, authors]}");
        room.behind().authors.clone_from(&authors);
        room.approved("ben", |_| ());
        assert_eq!(room.gate("approval").2, goes, "{authors:?}");
    }
}

#[test]
fn an_agents_approval_counts_for_nothing() {
    let mut room = signed("approval_required: true");
    room.approved("atlas", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(
        evidence.contains("atlas: only a human's word counts"),
        "{evidence}"
    );
}

#[test]
fn a_word_that_is_nobodys_counts_for_nothing() {
    let mut room = signed("approval_required: true");
    room.approved("ben", |r| r.by = Err("it is not signed".to_owned()));
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(evidence.contains("ben: it is not signed"), "{evidence}");
}

#[test]
fn only_those_whom_the_ring_asks_count() {
    let mut room = signed("approvals: {from: [release]}");
    room.approved("cho", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(
        evidence.contains("cho: not among those whom the ring asks"),
        "{evidence}"
    );
}

#[test]
fn an_approval_ends_when_policy_or_its_own_words_say_and_not_before() {
    for (policy, own, hours, goes) in [
        ("approval_required: true", None, 23, true),
        ("approval_required: true", None, 24, false),
        ("approvals: {expires: 2h}", None, 1, true),
        ("approvals: {expires: 2h}", None, 2, false),
        ("approval_required: true", Some(3), 2, true),
        ("approval_required: true", Some(3), 3, false),
        // Its own words make it no longer than policy does.
        ("approvals: {expires: 2h}", Some(3), 2, false),
    ] {
        let mut room = signed(policy);
        let begin = room.now;
        room.approved("ben", |r| r.value.expires = own.map(|h| begin + h.hours()));
        room.now = begin + hours.hours();
        let (state, evidence, went) = room.gate("approval");
        assert_eq!(went, goes, "{policy} {own:?} {hours}: {state:?} {evidence}");
    }
}

#[test]
fn two_words_of_one_person_are_one_and_two_people_are_two() {
    let mut room = signed("approvals: {required: 2}");
    room.approved("ben", |_| ())
        .approved("ben", |r| r.word = Digest::of("word", &"again"));
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Unknown, false));
    assert!(evidence.starts_with("1 of 2: ben"), "{evidence}");
    room.approved("cho", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!(
        (state, evidence.as_str(), goes),
        (Answer::Pass, "2 of 2: ben, cho", true)
    );
}

#[test]
fn a_rejection_outweighs_every_approval() {
    let mut room = signed("approval_required: true");
    room.approved("ben", |_| ())
        .approved("cho", |r| r.value.verdict = Verdict::Reject);
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!(
        (state, evidence.as_str(), goes),
        (Answer::Fail, "rejected by cho", false)
    );
    // Of whoever asks for it too: it is their own move that they stop.
    let mut room = signed("approval_required: true");
    room.behind().requesters.insert(person("cho"));
    room.approved("ben", |_| ())
        .approved("cho", |r| r.value.verdict = Verdict::Reject);
    assert_eq!(room.gate("approval").0, Answer::Fail);
}

#[test]
fn it_is_said_when_nobody_is_left_who_may_approve() {
    let mut room = signed("approvals: {required: 2, from: [release]}");
    room.behind().requesters.insert(person("ben"));
    let (state, evidence, _) = room.gate("approval");
    assert_eq!(state, Answer::Unknown);
    assert!(
        evidence.contains("nobody is left who may approve: ana may, 2 are asked for"),
        "{evidence}"
    );
}

#[test]
fn without_keys_one_person_approves_alone_and_every_answer_says_so() {
    let mut room = asked_room(None, "approval_required: true");
    assert!(
        room.gate("approval")
            .1
            .contains("`ringfence approve prod` says yes")
    );
    room.approved("solo", |_| ());
    let (state, evidence, goes) = room.gate("approval");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert!(evidence.contains("self-approved"), "{evidence}");
    // The same bounds: another move, a word that was used.
    room.facts.spent.insert(approval("solo").word);
    assert!(!room.gate("approval").2);
}

#[test]
fn an_approval_never_lets_a_failed_gate_pass() {
    let mut room = signed("approval_required: true");
    room.approved("ben", |_| ());
    room.part(2).now = Answer::Fail;
    assert_eq!(room.gate("approval").0, Answer::Pass);
    let (state, _, goes) = room.gate("health");
    assert_eq!((state, goes), (Answer::Fail, false));
}

#[test]
fn a_release_that_was_never_healthy_in_the_ring_before_does_not_pass() {
    let mut room = asked_room(None, "");
    assert_eq!(room.gate("lineage").0, Answer::Pass);
    room.runs("dev", 1);
    room.proof(2).succeeded = None;
    let (state, evidence, goes) = room.gate("lineage");
    assert_eq!((state, goes), (Answer::Fail, false), "{evidence}");
    room.moves("dev", 2);
    assert_eq!(room.gate("lineage").0, Answer::Unknown, "it is on its way");
}

#[test]
fn what_did_well_until_it_was_displaced_passes_and_what_was_sick_does_not() {
    let mut room = asked_room(None, "");
    room.runs("dev", 3);
    let begin = room.now;
    room.proof(2).displaced = Some(begin);
    let (state, evidence, goes) = room.gate("health");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert!(evidence.contains("when it was displaced"), "{evidence}");
    room.part(2).now = Answer::Fail;
    assert_eq!(room.gate("health").0, Answer::Fail);
}

#[test]
fn the_evidence_says_what_another_ring_provides_and_has_not_run_with_the_release() {
    let mut room = asked_room(None, "");
    let elsewhere = BTreeMap::from([("redis".to_owned(), ring("prod"))]);
    room.input("dev").elsewhere.insert(rel(2), elsewhere);
    let (state, evidence, _) = room.gate("health");
    let says = evidence.ends_with("; redis: provided by prod, this release's redis has not run yet");
    assert!(state == Answer::Pass && says, "{evidence}");
}

#[test]
fn health_that_nobody_knows_of_does_not_pass() {
    let mut room = asked_room(None, "");
    room.part(2).now = Answer::Unknown;
    assert_eq!(room.gate("health").0, Answer::Unknown);
    room.proof(2).parts.clear();
    assert_eq!(room.gate("health").0, Answer::Unknown, "no tenants");
    room.ring_facts("dev").proofs.clear();
    let (state, _, goes) = room.gate("health");
    assert_eq!((state, goes), (Answer::Unknown, false), "not watched yet");
}

#[test]
fn a_tenant_that_was_sick_before_is_no_evidence_but_one_that_got_well_is() {
    let mut room = asked_room(None, "");
    let lab = Owner::Tenant(slug("lab-one"));
    let other = Owner::Tenant(slug("lab-two"));
    let well = room.part(2).clone();
    let sick = PartProof {
        now: Answer::Fail,
        was_healthy: false,
        ..well.clone()
    };
    room.proof(2).parts = BTreeMap::from([(lab.clone(), sick.clone()), (other.clone(), well)]);
    assert_eq!(
        room.gate("health").0,
        Answer::Fail,
        "nothing says that it was sick before"
    );
    // It was sick in dev on what prod runs now.
    let before = Proof {
        parts: BTreeMap::from([(lab.clone(), sick.clone())]),
        ..Proof::default()
    };
    room.ring_facts("dev").proofs.insert(rel(1), before);
    let (state, evidence, goes) = room.gate("health");
    assert_eq!((state, goes), (Answer::Pass, true), "{evidence}");
    assert!(evidence.contains("already sick before: lab-one"), "{evidence}");
    // One that never gets as far as to serve is no evidence either.
    room.proof(2).parts.get_mut(&lab).unwrap().now = Answer::Unknown;
    assert_eq!(room.gate("health").0, Answer::Pass);
    room.proof(2).parts.get_mut(&lab).unwrap().now = Answer::Fail;
    // Once it was healthy on the new one, it is evidence.
    room.proof(2).parts.get_mut(&lab).unwrap().was_healthy = true;
    assert_eq!(room.gate("health").0, Answer::Fail);
    // If no tenant is left the answer is unknown.
    room.proof(2).parts = BTreeMap::from([(lab, sick)]);
    assert_eq!(room.gate("health").0, Answer::Unknown);
}

#[test]
fn a_soak_is_earned_by_its_longest_stretch_and_cut_short_by_another_release() {
    let mut room = asked_room(None, "soak: 1h");
    room.proof(2).healthy_ms = 40 * 60_000;
    room.proof(2).longest_ms = 40 * 60_000;
    room.proof(2).as_of = Some(room.now - 5.minutes());
    let decision = room.decide();
    let gates = &decision.rings[1].moves[0].gates;
    let soak = gates.iter().find(|g| g.name == "soak").unwrap();
    assert_eq!(
        (soak.state, soak.evidence.as_str()),
        (Answer::Unknown, "40m of 1h healthy in ring dev")
    );
    // Counted from the last look, not from now.
    assert_eq!(soak.until, Some(room.now + 15.minutes()), "its own end is known");
    // Nobody knows when what is sick will have earned it.
    room.part(2).now = Answer::Fail;
    let decision = room.decide();
    assert!(decision.rings[1].moves[0].gates.iter().all(|g| g.until.is_none()));
    room.part(2).now = Answer::Pass;
    room.proof(2).longest_ms = 3_600_000;
    assert!(room.gate("soak").2, "earned before a restart");
    room.runs("dev", 3);
    room.proof(2).displaced = Some(SATURDAY.parse().unwrap());
    assert!(room.gate("soak").2, "and kept after another release came");
    room.proof(2).longest_ms = 3_599_999;
    let (state, _, goes) = room.gate("soak");
    assert_eq!((state, goes), (Answer::Fail, false));
}

/// An owner's waiver of prod's soak.
pub(super) fn waiver(by: &str) -> Record<Waiver> {
    Record {
        path: String::new(),
        value: Waiver {
            binding: binding(),
            principal: person(by),
            gate: WaivableGate::Soak,
            reason: "a hole is open".parse().unwrap(),
            expires: None,
        },
        commit: commit(71),
        word: Digest::of("waiver", &by),
        seen: SATURDAY.parse().unwrap(),
        by: Ok(person(by)),
    }
}

#[test]
fn an_owner_waives_a_soak_and_nobody_else_does() {
    let soaking = || {
        let mut room = signed("soak: 1h");
        room.proof(2).healthy_ms = 0;
        room.proof(2).longest_ms = 0;
        room
    };
    let mut room = soaking();
    room.records.waivers.push(waiver("ben"));
    assert!(!room.gate("soak").2, "ben is no owner");
    room.records.waivers.push(waiver("ana"));
    let (state, evidence, goes) = room.gate("soak");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert!(
        evidence.starts_with("waived by ana: a hole is open"),
        "{evidence}"
    );
    assert_eq!(
        room.decide().rings[1].moves[0].words,
        BTreeSet::from([waiver("ana").word])
    );
    room.facts.spent.insert(waiver("ana").word);
    assert!(!room.gate("soak").2, "it counts once");
    let cases: &[fn(&mut Record<Waiver>)] = &[
        |w| w.value.binding.to = Moved::Release(rel(3)),
        |w| w.value.binding.policy = policy_id(2),
        |w| w.value.gate = WaivableGate::Lineage,
        |w| w.seen = "2026-11-20T11:59:59Z".parse().unwrap(),
        |w| w.by = Err("it is not signed".to_owned()),
    ];
    for change in cases {
        let mut room = soaking();
        let mut record = waiver("ana");
        change(&mut record);
        room.records.waivers.push(record);
        assert!(!room.gate("soak").2);
    }
}

#[test]
fn lineage_is_waived_only_in_a_ring_without_history() {
    for fresh in [true, false] {
        let mut room = asked_room(None, "");
        room.ring_facts("dev").proofs.clear();
        room.ring_facts("dev").running = None;
        if fresh {
            room.ring_facts("prod").running = None;
        }
        let mut bound = binding();
        bound.from = (!fresh).then_some(Moved::Release(rel(1)));
        bound.to = if fresh {
            Moved::Both(rel(2), files_of_ring(&BTreeMap::new()))
        } else {
            bound.to
        };
        room.records.waivers.push(Record {
            path: String::new(),
            value: Waiver {
                binding: bound,
                principal: person("solo"),
                gate: WaivableGate::Lineage,
                reason: "dev burnt down".parse().unwrap(),
                expires: None,
            },
            commit: commit(71),
            word: Digest::of("waiver", &1),
            seen: room.now,
            by: Ok(person("solo")),
        });
        let state = room.gate("lineage").0;
        assert_eq!(state, if fresh { Answer::Pass } else { Answer::Fail });
    }
}

#[test]
fn a_window_is_closed_by_every_deny_and_open_in_any_allow() {
    let deny = "windows: [{deny: \"Fri 15:00..Mon 08:00\", tz: Europe/Berlin}]";
    let hours = "windows: [{allow: \"09:00..17:00\"}, {allow: \"22:00..02:00\"}]";
    for (policy, at, open, until) in [
        // 15:00 in Berlin is 14:00 UTC in winter and 13:00 in summer.
        (deny, "2026-11-20T13:59:59Z", true, "2026-11-20T14:00:00Z"),
        (deny, "2026-11-20T14:00:00Z", false, "2026-11-23T07:00:00Z"),
        (deny, "2026-11-23T07:00:00Z", true, "2026-11-27T14:00:00Z"),
        (deny, "2026-07-24T13:00:00Z", false, "2026-07-27T06:00:00Z"),
        // The clock is set in the night to Sunday.
        (deny, "2026-10-24T12:00:00Z", false, "2026-10-26T07:00:00Z"),
        (hours, "2026-11-20T08:59:59Z", false, "2026-11-20T09:00:00Z"),
        (hours, "2026-11-20T16:59:59Z", true, "2026-11-20T17:00:00Z"),
        (hours, "2026-11-20T23:30:00Z", true, "2026-11-21T02:00:00Z"),
        (hours, "2026-11-20T01:59:59Z", true, "2026-11-20T02:00:00Z"),
        (hours, "2026-11-20T02:00:00Z", false, "2026-11-20T09:00:00Z"),
    ] {
        let mut room = asked_room(None, policy);
        room.now = at.parse().unwrap();
        let (state, evidence, goes) = room.gate("window");
        assert_eq!(state == Answer::Pass, open, "{at} {policy}: {evidence}");
        assert_eq!(goes, open);
        let decision = room.decide();
        let gate = decision.rings[1].moves[0]
            .gates
            .iter()
            .find(|g| g.name == "window")
            .unwrap();
        assert_eq!(gate.until, Some(until.parse().unwrap()), "{at} {policy}");
    }
}

#[test]
fn a_hold_keeps_a_ring_as_it_is_and_ends_by_itself() {
    let hold = |until: &str| Held {
        hold: Ok(Hold {
            reason: "the fair".parse().unwrap(),
            until: until.parse().unwrap(),
        }),
        by: Ok(person("ana")),
    };
    let mut room = asked_room(None, "");
    room.has("prod", "acme", 1, "")
        .file("prod", "acme", "spirit: new");
    room.records
        .held_rings
        .insert(ring("prod"), hold("2026-11-21T13:00:00Z"));
    let decision = room.decide();
    let prod = &decision.rings[1];
    assert_eq!(
        (prod.target, prod.phase, prod.held),
        (Some(rel(1)), Phase::Held, true)
    );
    assert!(
        prod.conditions[0].contains("held by ana until 2026-11-21T13:00:00Z: the fair"),
        "{prod:?}"
    );
    let acme = &decision.tenants[&slug("acme")];
    assert!(acme.held);
    assert_eq!(acme.files.as_ref().unwrap().id, files("acme", "prod", "").files);
    room.now = "2026-11-21T13:00:00Z".parse().unwrap();
    let decision = room.decide();
    assert!(!decision.rings[1].held && !decision.tenants[&slug("acme")].held);
    assert_eq!(
        decision.tenants[&slug("acme")].files.as_ref().unwrap().id,
        files("acme", "prod", "spirit: new").files
    );
    // One that cannot be read holds until it is mended.
    let unreadable = Held {
        hold: Err("rings/holds/prod.yaml:1:1: no map".to_owned()),
        by: Err("it is not signed".to_owned()),
    };
    room.records.held_rings.insert(ring("prod"), unreadable);
    assert!(room.decide().rings[1].held);
}

#[test]
fn a_held_tenant_stays_behind_and_holds_nobody_up() {
    let mut room = asked_room(None, "");
    room.has("prod", "acme", 1, "")
        .file("prod", "acme", "spirit: new");
    room.has("prod", "bell", 1, "").file("prod", "bell", "");
    let until: Timestamp = "2026-11-21T13:00:00Z".parse().unwrap();
    let pause = Hold {
        reason: "a demo".parse().unwrap(),
        until,
    };
    let held = Held {
        hold: Ok(pause),
        by: Ok(person("ana")),
    };
    room.records.held_tenants.insert(slug("acme"), held);
    let decision = room.decide();
    assert_eq!(decision.rings[1].target, Some(rel(2)));
    assert_eq!(decision.tenants[&slug("acme")].release, Some(rel(1)));
    assert!(decision.tenants[&slug("acme")].held);
    assert_eq!(decision.tenants[&slug("bell")].release, Some(rel(2)));
}

#[test]
fn a_pin_that_names_the_last_healthy_release_needs_no_proof_and_no_word() {
    let mut room = signed("approval_required: true, soak: 1d");
    room.ring_facts("prod").previous = Some(rel(2));
    room.ring_facts("dev").proofs.clear();
    room.runs("dev", 3);
    assert_ne!(
        room.decide().rings[1].target,
        Some(rel(2)),
        "only a pin goes back"
    );
    room.input("prod").candidate.as_mut().unwrap().pinned = true;
    let decision = room.decide();
    assert_eq!(decision.rings[1].target, Some(rel(2)));
    assert_eq!(decision.rings[1].moves[0].gates.len(), 1);
    // An older one needs all of it.
    room.ring_facts("prod").previous = Some(rel(4));
    assert_eq!(room.decide().rings[1].target, Some(rel(1)));
}

#[test]
fn what_failed_is_tried_again_only_when_a_new_pin_asks_for_it() {
    let mut room = asked_room(None, "");
    let failed = Quarantine {
        request: commit(2),
        ..quarantine()
    };
    room.ring_facts("prod").quarantine.insert(rel(2), failed);
    room.ring_facts("prod").rolled_back = true;
    for (pinned, request, again) in [(true, 2, false), (false, 3, false), (true, 3, true)] {
        let candidate = room.input("prod").candidate.as_mut().unwrap();
        (candidate.pinned, candidate.request) = (pinned, commit(request));
        let target = room.decide().rings[1].target;
        assert_eq!(target, Some(rel(if again { 2 } else { 1 })), "{pinned} {request}");
    }
}
