//! `decide` in every order of a few events, then in long walks: nobody runs what was not allowed, no word counts twice, what
//! failed is not tried again by itself, and where the world turns kind each ring comes to its end or says why not.

mod model;

use std::collections::BTreeSet;

use super::*;
use crate::fleet::decisions::Verdict;
use model::{Event, MET, Model, RELEASES};

fn events() -> Vec<Event> {
    // What lets something go on comes more often.
    let mut events = vec![Event::Says("ben", Verdict::Approve); 6];
    events.extend([Event::Hours(2); 4]);
    events.extend([
        Event::Says("cho", Verdict::Approve),
        Event::Says("ana", Verdict::Reject),
        Event::Hold(0),
        Event::Hold(1),
        Event::Unpin,
        Event::Pass,
    ]);
    for n in 1..=RELEASES {
        events.extend([Event::Commit(n), Event::Pin(n)]);
        let answers = [Answer::Pass, Answer::Pass, Answer::Fail, Answer::Unknown];
        for ring in 0..2 {
            events.extend(answers.map(|how| Event::Turns(ring, n, how)));
        }
    }
    for ring in 0..2 {
        events.extend([Event::Files(ring, 0), Event::Files(ring, 1)]);
    }
    events
}

/// Events that lead somewhere soon: all orders of so many are tried.
fn few() -> Vec<Event> {
    vec![
        Event::Commit(2),
        Event::Pin(2),
        Event::Pin(1),
        Event::Says("ben", Verdict::Approve),
        Event::Says("cho", Verdict::Approve),
        Event::Hold(1),
        Event::Hours(2),
        Event::Turns(1, 2, Answer::Fail),
        Event::Turns(1, 2, Answer::Pass),
        Event::Turns(0, 2, Answer::Fail),
        Event::Files(1, 1),
    ]
}

fn explore(model: &Model, events: &[Event], depth: usize, seen: &mut BTreeSet<(usize, Digest)>) {
    let mut kind = model.clone();
    if let Err(why) = kind.turns_kind() {
        panic!("{why}\n{}", kind.log);
    }
    if depth == 0 {
        return;
    }
    for event in events {
        let mut next = model.clone();
        if let Err(why) = next.step(*event) {
            panic!("{why}\n{}", next.log);
        }
        if seen.insert((depth, next.key())) {
            explore(&next, events, depth - 1, seen);
        }
    }
}

fn long() -> bool {
    std::env::var("RINGFENCE_SEARCH").is_ok_and(|how| how == "long")
}

/// prod runs 2, and ran 1 before.
const PROMOTED: [Event; 4] = [
    Event::Commit(2),
    Event::Hours(2),
    Event::Pin(2),
    Event::Says("ben", Verdict::Approve),
];

fn begun(events: &[Event]) -> Model {
    let mut model = Model::new();
    for event in events {
        model.step(*event).unwrap();
    }
    model
}

#[test]
fn every_order_of_a_few_events_keeps_the_rules() {
    let depth = if long() { 4 } else { 2 };
    let promoted = PROMOTED;
    let on_its_way = [
        &promoted[..3],
        &[Event::Turns(1, 2, Answer::Unknown)],
        &promoted[3..],
    ]
    .concat();
    let pinned_again = [&promoted[..], &[Event::Commit(3), Event::Hours(2), Event::Pin(3)]].concat();
    for begin in [&[][..], &promoted[..3], &promoted, &on_its_way, &pinned_again] {
        explore(&begun(begin), &few(), depth, &mut BTreeSet::new());
    }
}

/// A small generator: equal seeds, equal walks.
fn next(seed: &mut u64) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap()
}

#[test]
fn long_walks_keep_the_rules() {
    let events = events();
    let (walks, steps) = if long() { (5000, 100) } else { (60, 40) };
    let failed = [
        &PROMOTED[..3],
        &[Event::Turns(1, 2, Answer::Fail)],
        &PROMOTED[3..],
    ]
    .concat();
    let rolls = [Event::Turns(0, 2, Answer::Unknown), Event::Commit(2)];
    let begins: [&[Event]; 4] = [&[], &PROMOTED, &failed, &rolls];
    let mut met = BTreeSet::new();
    for first in 1..=walks {
        let mut seed = first;
        let mut model = begun(begins[usize::try_from(first).unwrap() % 4]);
        for _ in 0..steps {
            let event = events[next(&mut seed) % events.len()];
            if let Err(why) = model.step(event) {
                panic!("seed {first}: {why}\n{}", model.log);
            }
        }
        if let Err(why) = model.turns_kind() {
            panic!("seed {first}: {why}\n{}", model.log);
        }
        met.extend(model.met);
    }
    for what in MET {
        assert!(met.contains(what), "in no walk {what}");
    }
}
