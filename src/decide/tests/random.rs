//! Random worlds, and what must hold in all of them.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["ada-one", "bob-two", "cy-three", "dan-four", "eve-five"];
const RINGS: [&str; 3] = ["dev", "test", "prod"];
const FILES: [&str; 4] = ["", "spirit: x", "state: stopped", "wibble: 1"];

#[derive(Debug, Clone)]
struct RingDraw {
    gated: bool,
    rollback: bool,
    tip: bool,
    errors: bool,
    candidate: Option<(u8, bool)>,
    running: Option<u8>,
    moving: Option<u8>,
    quarantined: Vec<u8>,
    rolled_back: bool,
}

#[derive(Debug, Clone)]
struct TenantDraw {
    /// Files on each ring's branch.
    files: Vec<Option<usize>>,
    misfit: bool,
    /// Ring, release, files of what it was asked for; whether that was healthy, failed.
    facts: Option<(usize, u8, usize, bool, bool)>,
}

fn ring_draw() -> impl Strategy<Value = RingDraw> {
    let few = || proptest::option::of(0u8..4);
    (
        (
            any::<bool>(),
            any::<bool>(),
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.2),
        ),
        proptest::option::of((0u8..4, prop::bool::weighted(0.8))),
        few(),
        few(),
        proptest::collection::vec(0u8..4, 0..3),
        any::<bool>(),
    )
        .prop_map(
            |((gated, rollback, tip, errors), candidate, running, moving, quarantined, rolled_back)| {
                RingDraw {
                    gated,
                    rollback,
                    tip,
                    errors,
                    candidate,
                    running,
                    moving,
                    // The ledger drops a move when it fails, and what succeeded is in no quarantine.
                    quarantined: quarantined
                        .into_iter()
                        .filter(|q| Some(*q) != moving && Some(*q) != running)
                        .collect(),
                    rolled_back,
                }
            },
        )
}

fn tenant_draw() -> impl Strategy<Value = TenantDraw> {
    (
        proptest::collection::vec(proptest::option::of(0..FILES.len()), 3),
        prop::bool::weighted(0.2),
        proptest::option::of((
            0usize..3,
            0u8..4,
            0usize..2,
            any::<bool>(),
            prop::bool::weighted(0.2),
        )),
    )
        .prop_map(|(files, misfit, facts)| TenantDraw { files, misfit, facts })
}

fn room(rings: &[RingDraw], tenants: &[TenantDraw]) -> Room {
    let keys: Vec<(&str, String)> = rings
        .iter()
        .zip(RINGS)
        .map(|(r, name)| {
            (
                name,
                format!(
                    "rollback_on_failure: {}, approval_required: {}",
                    r.rollback, r.gated
                ),
            )
        })
        .collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(n, k)| (*n, k.as_str())).collect();
    let mut room = Room::new(&keys);
    for (draw, name) in rings.iter().zip(RINGS) {
        if let Some((n, good)) = draw.candidate {
            room.asked(name, n);
            if !good {
                room.input(name).candidate.as_mut().unwrap().release = Err("no image".to_owned());
            }
        }
        if let Some(n) = draw.running {
            room.runs(name, n);
        }
        if let Some(n) = draw.moving {
            room.moves(name, n);
        }
        for n in &draw.quarantined {
            room.ring_facts(name).quarantine.insert(rel(*n), quarantine());
        }
        room.ring_facts(name).rolled_back = draw.rolled_back;
        if draw.errors {
            room.input(name)
                .tenant_errors
                .push("other.yaml:1:1: bad".to_owned());
        }
        if !draw.tip {
            room.input(name).tip = None;
        }
    }
    for (draw, name) in tenants.iter().zip(NAMES) {
        for (files, of) in draw.files.iter().zip(RINGS).take(rings.len()) {
            let (Some(at), true) = (files, room.rings[of].tip.is_some()) else {
                continue;
            };
            room.file(of, name, FILES[*at]);
            if draw.misfit {
                room.misfit(of, name);
            }
        }
        if let Some((of, release, files, healthy, failed)) = draw.facts {
            room.has(RINGS[of], name, release, FILES[files]);
            let facts = room.facts.tenants.get_mut(name).unwrap();
            if !healthy {
                facts.good = None;
            }
            if failed {
                let id = facts.asked.as_ref().unwrap().1.id;
                facts.quarantine.insert(id, quarantine());
            }
        }
    }
    room
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_of_a_decision_hold_in_every_world(
        rings in proptest::collection::vec(ring_draw(), 1..=3),
        tenants in proptest::collection::vec(tenant_draw(), 0..=5),
    ) {
        let room = room(&rings, &tenants);
        let decision = room.decide();
        prop_assert_eq!(&decision, &room.decide(), "equal worlds, equal decisions");
        for (draw, out) in rings.iter().zip(&decision.rings) {
            let asked_in = |n: &ReleaseId| room.facts.tenants.values().any(|t| {
                t.ring == out.name && t.asked.as_ref().is_some_and(|(r, _)| r == n)
            });
            if let Some(target) = out.target {
                let has = draw.running.map(rel) == Some(target) || draw.moving.map(rel) == Some(target);
                let quarantined = draw.quarantined.iter().any(|q| rel(*q) == target);
                prop_assert!(!draw.gated || has || (quarantined && asked_in(&target)), "a gated ring moved: {:?}", out);
                if quarantined {
                    prop_assert!(!draw.rolled_back, "what went back is tried again: {:?}", out);
                    prop_assert!(asked_in(&target), "what failed is tried again: {:?}", out);
                }
                prop_assert!(decision.releases.contains_key(&target));
            } else {
                prop_assert!(draw.running.is_none() && draw.moving.is_none());
            }
            for mv in &out.moves {
                if mv.state == MoveState::Open && mv.kind != MoveKind::Tenants && draw.moving.map(rel) != out.declared {
                    prop_assert!(gate::all_pass(&mv.gates));
                }
            }
        }
        for (slug, facts) in &room.facts.tenants {
            let out = decision.tenants.get(slug);
            prop_assert!(out.is_some(), "{} vanished", slug);
            let out = out.unwrap();
            prop_assert!(out.release.is_some() && out.files.is_some());
            let at = RINGS.iter().position(|r| *r == facts.ring.as_str()).unwrap();
            let unreadable = rings.get(at).is_none_or(|r| !r.tip || r.errors);
            if matches!(out.task, Task::Stop | Task::Erase) && out.ring == facts.ring {
                prop_assert!(!unreadable, "{} stops though its branch cannot be read", slug);
                prop_assert!(rings.get(at).is_some_and(|r| !r.gated || r.running.is_none()), "{} stops ungated", slug);
            }
            if out.ring != facts.ring {
                prop_assert!(rings.get(at).is_none_or(|r| r.tip && !r.errors && !r.gated), "{} left ungated", slug);
            }
            prop_assert!(out.task != Task::Run || !facts.quarantine.contains_key(&out.files.as_ref().unwrap().id)
                || facts.good.as_ref().is_none_or(|(_, f)| facts.quarantine.contains_key(&f.id)),
                "{} runs files that failed", slug);
        }
    }
}
