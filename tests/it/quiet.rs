//! An `apply` that finds all as the last one left it says what that one said; whatever differs makes a whole pass.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use simulated_engine::State;

use crate::support::fleet::{agent_service, tenant};
use crate::support::simulated::SimulatedFleet;

/// What stands in a status that was left and in no other.
const MARK: &str = "left by the last one";

fn file(fleet: &SimulatedFleet) -> PathBuf {
    fleet.state().join("quiet.json")
}

/// Whether an `apply` said what was left, and what it said.
fn apply(fleet: &SimulatedFleet) -> (bool, String) {
    let said = fleet.ringfence(&["apply"]).expect(0).stdout;
    (said.contains(MARK), said)
}

/// Writes a file in its place, as an editor may: its folder stays as it is.
fn edit(file: &Path, text: &str) {
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    fs::write(file, text).unwrap();
}

/// Applies until something is left, and marks that. Files that were written just now leave nothing: that takes two seconds.
fn at_rest(fleet: &SimulatedFleet) {
    let _ = fs::remove_file(file(fleet));
    fleet.eventually("an apply leaves what it found", |f| {
        f.ringfence(&["apply"]).expect(0);
        file(f).exists()
    });
    mark(fleet);
    let (left, said) = apply(fleet);
    assert!(left && said.contains("Nothing to do."), "{said}");
}

fn mark(fleet: &SimulatedFleet) {
    let mut left: Value = serde_json::from_slice(&fs::read(file(fleet)).unwrap()).unwrap();
    left["status"]["conditions"] = serde_json::json!([MARK]);
    fs::write(file(fleet), left.to_string()).unwrap();
}

fn fleet(name: &str, ring: &str, lines: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    let own = "environment: {AGENT_VERSION: \"1\"}\nvolumes: [\"data:/data\", \"./conf:/conf\"]\n";
    let services = [agent_service("agent", own), agent_service("web", lines)].concat();
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            &format!("rings:\n  dev: {{id: 0, auto_deploy: true, rollout: {{observe: 0s}}}}\n{ring}"),
        )
        .write("desired/services/conf/app.conf", "a = 1\n")
        .write(
            "desired/services/all.yaml",
            &format!("services:\n{services}volumes: {{data: {{}}}}\n"),
        )
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
}

#[test]
fn what_was_left_is_said_again_in_full_and_not_to_who_asks_for_more() {
    let fleet = fleet("quiet", "", "");
    fleet.eventually("an apply leaves what it found", |f| {
        f.ringfence(&["apply"]).expect(0);
        file(f).exists()
    });
    let of = |args: &[&str]| {
        let mut status = fleet.ringfence(args).expect(0).json();
        let at = status.as_object_mut().unwrap().remove("at").unwrap();
        (status, at)
    };
    let left = of(&["apply", "-o", "json"]);
    let _ = fs::remove_file(file(&fleet));
    let whole = of(&["apply", "-o", "json"]);
    assert_eq!(left.0, whole.0);
    assert!(left.1.as_str() < whole.1.as_str(), "it is of its own moment");

    at_rest(&fleet);
    fleet.engine.forget_calls();
    assert!(apply(&fleet).0);
    assert_eq!(fleet.engine.calls().len(), 3, "the engine is asked all the same");
    let powers = [
        "--refresh",
        "--again",
        "--resolve",
        "--prune",
        "--adopt",
        "--takeover",
        "dev",
        "acme",
    ];
    for more in powers {
        let said = fleet.ringfence(&["apply", more]).expect(0).stdout;
        assert!(!said.contains(MARK), "{more}: {said}");
        at_rest(&fleet);
    }
}

/// Each is done to a fleet at rest; then what it must look like again after one `apply`.
type Disturbed<'a> = (
    &'a str,
    &'a dyn Fn(&SimulatedFleet),
    &'a dyn Fn(&SimulatedFleet) -> bool,
);

fn all_run(fleet: &SimulatedFleet) -> bool {
    let all = fleet.all();
    all.len() == 4 && all.values().all(|c| c.state == State::Running)
}

fn disturbed(fleet: &SimulatedFleet, all: &[Disturbed<'_>]) {
    for (what, disturb, good) in all {
        at_rest(fleet);
        disturb(fleet);
        let (left, said) = apply(fleet);
        assert!(!left, "{what}: {said}");
        assert!(good(fleet), "{what}: {said}");
    }
}

fn name(fleet: &SimulatedFleet, what: &str) -> String {
    format!("{what}.acme.{}", fleet.instance)
}

#[test]
fn whatever_happens_on_the_engine_makes_a_whole_pass() {
    let fleet = fleet("quiet-engine", "", "");
    let web = |fleet: &SimulatedFleet| fleet.server("acme", "web").unwrap().id;
    disturbed(
        &fleet,
        &[
            (
                "removed",
                &|f| {
                    let name = name(f, "web");
                    f.engine.with(|world| world.forget(&name));
                },
                &all_run,
            ),
            (
                "stopped",
                &|f| {
                    let id = web(f);
                    f.engine.with(|world| world.ended(&id, 137));
                },
                &all_run,
            ),
            (
                "paused",
                &|f| {
                    let id = web(f);
                    f.engine
                        .with(|world| world.containers.get_mut(&id).unwrap().state = State::Paused);
                },
                &all_run,
            ),
            (
                "renamed",
                &|f| {
                    let id = web(f);
                    f.engine.with(|world| world.rename(&id, "somebody"));
                },
                &|f| all_run(f) && f.server("acme", "web").is_some(),
            ),
            (
                "a volume of the holder's removed",
                &|f| {
                    let name = format!("ringfence.{}", f.instance);
                    f.engine.with(|world| world.volumes.remove(&name));
                },
                &|f| {
                    let name = format!("ringfence.{}", f.instance);
                    f.engine.with(|world| world.volumes.contains_key(&name))
                },
            ),
        ],
    );
    // An engine that was upgraded speaks the version of before no longer, and its containers run anew. With nothing to do
    // there is no call after the first look but inspections.
    at_rest(&fleet);
    fleet.engine.with(|world| {
        world.version.1 = (1, 47);
        world.version.2 = (1, 44);
        let ids: Vec<String> = world.containers.keys().cloned().collect();
        for id in ids {
            world.ended(&id, 0);
            world.run(&id);
        }
    });
    let status = fleet.ringfence(&["apply", "-o", "json"]).expect(0).json();
    assert_eq!(status["conditions"], serde_json::json!([]));
    assert!(all_run(&fleet));
    // Another holder is refused, as ever.
    at_rest(&fleet);
    let name = format!("ringfence.{}", fleet.instance);
    fleet.engine.with(|world| {
        let volume = world.volumes.get_mut(&name).unwrap();
        volume
            .labels
            .insert("dev.ringfence.holder".to_owned(), "0".repeat(32));
    });
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("is held by another ringfence");
}

#[test]
fn whatever_happens_on_the_host_makes_a_whole_pass() {
    let fleet = fleet("quiet-host", "", "");
    let live = |f: &SimulatedFleet| f.state().join("files/live").join(format!("acme.{}", f.instance));
    let told = |f: &SimulatedFleet| fs::read_to_string(live(f).join("context.json")).unwrap_or_default();
    let content = |f: &SimulatedFleet| {
        let found = fs::read_dir(f.state().join("files/content")).unwrap();
        found.map(|e| e.unwrap().path()).next()
    };
    disturbed(
        &fleet,
        &[
            (
                "a live file edited",
                &|f| {
                    edit(&live(f).join("context.json"), "{}");
                },
                &|f| told(f).contains("acme"),
            ),
            (
                "content removed",
                &|f| fs::remove_dir_all(content(f).unwrap()).unwrap(),
                &|f| content(f).is_some(),
            ),
            (
                "a commit",
                &|f| {
                    f.on("main")
                        .replace("desired/tenants/acme.yaml", "The acme", "Another name")
                        .commit("a name");
                },
                &|f| told(f).contains("Another name"),
            ),
            (
                "a branch that nothing is read from",
                &|f| {
                    f.git(&["branch", "aside"]);
                },
                &all_run,
            ),
            (
                "the ledger written",
                &|f| {
                    let ledger = rusqlite::Connection::open(f.state().join("ledger.sqlite")).unwrap();
                    ledger
                        .execute("INSERT INTO meta (key, value) VALUES ('a', 'b')", [])
                        .unwrap();
                    drop(ledger);
                    f.ledger_is_old();
                },
                &all_run,
            ),
            (
                "what is kept of the repository lost",
                &|f| {
                    let kept = f.state().join("git");
                    fs::remove_dir_all(&kept).unwrap();
                    fs::create_dir(kept).unwrap();
                },
                &|f| f.state().join("git/HEAD").exists(),
            ),
            (
                "what was left damaged",
                &|f| fs::write(file(f), "{").unwrap(),
                &all_run,
            ),
            (
                "its time is over",
                &|f| {
                    let mut left: Value = serde_json::from_slice(&fs::read(file(f)).unwrap()).unwrap();
                    left["until"] = left["at"].clone();
                    fs::write(file(f), left.to_string()).unwrap();
                },
                &all_run,
            ),
        ],
    );
    // Neither its length nor its time tells: what does is when the file itself was changed.
    at_rest(&fleet);
    let file = live(&fleet).join("context.json");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    edit(&file, &text.replacen("acme", "acmf", 1));
    let opened = fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(before).unwrap();
    fleet.eventually("the file is old enough to tell", |_| {
        let changed = u64::try_from(fs::metadata(&file).unwrap().ctime()).unwrap();
        (SystemTime::UNIX_EPOCH + Duration::from_secs(changed))
            .elapsed()
            .is_ok_and(|age| age.as_secs() > 3)
    });
    assert!(!apply(&fleet).0);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn what_must_be_looked_at_each_time_leaves_nothing() {
    let soak = "  prod: {id: 1, soak: 1s}\n";
    let gate = "  prod: {id: 1, approval_required: true}\n";
    for (name, ring, pinned, leaves) in [
        ("nothing-more", "", false, true),
        ("soak", soak, false, false),
        ("gate", gate, true, false),
    ] {
        let fleet = SimulatedFleet::new(&format!("quiet-{name}"));
        let rings = "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n";
        let services = agent_service("web", "");
        let first = fleet
            .on("main")
            .write("rings/rings.yaml", &format!("{rings}{ring}"))
            .write("desired/services/all.yaml", &format!("services:\n{services}"))
            .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
            .commit("a fleet");
        if pinned {
            fleet.pin("prod", &first);
        }
        fleet.ringfence(&["apply"]);
        fleet.ledger_is_old();
        let said = fleet.ringfence(&["apply"]).stdout;
        assert!(said.contains("Nothing to do."), "{name}: {said}");
        fleet.ringfence(&["apply"]);
        assert_eq!(file(&fleet).exists(), leaves, "{name}");
    }
}
