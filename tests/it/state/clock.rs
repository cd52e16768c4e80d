//! Somebody sets the clock.

use std::path::PathBuf;
use std::process::Command;

use crate::support::fleet::{TestFleet, agent_service};

/// A clock of the wall that is as many seconds off as a file says; the steady clock is left alone.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = (int)syscall(SYS_clock_gettime, id, at);
    const char *path = getenv("CLOCK_OFF_BY");
    if (result == 0 && id == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "r");
        long seconds = 0;
        if (file && fscanf(file, "%ld", &seconds) == 1) at->tv_sec += seconds;
        if (file) fclose(file);
    }
    return result;
}
"#;

fn shim(fleet: &TestFleet) -> PathBuf {
    let (source, library) = (fleet.home().join("clock.c"), fleet.home().join("clock.so"));
    std::fs::write(&source, SHIM).unwrap();
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .expect("a C compiler is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}

fn draining(version: &str) -> String {
    let lines =
        format!("environment: {{AGENT_VERSION: \"{version}\"}}\nx-ringfence: {{rollout: {{drain: 5s}}}}");
    format!("services:\n{}", agent_service("agent", &lines))
}

#[test]
fn a_clock_that_is_set_in_the_middle_of_a_drain_neither_wedges_nor_undoes_it() {
    let fleet = TestFleet::one_ring("clock");
    let off_by = fleet.home().join("off-by");
    let set = |seconds: i64| std::fs::write(&off_by, seconds.to_string()).unwrap();
    set(0);
    let shim = shim(&fleet);
    let daemon = fleet.daemon_with(|c| {
        c.env("LD_PRELOAD", &shim).env("CLOCK_OFF_BY", &off_by);
    });
    fleet.eventually("it serves", |f| f.synced("dev"));
    for (version, seconds) in [("2", -7200), ("3", 7200), ("4", 0)] {
        fleet
            .on("main")
            .write("desired/services/agent.yaml", &draining(version))
            .commit("another version");
        fleet.eventually("the old one gave its name up", |f| {
            f.version("acme", "agent") == version && f.ids().keys().any(|name| name.contains(".old-"))
        });
        set(seconds);
        fleet.eventually("the replacement ends", |f| {
            f.ids().len() == 1 && f.synced("dev") && f.conditions().is_empty()
        });
        fleet.docker_ok(&["stop", &fleet.id("acme", "agent")]);
        fleet.eventually("drift is repaired at once", |f| {
            f.serving("acme", "agent")["State"]["Running"] == true && f.status()["settled"] == true
        });
    }
    assert!(daemon.log().contains("the clock was set by"), "{}", daemon.log());
    assert_eq!(fleet.ring("dev")["quarantined"], serde_json::json!([]));
    assert_eq!(daemon.stop(), 0);
}
