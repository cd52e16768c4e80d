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
    let spec = Arc::make_mut(&mut object.spec);
    spec.limits = Limits {
        memory: Some(memory),
        memory_reservation: Some(90),
        nano_cpus: Some(500),
        pids: Some(100),
    };
    spec.options.cpu_shares = Some(512);
    spec.options.cpuset = Some("0-1".to_owned());
    spec.options.blkio_weight = Some(100);
    object.hash = object.spec.hash();
    object
}

/// What an engine says of a container that was made from `limited(200)`.
fn kept() -> SeenLimits {
    SeenLimits {
        memory: 200,
        memory_swap: 200,
        memory_reservation: 90,
        nano_cpus: 500,
        cpu_shares: 512,
        cpuset: "0-1".to_owned(),
        blkio_weight: 100,
        pids: 100,
        ..SeenLimits::default()
    }
}

const ABLE: Cgroups = Cgroups {
    swap: true,
    first: true,
};

/// A service at rest, and what is seen of its limits.
fn at_rest(object: ServiceObject, now: SeenLimits) -> Scene {
    let mut seen = container(&acme(), "web", 1, WEB);
    seen.spec = Some(object.hash);
    Arc::make_mut(seen.details.as_mut().unwrap()).limits = now;
    let mut scene = Scene {
        cgroups: ABLE,
        ..Scene::default()
    };
    scene.wants(object).has_owner(&acme()).has(seen);
    scene
}

fn with_limits(now: SeenLimits) -> Scene {
    at_rest(limited(200), now)
}

/// The update by which a container gets its limits back, with a look that finds nothing left to do after it.
fn set_back(mut scene: Scene) -> LimitsUpdate {
    let plan = scene.plan();
    assert_eq!(plan.services[0].action, Action::Repair);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    let [Call::SetLimits { limits, .. }] = plan.services[0].steps.as_slice() else {
        panic!("{:?}", plan.services[0].steps);
    };
    let limits = limits.clone();
    let seen = &mut scene.seen.containers[0];
    update(&mut Arc::make_mut(seen.details.as_mut().unwrap()).limits, &limits);
    assert!(scene.plan().is_empty(), "{limits:?}");
    limits
}

/// What somebody did.
type ByHand = fn(&mut SeenLimits);

#[test]
fn limits_that_differ_are_set_back() {
    assert!(with_limits(kept()).plan().is_empty());
    let changes: [(&[&str], ByHand); 12] = [
        (&["mem_limit"], |now| now.memory = 100),
        (&["mem_limit"], |now| now.memory_swap = 300),
        (&["mem_limit"], |now| now.memory_swap = -1),
        (&["mem_reservation"], |now| now.memory_reservation = 10),
        (&["mem_reservation"], |now| now.memory_reservation = -1),
        (&["cpus"], |now| now.nano_cpus = 1),
        (&["cpu_shares"], |now| now.cpu_shares = 2),
        (&["cpuset"], |now| now.cpuset = "0".to_owned()),
        (&["blkio_config.weight"], |now| now.blkio_weight = 1000),
        (&["pids_limit"], |now| now.pids = 5),
        (&["pids_limit"], |now| now.pids = 0),
        (&["cpus", "pids_limit"], |now| {
            (now.nano_cpus, now.pids) = (1, 5);
        }),
    ];
    for (names, change) in changes {
        let mut now = kept();
        change(&mut now);
        let scene = with_limits(now);
        let why = scene.plan().services[0].why[0].clone();
        let told = format!("its limits were changed: {}", names.join(", "));
        assert_eq!(why, crate::plan::why::Why::cause(told));
        assert_eq!(set_back(scene).names(), names, "and nothing else");
    }
}

#[test]
fn what_the_spec_does_not_limit_is_given_back_where_some_value_says_so() {
    let unlimited = |now: SeenLimits| at_rest(object(&acme(), "web", 1), now);
    let quota = SeenLimits {
        cpu_quota: 10_000,
        ..SeenLimits::default()
    };
    assert_eq!(set_back(unlimited(quota)).cpu_quota, Some(-1));
    let pids = SeenLimits {
        pids: 5,
        ..SeenLimits::default()
    };
    assert_eq!(set_back(unlimited(pids)).pids, Some(0));
    for now in [
        SeenLimits {
            cpu_shares: 2,
            ..SeenLimits::default()
        },
        SeenLimits {
            memory_reservation: 7,
            ..SeenLimits::default()
        },
    ] {
        let mut scene = unlimited(now.clone());
        set_back(unlimited(now));
        scene.cgroups.first = false;
        let plan = scene.plan();
        assert!(plan.is_empty(), "no value says so in the second version");
        assert_eq!(plan.notes.len(), 1);
    }
}

#[test]
fn an_engine_that_cannot_limit_is_not_asked_again_and_again() {
    assert!(with_limits(SeenLimits::default()).plan().is_empty());
    let mut scene = with_limits(SeenLimits {
        memory_swap: -1,
        ..kept()
    });
    scene.cgroups.swap = false;
    assert!(scene.plan().is_empty(), "this is what it says of every container");
    // One that shows `cpus` in both words.
    let both = SeenLimits {
        cpu_quota: 50,
        ..kept()
    };
    assert!(with_limits(both).plan().is_empty());
}

#[test]
fn a_limit_that_cannot_be_taken_away_is_told() {
    let changes: [(&str, ByHand); 6] = [
        ("its memory by hand", |now| now.memory = 1),
        ("its cpus by hand", |now| now.nano_cpus = 1),
        ("its set of CPUs by hand", |now| now.cpuset = "0".to_owned()),
        ("its memory nodes by hand", |now| {
            now.memory_nodes = "0".to_owned();
        }),
        ("its disk weight by hand", |now| now.blkio_weight = 10),
        ("its realtime CPU time by hand", |now| now.cpu_realtime = 1),
    ];
    for (told, change) in changes {
        let mut now = SeenLimits::default();
        change(&mut now);
        let plan = at_rest(object(&acme(), "web", 1), now).plan();
        assert!(plan.is_empty(), "{told}");
        let notes = &plan.notes;
        assert!(notes[0].contains(WEB) && notes[0].contains(told), "{notes:?}");
    }
}

#[test]
fn the_one_that_still_serves_keeps_the_limits_of_its_own_spec() {
    let mut scene = with_limits(SeenLimits::default());
    let old = limited(100);
    scene.specs.insert(old.hash, old.spec.clone());
    let seen = &mut scene.seen.containers[0];
    seen.spec = Some(old.hash);
    Arc::make_mut(seen.details.as_mut().unwrap()).limits = SeenLimits {
        memory: 7,
        memory_swap: 7,
        ..kept()
    };
    scene.facts.good_specs.insert(limited(1).key, old.hash);
    let set = Call::SetLimits {
        id: "id-web-acme-aither".to_owned(),
        limits: LimitsUpdate {
            memory: Some(100),
            ..LimitsUpdate::default()
        },
    };
    let plan = scene.plan();
    let steps = plan.services[0].steps.iter();
    let sets: Vec<&Call> = steps
        .filter(|call| matches!(call, Call::SetLimits { .. }))
        .collect();
    assert_eq!(sets, [&set]);
}

#[test]
fn a_quota_that_undoes_cpus_is_told() {
    let plan = with_limits(SeenLimits {
        cpu_quota: -1,
        ..kept()
    })
    .plan();
    assert!(plan.is_empty());
    assert!(plan.notes[0].contains("CPU quota"), "{:?}", plan.notes);
}

/// Acme's web, which mounts its live directory, at rest.
fn with_live(change: impl FnOnce(&mut ServiceObject)) -> Scene {
    let mut object = object(&acme(), "web", 1);
    let mount = MountSpec {
        from: MountFrom::Live(HOME.to_owned()),
        read_only: true,
        no_copy: false,
    };
    let mounts = &mut Arc::make_mut(&mut object.spec).mounts;
    mounts.insert("/run/ringfence".to_owned(), mount);
    object.hash = object.spec.hash();
    change(&mut object);
    at_rest(object, SeenLimits::default())
}

const ID: &str = "id-web-acme-aither";

#[test]
fn what_sees_a_deleted_live_directory_is_replaced_without_a_gap() {
    let mut scene = with_live(|_| {});
    assert!(scene.plan().is_empty());
    // It could not be read: that is no loss.
    scene.live.clear();
    assert!(scene.plan().services.is_empty());
    scene.lost_live.insert(HOME.to_owned());
    let lost = scene.plan();
    let run = Stale::from([(ID.to_owned(), Some(start()))]);
    assert_eq!(lost.stale, BTreeMap::from([(HOME.to_owned(), run.clone())]));
    assert_eq!(lost.write_live.len(), 1);
    // It was written down and made anew, and then came a crash.
    scene.stale = run;
    scene.lost_live.clear();
    let files = scene.wanted.live[HOME].files.clone();
    scene.live.insert(HOME.to_owned(), files);
    let made = scene.plan();
    for plan in [lost, made] {
        let service = &plan.services[0];
        assert_eq!(service.action, Action::Repair);
        assert!(
            service.why[0].field.contains("/run/ringfence"),
            "{:?}",
            service.why
        );
        assert!(matches!(service.steps[0], Call::Create { .. }));
        let stop = service
            .steps
            .iter()
            .position(|call| matches!(call, Call::Stop { id } if id == ID));
        let start = service
            .steps
            .iter()
            .position(|call| matches!(call, Call::Start { .. }));
        assert!(start.unwrap() < stop.unwrap(), "{:?}", service.steps);
        assert!(service.failed.is_none());
    }
    // Another run of it mounts what is there.
    scene.stale.insert(ID.to_owned(), Some(Timestamp::MIN));
    assert!(scene.plan().is_empty());
    scene.stale.insert(ID.to_owned(), None);
    assert!(!scene.plan().is_empty(), "which run it was nobody could say");
}

#[test]
fn what_does_not_run_mounts_a_live_directory_anew_by_itself() {
    let mut scene = with_live(|_| {});
    scene.lost_live.insert(HOME.to_owned());
    scene.live.clear();
    scene.seen.containers[0].state = State::Exited;
    let plan = scene.plan();
    assert!(plan.stale.is_empty());
    assert_eq!(plan.services[0].steps, [Call::Start { id: ID.to_owned() }]);
    let mut job = with_live(|object| object.job = true);
    job.lost_live.insert(HOME.to_owned());
    let plan = job.plan();
    assert!(plan.stale.is_empty() && !plan.services.iter().any(ServicePlan::makes));
}

/// Acme's web that should answer to `db` as well.
fn with_alias(now: Option<&[&str]>) -> Scene {
    let mut object = object(&acme(), "web", 1);
    object.networks.get_mut(HOME).unwrap().aliases = BTreeSet::from(["db".to_owned()]);
    let mut seen = container(&acme(), "web", 1, WEB);
    seen.details = now.map(|names| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        let mut details = details(Restart::UnlessStopped);
        Arc::make_mut(&mut details).networks = BTreeMap::from([(HOME.to_owned(), (names, BTreeSet::new()))]);
        details
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
