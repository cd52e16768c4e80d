//! The faces of promotion: what they write, what they refuse, what they say; on a simulated engine.

mod socket;
mod words;

use serde_json::Value;

use simulated_engine::Behaviour;

use crate::support::fleet::{agent, agent_service, agent_with, tenant};
use crate::support::simulated::{SOON, SimulatedFleet};

/// Three rings on `main`, each with a tenant; dev follows, prod asks for an approval. dev runs version 1.
fn rings(name: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n  staging: {id: 1, rollout: {observe: 0s}}\n  \
             prod: {id: 2, approval_required: true, rollout: {observe: 0s}}\n",
        )
        .write("desired/services/agent.yaml", &agent("1"))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .write("desired/tenants/two.yaml", &tenant("two", "staging"))
        .write("desired/tenants/three.yaml", &tenant("three", "prod"))
        .commit("a fleet");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    fleet
}

/// Commits another version of the agent, and lets dev take it.
fn release(fleet: &SimulatedFleet, version: &str) -> String {
    let commit = fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent(version))
        .commit(&format!("agent {version}"));
    fleet.ringfence(&["apply", "dev"]).expect(0);
    commit
}

fn why(fleet: &SimulatedFleet, name: &str) -> Value {
    fleet.ringfence(&["why", name, "-o", "json"]).expect(0).json()
}

/// The commits of `main`, by their first lines.
fn subjects(fleet: &SimulatedFleet) -> Vec<String> {
    let log = fleet.git(&["log", "--format=%s"]);
    log.lines().map(str::to_owned).collect()
}

#[test]
fn promote_writes_what_runs_in_the_ring_before_and_the_ring_takes_it() {
    let fleet = rings("promote");
    let dev = fleet.ring("dev");
    let said = fleet
        .ringfence(&["promote", "staging", "-m", "web: \"1\""])
        .expect(0);
    let said = said
        .says("rings/pins/staging.yaml")
        .says("`ringfence why staging`");
    assert!(said.stdout.contains("Committed"), "{said}");
    let pin = fleet.read("rings/pins/staging.yaml");
    let commit = dev["release"]["commit"].as_str().unwrap();
    assert!(
        pin.contains(&format!("release: \"{commit}\"\nproven_in: dev\n")),
        "{pin}"
    );
    assert!(
        pin.contains("images:\n  \"ringfence-example-agent:1.0\": \"id:sha256:"),
        "{pin}"
    );
    assert!(pin.contains("reason: \"web: \\\"1\\\"\""), "{pin}");
    assert!(subjects(&fleet)[0].starts_with("promote staging to rel-"));
    assert!(fleet.git(&["log", "-1", "--format=%b"]).contains("web: \"1\""));
    assert_eq!(fleet.git(&["log", "-1", "--format=%an"]), "Ana");
    fleet.ringfence(&["apply", "staging"]).expect(0);
    assert_eq!(fleet.serves("two", "agent"), "1");
    assert_eq!(fleet.ring("staging")["running"], dev["running"]);
    // The same again is nothing to do, whatever is said of it.
    let head = fleet.git(&["rev-parse", "main"]);
    fleet
        .ringfence(&["promote", "staging", "-m", "once more"])
        .expect(0)
        .says("Nothing to do: ring staging runs rel-");
    assert_eq!(fleet.git(&["rev-parse", "main"]), head);
}

#[test]
fn a_promotion_in_a_users_checkout_leaves_it_clean_and_their_next_commit_keeps_the_pin() {
    let fleet = rings("promote-checkout");
    fleet.write("notes.txt", "of mine");
    fleet.git(&["add", "notes.txt"]);
    fleet.ringfence(&["promote", "staging"]).expect(0);
    assert_eq!(fleet.git(&["status", "--porcelain"]), "A  notes.txt");
    fleet.git(&["commit", "-q", "-m", "mine"]);
    assert_eq!(fleet.git(&["status", "--porcelain"]), "");
    let pin = fleet.read("rings/pins/staging.yaml");
    assert_eq!(
        fleet.git(&["show", "HEAD:rings/pins/staging.yaml"]),
        pin.trim_end()
    );
    // An edit of the very file is not overwritten.
    fleet.write("rings/pins/staging.yaml", &format!("{pin}# mine\n"));
    let head = fleet.git(&["rev-parse", "main"]);
    release_without_checkout(&fleet, "2");
    let refused = fleet.ringfence(&["promote", "staging"]).expect(1);
    let refused = refused.complains("rings/pins/staging.yaml").complains("edited");
    assert!(
        fleet.read("rings/pins/staging.yaml").ends_with("# mine\n"),
        "{refused}"
    );
    assert_ne!(
        fleet.git(&["rev-parse", "main"]),
        head,
        "only the release was committed"
    );
    assert!(subjects(&fleet)[0].starts_with("agent 2"));
}

/// The same as [`release`] while the pin is edited: nothing but the service's file is committed.
fn release_without_checkout(fleet: &SimulatedFleet, version: &str) {
    fleet.write("desired/services/agent.yaml", &agent(version));
    fleet.git(&["add", "desired"]);
    fleet.git(&["commit", "-q", "-m", &format!("agent {version}"), "--", "desired"]);
    fleet.ringfence(&["apply", "dev"]).expect(0);
}

#[test]
fn what_cannot_be_promoted_is_refused_with_the_next_command() {
    let fleet = rings("promote-refused");
    let refused = |args: &[&str], code: i32, text: &str| {
        let head = fleet.git(&["rev-parse", "main"]);
        fleet.ringfence(args).expect(code).complains(text);
        assert_eq!(fleet.git(&["rev-parse", "main"]), head, "{args:?}");
    };
    refused(&["promote", "dev"], 64, "ring dev follows the control branch");
    refused(&["promote", "dev"], 64, "ringfence promote dev --release REV");
    refused(&["promote", "stagin"], 64, "did you mean `staging`?");
    refused(
        &["promote", "prod"],
        1,
        "nothing has run healthy in ring staging yet",
    );
    refused(&["promote", "prod"], 1, "`ringfence why staging`");
    refused(
        &["promote", "staging", "--release", "nowhere"],
        1,
        "`nowhere` is no commit",
    );
    refused(&["promote", "staging", "-m", " "], 64, "an empty reason");
    // A commit that no branch has.
    fleet.git(&["switch", "-q", "--detach"]);
    fleet.git(&["commit", "-q", "--allow-empty", "-m", "loose"]);
    let loose = fleet.git(&["rev-parse", "HEAD"]);
    fleet.git(&["switch", "-q", "main"]);
    refused(
        &["promote", "staging", "--release", &loose],
        1,
        "no branch reaches",
    );
    // One that is no release.
    fleet
        .on("broken")
        .write("desired/services/agent.yaml", "services: {")
        .commit("broken");
    refused(&["promote", "staging", "--release", "broken"], 1, "is no release");
    // The first ring can be pinned by name, and is told how that ends.
    fleet
        .ringfence(&["promote", "dev", "--release", "main", "--yes"])
        .expect(0)
        .says("git rm rings/pins/dev.yaml");
}

#[test]
fn what_failed_is_not_asked_for_again_without_a_reason() {
    let fleet = rings("promote-failed");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    let bad = fleet
        .on("main")
        .write(
            "desired/services/agent.yaml",
            &agent_with("2", &[("AGENT_FAIL", "exit")]),
        )
        .commit("agent 2");
    let promote = ["promote", "staging", "--release", bad.as_str()];
    fleet.ringfence(&promote).expect(0);
    fleet.ringfence(&["apply", "staging"]);
    // Whatever the gates say of it, a ring that has not failed on it has nothing to do.
    let told = fleet.ringfence(&promote);
    assert!(
        told.stdout.contains("Nothing to do: ring staging is asked for"),
        "{told}"
    );
}

#[test]
fn a_rollback_names_what_ran_before_with_its_images_and_asks_first() {
    let fleet = rings("rollback");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    let refused = fleet.ringfence(&["rollback", "staging"]).expect(1);
    refused
        .complains("nothing is known to have run healthy before that")
        .complains("--to REV");
    let first = fleet.ring("staging")["running"].clone();
    release(&fleet, "2");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    assert_eq!(fleet.serves("two", "agent"), "2");
    let asks = fleet.ringfence(&["rollback", "staging"]).expect(64);
    asks.says("back to rel-").complains("--yes");
    let written = fleet
        .ringfence(&["rollback", "staging", "--yes", "-m", "slow"])
        .expect(0);
    assert!(
        !written.stdout.contains("passes all of the ring's gates"),
        "{written}"
    );
    let pin = fleet.read("rings/pins/staging.yaml");
    assert!(
        pin.contains("images:\n") && pin.contains("reason: \"slow\""),
        "{pin}"
    );
    fleet.ringfence(&["apply", "staging"]).expect(0);
    assert_eq!(fleet.serves("two", "agent"), "1");
    assert_eq!(fleet.ring("staging")["running"], first);
    // A ring that follows its branch is told how that ends.
    fleet
        .ringfence(&["rollback", "dev", "--yes"])
        .expect(0)
        .says("ring dev follows the control branch again once its pin is gone");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    assert_eq!(fleet.serves("one", "agent"), "1");
}

#[test]
fn a_hold_is_a_file_with_a_reason_and_an_end_and_resume_removes_it() {
    let fleet = rings("hold");
    fleet
        .ringfence(&["hold", "prod"])
        .expect(64)
        .complains("--reason");
    fleet
        .ringfence(&["hold", "prod", "-m", "x", "--for", "0s"])
        .expect(64);
    let past = ["hold", "prod", "-m", "x", "--until", "2020-01-01T00:00:00Z"];
    fleet
        .ringfence(&past)
        .expect(64)
        .complains("over before it begins");
    fleet
        .ringfence(&["hold", "prod", "-m", "x", "--until", "soon"])
        .expect(64)
        .complains("is no time");
    fleet
        .ringfence(&["hold", "tenant/nobody", "-m", "x"])
        .expect(1)
        .complains("no ring's branch declares a tenant `nobody`");
    let held = fleet.ringfence(&["hold", "prod", "-m", "the fair"]).expect(0);
    held.says("it ends in 24 h").says("ringfence resume prod");
    let text = fleet.read("rings/holds/prod.yaml");
    assert!(text.starts_with("reason: \"the fair\"\nuntil: "), "{text}");
    assert!(!text.contains('.'), "no fractions of a second: {text}");
    let until = "2099-01-01T00:00:00Z";
    fleet
        .ringfence(&["hold", "tenant/one", "-m", "moving", "--until", until])
        .expect(0);
    assert!(fleet.read("rings/holds/tenants/one.yaml").contains(until));
    for name in ["prod", "one"] {
        fleet
            .ringfence(&["resume", name])
            .expect(0)
            .says("removes rings/holds/");
        fleet.ringfence(&["resume", name]).expect(0).says("is not held");
    }
    assert!(!fleet.repo().join("rings/holds").exists());
    assert_eq!(fleet.git(&["status", "--porcelain"]), "");
    assert_eq!(
        subjects(&fleet)[..2],
        ["resume tenant one".to_owned(), "resume ring prod".to_owned()]
    );
}

#[test]
fn why_tells_what_waits_for_whom_and_the_command_that_goes_on() {
    let fleet = rings("why");
    fleet.ringfence(&["why", "dev"]).expect(0).says("Nothing waits");
    fleet
        .ringfence(&["why", "prod"])
        .expect(0)
        .says("Nothing is asked for");
    fleet.ringfence(&["why", "tenant/nobody"]).expect(1);
    let waits = fleet
        .ringfence(&["why", "three"])
        .expect(0)
        .says("tenant three: waiting, in ring prod");
    waits
        .says("it goes with what ring prod is asked for")
        .says("ring prod: empty");
    let request = {
        fleet.ringfence(&["promote", "staging"]).expect(0);
        fleet.ringfence(&["apply", "staging"]).expect(0);
        fleet.ringfence(&["promote", "prod", "-m", "web 1"]).expect(0);
        fleet.git(&["rev-parse", "main"])
    };
    let said = fleet.ringfence(&["why", "prod"]).expect(0);
    let said = said
        .says("ring prod: waiting")
        .says("approval")
        .says("ringfence approve prod");
    let said = said.says(&request[..8]).says("Ana").says("promote prod to rel-");
    assert!(said.stdout.contains("creates 1: agent.three."), "{said}");
    assert!(said.stdout.lines().count() < 40, "one screen: {said}");
    let facts = why(&fleet, "prod");
    let mv = &facts["ring"]["moves"][0];
    assert_eq!(mv["request"], request.as_str());
    assert_eq!(mv["to"].as_str().unwrap().matches("rel-").count(), 1);
    assert_eq!(mv["touches"]["tenants"], serde_json::json!(["three"]));
    assert_eq!(mv["to_commit"], fleet.ring("dev")["release"]["commit"]);
    let approval = facts["ways"]
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["gate"] == "approval");
    assert_eq!(approval.unwrap()["command"], "ringfence approve prod");
    assert_eq!(approval.unwrap()["who"], serde_json::json!(["solo"]));
    // A tenant's answer has its ring's too; and a daemon gives the same one.
    let one = fleet.ringfence(&["why", "one"]).expect(0);
    one.says("tenant one: synced, in ring dev")
        .says("ring dev: synced");
    let daemon = fleet.daemon();
    fleet.eventually("the daemon has looked", |f| {
        f.ring("prod")["moves"][0]["touches"]["tenants"] == serde_json::json!(["three"])
    });
    let asked = why(&fleet, "prod");
    assert_eq!(asked["daemon"], true);
    assert_eq!(asked["ring"]["moves"][0]["to"], mv["to"]);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_name_that_is_a_ring_and_a_tenant_means_the_ring() {
    let fleet = rings("both-names");
    fleet
        .on("main")
        .write("desired/tenants/prod.yaml", &tenant("prod", "dev"))
        .commit("a tenant called prod");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    assert_eq!(why(&fleet, "prod")["tenant"], Value::Null);
    assert_eq!(why(&fleet, "tenant/prod")["tenant"]["slug"], "prod");
    fleet
        .ringfence(&["hold", "prod", "-m", "x"])
        .expect(0)
        .says("rings/holds/prod.yaml");
    let held = fleet.ringfence(&["hold", "tenant/prod", "-m", "x"]).expect(0);
    held.says("rings/holds/tenants/prod.yaml")
        .says("ringfence resume tenant/prod");
}

#[test]
fn a_rollback_whose_own_containers_fail_is_told_apart() {
    let fleet = SimulatedFleet::new("rollback-fails");
    // It writes a volume, so that the old one stops before the new one starts.
    let version = |version: &str| {
        let lines = format!("environment: {{AGENT_VERSION: \"{version}\"}}\nvolumes: [\"data:/data\"]");
        format!(
            "services:\n{}volumes: {{data: {{}}}}\n",
            agent_service("agent", &lines)
        )
    };
    fleet
        .on("main")
        .write("rings/rings.yaml", "rings:\n  dev: {id: 0, auto_deploy: true}\n")
        .write("desired/services/agent.yaml", &version("1"))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .commit("a fleet");
    fleet.ringfence(&["apply"]).expect(0);
    // From now on whatever starts ends.
    let ends = |_: &simulated_engine::Container| Behaviour {
        exit: Some((SOON, 1)),
        ..Behaviour::default()
    };
    fleet.engine.with(|world| world.behave(ends));
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &version("2"))
        .commit("agent 2");
    let told = fleet.ringfence(&["apply"]).expect(5);
    assert!(told.stdout.contains("degraded"), "{told}");
}
