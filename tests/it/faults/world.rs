//! What befalls an engine as a whole, and containers that it has: it is away, restarts, loses its voice, refuses, is slow.
//! Each time: a condition that says so, healthy tenants untouched, and all is well by itself when the cause is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use simulated_engine::{Fault, Image, State};

use crate::support::fleet::{AGENT, agent, agent_with, tenant};
use crate::support::simulated::SimulatedFleet;

const AGENT_FILE: &str = "desired/services/agent.yaml";

/// One ring, the tenants acme and beta, the agent, short drains.
fn fleet(name: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n",
        )
        .write(AGENT_FILE, &version("1"))
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("a fleet");
    fleet
}

fn version(version: &str) -> String {
    with(&agent(version))
}

/// With a restart policy and a short drain.
fn with(file: &str) -> String {
    format!("{file}    restart: unless-stopped\n    x-ringfence: {{rollout: {{drain: 5ms}}}}\n")
}

/// Version `v` serves both tenants, and nothing is left to do.
fn runs(fleet: &SimulatedFleet, v: &str) -> bool {
    fleet.serves("acme", "agent") == v && fleet.serves("beta", "agent") == v && fleet.synced("dev")
}

/// Another pass changes nothing, and there is exactly one container for each tenant.
fn settled(fleet: &SimulatedFleet) {
    assert_eq!(fleet.all().len(), 2, "{:?}", fleet.all().keys());
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.changed(), Vec::<String>::new(), "a second pass");
}

fn conditions(fleet: &SimulatedFleet) -> String {
    fleet.status().to_string()
}

/// What the containers are and since when they run: equal before and after means untouched.
fn untouched(fleet: &SimulatedFleet) -> BTreeMap<String, String> {
    let all = fleet.all().into_iter();
    all.map(|(name, c)| (name, format!("{} {:?} {:?}", c.id, c.started, c.state)))
        .collect()
}

#[test]
fn an_engine_that_is_away_is_waited_for() {
    let fleet = fleet("fw-away");
    fleet.engine.down();
    let daemon = fleet.daemon();
    fleet.eventually("the condition says so", |f| {
        conditions(f).contains("the engine does not answer")
    });
    fleet.ringfence(&["apply"]).expect(1);
    fleet.engine.up();
    fleet.eventually("all runs", |f| runs(f, "1"));

    // In the middle of a replacement.
    let ran = untouched(&fleet);
    fleet
        .engine
        .script(|call| call.is("POST /containers/create").then_some(Fault::LoseRequest));
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    fleet.eventually("it is asked to create", |f| {
        f.engine
            .calls()
            .iter()
            .any(|call| call.is("POST /containers/create") && call.status.is_none())
    });
    fleet.engine.down();
    fleet.eventually("the condition says so again", |f| {
        conditions(f).contains("the engine does not answer")
    });
    assert_eq!(untouched(&fleet), ran, "what runs is left alone");
    fleet.engine.no_faults();
    fleet.engine.up();
    fleet.eventually("the replacement is finished", |f| runs(f, "2"));
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}

#[test]
fn each_fifth_change_fails_and_all_comes_to_its_end() {
    let fleet = fleet("fw-fifth");
    let (count, failed) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let failures = Arc::clone(&failed);
    fleet.engine.script(move |call| {
        let fifth = call.changes() && count.fetch_add(1, Ordering::Relaxed) % 5 == 4;
        failures.fetch_add(usize::from(fifth), Ordering::Relaxed);
        fifth.then(|| Fault::Refuse(500, "chaos".to_owned()))
    });
    let daemon = fleet.daemon();
    fleet.eventually("all runs", |f| runs(f, "1"));
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    fleet.eventually("all is replaced", |f| runs(f, "2"));
    assert!(failed.load(Ordering::Relaxed) >= 3, "{failed:?}");
    assert_eq!(daemon.stop(), 0);
    fleet.engine.no_faults();
    settled(&fleet);
}

#[test]
fn a_storm_of_refusals_is_met_with_longer_and_longer_waits() {
    let fleet = fleet("fw-storm");
    fleet.ringfence(&["apply"]).expect(0);
    let ran = untouched(&fleet);
    let daemon = fleet.daemon();
    fleet
        .engine
        .script(|call| call.changes().then(|| Fault::Refuse(500, "storm".to_owned())));
    fleet.engine.forget_calls();
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    // Half a second, one, two … between two tries for one service: six for each within half a minute.
    let creates = |f: &SimulatedFleet| {
        f.engine
            .calls()
            .iter()
            .filter(|c| c.is("POST /containers/create"))
            .count()
    };
    fleet.eventually("it is tried again", |f| creates(f) >= 6);
    let passes = fleet
        .engine
        .calls()
        .iter()
        .filter(|c| c.is("GET /containers/json"))
        .count();
    assert!(
        creates(&fleet) <= 12,
        "{} tries in {passes} looks",
        creates(&fleet)
    );
    fleet.eventually("it is told", |f| conditions(f).contains("storm"));
    assert_eq!(untouched(&fleet), ran, "what runs is left alone");
    fleet.engine.no_faults();
    fleet.eventually("all is replaced", |f| runs(f, "2"));
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}

#[test]
fn without_events_all_is_repaired_all_the_same() {
    let fleet = fleet("fw-mute");
    let daemon = fleet.daemon();
    fleet.eventually("all runs", |f| runs(f, "1"));
    // A stream that is cut comes again, and what was missed meanwhile is looked for.
    let name = fleet.server("acme", "agent").unwrap().name;
    fleet.engine.with(|world| world.forget(&name));
    fleet.engine.cut();
    fleet.eventually("the container is there again", |f| runs(f, "1"));
    // One that is open and silent: while something is under way the world is looked at anyway.
    fleet.engine.stall_events(true);
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    fleet.eventually("all is replaced", |f| runs(f, "2"));
    fleet.engine.stall_events(false);
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}

#[test]
fn an_engine_that_restarts_takes_nothing_away_and_wakes_nothing_up() {
    let fleet = fleet("fw-restart");
    let daemon = fleet.daemon();
    fleet.eventually("all runs", |f| runs(f, "1"));
    // In the middle: the new one is on its way, and the old one is parked only after.
    fleet.engine.script(|call| {
        let park = call.is("POST /containers/*/rename") && call.query["name"].contains(".old-");
        park.then(|| Fault::Refuse(500, "not now".to_owned()))
    });
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    fleet.eventually("both serve", |f| {
        f.all().values().filter(|c| c.state == State::Running).count() == 4
    });
    fleet.engine.restart();
    fleet.engine.no_faults();
    fleet.eventually("all is replaced", |f| runs(f, "2"));
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
    // Nothing that was put aside has a policy that an engine's restart would follow.
    let before = fleet.all().len();
    fleet.engine.restart();
    let running = fleet.all().values().filter(|c| c.state == State::Running).count();
    assert_eq!((running, fleet.all().len()), (2, before));
    settled(&fleet);
}

#[test]
fn a_container_that_is_dead_or_going_is_made_again() {
    let fleet = fleet("fw-dead");
    fleet.ringfence(&["apply"]).expect(0);
    let dead = fleet.server("acme", "agent").unwrap();
    let beta = fleet.server("beta", "agent").unwrap().id;
    fleet.engine.with(|world| {
        world.ended(&dead.id, 137);
        world.containers.get_mut(&dead.id).unwrap().state = State::Dead;
    });
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("acme", "agent"), "1");
    assert_ne!(fleet.server("acme", "agent").unwrap().id, dead.id);
    assert_eq!(
        fleet.server("beta", "agent").unwrap().id,
        beta,
        "the other is left alone"
    );
    settled(&fleet);

    // One that is being removed, slowly, by somebody else: its name is taken until it is gone.
    let daemon = fleet.daemon();
    fleet.eventually("all runs", |f| runs(f, "1"));
    let going = fleet.server("acme", "agent").unwrap();
    fleet.engine.with(|world| {
        world.ended(&going.id, 137);
        world.containers.get_mut(&going.id).unwrap().state = State::Removing;
    });
    fleet.eventually("another is there", |f| {
        f.all().values().any(|c| c.id != going.id && c.id != beta)
    });
    fleet.engine.with(|world| world.forget(&going.name));
    fleet.eventually("all runs", |f| runs(f, "1"));
    assert_eq!(fleet.server("beta", "agent").unwrap().id, beta);
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}

#[test]
fn a_container_that_ends_again_and_again_is_known_by_its_restarts() {
    let fleet = fleet("fw-loop");
    fleet.ringfence(&["apply"]).expect(0);
    // The list says `running` or `restarting`, as it comes; the release is bad either way.
    fleet
        .on("main")
        .write(AGENT_FILE, &with(&agent_with("2", &[("AGENT_FAIL", "exit")])))
        .commit("2 ends at once");
    let answer = fleet.ringfence(&["apply"]).expect(3);
    assert!(answer.stderr.contains("failed and goes back"), "{answer}");
    assert_eq!(
        (fleet.serves("acme", "agent"), fleet.serves("beta", "agent")),
        ("1".into(), "1".into())
    );
    let failed = fleet
        .all()
        .into_iter()
        .filter(|(name, _)| name.contains(".failed-"));
    for (name, one) in failed {
        assert_eq!((one.state, one.policy()), (State::Exited, "no"), "{name}");
    }
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(4);
    assert_eq!(fleet.changed(), Vec::<String>::new(), "a second pass");
}

#[test]
fn an_image_that_cannot_be_had_leaves_what_runs_alone() {
    let fleet = fleet("fw-image");
    fleet.ringfence(&["apply"]).expect(0);
    let ran = untouched(&fleet);
    let other = version("2").replace(AGENT, "registry.example/agent:2");
    fleet
        .on("main")
        .write(AGENT_FILE, &other)
        .commit("an image that is nowhere");
    let daemon = fleet.daemon();
    fleet.eventually("it waits", |f| f.in_phase("dev", "waiting"));
    let said = conditions(&fleet);
    assert!(
        said.contains("registry.example/agent:2") && said.contains("agent"),
        "{said}"
    );
    assert_eq!(untouched(&fleet), ran);
    // It is published, and a person need not wait for the next try.
    fleet.engine.with(|world| {
        let mut image = Image::new(json!({"Cmd": ["serve"]}));
        image
            .digests
            .insert(format!("registry.example/agent@sha256:{}", "ab".repeat(32)));
        world
            .registry
            .insert("registry.example/agent:2".to_owned(), image);
    });
    fleet.ringfence(&["apply", "dev", "--resolve"]).expect(0);
    assert!(runs(&fleet, "2"));
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}

#[test]
fn a_reply_that_comes_late_is_no_reason_to_do_it_twice() {
    let fleet = fleet("fw-late");
    // As long as one looks while something is open.
    let late = Fault::DelayReply(Duration::from_secs(3));
    fleet.fault(0, "POST /containers/create", &late);
    fleet.ringfence(&["apply"]).expect(0);
    let creates = fleet
        .engine
        .calls()
        .iter()
        .filter(|c| c.is("POST /containers/create"))
        .count();
    assert_eq!(creates, 2, "one for each tenant");
    settled(&fleet);
}

#[test]
fn another_version_of_the_engine_is_spoken_to_in_its_own_words_or_refused() {
    let fleet = fleet("fw-version");
    fleet.ringfence(&["apply"]).expect(0);
    let ran = untouched(&fleet);
    let change = |newest: (u32, u32), oldest: (u32, u32)| {
        fleet
            .engine
            .with(|world| (world.version.1, world.version.2) = (newest, oldest));
        fleet.engine.cut();
    };
    change((1, 51), (1, 44));
    fleet.on("main").write(AGENT_FILE, &version("2")).commit("2");
    fleet.engine.forget_calls();
    fleet.ringfence(&["apply"]).expect(0);
    assert!(runs(&fleet, "2"));
    // The first look speaks as before; its refusal makes ringfence ask.
    let taken = fleet
        .engine
        .calls()
        .into_iter()
        .filter(|call| call.status < Some(400));
    let spoken: BTreeSet<String> = taken.map(|call| call.version).filter(|v| !v.is_empty()).collect();
    assert_eq!(spoken, BTreeSet::from(["1.51".to_owned()]));
    settled(&fleet);

    assert_ne!(untouched(&fleet), ran);
    let ran = untouched(&fleet);
    change((1, 24), (1, 12));
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("1.41 is the oldest that works");
    change((1, 99), (1, 98));
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("upgrade ringfence");
    assert_eq!(untouched(&fleet), ran);
    change((1, 41), (1, 12));
    settled(&fleet);
}

#[test]
fn of_two_that_keep_one_instance_one_acts() {
    let fleet = fleet("fw-two");
    let daemon = fleet.daemon();
    fleet.eventually("all runs", |f| runs(f, "1"));
    let ran = untouched(&fleet);
    fleet.engine.forget_calls();
    // Another state directory, the same repository and engine.
    let other = fleet.home().join("other");
    let output = fleet
        .command(&["apply"])
        .arg("--state")
        .arg(&other)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is held by another ringfence") && said.contains("--takeover"),
        "{said}"
    );
    assert_eq!(fleet.changed(), Vec::<String>::new());
    assert_eq!(untouched(&fleet), ran);
    assert_eq!(daemon.stop(), 0);
    settled(&fleet);
}
