//! What only root can bring about: full and read-only disks, another owner, an engine that stops and dies, a reboot.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::as_root;
use crate::support::fleet::{TestFleet, agent, agent_service, tenant, text};
use crate::support::private_engine::PrivateEngine;

const AGENT_FILE: &str = "desired/services/agent.yaml";

/// A small file system in the place of a directory.
struct Mounted(PathBuf);

impl Mounted {
    fn on(dir: &Path, size: &str) -> Self {
        as_root("it mounts a small disk");
        std::fs::create_dir_all(dir).unwrap();
        let mounted = Self(dir.to_owned());
        mounted.mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]);
        mounted
    }

    fn mount(&self, args: &[&str]) {
        let output = Command::new("mount").args(args).arg(&self.0).output().unwrap();
        assert!(
            output.status.success(),
            "mount {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Takes all that is left.
    fn fill(&self) {
        let _ = std::fs::write(self.0.join("filler"), vec![0; 64 << 20]);
        for n in 0..64 {
            let _ = std::fs::write(self.0.join(format!("filler-{n}")), vec![0; 1 << 12]);
        }
    }

    fn free(&self) {
        for entry in std::fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("filler") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_and_work_goes_on_when_there_is_room() {
    let fleet = TestFleet::one_ring("full-disk");
    fleet
        .on("main")
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("beta");
    let disk = Mounted::on(&fleet.state(), "12m");
    let daemon = fleet.daemon();
    fleet.eventually("both serve", |f| f.synced("dev") && f.status()["settled"] == true);
    let beta = fleet.id("beta", "agent");
    disk.fill();
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet
        .on("main")
        .write(
            "desired/services/more.yaml",
            &format!("services:\n{}", agent_service("more", "")),
        )
        .commit("another service");
    fleet.eventually("it is told", |f| {
        let said = f.conditions().to_lowercase();
        said.contains("no space") || said.contains("is full")
    });
    assert_eq!(fleet.id("beta", "agent"), beta, "what runs goes on");
    disk.free();
    fleet.eventually("work goes on by itself", |f| {
        f.version("acme", "agent") == "1"
            && f.synced("dev")
            && f.ids().len() == 4
            && f.conditions().is_empty()
    });
    assert_eq!(fleet.id("beta", "agent"), beta);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_read_only_state_directory_is_refused_and_can_still_be_looked_at() {
    let fleet = TestFleet::one_ring("read-only");
    let disk = Mounted::on(&fleet.state(), "64m");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    disk.mount(&["-o", "remount,ro"]);
    for verb in ["apply", "run"] {
        fleet
            .ringfence(&[verb])
            .expect(1)
            .complains("Read-only file system");
    }
    fleet.ringfence(&["status"]).expect(0).says("no daemon");
    fleet.ringfence(&["plan"]).expect(0);
    disk.mount(&["-o", "remount,rw"]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.ids(), before);
}

#[test]
fn a_state_directory_of_another_user_is_refused() {
    as_root("it gives a directory to another user");
    let fleet = TestFleet::one_ring("other-owner");
    std::fs::create_dir(fleet.state()).unwrap();
    std::os::unix::fs::chown(fleet.state(), Some(12345), None).unwrap();
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("belongs to another user");
    assert_eq!(std::fs::read_dir(fleet.state()).unwrap().count(), 0);
    std::os::unix::fs::chown(fleet.state(), Some(0), None).unwrap();
    fleet.ringfence(&["apply"]).expect(0);
}

/// Services `agent`, which is ready at once and always restarted, and `late`, whose first check comes in an hour.
fn with_a_late_one(version: &str) -> String {
    let environment = format!("environment: {{AGENT_VERSION: \"{version}\"}}");
    let agent = agent_service("agent", &format!("{environment}\nrestart: always"));
    let late = agent_service("late", &environment).replace("interval: 1s", "interval: 1h");
    format!("services:\n{agent}{late}")
}

fn running(fleet: &TestFleet) -> Vec<String> {
    let all = fleet.containers().into_iter();
    all.filter(|(_, c)| c["State"]["Running"] == true)
        .map(|(name, _)| name.to_lowercase())
        .collect()
}

#[test]
fn an_engine_that_restarts_in_the_middle_of_a_move_starts_nothing_twice() {
    let mut engine = PrivateEngine::start();
    let fleet = TestFleet::new_at("engine-restart", &engine.address()).with_one_ring();
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    fleet
        .on("main")
        .write(AGENT_FILE, &with_a_late_one("2"))
        .commit("version 2");
    let parked = |f: &TestFleet| {
        let all = f.containers().into_iter();
        let mut parked = all.filter(|(name, c)| name.contains(".old-") && c["State"]["Running"] == false);
        parked.next().map(|(name, _)| name)
    };
    let name = fleet.eventually_some("the old one is parked", parked);
    for hard in [false, true] {
        if hard {
            engine.kill();
        } else {
            engine.stop();
        }
        fleet.eventually("it is told", |f| f.conditions().contains("docker.sock"));
        engine.up();
        fleet.eventually("the new one serves again", |f| {
            f.version("acme", "agent") == "2"
                && text(&f.service("acme", "agent")["health"]) == "healthy"
                && f.conditions().is_empty()
        });
        assert_eq!(parked(&fleet).as_ref(), Some(&name), "what is parked stays so");
        let agents = running(&fleet)
            .into_iter()
            .filter(|name| name.starts_with("agent."))
            .count();
        assert_eq!(agents, 1, "{:?}", running(&fleet));
    }
    assert_eq!(
        fleet.ring("dev")["quarantined"],
        serde_json::json!([]),
        "an engine's restart is no failure"
    );
    fleet
        .on("main")
        .write(AGENT_FILE, &agent("3"))
        .commit("version 3");
    fleet.eventually("the next version goes through", |f| {
        f.version("acme", "agent") == "3" && f.synced("dev") && f.ids().len() == 1
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn after_a_reboot_files_are_written_again_and_what_the_engine_could_not_start_is_started() {
    let mut engine = PrivateEngine::start();
    let fleet = TestFleet::new_at("reboot", &engine.address()).with_one_ring();
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before: Vec<String> = fleet.ids().into_keys().collect();
    let context = fleet.context("acme", "agent");
    // The machine goes down, and what lay in memory is gone.
    daemon.kill();
    engine.stop();
    std::fs::remove_dir_all(fleet.state().join("files")).unwrap();
    engine.up();
    assert!(running(&fleet).is_empty(), "the engine alone cannot start it");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| {
        f.synced("dev") && text(&f.service("acme", "agent")["health"]) == "healthy"
    });
    assert_eq!(fleet.ids().into_keys().collect::<Vec<_>>(), before);
    assert_eq!(fleet.context("acme", "agent"), context);
    assert_eq!(daemon.stop(), 0);
}
