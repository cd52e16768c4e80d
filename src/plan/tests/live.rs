//! What labels do not tell: limits, how networks were joined, what is half removed, what is in another's way.

use super::*;
use crate::fleet::compose::service::Protocol;
use crate::render::object::{MountFrom, MountSpec, PortSpec};

const WEB: &str = "web.acme.aither";
const HOME: &str = "acme.aither";

fn acme() -> Owner {
    tenant("acme")
}

fn limited(memory: u64) -> ServiceObject {
    let mut object = object(&acme(), "web", 1);
    Arc::make_mut(&mut object.spec).limits = Limits {
        memory: Some(memory),
        pids: Some(100),
        ..Limits::default()
    };
    object.hash = object.spec.hash();
    object
}

/// Acme's web with limits, at rest, and what is seen of them.
fn with_limits(now: Limits) -> Scene {
    let object = limited(200);
    let mut seen = container(&acme(), "web", 1, WEB);
    seen.spec = Some(object.hash);
    seen.details.as_mut().unwrap().limits = now;
    let mut scene = Scene::default();
    scene.wants(object).has_owner(&acme()).has(seen);
    scene
}

fn next_call(scene: &Scene) -> Option<Call> {
    let plan = scene.plan();
    plan.services.first()?.steps.first().cloned()
}

#[test]
fn limits_that_differ_are_set_back() {
    let wanted = limited(200).spec.limits;
    assert!(with_limits(wanted).plan().is_empty());
    for changed in [
        Limits {
            memory: Some(100),
            ..wanted
        },
        Limits {
            pids: Some(5),
            ..wanted
        },
        Limits { pids: None, ..wanted },
    ] {
        let scene = with_limits(changed);
        let set = Call::SetLimits {
            id: "id-web-acme-aither".to_owned(),
            limits: wanted,
        };
        assert_eq!(next_call(&scene), Some(set), "{changed:?}");
        assert_eq!(scene.plan().services[0].action, Action::Repair);
        assert_eq!(scene.plan().services[0].steps.len(), 1);
    }
}

#[test]
fn an_engine_that_cannot_limit_is_not_asked_again_and_again() {
    assert!(with_limits(Limits::default()).plan().is_empty());
}

#[test]
fn a_limit_that_cannot_be_taken_away_is_told() {
    let wanted = limited(200).spec.limits;
    let scene = with_limits(Limits {
        nano_cpus: Some(1),
        ..wanted
    });
    let plan = scene.plan();
    assert!(plan.is_empty());
    assert!(
        plan.notes[0].contains(WEB) && plan.notes[0].contains("cpus"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn the_one_that_still_serves_keeps_the_limits_of_its_own_spec() {
    let mut scene = with_limits(Limits::default());
    let old = limited(100);
    scene.specs.insert(old.hash, old.spec.clone());
    let seen = &mut scene.seen.containers[0];
    seen.spec = Some(old.hash);
    seen.details.as_mut().unwrap().limits = Limits {
        memory: Some(7),
        pids: Some(100),
        ..Limits::default()
    };
    scene.facts.good_specs.insert(limited(1).key, old.hash);
    let steps = &scene.plan().services[0].steps;
    let limits: Vec<&Limits> = steps
        .iter()
        .filter_map(|call| match call {
            Call::SetLimits { limits, .. } => Some(limits),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [&old.spec.limits]);
}

/// Acme's web that should answer to `db` as well.
fn with_alias(now: Option<&[&str]>) -> Scene {
    let mut object = object(&acme(), "web", 1);
    object.networks.get_mut(HOME).unwrap().aliases = BTreeSet::from(["db".to_owned()]);
    let mut seen = container(&acme(), "web", 1, WEB);
    seen.details = now.map(|names| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        Details {
            networks: BTreeMap::from([(HOME.to_owned(), (names, BTreeSet::new()))]),
            ..details(Restart::UnlessStopped)
        }
    });
    let mut scene = Scene::default();
    scene.wants(object).has_owner(&acme()).has(seen);
    scene
}

fn rejoins(scene: &Scene) -> bool {
    let steps = scene
        .plan()
        .services
        .first()
        .map(|s| s.steps.clone())
        .unwrap_or_default();
    matches!(
        steps.as_slice(),
        [Call::Disconnect { network, .. }, Call::Connect { network: again, .. }] if network == HOME && again == HOME
    )
}

#[test]
fn a_lost_name_is_given_back_by_joining_the_network_again() {
    assert!(rejoins(&with_alias(Some(&[]))));
    assert!(
        with_alias(Some(&["db", "more"])).plan().is_empty(),
        "further names do no harm"
    );
    assert!(!rejoins(&with_alias(None)), "nothing is concluded before a look");
    let mut old = with_alias(Some(&[]));
    old.wanted.services.values_mut().map(Arc::make_mut).for_each(|o| {
        Arc::make_mut(&mut o.spec).image = "another".to_owned();
        o.hash = o.spec.hash();
    });
    assert!(!rejoins(&old), "the one that goes keeps its clients");
}

#[test]
fn a_network_that_was_made_again_is_joined_again() {
    let mut scene = with_alias(Some(&["db"]));
    scene.seen.containers[0].stale_networks.insert(HOME.to_owned());
    assert!(rejoins(&scene));
}

#[test]
fn what_is_half_removed_is_as_good_as_gone_and_is_cleared_away() {
    let mut scene = with_alias(Some(&["db"]));
    scene.seen.containers[0].state = State::Dead;
    let plan = scene.plan();
    assert_eq!(plan.services[0].dead, ["id-web-acme-aither"]);
    assert!(matches!(plan.services[0].steps[0], Call::Create { .. }));
    assert!(plan.services[0].wants_calls(scene.now()));
    // Beside one that serves it is all there is to do.
    scene.seen.containers[0].name = String::new();
    let mut serving = container(&acme(), "web", 1, WEB);
    serving.id = "another".to_owned();
    serving.details = with_alias(Some(&["db"])).seen.containers[0].details.clone();
    scene.has(serving);
    let plan = scene.plan();
    assert_eq!(plan.services[0].dead.len(), 1);
    assert!(plan.services[0].steps.is_empty(), "{:?}", plan.services[0].steps);
}

fn on_port(service: &str, host: u16, ip: &str) -> ServiceObject {
    let mut object = object(&acme(), service, 1);
    Arc::make_mut(&mut object.spec).ports = BTreeSet::from([PortSpec {
        container: 80,
        protocol: Protocol::Tcp,
        ip: ip.to_owned(),
        host: Some(host),
    }]);
    object.hash = object.spec.hash();
    object
}

/// While acme moves: `old` runs and is dropped, `new` is wanted.
fn renamed(old: &ServiceObject, new: ServiceObject) -> Scene {
    let mut seen = container(&acme(), "old", 1, "old.acme.aither");
    seen.spec = Some(old.hash);
    let mut scene = Scene::default();
    scene.specs.insert(old.hash, old.spec.clone());
    scene.facts.good_specs.insert(old.key.clone(), old.hash);
    scene.wants(new).has_owner(&acme()).has(seen);
    scene.holds.insert(acme(), Hold::NoPrune);
    scene
}

#[test]
fn what_a_move_drops_gives_way_to_what_needs_its_port() {
    let old = on_port("old", 8080, "127.0.0.1");
    let mut scene = renamed(&old, on_port("new", 8080, "0.0.0.0"));
    let plan = scene.plan();
    let of = |name: &str| plan.services.iter().find(|s| s.key.service == name).unwrap();
    assert_eq!(of("old").action, Action::Yield);
    let id = || "id-old-acme-aither".to_owned();
    assert_eq!(
        of("old").steps,
        [
            Call::SetRestart {
                id: id(),
                restart: Restart::No
            },
            Call::Stop { id: id() }
        ]
    );
    assert!(!of("new").aim.may_start, "it waits for the port");
    // It stopped: it stays as it is, and the other may start.
    let seen = &mut scene.seen.containers[0];
    seen.state = State::Exited;
    seen.details = Some(details(Restart::No));
    let plan = scene.plan();
    assert!(plan.services.iter().all(|s| s.key.service == "new"));
    assert!(plan.services[0].aim.may_start);
}

#[test]
fn what_a_move_drops_stays_where_it_is_in_nobodys_way() {
    let old = on_port("old", 8080, "127.0.0.1");
    for new in [
        on_port("new", 8081, "127.0.0.1"),
        on_port("new", 8080, "10.0.0.1"),
    ] {
        let plan = renamed(&old, new).plan();
        assert!(
            plan.services
                .iter()
                .all(|s| s.key.service == "new" && s.aim.may_start)
        );
    }
}

#[test]
fn a_volume_that_was_there_is_not_made_again_and_nothing_starts_without_it() {
    let mut object = object(&acme(), "web", 1);
    let volume = VolumeObject {
        name: "data.acme.aither".to_owned(),
        owner: acme(),
    };
    let mount = MountSpec {
        from: MountFrom::Volume(volume.name.clone()),
        read_only: false,
        no_copy: false,
    };
    Arc::make_mut(&mut object.spec)
        .mounts
        .insert("/data".to_owned(), mount);
    let mut scene = Scene::default();
    scene.wants(object);
    scene.wanted.volumes.insert(volume.name.clone(), volume.clone());
    assert_eq!(scene.plan().make_volumes.len(), 1);
    scene.facts.volumes.insert(volume.name.clone());
    let plan = scene.plan();
    assert!(plan.make_volumes.is_empty());
    assert_eq!(plan.lost_volumes.as_slice(), std::slice::from_ref(&volume));
    assert!(
        plan.services[0]
            .blocked
            .as_deref()
            .unwrap()
            .contains(&volume.name)
    );
    scene.seen.volumes.push(SeenVolume {
        name: volume.name,
        labels: BTreeMap::new(),
    });
    let plan = scene.plan();
    assert!(plan.lost_volumes.is_empty() && plan.services[0].blocked.is_none());
}
