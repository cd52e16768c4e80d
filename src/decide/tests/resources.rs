//! What fits on an engine, and what stops first so that it does.

use super::*;
use crate::decide::facts::{PartProof, Proof};
use crate::decide::resources::{Capacity, HostPort, Needs, shared};
use crate::fleet::compose::service::Protocol;
use crate::fleet::names::{Owner, ServiceKey, SpecHash};

const GIB: u64 = 1 << 30;

fn needs(spec: u8, gib: u64) -> Needs {
    Needs {
        spec: Some(SpecHash(Digest::of("spec", &spec))),
        memory: gib * GIB,
        overlaps: true,
        ..Needs::default()
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        owner: Owner::Tenant(slug(name)),
        service: "web".to_owned(),
    }
}

impl Room {
    /// All rings are on one engine.
    fn engine(&mut self, gib: Option<u64>) -> &mut Self {
        for input in self.rings.values_mut() {
            input.capacity = Some(Capacity {
                engine: "one".to_owned(),
                memory: gib.map(|gib| gib * GIB),
                vram: None,
            });
        }
        self
    }

    /// A tenant's only service takes so much on a release, with the files that have `more`.
    fn takes(&mut self, of: &str, name: &str, more: &str, n: u8, needs: Needs) -> &mut Self {
        let part = (
            Owner::Tenant(slug(name)),
            Some(files(name, of, more).files),
            rel(n),
        );
        let services = BTreeMap::from([("web".to_owned(), needs)]);
        self.input(of).needs.insert(part, services);
        self
    }

    /// The answer of a ring's only move about what it takes, and whether it goes.
    fn fits(&self, name: &str) -> (Answer, String, bool) {
        let decision = self.decide();
        let moves = &decision.ring(&ring(name)).unwrap().moves;
        let [only] = moves.as_slice() else {
            panic!("{moves:?}")
        };
        let gate = only.gates.iter().find(|g| g.name == "resources").unwrap();
        (gate.state, gate.evidence.clone(), only.state == MoveState::Open)
    }

    fn stops(&self) -> Vec<String> {
        self.decide().stop_first.keys().map(ToString::to_string).collect()
    }
}

/// acme runs release 1 with 2 GiB, and is asked for 2, with so much.
fn room(gib: u64) -> Room {
    let mut room = Room::new(&[("dev", "auto_deploy: true")]);
    room.runs("dev", 1).asked("dev", 2);
    room.has("dev", "acme", 1, "").file("dev", "acme", "");
    room.takes("dev", "acme", "", 1, needs(1, 2));
    room.takes("dev", "acme", "", 2, needs(2, gib));
    room
}

#[test]
fn what_fits_beside_what_it_replaces_goes_start_first() {
    let mut room = room(3);
    room.engine(Some(5));
    let (state, evidence, goes) = room.fits("dev");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert_eq!(
        evidence,
        "2 GiB of memory reserved now, 3 GiB on the way, of 5 GiB"
    );
    assert_eq!(room.stops(), [""; 0]);
}

#[test]
fn what_fits_only_without_what_it_replaces_stops_first() {
    let mut room = room(3);
    room.engine(Some(4));
    let (state, evidence, goes) = room.fits("dev");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert!(
        evidence.contains("old and new together would need 5 GiB"),
        "{evidence}"
    );
    assert_eq!(room.stops(), ["acme/web"]);
    let decision = room.decide();
    assert_eq!(
        decision.stop_first[&key("acme")],
        "beside what it replaces, 5 GiB of memory would be reserved, of 4 GiB"
    );
}

#[test]
fn what_does_not_fit_at_all_is_refused_with_the_sum() {
    let mut room = room(5);
    room.engine(Some(4));
    let (state, evidence, goes) = room.fits("dev");
    assert_eq!((state, goes), (Answer::Fail, false));
    assert_eq!(
        evidence,
        "2 GiB of memory reserved now, 5 GiB on the way, of 4 GiB: 1 GiB too much"
    );
    assert_eq!(room.stops(), [""; 0], "nothing is replaced");
}

#[test]
fn a_move_that_asks_for_no_more_than_runs_is_never_refused() {
    let mut room = room(2);
    room.engine(Some(1));
    let (state, _, goes) = room.fits("dev");
    assert_eq!((state, goes), (Answer::Pass, true));
}

#[test]
fn an_unknown_capacity_is_not_judged_and_says_so() {
    let mut room = room(3);
    room.engine(None);
    let (state, evidence, _) = room.fits("dev");
    assert_eq!(state, Answer::Pass);
    assert_eq!(
        evidence,
        "3 GiB of memory reserved; how much there is is not known"
    );
    assert_eq!(room.stops(), [""; 0]);
}

#[test]
fn where_nothing_is_taken_there_is_no_gate() {
    let mut room = room(2);
    room.engine(Some(1)).input("dev").needs.clear();
    let decision = room.decide();
    let gates = &decision.rings[0].moves[0].gates;
    assert!(gates.iter().all(|g| g.name != "resources"), "{gates:?}");
}

#[test]
fn rings_of_one_engine_add_up_and_those_of_another_do_not() {
    let two = |engine: &str| {
        let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", "")]);
        room.runs("dev", 1).asked("dev", 2).runs("prod", 1);
        room.has("dev", "acme", 1, "").file("dev", "acme", "");
        room.has("prod", "big-one", 1, "").file("prod", "big-one", "");
        room.takes("dev", "acme", "", 2, needs(2, 3));
        room.takes("prod", "big-one", "", 1, needs(1, 2));
        room.engine(Some(4));
        room.input("prod").capacity.as_mut().unwrap().engine = engine.to_owned();
        room.fits("dev").0
    };
    assert_eq!(two("one"), Answer::Fail);
    assert_eq!(two("another"), Answer::Pass);
}

#[test]
fn what_a_ring_is_moved_to_in_this_moment_counts_for_the_next_one() {
    let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", "")]);
    room.runs("dev", 1).asked("dev", 2).proven("dev", 2);
    room.runs("dev", 1).runs("prod", 1).asked("prod", 2);
    room.has("dev", "acme", 1, "").file("dev", "acme", "");
    room.has("prod", "big-one", 1, "").file("prod", "big-one", "");
    for (of, name) in [("dev", "acme"), ("prod", "big-one")] {
        room.takes(of, name, "", 1, needs(1, 1));
        room.takes(of, name, "", 2, needs(2, 3));
    }
    room.engine(Some(5));
    let decision = room.decide();
    assert_eq!(decision.rings[0].target, Some(rel(2)), "3 + 1 of 5");
    let (state, evidence, _) = room.fits("prod");
    assert_eq!(state, Answer::Fail, "{evidence}");
    // And what is on its way there already.
    room.moves("dev", 2);
    assert_eq!(room.fits("prod").0, Answer::Fail);
}

#[test]
fn a_change_of_tenant_files_passes_it_too_even_where_such_changes_are_free() {
    for keys in ["", "tenant_changes: free"] {
        let mut room = Room::new(&[("dev", keys)]);
        room.runs("dev", 1).asked("dev", 1);
        room.has("dev", "acme", 1, "").file("dev", "acme", "spirit: x");
        room.takes("dev", "acme", "", 1, needs(1, 2));
        room.takes("dev", "acme", "spirit: x", 1, needs(2, 5));
        room.engine(Some(4));
        let (state, _, goes) = room.fits("dev");
        assert_eq!((state, goes), (Answer::Fail, false), "{keys}");
        room.engine(Some(6));
        assert_eq!(room.stops(), ["acme/web"], "{keys}");
        // Until it has succeeded.
        let asked = (rel(1), files_ref("acme", "dev", "spirit: x"));
        room.facts.tenants.get_mut("acme").unwrap().asked = Some(asked.clone());
        assert_eq!(room.stops(), ["acme/web"], "{keys}");
        room.facts.tenants.get_mut("acme").unwrap().good = Some(asked);
        assert_eq!(room.stops(), [""; 0], "{keys}");
    }
}

#[test]
fn a_rollback_passes_it_and_nothing_else() {
    let mut room = Room::new(&[("dev", ""), ("prod", "approval_required: true, soak: 1h")]);
    room.runs("prod", 2).asked("prod", 1);
    room.input("prod").candidate.as_mut().unwrap().pinned = true;
    room.ring_facts("prod").previous = Some(rel(1));
    room.has("prod", "acme", 2, "").file("prod", "acme", "");
    room.takes("prod", "acme", "", 2, needs(2, 2));
    room.takes("prod", "acme", "", 1, needs(1, 5));
    room.engine(Some(4));
    let decision = room.decide();
    let gates = &decision.ring(&ring("prod")).unwrap().moves[0].gates;
    let names: Vec<&str> = gates.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["release", "resources"]);
    assert!(!room.fits("prod").2);
    room.engine(Some(8));
    assert!(room.fits("prod").2);
}

#[test]
fn what_a_move_drops_stays_on_the_way_and_counts() {
    let mut room = room(0);
    room.input("dev").needs.clear();
    let services = |name: &str, spec| BTreeMap::from([(name.to_owned(), needs(spec, 3))]);
    let part = |n| {
        let id = files("acme", "dev", "").files;
        (Owner::Tenant(slug("acme")), Some(id), rel(n))
    };
    room.input("dev").needs.insert(part(1), services("old", 1));
    room.input("dev").needs.insert(part(2), services("new", 2));
    room.engine(Some(5));
    assert_eq!(room.fits("dev").0, Answer::Fail);
    room.engine(Some(6));
    assert_eq!(room.fits("dev").0, Answer::Pass);
}

#[test]
fn the_largest_stop_first_and_no_more_than_it_takes() {
    let mut room = Room::new(&[("dev", "auto_deploy: true")]);
    room.runs("dev", 1).asked("dev", 2);
    for (name, gib) in [("ada-one", 1), ("bob-two", 4), ("cy-three", 2)] {
        room.has("dev", name, 1, "").file("dev", name, "");
        room.takes("dev", name, "", 1, needs(1, gib));
        room.takes("dev", name, "", 2, needs(2, gib));
    }
    for (gib, stops) in [
        (14, &[][..]),
        (13, &["bob-two/web"]),
        (10, &["bob-two/web"]),
        (9, &["bob-two/web", "cy-three/web"]),
        (7, &["ada-one/web", "bob-two/web", "cy-three/web"]),
    ] {
        room.engine(Some(gib));
        assert_eq!(room.stops(), stops, "{gib}");
    }
    // What runs on unchanged, and what stops first anyway, overlaps with nothing.
    room.takes("dev", "bob-two", "", 2, needs(1, 4));
    room.engine(Some(10));
    assert_eq!(room.stops(), [""; 0]);
    let mut stops = needs(2, 4);
    stops.overlaps = false;
    room.takes("dev", "bob-two", "", 2, stops);
    assert_eq!(room.stops(), [""; 0]);
}

#[test]
fn who_has_taken_over_overlaps_no_more() {
    let mut room = room(2);
    room.moves("dev", 2).engine(Some(3));
    assert_eq!(room.stops(), ["acme/web"]);
    let part = PartProof {
        now: Answer::Pass,
        why: None,
        healthy_ms: 1,
        was_healthy: true,
    };
    let parts = BTreeMap::from([(Owner::Tenant(slug("acme")), part)]);
    let proof = Proof {
        parts,
        ..Proof::default()
    };
    room.ring_facts("dev").proofs.insert(rel(2), proof);
    assert_eq!(room.stops(), [""; 0]);
}

#[test]
fn shared_services_count_once_and_the_last_ring_provides_the_fleets() {
    let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", "")]);
    room.runs("dev", 1).asked("dev", 2).runs("prod", 1);
    let one = |name: &str, gib| BTreeMap::from([(name.to_owned(), needs(1, gib))]);
    for of in ["dev", "prod"] {
        let [_, fleet] = shared(&ring(of), rel(1));
        room.input(of).needs.insert(fleet, one("redis", 2));
    }
    let [own, fleet] = shared(&ring("dev"), rel(2));
    room.input("dev").needs.insert(own, one("cache", 1));
    // prod provides it: what dev's release says of it takes nothing.
    room.input("dev").needs.insert(fleet, one("redis", 9));
    room.engine(Some(3));
    let (state, evidence, _) = room.fits("dev");
    assert_eq!(
        (state, evidence.as_str()),
        (
            Answer::Pass,
            "2 GiB of memory reserved now, 3 GiB on the way, of 3 GiB"
        )
    );
}

#[test]
fn a_held_tenant_keeps_what_it_has() {
    use crate::decide::records::Held;
    let mut room = room(9);
    room.engine(Some(4));
    let held = Held {
        hold: Err("it is no YAML".to_owned()),
        by: Err("it is not signed".to_owned()),
    };
    room.records.held_tenants.insert(slug("acme"), held);
    assert_eq!(room.fits("dev").0, Answer::Pass);
}

#[test]
fn limits_only_warn() {
    let mut room = room(1);
    let mut wide = needs(2, 1);
    wide.limit = 9 * GIB;
    room.takes("dev", "acme", "", 2, wide).engine(Some(8));
    let (state, evidence, goes) = room.fits("dev");
    assert_eq!((state, goes), (Answer::Pass, true));
    assert!(
        evidence.ends_with("limits add up to 9 GiB of 8 GiB"),
        "{evidence}"
    );
}

#[test]
fn gpu_memory_is_judged_where_it_is_known() {
    let mut room = room(0);
    room.input("dev").needs.clear();
    let gpu = |spec, gib| Needs {
        vram: gib * GIB,
        ..needs(spec, 0)
    };
    room.takes("dev", "acme", "", 1, gpu(1, 12));
    room.takes("dev", "acme", "", 2, gpu(2, 14));
    room.engine(Some(1));
    let (state, evidence, _) = room.fits("dev");
    assert_eq!(state, Answer::Pass);
    assert!(
        evidence.starts_with("14 GiB of GPU memory reserved; how much"),
        "{evidence}"
    );
    room.input("dev").capacity.as_mut().unwrap().vram = Some(24 * GIB);
    assert_eq!(room.fits("dev").0, Answer::Pass);
    assert_eq!(room.stops(), ["acme/web"]);
    room.input("dev").capacity.as_mut().unwrap().vram = Some(13 * GIB);
    assert_eq!(room.fits("dev").0, Answer::Fail);
}

fn port(ip: &str, port: u16) -> Needs {
    let port = HostPort {
        port,
        protocol: Protocol::Tcp,
        ip: ip.to_owned(),
    };
    Needs {
        ports: BTreeSet::from([port]),
        ..needs(7, 0)
    }
}

#[test]
fn a_host_port_serves_one_service_of_an_engine() {
    let asked = |one: Needs, other: Needs| {
        let mut room = Room::new(&[("dev", "auto_deploy: true"), ("prod", "")]);
        room.runs("dev", 1).asked("dev", 2).runs("prod", 1);
        room.has("dev", "acme", 1, "").file("dev", "acme", "");
        room.has("prod", "big-one", 1, "").file("prod", "big-one", "");
        room.takes("dev", "acme", "", 2, one);
        room.takes("prod", "big-one", "", 1, other);
        room.engine(Some(4));
        room
    };
    let (state, evidence, goes) = asked(port("127.0.0.1", 80), port("127.0.0.1", 80)).fits("dev");
    assert_eq!((state, goes), (Answer::Fail, false));
    assert_eq!(
        evidence,
        "host port 80 is asked for by acme/web and by big-one/web"
    );
    for all in ["", "0.0.0.0", "::"] {
        assert_eq!(
            asked(port("127.0.0.1", 80), port(all, 80)).fits("dev").0,
            Answer::Fail
        );
        assert_eq!(
            asked(port(all, 80), port("127.0.0.1", 80)).fits("dev").0,
            Answer::Fail
        );
    }
    let mut udp = port("127.0.0.1", 80);
    udp.ports = udp
        .ports
        .into_iter()
        .map(|p| HostPort {
            protocol: Protocol::Udp,
            ..p
        })
        .collect();
    for (one, other) in [
        (port("127.0.0.1", 80), port("127.0.0.1", 81)),
        (port("127.0.0.1", 80), port("127.0.0.2", 80)),
        (port("127.0.0.1", 80), udp),
    ] {
        let (state, evidence, _) = asked(one, other).fits("dev");
        assert_eq!(state, Answer::Pass);
        assert_eq!(evidence, "2 host ports, each asked for once");
    }
    // What clashes already is no fault of this move.
    let mut room = asked(port("127.0.0.1", 80), port("127.0.0.1", 80));
    room.takes("dev", "acme", "", 1, port("127.0.0.1", 80));
    assert_eq!(room.fits("dev").0, Answer::Pass);
}

#[test]
fn bytes_are_told_in_words() {
    let mut room = room(0);
    for (bytes, text) in [
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (GIB + GIB / 4, "1.2 GiB"),
    ] {
        let mut takes = needs(2, 0);
        takes.memory = bytes;
        room.input("dev").needs.clear();
        room.takes("dev", "acme", "", 2, takes).engine(None);
        assert!(
            room.fits("dev").1.starts_with(&format!("{text} of memory")),
            "{text}"
        );
    }
}

#[test]
fn what_takes_nothing_never_stops_first() {
    let mut room = room(2);
    room.has("dev", "free-one", 1, "").file("dev", "free-one", "");
    room.takes("dev", "free-one", "", 1, needs(1, 0));
    room.takes("dev", "free-one", "", 2, needs(2, 0));
    room.engine(Some(1));
    assert_eq!(room.stops(), ["acme/web"]);
}

#[test]
fn only_what_is_replaced_and_too_much_is_told() {
    let mut room = room(2);
    room.takes("dev", "acme", "", 2, needs(1, 2)).engine(Some(1));
    let (_, evidence, _) = room.fits("dev");
    assert_eq!(
        evidence,
        "2 GiB of memory reserved now, 2 GiB on the way, of 1 GiB"
    );
    let mut wide = needs(2, 1);
    wide.limit = 8 * GIB;
    room.takes("dev", "acme", "", 2, wide).engine(Some(8));
    let (_, evidence, _) = room.fits("dev");
    assert!(!evidence.contains("limits"), "as much as there is: {evidence}");
}
