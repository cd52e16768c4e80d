//! Volumes that images declare.

use super::super::seen::SeenMount;
use super::*;
use crate::render::object::{MountFrom, MountSpec};

const DB: &str = "db.acme.aither";

fn acme() -> Owner {
    tenant("acme")
}

/// `db` is wanted at its `n`th version, whose image declares these paths.
fn wants(scene: &mut Scene, n: u8, declared: &[&str]) {
    let object = object(&acme(), "db", n);
    declares(scene, &object, declared);
    scene.wants(object);
}

fn declares(scene: &mut Scene, object: &ServiceObject, paths: &[&str]) {
    let paths = paths.iter().map(|p| (*p).to_owned()).collect();
    scene.declared.insert(object.spec.image.clone(), paths);
}

/// The container of `db`'s `n`th version under a name, with volumes by path.
fn has(scene: &mut Scene, n: u8, name: &str, volumes: &[(&str, &str)]) {
    let mut seen = container(&acme(), "db", n, name);
    for (path, volume) in volumes {
        let mount = SeenMount {
            volume: (*volume).to_owned(),
            writable: true,
        };
        seen.volumes.insert((*path).to_owned(), mount);
    }
    let spec = spec(&acme(), "db", n);
    scene.specs.insert(spec.hash(), Arc::new(spec));
    scene.has(seen);
}

/// A volume of the tenant's own that was written down and is there.
fn volume(scene: &mut Scene, name: &str) {
    scene.known.insert(name.to_owned(), None);
    scene.seen.volumes.push(SeenVolume {
        name: name.to_owned(),
        labels: BTreeMap::from([("dev.ringfence.tenant".to_owned(), "acme".to_owned())]),
    });
}

fn made(plan: &Plan) -> Vec<&str> {
    plan.make_volumes.iter().map(|v| v.name.as_str()).collect()
}

fn volumes(plan: &Plan, service: &str) -> BTreeMap<String, String> {
    let service = plan.service(&key(&acme(), service)).unwrap();
    service.volumes.clone().unwrap()
}

fn remembered(plan: &Plan) -> Vec<(&str, &str)> {
    let all = plan.image_volumes.iter();
    all.map(|(_, path, volume)| (path.as_str(), volume.as_str()))
        .collect()
}

fn remember(scene: &mut Scene, path: &str, volume: &str) {
    let of = scene.facts.image_volumes.entry(key(&acme(), "db")).or_default();
    of.insert(path.to_owned(), volume.to_owned());
}

fn order(scene: &Scene) -> String {
    scene.plan().services[0].order.clone()
}

fn nameless(n: u8) -> String {
    format!("{n:064x}")
}

#[test]
fn a_path_that_the_image_declares_gets_a_volume_that_is_written_down() {
    let mut scene = Scene::default();
    scene.wants(object(&acme(), "db", 1));
    let plan = scene.plan();
    assert_eq!(plan.services[0].volumes, None);
    assert_eq!(
        plan.services[0].unknown_image(),
        Some(spec(&acme(), "db", 1).image.as_str())
    );
    assert!(made(&plan).is_empty() && plan.image_volumes.is_empty());

    wants(&mut scene, 1, &["/var/lib/db"]);
    let plan = scene.plan();
    let name = "db-var-lib-db.acme.aither";
    assert_eq!(plan.services[0].unknown_image(), None);
    assert_eq!(
        volumes(&plan, "db"),
        BTreeMap::from([("/var/lib/db".into(), name.into())])
    );
    assert_eq!(made(&plan), [name]);
    assert_eq!(remembered(&plan), [("/var/lib/db", name)]);
    let with = scene.wanted.services.values().next().unwrap().hash;
    assert_eq!(with, object(&acme(), "db", 1).hash, "it is in no spec");

    // It is there, and known.
    volume(&mut scene, name);
    remember(&mut scene, "/var/lib/db", name);
    let plan = scene.plan();
    assert!(made(&plan).is_empty() && plan.image_volumes.is_empty());
    assert_eq!(volumes(&plan, "db").len(), 1);
}

#[test]
fn what_the_spec_mounts_there_itself_counts_and_what_it_mounts_above_does_not() {
    let mut scene = Scene::default();
    let mut db = object(&acme(), "db", 1);
    let mounts = &mut Arc::make_mut(&mut db.spec).mounts;
    let tmpfs = MountFrom::Tmpfs {
        size: None,
        mode: None,
        options: BTreeSet::new(),
    };
    for (path, from) in [
        ("/data", MountFrom::Volume("data.acme.aither".to_owned())),
        ("/var/lib/db", MountFrom::Volume("lib.acme.aither".to_owned())),
        ("/tmp", tmpfs),
        ("/etc/localtime", MountFrom::Host("/etc/localtime".to_owned())),
    ] {
        let mount = MountSpec {
            from,
            read_only: false,
            no_copy: false,
        };
        mounts.insert(path.to_owned(), mount);
    }
    db.hash = db.spec.hash();
    declares(
        &mut scene,
        &db,
        &["/data", "/tmp", "/etc/localtime", "/var/lib/db/files"],
    );
    scene.wants(db);
    assert_eq!(
        volumes(&scene.plan(), "db"),
        BTreeMap::from([(
            "/var/lib/db/files".into(),
            "db-var-lib-db-files.acme.aither".into()
        )])
    );
}

#[test]
fn two_paths_never_get_one_volume() {
    let mut scene = Scene::default();
    wants(&mut scene, 1, &["/a/b", "/a-b", "/c"]);
    let other = object(&acme(), "db-a", 9);
    declares(&mut scene, &other, &["/b"]);
    scene.wants(other);
    let name = "db-c.acme.aither".to_owned();
    let own = VolumeObject {
        name: name.clone(),
        owner: acme(),
    };
    // The file calls a volume so, for something else.
    scene.wanted.volumes.insert(name.clone(), own);
    let plan = scene.plan();
    let (db, other) = (volumes(&plan, "db"), volumes(&plan, "db-a"));
    let all: BTreeSet<&String> = db.values().chain(other.values()).chain([&name]).collect();
    assert_eq!(all.len(), 5, "{all:#?}");
    assert!(all.contains(&"db-a-b.acme.aither".to_owned()), "{all:#?}");
    assert_eq!(volumes(&scene.plan(), "db"), db, "the same each time");
    // Also when the other service is the only one that is planned.
    remember(&mut scene, "/a/b", "db-a-b.acme.aither");
    scene.wanted.services.remove(&key(&acme(), "db"));
    assert_ne!(volumes(&scene.plan(), "db-a")["/b"], "db-a-b.acme.aither");
}

#[test]
fn the_successor_of_an_older_container_takes_over_the_volume_that_the_engine_named() {
    let mut scene = Scene::default();
    scene.has_owner(&acme());
    let (data, failed, parked) = (nameless(1), nameless(2), nameless(3));
    has(&mut scene, 1, DB, &[("/data", &data)]);
    let hex = |n| spec(&acme(), "db", n).hash().0.short();
    has(
        &mut scene,
        3,
        &format!("{DB}.failed-{}", hex(3)),
        &[("/data", &failed), ("/only", &failed)],
    );
    has(
        &mut scene,
        4,
        &format!("{DB}.old-{}", hex(1)),
        &[("/data", &parked), ("/more", &parked)],
    );
    wants(&mut scene, 2, &["/data", "/more", "/only"]);
    let plan = scene.plan();
    let new = "db-only.acme.aither";
    let want = [("/data", data.as_str()), ("/more", &parked), ("/only", new)];
    let want = want.map(|(path, volume)| (path.to_owned(), volume.to_owned()));
    assert_eq!(volumes(&plan, "db"), BTreeMap::from(want));
    assert_eq!(
        remembered(&plan),
        [("/data", data.as_str()), ("/more", &parked), ("/only", new)]
    );
    assert_eq!(made(&plan), [new], "the others are there");
    assert!(
        plan.services[0]
            .order
            .starts_with("stop-first: volume 000000000000… "),
        "{}",
        plan.services[0].order
    );
    assert!(
        plan.notes[0].contains("goes on with what it has at /data"),
        "{:?}",
        plan.notes
    );

    // The ledger goes before all but what serves.
    remember(&mut scene, "/more", "db-more.acme.aither");
    remember(&mut scene, "/data", "db-data.acme.aither");
    let got = volumes(&scene.plan(), "db");
    assert_eq!(
        (&got["/data"], got["/more"].as_str()),
        (&data, "db-more.acme.aither")
    );

    // It stops, and starts again later: only the ledger can tell where its data is.
    scene.facts.image_volumes.clear();
    scene.wanted.services.clear();
    scene.holds.insert(acme(), Hold::Free);
    assert_eq!(remembered(&scene.plan())[0], ("/data", data.as_str()));
    scene.seen.containers.clear();
    remember(&mut scene, "/data", &data);
    wants(&mut scene, 2, &["/data"]);
    assert_eq!(volumes(&scene.plan(), "db")["/data"], data);
}

#[test]
fn a_volume_of_somebody_else_is_never_taken_for_the_services_data() {
    let mut scene = Scene::default();
    scene.has_owner(&acme());
    has(&mut scene, 1, DB, &[("/data", "photos")]);
    wants(&mut scene, 2, &["/data"]);
    let plan = scene.plan();
    assert_eq!(volumes(&plan, "db")["/data"], "db-data.acme.aither");
    assert_eq!(remembered(&plan), [("/data", "db-data.acme.aither")]);
}

#[test]
fn a_container_that_writes_such_a_volume_is_replaced_stop_first() {
    let scene = |order: RolloutOrder, volumes: &[(&str, &str)]| {
        let mut scene = Scene::default();
        scene.has_owner(&acme());
        volume(&mut scene, "db-data.acme.aither");
        has(&mut scene, 1, DB, volumes);
        let mut new = object(&acme(), "db", 2);
        new.order = order;
        scene.wants(new);
        scene
    };
    let free = RolloutOrder::StartFirst { asked: false };
    let data = [("/data", "db-data.acme.aither")];
    let bound = scene(free.clone(), &data);
    assert_eq!(
        order(&bound),
        "stop-first: volume db-data.acme.aither is mounted writable at /data, as the image asks"
    );
    let plan = bound.plan();
    assert!(plan.services[0].aim.stop_first);
    let stop = |plan: &Plan| {
        plan.services[0]
            .steps
            .iter()
            .position(|c| matches!(c, Call::Stop { .. }))
    };
    let start = |plan: &Plan| {
        plan.services[0]
            .steps
            .iter()
            .position(|c| matches!(c, Call::Start { .. }))
    };
    assert!(stop(&plan) < start(&plan));
    assert_eq!(order(&scene(free.clone(), &[])), "start-first");
    assert_eq!(
        order(&scene(RolloutOrder::StartFirst { asked: true }, &data)),
        "start-first"
    );
    let port = RolloutOrder::StopFirst("host port 80 cannot be held twice".to_owned());
    assert_eq!(
        order(&scene(port, &data)),
        "stop-first: host port 80 cannot be held twice"
    );
    let mut read_only = scene(free, &data);
    for mount in read_only.seen.containers[0].volumes.values_mut() {
        mount.writable = false;
    }
    assert_eq!(order(&read_only), "start-first");
}

#[test]
fn only_what_is_to_go_or_is_there_twice_makes_it_stop_first() {
    let data = [("/data", "db-data.acme.aither")];
    let hex = |n| spec(&acme(), "db", n).hash().0.short();
    let scene = |of: &[(u8, String, bool)]| {
        let mut scene = Scene::default();
        scene.has_owner(&acme());
        volume(&mut scene, "db-data.acme.aither");
        for (n, name, writes) in of {
            has(&mut scene, *n, name, if *writes { &data } else { &[] });
        }
        let mut new = object(&acme(), "db", 2);
        new.health = HealthSource::Engine;
        scene.wants(new);
        for one in &mut scene.seen.containers {
            one.health = EngineHealth::Starting;
        }
        let plan = scene.plan();
        plan.services.first().is_some_and(|s| s.aim.stop_first)
    };
    let passing = || (2, format!("{DB}.{}", hex(2)), true);
    // The first version of the image that declares it: the old one does not have it, and goes on until the new one is healthy.
    assert!(!scene(&[(1, DB.to_owned(), false), passing()]));
    assert!(scene(&[(1, DB.to_owned(), true), passing()]));
    // On its way out, with the very spec that is wanted again.
    let leaving = (2, format!("{DB}.gone-x"), true);
    assert!(scene(std::slice::from_ref(&leaving)));
    assert!(scene(&[leaving, passing()]));
    assert!(!scene(&[passing()]));
    assert!(scene(&[
        (2, DB.to_owned(), true),
        (2, "named-by-hand".to_owned(), true)
    ]));
}

#[test]
fn a_declared_volume_that_was_there_is_not_made_anew_unasked() {
    let mut scene = Scene::default();
    wants(&mut scene, 1, &["/data"]);
    let name = "db-data.acme.aither";
    scene.facts.volumes.insert(name.to_owned());
    let plan = scene.plan();
    assert!(made(&plan).is_empty());
    assert_eq!(plan.lost_volumes[0].name, name);
    assert!(plan.services[0].blocked.as_deref().unwrap().contains(name));
    volume(&mut scene, name);
    let plan = scene.plan();
    assert!(plan.lost_volumes.is_empty() && plan.services[0].blocked.is_none());
}

#[test]
fn a_volume_that_the_engine_named_goes_with_the_rest_of_an_erased_tenant() {
    let mut scene = Scene::default();
    scene.has_owner(&acme());
    let data = nameless(1);
    has(&mut scene, 1, DB, &[("/data", &data)]);
    scene.holds.insert(acme(), Hold::Free);
    let plan = scene.plan();
    assert_eq!(remembered(&plan), [("/data", data.as_str())]);
    remember(&mut scene, "/data", &data);
    remember(&mut scene, "/more", "db-more.acme.aither");
    assert!(scene.plan().remove_volumes.is_empty(), "it has only stopped");
    scene.erased.insert(acme());
    let plan = scene.plan();
    assert!(plan.remove_volumes.is_empty(), "its container still uses it");
    assert!(plan.show(&scene.input(), false).contains(&data));
    scene.seen.containers.clear();
    let gone: Vec<String> = scene.plan().remove_volumes.into_iter().map(|v| v.name).collect();
    assert_eq!(gone, [data], "the other one is not there");
    scene.holds.clear();
    assert!(scene.plan().remove_volumes.is_empty());
}
