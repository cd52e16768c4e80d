//! Looks at one ring, one after another.

use std::collections::BTreeMap;

use super::*;
use crate::digest::Digest;

const OBSERVE_MS: u64 = 10_000;

/// A ring that is looked at.
struct Ring {
    proof: Proof,
    watch: Watch,
    parts: BTreeMap<Owner, PartSeen>,
    now: Mark,
    since: Mark,
    sick: Vec<Owner>,
}

fn owner(slug: &str) -> Owner {
    Owner::Tenant(slug.parse().unwrap())
}

fn life(container: &str, restarts: u64) -> Life {
    Life {
        container: container.to_owned(),
        restarts,
        started: None,
    }
}

fn files(n: u8) -> FilesId {
    FilesId(Digest::of("test", &n))
}

fn part() -> PartSeen {
    PartSeen {
        now: Answer::Pass,
        why: None,
        lives: BTreeMap::from([("web".to_owned(), life("c1", 0))]),
        files: Some(files(1)),
        counts: true,
        unchecked: false,
    }
}

impl Ring {
    /// Of these tenants, all healthy, at the first look.
    fn of(slugs: &[&str]) -> Self {
        let at = Mark {
            boot: "one".to_owned(),
            ms: 1_000_000,
        };
        let mut ring = Self {
            proof: Proof::default(),
            watch: Watch::default(),
            parts: slugs.iter().map(|slug| (owner(slug), part())).collect(),
            now: at.clone(),
            since: at,
            sick: Vec::new(),
        };
        ring.look();
        ring
    }

    fn look(&mut self) -> Option<(String, u64)> {
        let look = Look {
            seen: &self.parts,
            now: &self.now,
            since: &self.since,
            observe_ms: OBSERVE_MS,
            sick: &|owner| self.sick.contains(owner),
        };
        go_on(&mut self.proof, &mut self.watch, &look)
    }

    fn after(&mut self, seconds: u64) -> Option<(String, u64)> {
        self.now.ms += seconds * 1000;
        self.look()
    }

    fn part(&mut self, slug: &str) -> &mut PartSeen {
        self.parts.get_mut(&owner(slug)).unwrap()
    }

    /// Seconds of the ring's present stretch, and of its longest.
    fn healthy(&self) -> (u64, u64) {
        (self.proof.healthy_ms / 1000, self.proof.longest_ms / 1000)
    }

    /// ringfence was away, and watches anew from now on.
    fn away(&mut self, seconds: u64) {
        self.now.ms += seconds * 1000;
        self.since = self.now.clone();
    }
}

#[test]
fn watched_time_counts_while_all_are_healthy() {
    let mut ring = Ring::of(&["acme", "beta"]);
    assert_eq!(ring.after(90), None);
    ring.after(30);
    assert_eq!(ring.healthy(), (120, 120));
    assert_eq!(ring.proof.parts.get(&owner("acme")).unwrap().healthy_ms, 120_000);
}

#[test]
fn a_restart_and_an_unhealthy_tenant_begin_it_anew_and_the_longest_stretch_stays() {
    let mut ring = Ring::of(&["acme", "beta"]);
    ring.after(60);
    ring.part("acme").lives.insert("web".to_owned(), life("c1", 1));
    assert_eq!(
        ring.after(5),
        Some(("acme: web was restarted".to_owned(), 60_000))
    );
    assert_eq!(ring.healthy(), (0, 60));
    ring.after(20);
    assert_eq!(ring.healthy(), (20, 60));
    ring.part("beta").lives.insert("web".to_owned(), life("c2", 0));
    assert_eq!(ring.after(1).unwrap().0, "beta: web was replaced");
    ring.after(20);
    ring.part("beta").now = Answer::Fail;
    ring.part("beta").why = Some("web is not healthy".to_owned());
    assert_eq!(
        ring.after(1),
        Some(("beta: web is not healthy".to_owned(), 20_000))
    );
    // It goes on being unhealthy: no stretch ends a second time, and none goes on.
    assert_eq!(ring.after(100), None);
    assert_eq!(ring.healthy(), (0, 60));
    ring.part("beta").now = Answer::Pass;
    ring.after(10);
    assert_eq!(ring.healthy(), (0, 60));
    ring.after(10);
    assert_eq!(ring.healthy(), (10, 60));
}

#[test]
fn a_restart_that_was_not_seen_as_it_happened_counts_when_the_service_is_back() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(60);
    ring.part("acme").now = Answer::Unknown;
    ring.part("acme").lives.clear();
    assert_eq!(ring.after(5), None);
    *ring.part("acme") = part();
    ring.part("acme").lives.insert("web".to_owned(), life("c9", 0));
    assert!(ring.after(5).is_some());
    assert_eq!(ring.healthy(), (0, 60));
}

#[test]
fn what_is_not_known_neither_counts_nor_resets() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(60);
    ring.part("acme").now = Answer::Unknown;
    assert_eq!(ring.after(1000), None);
    assert_eq!(ring.healthy(), (60, 60));
    ring.part("acme").now = Answer::Pass;
    ring.after(1000);
    ring.after(5);
    assert_eq!(ring.healthy(), (65, 65));
}

#[test]
fn a_short_gap_is_bridged_by_the_same_containers_and_a_long_one_neither_counts_nor_resets() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(30);
    ring.away(60);
    ring.after(5);
    assert_eq!(ring.healthy(), (95, 95));
    ring.away(61);
    ring.after(5);
    assert_eq!(ring.healthy(), (100, 100));
    // After a gap, other containers are a reset all the same.
    ring.away(61);
    ring.part("acme").lives.insert("web".to_owned(), life("c2", 0));
    assert!(ring.after(5).is_some());
    assert_eq!(ring.healthy(), (0, 100));
}

#[test]
fn another_run_of_the_machine_is_a_gap_whatever_its_clock_says() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(30);
    ring.now = Mark {
        boot: "two".to_owned(),
        ms: ring.now.ms + 10_000,
    };
    ring.since = ring.now.clone();
    ring.look();
    assert_eq!(ring.healthy(), (30, 30));
    ring.after(7);
    assert_eq!(ring.healthy(), (37, 37));
    // Where the run is not known, nothing is counted.
    ring.now.boot.clear();
    ring.since.boot.clear();
    ring.look();
    ring.after(100);
    assert_eq!(ring.healthy(), (37, 37));
}

#[test]
fn a_tenants_own_change_does_not_reset_its_ring() {
    let mut ring = Ring::of(&["acme", "beta"]);
    ring.after(60);
    *ring.part("beta") = PartSeen {
        files: Some(files(2)),
        lives: BTreeMap::from([("web".to_owned(), life("c7", 0))]),
        now: Answer::Unknown,
        counts: false,
        ..part()
    };
    assert_eq!(ring.after(10), None);
    ring.part("beta").now = Answer::Fail;
    assert_eq!(ring.after(10), None);
    ring.part("beta").now = Answer::Pass;
    ring.part("beta").counts = true;
    ring.after(10);
    assert_eq!(ring.healthy(), (80, 80), "acme alone vouched for it");
    assert_eq!(ring.proof.parts.get(&owner("beta")).unwrap().healthy_ms, 0);
    ring.after(10);
    assert_eq!(ring.healthy(), (90, 90));
    assert_eq!(ring.proof.parts.get(&owner("beta")).unwrap().healthy_ms, 10_000);
}

#[test]
fn a_tenant_that_was_sick_before_neither_counts_nor_resets() {
    let mut ring = Ring::of(&["acme", "beta"]);
    ring.sick = vec![owner("beta")];
    ring.part("beta").now = Answer::Fail;
    assert_eq!(ring.after(10), None);
    assert_eq!(ring.healthy(), (10, 10));
    // With nobody left to vouch for it, no time counts.
    ring.sick.push(owner("acme"));
    ring.after(10);
    assert_eq!(ring.healthy(), (10, 10));
}

#[test]
fn a_tenant_that_comes_or_goes_does_not_reset_its_ring() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(60);
    ring.parts.insert(
        owner("beta"),
        PartSeen {
            now: Answer::Unknown,
            ..part()
        },
    );
    assert_eq!(ring.after(10), None);
    ring.part("beta").now = Answer::Pass;
    ring.after(10);
    ring.after(10);
    assert_eq!(ring.healthy(), (70, 70));
    ring.parts.remove(&owner("beta"));
    ring.after(10);
    assert_eq!(ring.healthy(), (80, 80));
    assert_eq!(ring.proof.parts.len(), 1);
}

#[test]
fn what_has_no_healthcheck_was_observed_when_it_counts_as_healthy() {
    let mut ring = Ring::of(&[]);
    ring.parts.insert(
        owner("acme"),
        PartSeen {
            unchecked: true,
            ..part()
        },
    );
    ring.look();
    assert_eq!(
        ring.proof.parts.get(&owner("acme")).unwrap().healthy_ms,
        OBSERVE_MS
    );
    assert_eq!(
        ring.healthy(),
        (0, 0),
        "the ring has been watched for no time yet"
    );
}

#[test]
fn a_proof_is_read_back_as_it_was_written() {
    let mut ring = Ring::of(&["acme"]);
    ring.after(5);
    let text = serde_json::to_string(&(&ring.proof, &ring.watch)).unwrap();
    let (proof, watch): (Proof, Watch) = serde_json::from_str(&text).unwrap();
    assert_eq!((proof, watch), (ring.proof, ring.watch));
}

#[test]
fn a_parts_own_time_begins_anew_with_each_thing_that_happens_to_it_and_not_with_the_unknown() {
    let mut ring = Ring::of(&["acme"]);
    let part = |ring: &Ring| {
        let part = ring.proof.parts.get(&owner("acme")).unwrap();
        (part.healthy_ms / 1000, part.was_healthy)
    };
    ring.after(20);
    assert_eq!(part(&ring), (20, true));
    ring.part("acme").now = Answer::Unknown;
    ring.after(5);
    assert_eq!(part(&ring), (20, true), "it neither counts nor resets");
    ring.part("acme").now = Answer::Fail;
    ring.after(5);
    assert_eq!(part(&ring), (0, true), "it failed");
    ring.part("acme").now = Answer::Pass;
    ring.after(5);
    ring.after(10);
    assert_eq!(part(&ring), (10, true));
    ring.part("acme").lives.insert("web".to_owned(), life("c1", 1));
    ring.after(5);
    assert_eq!(part(&ring), (0, true), "it was restarted");
    ring.after(10);
    ring.part("acme").files = Some(files(2));
    ring.after(5);
    assert_eq!(part(&ring), (0, true), "it was changed");

    let mut sick = Ring::of(&[]);
    sick.parts.insert(owner("acme"), part_that(Answer::Fail));
    sick.after(5);
    assert_eq!(part(&sick), (0, false), "it never was healthy");
    sick.part("acme").now = Answer::Unknown;
    sick.after(5);
    assert_eq!(part(&sick), (0, false));
}

fn part_that(now: Answer) -> PartSeen {
    PartSeen { now, ..part() }
}
