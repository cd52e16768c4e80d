//! What is said of words on record, to the letter: found by mutants that no other test noticed.

use super::gates::{PRINCIPALS, approval, asked_room, person, signed, waiver};
use super::*;
use jiff::ToSpan as _;

#[test]
fn of_two_words_of_one_person_the_longer_counts_and_of_equal_ones_the_first() {
    let mut room = signed("approval_required: true");
    let begin = room.now;
    for (hours, word) in [(2, "short"), (3, "long"), (1, "shorter"), (3, "as long")] {
        room.approved("ben", |r| {
            r.value.expires = Some(begin + hours.hours());
            r.word = Digest::of("word", &word);
        });
    }
    let decision = room.decide();
    let asked = &decision.rings[1].moves[0];
    assert_eq!(asked.words, BTreeSet::from([Digest::of("word", &"long")]));
    let gate = asked.gates.iter().find(|g| g.name == "approval").unwrap();
    assert_eq!(gate.until, Some(begin + 3.hours()));
}

#[test]
fn who_may_still_approve_is_named_and_who_did_or_cannot_sign_is_not() {
    let mut room = signed("approvals: {required: 2}");
    room.approved("ben", |_| ());
    let (_, evidence, _) = room.gate("approval");
    assert_eq!(evidence, "1 of 2: ben; may approve: ana, cho");
    // As many as are asked for are enough.
    let room = signed("approvals: {required: 2, from: [release]}");
    let (_, evidence, _) = room.gate("approval");
    assert_eq!(evidence, "0 of 2; may approve: ana, ben");
    let keyless = PRINCIPALS.replace("groups:", "  dan: {kind: human}\ngroups:");
    let room = asked_room(Some(&keyless), "approval_required: true");
    let (_, evidence, _) = room.gate("approval");
    assert_eq!(evidence, "0 of 1; may approve: ana, ben, cho");
}

#[test]
fn a_waiver_ends_at_its_end() {
    for (hours, goes) in [(23, true), (24, false)] {
        let mut room = signed("soak: 1h");
        room.ring_facts("dev").proofs.get_mut(&rel(2)).unwrap().longest_ms = 0;
        let mut record = waiver("ana");
        record.seen = room.now;
        room.records.waivers.push(record);
        room.now += hours.hours();
        assert_eq!(room.gate("soak").2, goes, "{hours}");
    }
    // One principal's word, by whom it is signed.
    assert_eq!(waiver("ana").by, Ok(person("ana")));
    assert_eq!(approval("ben").by, Ok(person("ben")));
}

#[test]
fn a_gate_that_is_not_declared_is_not_there() {
    let room = signed("");
    let decision = room.decide();
    let gates = &decision.rings[1].moves[0].gates;
    let names: Vec<&str> = gates.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["release", "lineage", "health"]);
    assert_eq!(room.gate("health").1, "1 of 1 healthy in ring dev");
}

#[test]
fn what_a_check_said_counts_for_its_release_only_and_all_must_pass() {
    let said = |n, answer| Checked {
        release: rel(n),
        answer,
        evidence: format!("{answer:?}"),
    };
    let (web, db) = ("http://web:80/", "tcp db:1");
    let cases = [
        (
            [None, None],
            Answer::Unknown,
            "not asked yet; tcp db:1: not asked yet",
        ),
        (
            [Some(said(2, Answer::Pass)), None],
            Answer::Unknown,
            "Pass; tcp db:1: not asked yet",
        ),
        (
            [Some(said(2, Answer::Pass)), Some(said(3, Answer::Pass))],
            Answer::Unknown,
            "Pass; tcp db:1: not asked yet",
        ),
        (
            [Some(said(2, Answer::Pass)), Some(said(2, Answer::Pass))],
            Answer::Pass,
            "Pass; tcp db:1: Pass",
        ),
        (
            [Some(said(2, Answer::Fail)), Some(said(2, Answer::Unknown))],
            Answer::Fail,
            "Fail; tcp db:1: Unknown",
        ),
        (
            [Some(said(2, Answer::Unknown)), Some(said(2, Answer::Fail))],
            Answer::Fail,
            "Unknown; tcp db:1: Fail",
        ),
        (
            [Some(said(2, Answer::Fail)), Some(said(2, Answer::Pass))],
            Answer::Fail,
            "Fail; tcp db:1: Pass",
        ),
    ];
    for (answers, state, evidence) in cases {
        let mut room = asked_room(None, "checks: [{http: \"http://web/\"}, {tcp: \"db:1\"}]");
        for (name, answer) in [web, db].into_iter().zip(answers) {
            if let Some(answer) = answer {
                room.input("prod").checks.insert(name.to_owned(), answer);
            }
        }
        let got = room.gate("checks");
        assert_eq!(got, (state, format!("{web}: {evidence}"), state == Answer::Pass));
    }
}

#[test]
fn times_are_told_in_their_two_largest_units() {
    for (ms, soak, text) in [
        (0, "1h", "0s of 1h"),
        (1, "2s", "1ms of 2s"),
        (999, "2s", "999ms of 2s"),
        (1000, "2s", "1s of 2s"),
        (61_000, "1h", "1m 1s of 1h"),
        (3_600_000, "26h", "1h of 1d 2h"),
        (90_061_000, "240h", "1d 1h of 10d"),
        (86_460_000, "240h", "1d of 10d"),
    ] {
        let mut room = asked_room(None, &format!("soak: {soak}"));
        let proof = room.ring_facts("dev").proofs.get_mut(&rel(2)).unwrap();
        (proof.healthy_ms, proof.longest_ms) = (ms, ms);
        assert_eq!(room.gate("soak").1, format!("{text} healthy in ring dev"));
    }
}

#[test]
fn the_health_gate_names_who_is_not_healthy_and_who_is_not_known() {
    use crate::decide::facts::PartProof;
    use crate::fleet::names::Owner;
    let part = |now, why: Option<&str>| PartProof {
        now,
        why: why.map(str::to_owned),
        healthy_ms: 0,
        was_healthy: true,
    };
    let owner = |name: &str| Owner::Tenant(slug(name));
    let mut room = asked_room(None, "");
    let parts = [
        (owner("ada-one"), part(Answer::Fail, Some("web was restarted"))),
        (owner("bob-two"), part(Answer::Unknown, None)),
        (owner("cy-three"), part(Answer::Pass, None)),
    ];
    room.ring_facts("dev").proofs.get_mut(&rel(2)).unwrap().parts = parts.into_iter().collect();
    assert_eq!(
        room.gate("health").1,
        "1 of 3 healthy in ring dev; not healthy: ada-one (web was restarted); unknown: bob-two"
    );
}

#[test]
fn a_window_keeps_to_its_minutes() {
    let windows = "windows: [{allow: \"09:30..17:45\"}]";
    for (at, open) in [
        ("2026-11-20T09:29:59Z", false),
        ("2026-11-20T09:30:00Z", true),
        ("2026-11-20T17:44:59Z", true),
        ("2026-11-20T17:45:00Z", false),
    ] {
        let mut room = asked_room(None, windows);
        room.now = at.parse().unwrap();
        assert_eq!(room.gate("window").2, open, "{at}");
    }
}

#[test]
fn the_next_opening_is_known_though_the_clock_is_set() {
    // In the night to 25 October 03:00 becomes 02:00 in Berlin, and to 29 March 02:00 becomes 03:00.
    let windows = "windows: [{allow: \"02:30..03:30\", tz: Europe/Berlin}]";
    for (at, open, until) in [
        ("2026-10-25T00:10:00Z", false, "2026-10-25T00:30:00Z"),
        ("2026-10-25T00:30:00Z", true, "2026-10-25T01:00:00Z"),
        ("2026-10-25T01:10:00Z", false, "2026-10-25T01:30:00Z"),
        ("2026-10-25T01:30:00Z", true, "2026-10-25T02:30:00Z"),
        ("2026-03-29T00:10:00Z", false, "2026-03-29T01:00:00Z"),
        ("2026-03-29T01:00:00Z", true, "2026-03-29T01:30:00Z"),
        ("2026-03-29T01:30:00Z", false, "2026-03-30T00:30:00Z"),
    ] {
        let mut room = asked_room(None, windows);
        room.now = at.parse().unwrap();
        let decision = room.decide();
        let gates = &decision.rings[1].moves[0].gates;
        let gate = gates.iter().find(|g| g.name == "window").unwrap();
        let is_open = gate.state == Answer::Pass;
        assert_eq!(
            (is_open, gate.until),
            (open, Some(until.parse().unwrap())),
            "{at}"
        );
    }
}

#[test]
fn who_stands_behind_two_things_stands_behind_both() {
    let behind = |name: &str, unsigned: &[&str]| Behind {
        requesters: BTreeSet::from([person(name)]),
        unsigned: unsigned.iter().map(ToString::to_string).collect(),
        authors: Some(Ok(BTreeSet::from([person(name)]))),
    };
    let mut both = behind("ana", &["1 is not signed", "2 is not signed"]);
    both.join(&behind("ben", &["2 is not signed", "3 is not signed"]));
    let people = BTreeSet::from([person("ana"), person("ben")]);
    assert_eq!(both.requesters, people);
    assert_eq!(
        both.unsigned,
        ["1 is not signed", "2 is not signed", "3 is not signed"]
    );
    assert_eq!(both.authors, Some(Ok(people)));
    let lost = Behind {
        authors: Some(Err("its history is shallow".to_owned())),
        ..Behind::default()
    };
    both.join(&lost);
    assert_eq!(both.authors, lost.authors, "who cannot be known is not nobody");
    both.join(&behind("cho", &[]));
    assert_eq!(both.authors, lost.authors);
    let mut none = Behind::default();
    none.join(&behind("cho", &[]));
    assert_eq!(none.authors, Some(Ok(BTreeSet::from([person("cho")]))));
}

#[test]
fn a_ring_waits_while_a_change_of_files_does_and_is_no_less_degraded_for_it() {
    let mut room = signed("approval_required: true");
    room.runs("prod", 2)
        .has("prod", "acme", 2, "")
        .file("prod", "acme", "");
    let phase = |room: &Room| room.decide().ring(&ring("prod")).unwrap().phase;
    assert_eq!(phase(&room), Phase::Synced);
    room.file("prod", "acme", "spirit: new");
    assert_eq!(phase(&room), Phase::Waiting);
    room.ring_facts("prod").quarantine.insert(rel(2), quarantine());
    assert_eq!(phase(&room), Phase::Degraded);
    // What may run waits for nothing.
    let mut free = signed("tenant_changes: free");
    free.runs("prod", 2)
        .has("prod", "acme", 2, "")
        .file("prod", "acme", "spirit: new");
    assert_eq!(phase(&free), Phase::Synced);
}

#[test]
fn nothing_is_pruned_while_anything_of_a_ring_cannot_be_read() {
    type Change = fn(&mut RingInput);
    let cases: &[(Change, bool)] = &[
        (|_| (), false),
        (|i| i.unread = true, true),
        (|i| i.tip = None, true),
        (|i| i.tenant_errors.push("acme.yaml:1:1: bad".to_owned()), true),
    ];
    for (change, stays) in cases {
        let mut room = signed("");
        change(room.input("prod"));
        assert_eq!(room.decide().ring(&ring("prod")).unwrap().no_prune, *stays);
    }
}

#[test]
fn a_ring_whose_branch_is_gone_waits_for_it_though_its_release_goes_on() {
    let mut room = signed("");
    assert_eq!(room.decide().rings[1].phase, Phase::Synced);
    room.input("prod").tip = None;
    let decision = room.decide();
    let prod = &decision.rings[1];
    assert_eq!((prod.target, prod.phase), (Some(rel(2)), Phase::Waiting));
    assert_eq!(prod.moves[0].state, MoveState::Open);
}

/// prod moves to 2 with files, which acme was asked for.
fn both_begun(begun: Option<&str>, asked: &str) -> Room {
    let mut room = signed("approval_required: true");
    room.has("prod", "acme", 1, "")
        .file("prod", "acme", "spirit: new");
    let with = Some(release(2).content);
    room.input("prod").tenants.get_mut("acme").unwrap().asks.with = with;
    room.facts.tenants.get_mut("acme").unwrap().asked = Some((rel(2), files_ref("acme", "prod", asked)));
    room.moves("prod", 2);
    let ten = |more| {
        files_of_ring(&BTreeMap::from([(
            slug("acme"),
            files("acme", "prod", more).files,
        )]))
    };
    room.ring_facts("prod").moving.as_mut().unwrap().files = begun.map(ten);
    room
}

#[test]
fn what_has_begun_goes_on_whether_its_files_were_taken_already_or_not() {
    for (begun, asked, goes) in [
        (Some("spirit: new"), "spirit: new", true),
        (Some("spirit: new"), "", true),
        (None, "", true),
        (Some("spirit: other"), "", false),
    ] {
        let decision = both_begun(begun, asked).decide();
        let moves = &decision.rings[1].moves;
        let release = moves.iter().find(|m| m.kind != MoveKind::Tenants).unwrap();
        assert_eq!(
            release.state == MoveState::Open,
            goes,
            "{begun:?} {asked}: {moves:?}"
        );
    }
}

#[test]
fn files_under_way_hold_up_neither_a_first_deployment_nor_the_fix_of_a_rollout() {
    let mut room = Room::new(&[("dev", "auto_deploy: true")]);
    room.asked("dev", 1)
        .has("dev", "acme", 1, "")
        .file("dev", "acme", "");
    room.facts.tenants.get_mut("acme").unwrap().good = None;
    assert_eq!(room.decide().rings[0].moves[0].state, MoveState::Open);
    // It rolls out with files, and is not healthy.
    let mut room = Room::new(&[("dev", "auto_deploy: true")]);
    room.runs("dev", 1).moves("dev", 2).asked("dev", 3);
    room.has("dev", "acme", 1, "").file("dev", "acme", "spirit: new");
    let asked = (rel(2), files_ref("acme", "dev", "spirit: new"));
    room.facts.tenants.get_mut("acme").unwrap().asked = Some(asked);
    assert_eq!(room.decide().rings[0].target, Some(rel(3)));
}

#[test]
fn a_ring_stays_on_what_failed_only_where_more_of_it_is_there() {
    let mut room = Room::new(&[("dev", "rollback_on_failure: false")]);
    room.runs("dev", 1);
    room.ring_facts("dev").quarantine.insert(rel(2), quarantine());
    assert_eq!(room.decide().rings[0].target, Some(rel(1)), "nobody is there");
    room.has("dev", "ada-one", 1, "").has("dev", "bob-two", 2, "");
    assert_eq!(
        room.decide().rings[0].target,
        Some(rel(1)),
        "as many here as there"
    );
    room.has("dev", "cy-three", 2, "");
    assert_eq!(room.decide().rings[0].target, Some(rel(2)));
}

#[test]
fn only_files_that_failed_have_gone_back() {
    for (failed, gone_back) in [(true, true), (false, false)] {
        let mut room = Room::new(&[("dev", "")]);
        room.runs("dev", 1)
            .has("dev", "acme", 1, "")
            .file("dev", "acme", "spirit: new");
        let new = room.rings["dev"].tenants["acme"].files.files;
        if failed {
            let facts = room.facts.tenants.get_mut("acme").unwrap();
            facts.quarantine.insert(new, quarantine());
        } else {
            room.misfit("dev", "acme");
        }
        let decision = room.decide();
        assert_eq!(decision.tenants["acme"].gone_back, gone_back);
    }
}

#[test]
fn of_a_new_tenant_that_has_nothing_to_do_nothing_is_said() {
    let said = |room: &Room| room.decide().rings[0].conditions.clone();
    let mut room = Room::new(&[("dev", "")]);
    room.file("dev", "acme", "");
    assert_eq!(said(&room), [""; 0], "the ring runs nothing");
    room.runs("dev", 1).file("dev", "acme", "state: stopped");
    room.input("dev")
        .tenant_errors
        .push("other.yaml:1:1: bad".to_owned());
    assert_eq!(
        said(&room),
        ["other.yaml:1:1: bad"],
        "it is stopped, and nothing runs"
    );
    room.file("dev", "acme", "").misfit("dev", "acme");
    assert_eq!(said(&room).len(), 2, "it would run: {:?}", said(&room));
}

#[test]
fn a_tenant_that_is_kept_moves_only_where_it_has_not_run_so() {
    // Its file is gone, and its stop waits for an approval.
    let moves = |release: u8, good: &str, asked: &str| {
        let mut room = signed("approval_required: true");
        room.runs("prod", 2).has("prod", "acme", release, good);
        let asked = (rel(release), files_ref("acme", "prod", asked));
        room.facts.tenants.get_mut("acme").unwrap().asked = Some(asked);
        let decision = room.decide();
        let acme = &decision.tenants["acme"];
        assert_eq!((acme.task, acme.release), (Task::Run, Some(rel(2))));
        acme.moves
    };
    assert!(!moves(2, "", ""));
    assert!(moves(1, "", ""));
    assert!(moves(2, "", "spirit: new"));
    assert!(moves(1, "", "spirit: new"));
}

#[test]
fn the_budget_counts_what_a_ring_was_asked_to_run() {
    let names = ["ada-one", "bob-two", "cy-three", "dan-four", "eve-five"];
    let stops = |unasked: bool, elsewhere: bool| {
        let mut room = Room::new(&[("dev", "tenant_changes: free"), ("prod", "tenant_changes: free")]);
        room.runs("dev", 1).runs("prod", 1);
        for (n, name) in names.iter().enumerate() {
            room.has("dev", name, 1, "");
            if n < 2 {
                room.file("dev", name, "state: stopped");
            } else {
                room.file("dev", name, "");
            }
        }
        for name in ["fay-six", "gil-seven", "hal-eight", "ivy-nine", "jon-ten"] {
            if elsewhere {
                room.has("prod", name, 1, "").file("prod", name, "");
            } else if unasked {
                room.has("dev", name, 1, "").file("dev", name, "");
                room.facts.tenants.get_mut(name).unwrap().asked = None;
            }
        }
        let tenants = room.decide().tenants;
        tenants.values().filter(|t| t.task == Task::Stop).count()
    };
    // One of five may go at once; those of another ring, and those that were asked for nothing, make it no more.
    assert_eq!(
        (stops(false, false), stops(false, true), stops(true, false)),
        (0, 0, 0)
    );
}

#[test]
fn a_tenant_with_nothing_to_go_back_to_goes_on_with_files_that_failed() {
    let mut room = Room::new(&[("dev", "")]);
    room.runs("dev", 1)
        .has("dev", "acme", 1, "")
        .file("dev", "acme", "");
    let facts = room.facts.tenants.get_mut("acme").unwrap();
    facts.good = None;
    facts
        .quarantine
        .insert(files("acme", "dev", "").files, quarantine());
    let decision = room.decide();
    let acme = &decision.tenants["acme"];
    assert_eq!((acme.task, acme.gone_back), (Task::Run, false));
    assert_eq!(acme.conditions, [""; 0]);
}

#[test]
fn who_was_sick_before_is_so_until_it_has_been_healthy_on_the_new_release() {
    use crate::decide::facts::{PartProof, Proof};
    use crate::fleet::names::Owner;
    let acme = Owner::Tenant(slug("acme"));
    let proof = |now, was_healthy| Proof {
        parts: BTreeMap::from([(
            acme.clone(),
            PartProof {
                now,
                why: None,
                healthy_ms: 0,
                was_healthy,
            },
        )]),
        ..Proof::default()
    };
    let mut facts = RingFacts {
        running: Some(rel(1)),
        ..RingFacts::default()
    };
    assert!(!facts.was_sick(&acme, &rel(2)), "nothing is known of it");
    facts.proofs.insert(rel(1), proof(Answer::Fail, true));
    assert!(facts.was_sick(&acme, &rel(2)));
    assert!(!facts.was_sick(&acme, &rel(1)), "of what it runs it is evidence");
    for (was_healthy, sick) in [(false, true), (true, false)] {
        facts.proofs.insert(rel(2), proof(Answer::Fail, was_healthy));
        assert_eq!(facts.was_sick(&acme, &rel(2)), sick);
    }
    facts.proofs.insert(rel(1), proof(Answer::Pass, true));
    facts.proofs.remove(&rel(2));
    assert!(!facts.was_sick(&acme, &rel(2)));
}

#[test]
fn a_hold_says_when_it_ends_by_itself() {
    use crate::decide::records::Held;
    use crate::fleet::decisions::Hold;
    let mut room = signed("");
    let until = room.now + 2.hours();
    let hold = Ok(Hold {
        reason: "the fair".parse().unwrap(),
        until,
    });
    let by = Ok(person("ana"));
    room.records.held_rings.insert(ring("prod"), Held { hold, by });
    let until_of = |room: &Room| {
        let decision = room.decide();
        let gates = &decision.rings[1].moves[0].gates;
        gates.iter().find(|g| g.name == "hold").unwrap().until
    };
    assert_eq!(until_of(&room), Some(until));
    let lost = Err("it is no YAML".to_owned());
    room.records.held_rings.get_mut("prod").unwrap().hold = lost;
    assert_eq!(until_of(&room), None, "nobody knows");
}

#[test]
fn the_next_turn_is_the_first_end_that_is_still_to_come() {
    use crate::decide::records::Held;
    use crate::fleet::decisions::Hold;
    let mut room = signed("approval_required: true");
    let now = room.now;
    assert_eq!(Decision::default().next_turn(now), None);
    let decision = Decision {
        held_until: vec![now - 1.minutes(), now, now + 5.minutes(), now + 3.minutes()],
        ..Decision::default()
    };
    assert_eq!(decision.next_turn(now), Some(now + 3.minutes()));
    // What is paused no more ends no more.
    for (name, minutes) in [("dev", -1), ("staging", 7)] {
        let hold = Ok(Hold {
            reason: "the fair".parse().unwrap(),
            until: now + minutes.minutes(),
        });
        let by = Ok(person("ana"));
        room.records.held_rings.insert(ring(name), Held { hold, by });
    }
    assert_eq!(room.records.ends(now), [now + 7.minutes()]);
}

#[test]
fn who_may_waive_stands_at_each_gate_that_can_be_waived_and_does_not_pass() {
    let mut room = signed("soak: 1h");
    let may = |room: &Room, name: &str| {
        let decision = room.decide();
        let gates = &decision.rings[1].moves[0].gates;
        let gate = gates.iter().find(|g| g.name == name).unwrap();
        (gate.state, !gate.may.is_empty())
    };
    room.proof(2).longest_ms = 0;
    let (state, somebody) = may(&room, "soak");
    assert_ne!(state, Answer::Pass);
    assert!(somebody);
    room.proof(2).longest_ms = 3_600_000;
    assert_eq!(may(&room, "soak"), (Answer::Pass, false));
    assert_eq!(may(&room, "lineage"), (Answer::Pass, false));
}

#[test]
fn who_else_asks_and_is_not_known_is_told_where_it_matters() {
    let said = |policy: &str, unsigned: &[&str]| {
        let mut room = signed(policy);
        room.behind().unsigned = unsigned.iter().map(ToString::to_string).collect();
        room.gate("approval").1.contains("not known who else asks")
    };
    assert!(said("approvals: {required: 1}", &["commit 1"]));
    assert!(!said("approvals: {required: 1}", &[]));
    // Where one may approve what one asked for it is all the same.
    assert!(!said("approvals: {required: 1, allow_self: true}", &["commit 1"]));
}

#[test]
fn only_a_pin_is_judged_by_the_policy_before_and_only_where_that_had_the_ring() {
    for (pinned, has_ring, judged) in [(true, false, false), (false, true, false), (true, true, true)] {
        let mut room = signed("approval_required: true");
        room.input("prod").candidate.as_mut().unwrap().pinned = pinned;
        let without = room.decide();
        let mut before = room.policy.clone();
        before.rings.0.retain(|r| has_ring || r.name.as_str() != "prod");
        let id = room.policy.id_in(room.policy.rings.get("prod").unwrap());
        room.input("prod").pin_under = Some(Under {
            policy: Arc::new(before),
            id,
        });
        assert_eq!(room.decide() != without, judged, "{pinned} {has_ring}");
    }
}
