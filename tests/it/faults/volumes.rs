//! Volumes that images declare: whatever happens, a service has one for each path, and nothing else is left.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use simulated_engine::{Fault, Hold, Image, Moment};

use super::flows::each;
use crate::support::fleet::{AGENT, agent_service, tenant};
use crate::support::simulated::SimulatedFleet;

const FILE: &str = "desired/services/db.yaml";
const REPLACEMENTS: usize = 100;

/// A fleet with the tenant acme, whose engine has two images that declare `/data`.
fn fleet(name: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    for tag in ["0", "1"] {
        fleet
            .engine
            .with(|world| world.add_image(&format!("db:{tag}"), image(tag)));
    }
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n",
        )
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write(FILE, &db(0, ""))
        .commit("a fleet");
    fleet
}

fn image(tag: &str) -> Image {
    Image::new(json!({"Cmd": ["serve"], "Labels": {"tag": tag}, "Volumes": {"/data": {}}}))
}

/// The service `db` at its `n`th version, with more variables.
fn db(n: usize, more: &str) -> String {
    let lines = format!(
        "restart: unless-stopped\nenvironment: {{AGENT_VERSION: \"{n}\"{more}}}\nx-ringfence: {{rollout: {{drain: 5ms}}}}"
    );
    let service = agent_service("db", &lines).replace(AGENT, &format!("db:{}", n % 2));
    format!("services:\n{service}")
}

/// All volumes of the engine but the holder's, with the tenant that each says it is of.
fn volumes(fleet: &SimulatedFleet) -> BTreeMap<String, String> {
    let holder = format!("ringfence.{}", fleet.instance);
    let all = fleet.engine.snapshot().volumes.into_iter();
    all.filter(|(name, _)| *name != holder)
        .map(|(name, volume)| {
            let tenant = volume.labels.get("dev.ringfence.tenant");
            (name, tenant.cloned().unwrap_or_default())
        })
        .collect()
}

/// The one volume that there shall be.
fn one(fleet: &SimulatedFleet) -> BTreeMap<String, String> {
    BTreeMap::from([(format!("db-data.acme.{}", fleet.instance), "acme".to_owned())])
}

/// What the containers have at `/data`.
fn data(fleet: &SimulatedFleet) -> BTreeSet<String> {
    let all = fleet.all().into_values();
    all.map(|c| c.mounts["/data"].0.clone()).collect()
}

#[test]
fn a_hundred_replacements_leave_one_volume() {
    let fleet = fleet("vol-hundred");
    fleet.ringfence(&["apply"]).expect(0);
    for n in 1..=REPLACEMENTS {
        fleet.on("main").write(FILE, &db(n, "")).commit("another");
        fleet.ringfence(&["apply"]).expect(0);
    }
    assert_eq!(fleet.serves("acme", "db"), REPLACEMENTS.to_string());
    assert_eq!(volumes(&fleet), one(&fleet));
    assert_eq!(data(&fleet), one(&fleet).into_keys().collect());
    // What fails on the way leaves none either.
    fleet
        .on("main")
        .write(FILE, &db(REPLACEMENTS + 1, ", AGENT_FAIL: exit"))
        .commit("a bad one");
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.serves("acme", "db"), REPLACEMENTS.to_string());
    assert_eq!(volumes(&fleet), one(&fleet));
    // And all goes with an erased tenant.
    let erased = format!("{}state: erased\n", tenant("acme", "dev"));
    fleet
        .on("main")
        .write(FILE, &db(REPLACEMENTS, ""))
        .write("desired/tenants/acme.yaml", &erased)
        .commit("acme is erased");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(volumes(&fleet), BTreeMap::new());
}

#[test]
fn a_crash_at_any_change_leaves_no_volume_behind() {
    for moment in [Moment::Before, Moment::Done] {
        let changes = each(|n| {
            let fleet = fleet("vol-crash");
            let hold = Hold::new(moment);
            let (mut met, there) = (0, hold.clone());
            fleet.engine.script(move |call| {
                let hit = call.changes() && met == n;
                met += usize::from(call.changes());
                hit.then(|| Fault::Hold(there.clone()))
            });
            let mut command = fleet.command(&["apply"]);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let ended = loop {
                if hold.wait(Duration::from_millis(10)) {
                    break false;
                }
                if child.try_wait().unwrap().is_some() {
                    break true;
                }
            };
            child.kill().unwrap();
            child.wait().unwrap();
            hold.release();
            fleet.engine.no_faults();
            fleet.ringfence(&["apply"]).expect(0);
            assert_eq!(volumes(&fleet), one(&fleet), "killed at change {n}");
            assert_eq!(
                data(&fleet),
                one(&fleet).into_keys().collect(),
                "killed at change {n}"
            );
            let erased = format!("{}state: erased\n", tenant("acme", "dev"));
            fleet
                .on("main")
                .write("desired/tenants/acme.yaml", &erased)
                .commit("acme is erased");
            fleet.ringfence(&["apply"]).expect(0);
            assert_eq!(volumes(&fleet), BTreeMap::new(), "killed at change {n}");
            !ended
        });
        assert!(changes > 3, "holder, volume, network, create, start");
    }
}

#[test]
fn an_image_that_comes_with_the_create_has_its_volume_as_well() {
    let fleet = fleet("vol-pull");
    fleet.engine.with(|world| {
        let mut image = image("remote");
        let digest = format!("registry.example/db@sha256:{}", "cd".repeat(32));
        image.digests.insert(digest);
        world.registry.insert("registry.example/db:1".to_owned(), image);
    });
    let remote = db(0, "").replace("db:0", "registry.example/db:1");
    fleet.on("main").write(FILE, &remote).commit("from a registry");
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(0).complains("pulling");
    assert_eq!(volumes(&fleet), one(&fleet));
    let creates = fleet.engine.calls().into_iter();
    let creates = creates.filter(|call| call.is("POST /containers/create")).count();
    assert_eq!(creates, 1);
    assert_eq!(fleet.serves("acme", "db"), "0");
}

/// What an older ringfence has left: its container writes to a volume that the engine made and named.
fn older(fleet: &SimulatedFleet) -> String {
    let name = "ab".repeat(32);
    fleet.engine.with(|world| {
        let volume = one(fleet).into_keys().next().unwrap();
        world.volumes.remove(&volume);
        world.create_volume(&name, BTreeMap::new());
        for one in world.containers.values_mut() {
            one.mounts.insert("/data".to_owned(), (name.clone(), true));
        }
    });
    let ledger = Connection::open(fleet.state().join("ledger.sqlite")).unwrap();
    ledger
        .execute_batch(
            "DELETE FROM image_volumes; DELETE FROM volumes; DELETE FROM objects WHERE name LIKE 'db-data.%'",
        )
        .unwrap();
    name
}

#[test]
fn the_data_of_a_container_that_an_older_ringfence_made_is_taken_along() {
    let fleet = fleet("vol-older");
    fleet.ringfence(&["apply"]).expect(0);
    let data_of_old = older(&fleet);
    // The update of ringfence alone changes nothing.
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.changed(), Vec::<String>::new());

    fleet.on("main").write(FILE, &db(1, "")).commit("another");
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("stop-first: volume abababababab… is mounted writable at /data, as the image asks")
        .says("acme/db goes on with what it has at /data: volume abababababab…");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("acme", "db"), "1");
    let only: BTreeSet<String> = [data_of_old.clone()].into();
    assert_eq!(data(&fleet), only);
    assert_eq!(volumes(&fleet).into_keys().collect::<BTreeSet<_>>(), only);

    // It stops, and starts again: nothing but the ledger knows.
    let state = |word: &str| {
        let text = format!("{}state: {word}\n", tenant("acme", "dev"));
        fleet
            .on("main")
            .write("desired/tenants/acme.yaml", &text)
            .commit(word);
        fleet.ringfence(&["apply"]).expect(0);
    };
    state("stopped");
    assert!(fleet.all().is_empty());
    state("running");
    assert_eq!(data(&fleet), only);
    state("erased");
    assert_eq!(volumes(&fleet), BTreeMap::new());
}

#[test]
fn what_an_older_ringfence_made_and_is_stopped_at_once_has_its_data_when_it_starts_again() {
    let fleet = fleet("vol-older-stop");
    fleet.ringfence(&["apply"]).expect(0);
    let data_of_old = older(&fleet);
    for word in ["stopped", "running"] {
        let text = format!("{}state: {word}\n", tenant("acme", "dev"));
        fleet
            .on("main")
            .write("desired/tenants/acme.yaml", &text)
            .commit(word);
        fleet.ringfence(&["apply"]).expect(0);
    }
    assert_eq!(data(&fleet), [data_of_old].into());
}

#[test]
fn a_declared_volume_that_somebody_removed_is_not_made_anew_unasked() {
    let fleet = fleet("vol-lost");
    fleet.ringfence(&["apply"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    fleet.engine.with(|world| {
        for one in world
            .containers
            .values()
            .map(|c| c.name.clone())
            .collect::<Vec<_>>()
        {
            world.forget(&one);
        }
        let volume = one(&fleet).into_keys().next().unwrap();
        world.volumes.remove(&volume);
    });
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .says("is gone, with its data");
    assert!(fleet.all().is_empty() && volumes(&fleet).is_empty());
    fleet.ringfence(&["apply", "--adopt"]).expect(0);
    assert_eq!(volumes(&fleet), one(&fleet));
    assert_eq!(fleet.serves("acme", "db"), "0");
}

#[test]
fn without_its_ledger_a_service_goes_on_with_its_volume_and_erases_it() {
    let fleet = fleet("vol-ledger");
    fleet.ringfence(&["apply"]).expect(0);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(fleet.state().join(format!("ledger.sqlite{end}")));
    }
    fleet.ringfence(&["apply"]).expect(0);
    fleet.on("main").write(FILE, &db(1, "")).commit("another");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("acme", "db"), "1");
    assert_eq!(volumes(&fleet), one(&fleet));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(fleet.state().join(format!("ledger.sqlite{end}")));
    }
    fleet.ringfence(&["apply"]).expect(0);
    let erased = format!("{}state: erased\n", tenant("acme", "dev"));
    fleet
        .on("main")
        .write("desired/tenants/acme.yaml", &erased)
        .commit("acme is erased");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(volumes(&fleet), BTreeMap::new());
}
