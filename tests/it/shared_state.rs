//! What several may share: the engine, an instance, a state directory, a repository; and what is kept when one of them
//! cannot be reached.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::engine::address;
use crate::support::fleet::{TestFleet, agent, tenant, text};
use crate::support::proxy::Proxy;

/// The binary in another directory or with another state directory.
fn elsewhere(fleet: &TestFleet, dir: &Path, state: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", fleet.home())
        .env("DOCKER_HOST", address())
        .env("NO_COLOR", "1")
        .arg("-C")
        .arg(dir)
        .arg("--state")
        .arg(state)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_second_holder_is_refused_by_name_until_it_takes_over() {
    let fleet = TestFleet::one_ring("holder");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before = fleet.ids();
    let other = fleet.home().join("other-state");
    let holder = std::fs::read_to_string(fleet.state().join("holder")).unwrap();
    for verb in ["apply", "run"] {
        let (code, said) = elsewhere(&fleet, &fleet.repo(), &other, &[verb]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("held by another ringfence"), "{said}");
        assert!(
            said.contains(holder.trim()) && said.contains("--takeover"),
            "{said}"
        );
    }
    assert_eq!(fleet.ids(), before);
    let (code, said) = elsewhere(&fleet, &fleet.repo(), &other, &["apply", "--takeover"]);
    assert_eq!(code, 0, "{said}");
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.eventually("the first one ends", |f| f.status()["daemon"] == false);
    assert!(
        daemon.log().contains("held by another ringfence"),
        "{}",
        daemon.log()
    );
    fleet
        .ringfence(&["apply"])
        .expect(1)
        .complains("held by another ringfence");
    let (code, said) = elsewhere(&fleet, &fleet.repo(), &other, &["apply"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn another_clone_with_the_same_state_directory_is_refused_with_both_paths() {
    let fleet = TestFleet::one_ring("clone");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let clone = fleet.home().join("clone");
    fleet.git(&["clone", "-q", ".", clone.to_str().unwrap()]);
    let (code, said) = elsewhere(&fleet, &clone, &fleet.state(), &["apply"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(clone.to_str().unwrap()), "{said}");
    assert!(said.contains(fleet.repo().to_str().unwrap()), "{said}");
    assert!(said.contains("--takeover"), "{said}");
    let (code, said) = elsewhere(&fleet, &clone, &fleet.state(), &["apply", "--takeover"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(fleet.ids(), before);
}

#[test]
fn two_fleets_on_one_engine_do_not_see_each_other() {
    let (one, two) = (TestFleet::one_ring("apart-one"), TestFleet::one_ring("apart-two"));
    one.ringfence(&["apply"]).expect(0);
    let before = one.ids();
    two.ringfence(&["apply"]).expect(0);
    assert_eq!(one.ringfence(&["plan", "--exit-code"]).code, 0);
    let daemon = one.daemon();
    // The second has no tenant any more; the first has one of the same name.
    two.on("main")
        .remove("desired/tenants/acme.yaml")
        .commit("no tenant");
    two.ringfence(&["apply", "--prune"]);
    two.eventually("its container is gone", |f| f.ids().is_empty());
    one.eventually("it is settled", |f| f.status()["settled"] == true);
    assert_eq!(one.ids(), before);
    assert_eq!(one.status()["conditions"], serde_json::json!([]));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn verbs_ask_the_daemon_where_one_runs() {
    let fleet = TestFleet::one_ring("verbs");
    assert_eq!(fleet.status()["daemon"], false);
    let daemon = fleet.daemon();
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("2");
    fleet.ringfence(&["apply"]).expect(0).says("acme");
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert_eq!(fleet.status()["daemon"], true);
    assert!(
        daemon.log().contains("creates agent.acme"),
        "the daemon did it: {}",
        daemon.log()
    );
    assert_eq!(daemon.stop(), 0);
    assert_eq!(fleet.status()["daemon"], false);
}

#[test]
fn a_rewritten_control_branch_changes_nothing_until_a_person_accepts_it() {
    let fleet = TestFleet::one_ring("rewritten");
    fleet
        .on("main")
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("beta");
    let daemon = fleet.daemon();
    fleet.eventually("both serve", |f| f.synced("dev") && f.ids().len() == 2);
    let before = fleet.ids();
    fleet.git(&["rm", "-q", "desired/tenants/beta.yaml"]);
    fleet.write("desired/services/agent.yaml", &agent("9"));
    fleet.git(&["commit", "-q", "-a", "--amend", "-m", "another history"]);
    fleet.eventually("it is told", |f| f.conditions().contains("was rewritten"));
    // What the accepted state asks for is kept.
    fleet.docker_ok(&["stop", &fleet.id("acme", "agent")]);
    fleet.eventually("drift is repaired", |f| {
        f.serving("acme", "agent")["State"]["Running"] == true && f.status()["settled"] == true
    });
    assert_eq!(
        fleet.ids().keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>(),
        "nothing is removed"
    );
    assert_eq!(fleet.version("acme", "agent"), "1");
    fleet.ringfence(&["apply", "--prune"]).expect(0);
    fleet.eventually("a person's apply accepts it", |f| {
        f.version("acme", "agent") == "9" && f.ids().len() == 1 && !f.conditions().contains("was rewritten")
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn accept_takes_a_rewritten_control_branch_through_a_running_daemon_too() {
    let fleet = TestFleet::one_ring("accepted");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .ringfence(&["accept", "main"])
        .expect(1)
        .complains("was not rewritten");
    fleet.ringfence(&["apply", "--trust", "main"]).expect(64);
    let rewrite = |version: &str| {
        fleet
            .on("main")
            .write("desired/services/agent.yaml", &agent(version));
        fleet.git(&["commit", "-q", "-a", "--amend", "-m", version]);
    };
    rewrite("2");
    fleet.ringfence(&["accept", "0123456789"]).expect(1);
    fleet.ringfence(&["accept", "main"]).expect(0).says("Accepted");
    assert_eq!(
        fleet.version("acme", "agent"),
        "1",
        "it writes down, and starts nothing"
    );
    let daemon = fleet.daemon();
    fleet.eventually("it goes on from there", |f| f.version("acme", "agent") == "2");
    rewrite("3");
    let head = fleet.git(&["rev-parse", "--short=8", "main"]);
    let command = format!("`ringfence accept {head}`");
    fleet.eventually("it is told how", |f| f.conditions().contains(&command));
    fleet.ringfence(&["accept", &head]).expect(0);
    fleet.eventually("it goes on", |f| f.version("acme", "agent") == "3");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_deleted_control_branch_changes_nothing() {
    let fleet = TestFleet::one_ring("deleted");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let head = fleet.git(&["rev-parse", "main"]);
    fleet.git(&["update-ref", "-d", "refs/heads/main"]);
    fleet.eventually("it is told", |f| f.conditions().contains("is gone"));
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.eventually("drift is repaired", |f| {
        f.version("acme", "agent") == "1" && f.status()["settled"] == true
    });
    fleet.git(&["update-ref", "refs/heads/main", &head]);
    fleet.eventually("all is well", |f| {
        f.synced("dev") && !f.conditions().contains("is gone")
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn with_the_ledger_there_and_everything_gone_apply_makes_it_again() {
    let fleet = TestFleet::one_ring("all-gone");
    fleet.ringfence(&["apply"]).expect(0);
    crate::support::engine::remove_instance(&address(), &fleet.instance);
    assert!(fleet.ids().is_empty());
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "1");
    assert!(fleet.volumes().contains(&format!("ringfence.{}", fleet.instance)));
    assert_eq!(fleet.ringfence(&["plan", "--exit-code"]).code, 0);
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_engine_that_is_away_at_the_start_or_later_is_waited_for() {
    let fleet = TestFleet::one_ring("away");
    let socket = fleet.home().join("engine.sock");
    let log = std::fs::File::create(fleet.home().join("run.log")).unwrap();
    let mut daemon = Killed(
        fleet
            .command(&["run"])
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let told = |f: &TestFleet| {
        let output = f.command(&["status", "-o", "json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["daemon"] == true && status["conditions"].to_string().contains("engine.sock")
    };
    fleet.eventually("the daemon is up and says that the engine is away", told);
    let proxy = Proxy::open(&socket);
    fleet.eventually("work goes on by itself", |f| {
        f.synced("dev") && f.version("acme", "agent") == "1"
    });
    proxy.cut();
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.eventually("it says that the engine is away", told);
    assert_eq!(daemon.0.try_wait().unwrap(), None, "the daemon stays");
    let proxy = Proxy::open(&socket);
    fleet.eventually("what happened meanwhile is repaired", |f| {
        f.status()["settled"] == true && text(&f.service("acme", "agent")["health"]) == "healthy"
    });
    proxy.cut();
}
