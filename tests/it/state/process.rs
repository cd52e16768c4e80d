//! ringfence itself is stopped, paused and started again, and the engine hangs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fleet::{TestFleet, agent};
use crate::support::proxy::Proxy;

fn proxy(fleet: &TestFleet) -> Proxy {
    Proxy::open(&fleet.home().join("engine.sock"))
}

#[test]
fn an_engine_that_hangs_is_told_and_does_not_hold_up_the_end() {
    let fleet = TestFleet::one_ring("hangs");
    let proxy = proxy(&fleet);
    // At the start already: the daemon is up all the same.
    proxy.hang(true);
    let daemon = fleet.daemon_with(|c| {
        c.env("DOCKER_HOST", proxy.address());
    });
    fleet.eventually("it is told", |f| f.conditions().contains("no answer within"));
    proxy.hang(false);
    fleet.eventually("it serves", |f| f.synced("dev") && f.status()["settled"] == true);
    proxy.hang(true);
    proxy.calls();
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("version 2");
    fleet.eventually("a pass hangs", |_| !proxy.calls().is_empty());
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0);
    let grace = Duration::from_secs(20);
    assert!(
        began.elapsed() < grace,
        "a service manager kills what does not end in time"
    );
    proxy.hang(false);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
    proxy.cut();
}

#[test]
fn one_that_was_paused_looks_again_before_it_acts() {
    let fleet = TestFleet::one_ring("paused");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev") && f.status()["settled"] == true);
    daemon.signal(Signal::STOP);
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("version 2");
    daemon.signal(Signal::CONT);
    fleet.eventually("it caught up", |f| {
        f.version("acme", "agent") == "2" && f.synced("dev") && f.ids().len() == 1
    });
    // Another one took over meanwhile: this one finds out, and ends.
    daemon.signal(Signal::STOP);
    let other = fleet.home().join("other-state");
    let taken = fleet
        .command(&["apply", "--takeover", "--state"])
        .arg(&other)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    let before = fleet.ids();
    fleet.docker_ok(&["stop", &fleet.id("acme", "agent")]);
    daemon.signal(Signal::CONT);
    fleet.eventually("it ends", |_| daemon.log().contains("held by another ringfence"));
    assert_eq!(fleet.ids(), before, "and touches nothing");
    assert_eq!(fleet.serving("acme", "agent")["State"]["Running"], false);
}

/// Whether a call changes something on the engine.
fn changes(call: &&String) -> bool {
    !["GET ", "HEAD "].iter().any(|reads| call.starts_with(reads))
}

#[test]
fn fifty_starts_with_nothing_to_do_change_nothing() {
    let fleet = TestFleet::one_ring("fifty");
    let proxy = proxy(&fleet);
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let run = |verb: &str| {
        let output = fleet
            .command(&[verb])
            .env("DOCKER_HOST", proxy.address())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    for _ in 0..45 {
        run("apply");
    }
    for _ in 0..5 {
        let daemon = fleet.daemon_with(|c| {
            c.env("DOCKER_HOST", proxy.address());
        });
        fleet.eventually("it is settled", |f| f.status()["settled"] == true);
        assert_eq!(daemon.stop(), 0);
    }
    let asked = proxy.calls();
    assert!(
        asked.iter().any(|call| call.contains("/containers/json")),
        "{asked:?}"
    );
    let changed: Vec<&String> = asked.iter().filter(changes).collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(fleet.ids(), before);
    proxy.cut();
}
