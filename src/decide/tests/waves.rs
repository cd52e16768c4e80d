//! Whose turn it is.

use super::*;
use crate::decide::facts::PartProof;
use crate::fleet::names::Owner;

const NAMES: [&str; 5] = ["ada-one", "bob-two", "cy-three", "dan-four", "eve-five"];

/// Five tenants run 1 in a ring that is asked for 2.
fn five(rollout: &str) -> Room {
    let keys = format!("auto_deploy: true, rollout: {{{rollout}}}");
    let mut room = Room::new(&[("dev", keys.as_str())]);
    room.runs("dev", 1).asked("dev", 2);
    for name in NAMES {
        room.has("dev", name, 1, "").file("dev", name, "");
    }
    room
}

impl Room {
    fn part_of(&mut self, n: u8, owner: Owner, now: Answer, healthy_ms: u64) -> &mut Self {
        let part = PartProof {
            now,
            why: None,
            healthy_ms,
            was_healthy: healthy_ms > 0,
        };
        let proof = self.ring_facts("dev").proofs.entry(rel(n)).or_default();
        proof.parts.insert(owner, part);
        self
    }

    /// A tenant was asked for 2 and has been healthy on it for so long.
    fn took(&mut self, name: &str, healthy_ms: u64) -> &mut Self {
        let asked = (rel(2), files_ref(name, "dev", ""));
        self.facts.tenants.get_mut(name).unwrap().asked = Some(asked);
        let now = if healthy_ms > 0 {
            Answer::Pass
        } else {
            Answer::Unknown
        };
        self.part_of(2, Owner::Tenant(slug(name)), now, healthy_ms)
    }
}

/// Who runs 2.
fn go(room: &Room) -> Vec<String> {
    let decision = room.decide();
    let tenants = decision.tenants.values().filter(|t| t.release == Some(rel(2)));
    tenants.map(|t| t.slug.to_string()).collect()
}

#[test]
fn without_waves_all_go_at_once() {
    assert_eq!(go(&five("")), NAMES);
}

#[test]
fn canaries_go_first_and_the_others_when_they_were_observed() {
    let mut room = five("canary: [dan-four, bob-two], observe: 10s");
    assert_eq!(go(&room), ["bob-two", "dan-four"]);
    room.moves("dev", 2)
        .took("bob-two", 10_000)
        .took("dan-four", 9_999);
    assert_eq!(go(&room), ["bob-two", "dan-four"], "not observed for long enough");
    let behind = &room.decide().tenants[&slug("ada-one")];
    assert!(
        behind.moves && behind.conditions[0].contains("its turn"),
        "{behind:?}"
    );
    room.took("dan-four", 10_000);
    assert_eq!(go(&room), NAMES);
}

#[test]
fn so_many_go_at_a_time_as_the_ring_allows() {
    for (share, waves) in [
        ("2", [2, 4, 5].as_slice()),
        ("40%", &[2, 4, 5]),
        ("100%", &[5]),
        ("1%", &[1, 2, 3, 4, 5]),
    ] {
        let mut room = five(&format!("max_parallel: {share}"));
        for expected in waves {
            let went = go(&room);
            assert_eq!(went.len(), *expected, "{share}");
            room.moves("dev", 2);
            for name in went {
                room.took(&name, 10_000);
            }
        }
    }
}

#[test]
fn shared_services_are_observed_before_any_tenant_goes() {
    let mut room = five("");
    room.input("dev").sharing.insert(rel(2));
    assert!(go(&room).is_empty());
    let own = || Owner::Ring(ring("dev"));
    room.moves("dev", 2).part_of(2, own(), Answer::Pass, 9_999);
    assert!(go(&room).is_empty());
    room.part_of(2, own(), Answer::Pass, 10_000);
    assert_eq!(go(&room), NAMES);
    room.part_of(2, Owner::Fleet, Answer::Fail, 0);
    assert!(go(&room).is_empty());
}

#[test]
fn what_has_begun_goes_on_though_its_wave_stands_elsewhere_now() {
    let mut room = five("canary: [ada-one]");
    room.moves("dev", 2).took("ada-one", 10_000).took("bob-two", 0);
    // Sick again: no other begins, and none that has begun goes back by itself.
    room.part_of(2, Owner::Tenant(slug("ada-one")), Answer::Fail, 0);
    assert_eq!(go(&room), ["ada-one", "bob-two"]);
}

#[test]
fn who_was_sick_before_goes_last() {
    let mut room = five("max_parallel: 2");
    room.part_of(1, Owner::Tenant(slug("ada-one")), Answer::Fail, 0);
    assert_eq!(go(&room), ["bob-two", "cy-three"]);
}

#[test]
fn a_first_deployment_and_a_way_back_have_no_waves() {
    let mut room = five("max_parallel: 1");
    room.facts.rings.get_mut("dev").unwrap().running = None;
    room.facts.tenants.clear();
    assert_eq!(go(&room), NAMES);
    let mut room = five("max_parallel: 1");
    room.ring_facts("dev").previous = Some(rel(2));
    room.input("dev").candidate.as_mut().unwrap().pinned = true;
    assert_eq!(go(&room), NAMES);
}

#[test]
fn who_is_held_stops_or_is_of_another_ring_takes_nobodys_turn() {
    use crate::decide::records::Held;
    let others = |room: &Room| {
        let go = go(room);
        go.into_iter()
            .filter(|name| name != "ada-one")
            .collect::<Vec<_>>()
    };
    let first = || five("max_parallel: 1");
    assert_eq!(others(&first()), [""; 0], "ada-one is the first");
    let mut room = first();
    let held = Held {
        hold: Err("it is no YAML".to_owned()),
        by: Err("it is not signed".to_owned()),
    };
    room.records.held_tenants.insert(slug("ada-one"), held);
    assert_eq!(others(&room), ["bob-two"]);
    let mut room = first();
    room.has("dev", "ada-one", 2, "state: stopped")
        .file("dev", "ada-one", "state: stopped");
    assert_eq!(others(&room), ["bob-two"], "{:?}", room.decide().tenants);
    let mut room = first();
    room.has("dev", "ada-one", 1, "");
    room.facts.tenants.get_mut("ada-one").unwrap().ring = ring("elsewhere");
    room.input("dev").tenants.remove("ada-one");
    assert_eq!(others(&room), ["bob-two"]);
}
