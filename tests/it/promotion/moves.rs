//! What may be asked of three rings, and in which order; on a simulated engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use simulated_engine::{Behaviour, Health, Image};

use super::AGENT_FILE;
use super::people::gate;
use crate::support::fleet::{AGENT, agent_service, tenant, text};
use crate::support::simulated::{SOON, SimulatedFleet};

/// A service of a release: the example agent with these variables and lines.
pub(super) fn service(name: &str, version: &str, fail: &str, more: &str) -> String {
    let own = if more.contains("x-ringfence") {
        String::new()
    } else {
        "x-ringfence: {rollout: {drain: 5ms}}\n".to_owned()
    };
    let lines = format!(
        "environment: {{AGENT_VERSION: \"{version}\", AGENT_FAIL: \"{fail}\"}}\nrestart: unless-stopped\n{own}{more}"
    );
    agent_service(name, &lines)
}

/// dev follows `main`, staging and prod are pinned, with more keys each; a tenant in each. dev runs version 1.
pub(super) fn rings(name: &str, staging: &str, prod: &str) -> SimulatedFleet {
    let fleet = SimulatedFleet::new(name);
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            &format!(
                "rings:\n  dev: {{id: 0, auto_deploy: true, rollout: {{observe: 0s}}}}\n  \
                 staging: {{id: 1, {staging}rollout: {{observe: 0s}}}}\n  prod: {{id: 2, {prod}rollout: {{observe: 0s}}}}\n"
            ),
        )
        .write("ringfence.yaml", &format!("{}control_branch: main\n", fleet.settings()))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .write("desired/tenants/two.yaml", &tenant("two", "staging"))
        .write("desired/tenants/three.yaml", &tenant("three", "prod"))
        .commit("rings");
    release(&fleet, &service("agent", "1", "", ""));
    fleet
}

/// Commits a release of these services and lets dev take it.
pub(super) fn release(fleet: &SimulatedFleet, services: &str) -> String {
    let commit = fleet
        .on("main")
        .write(AGENT_FILE, &format!("services:\n{services}"))
        .commit("a release");
    fleet.ringfence(&["apply", "dev"]).expect(0);
    commit
}

fn agent(version: &str) -> String {
    service("agent", version, "", "")
}

/// The ring takes what the ring before it runs.
fn go(fleet: &SimulatedFleet, ring: &str) {
    fleet.ringfence(&["promote", ring]).expect(0);
    fleet.ringfence(&["apply", ring]).expect(0);
}

fn approve(fleet: &SimulatedFleet, ring: &str) {
    fleet.ringfence(&["approve", ring, "--yes"]).expect(0);
}

/// The version of the fleet's own service, and its container.
fn hub(fleet: &SimulatedFleet) -> (String, String) {
    let name = format!("hub.{}", fleet.instance);
    let found = fleet
        .all()
        .into_iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(&name));
    found.map_or_else(Default::default, |(_, one)| {
        (one.env("AGENT_VERSION").unwrap().to_owned(), one.id)
    })
}

#[test]
fn a_tag_that_moves_between_two_rings_changes_nothing_of_what_was_proven() {
    let fleet = rings("mv-tag", "", "");
    let proven = fleet.server("one", "agent").unwrap().image;
    let other =
        Image::new(json!({"Cmd": ["other"], "Labels": {}, "Healthcheck": {"Test": ["CMD", "check"]}}));
    let other = fleet.engine.with(|world| world.add_image(AGENT, other));
    assert_ne!(other, proven);
    go(&fleet, "staging");
    assert_eq!(fleet.server("two", "agent").unwrap().image, proven);
    // A pin that names no images means those that were proven.
    let commit = text(&fleet.ring("staging")["release"]["commit"]);
    fleet.pin("prod", &commit);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.server("three", "agent").unwrap().image, proven);
    assert_eq!(fleet.server("one", "agent").unwrap().image, proven);
}

#[test]
fn what_prod_goes_back_to_outlives_a_prune_in_staging_and_the_users_own_tags() {
    let fleet = rings("mv-prune", "", "");
    let image = |n: &str| {
        let config = json!({"Cmd": ["serve"], "Labels": {"n": n}, "Healthcheck": {"Test": ["CMD", "check"]}});
        fleet
            .engine
            .with(|world| world.add_image(&format!("app:{n}"), Image::new(config)))
    };
    let ids: Vec<String> = ["1", "2", "3", "4"].map(image).into();
    let next = |n: &str| {
        release(&fleet, &agent(n).replace(AGENT, &format!("app:{n}")));
        go(&fleet, "staging");
    };
    for n in ["1", "2"] {
        next(n);
        go(&fleet, "prod");
    }
    for n in ["3", "4"] {
        next(n);
    }
    fleet.engine.with(|world| {
        for image in world.images.values_mut() {
            image.tags.retain(|tag| !tag.starts_with("app:"));
        }
    });
    fleet.ringfence(&["apply", "staging", "--prune"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    let kept = fleet
        .engine
        .with(|world| world.images.get(&ids[0]).is_some_and(|i| !i.tags.is_empty()));
    assert!(kept, "a tag of ours keeps it");
    fleet.ringfence(&["rollback", "prod", "--yes"]).expect(0);
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "1");
    assert_eq!(fleet.server("three", "agent").unwrap().image, ids[0]);
}

#[test]
fn an_approval_that_was_used_lets_nothing_start_again_after_a_rollback() {
    let fleet = rings("mv-replay", "", "approval_required: true, ");
    let to_prod = |version: &str| {
        release(&fleet, &agent(version));
        go(&fleet, "staging");
        fleet.ringfence(&["promote", "prod"]).expect(0);
        fleet.ringfence(&["apply", "prod"]).expect(4);
        approve(&fleet, "prod");
        fleet.ringfence(&["apply", "prod"]).expect(0);
        assert_eq!(fleet.serves("three", "agent"), version);
    };
    for version in ["2", "3", "4"] {
        to_prod(version);
    }
    let pin = fleet.git(&["log", "-1", "--format=%H", "--", "rings/pins/prod.yaml"]);
    let word = fleet.git(&["log", "-1", "--format=", "--name-only", "--", "rings/approvals"]);
    fleet.ringfence(&["rollback", "prod", "--yes"]).expect(0);
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "3");
    // The very pin again, and the very file again.
    let pinned = fleet.git(&["show", &format!("{pin}:rings/pins/prod.yaml")]) + "\n";
    let words = fleet.read(&word);
    fleet.on("main").remove(&word).commit("the word goes");
    fleet
        .on("main")
        .write("rings/pins/prod.yaml", &pinned)
        .write(&word, &words)
        .commit("both again");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    assert_eq!(fleet.serves("three", "agent"), "3");
    let asked = gate(&fleet, "prod", "approval");
    assert_eq!(asked["state"], "unknown", "{asked}");
    assert!(text(&asked["evidence"]).starts_with("0 of 1"), "{asked}");
    approve(&fleet, "prod");
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "4");
}

#[test]
fn of_two_pins_in_one_commit_the_later_ring_waits_for_the_earlier_one() {
    let fleet = rings("mv-two-pins", "", "");
    go(&fleet, "staging");
    go(&fleet, "prod");
    let second = release(&fleet, &agent("2"));
    let pin = format!("release: {second}\nreason: \"both\"\n");
    fleet
        .on("main")
        .write("rings/pins/staging.yaml", &pin)
        .write("rings/pins/prod.yaml", &pin)
        .commit("both at once");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    assert_eq!(fleet.serves("three", "agent"), "1", "staging has not run it yet");
    assert_eq!(gate(&fleet, "prod", "lineage")["state"], "fail");
    let _daemon = fleet.daemon();
    fleet.eventually("both have it", |f| {
        f.synced("prod") && f.synced("staging") && f.serves("three", "agent") == "2"
    });
    assert_eq!(fleet.serves("two", "agent"), "2");
}

#[test]
fn a_hold_keeps_a_ring_as_it_is_and_ends_by_itself() {
    let fleet = rings("mv-hold", "", "");
    go(&fleet, "staging");
    release(&fleet, &agent("2"));
    fleet.ringfence(&["hold", "staging", "-m", "the fair"]).expect(0);
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply"]).expect(4);
    assert!(fleet.in_phase("staging", "held"), "{}", fleet.ring("staging"));
    assert_eq!(fleet.serves("two", "agent"), "1");
    fleet.ringfence(&["why", "staging"]).expect(0).says("the fair");
    let _daemon = fleet.daemon();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    fleet
        .on("main")
        .write(
            "rings/holds/staging.yaml",
            &format!("reason: \"the fair\"\nuntil: {soon}\n"),
        )
        .commit("a shorter fair");
    fleet.eventually("it went on by itself", |f| {
        f.synced("staging") && f.serves("two", "agent") == "2"
    });
}

#[test]
fn a_tenant_that_moves_to_another_ring_takes_its_volume_along_when_both_let_it() {
    let fleet = rings("mv-tenant", "", "approval_required: true, ");
    let with_volume = |version: &str| {
        let service = service("agent", version, "", "volumes: [\"data:/data\"]");
        release(&fleet, &format!("{service}volumes: {{data: {{}}}}\n"));
    };
    with_volume("2");
    go(&fleet, "staging");
    fleet.ringfence(&["promote", "prod"]).expect(0);
    approve(&fleet, "prod");
    fleet.ringfence(&["apply", "prod"]).expect(0);
    with_volume("3");
    let file = "desired/tenants/mover.yaml";
    fleet
        .on("main")
        .write(file, &tenant("mover", "dev"))
        .commit("mover comes");
    fleet.ringfence(&["apply"]).expect(0);
    let volume = |fleet: &SimulatedFleet| fleet.server("mover", "agent").unwrap().mounts["/data"].clone();
    let (data, volumes) = (volume(&fleet), fleet.engine.with(|w| w.volumes.len()));
    assert_eq!(fleet.serves("mover", "agent"), "3");
    fleet
        .on("main")
        .write(file, &tenant("mover", "staging"))
        .commit("mover to staging");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("mover", "agent"), "2", "what staging runs");
    assert_eq!(fleet.tenant("mover")["ring"], "staging");
    assert_eq!(volume(&fleet), data);
    // prod asks for a word: until then it stays whole where it is.
    fleet
        .on("main")
        .write(file, &tenant("mover", "prod"))
        .commit("mover to prod");
    fleet.ringfence(&["apply"]).expect(4);
    let stays = fleet.server("mover", "agent").unwrap();
    fleet.engine.with(|world| world.ended(&stays.id, 1));
    fleet.ringfence(&["apply", "--refresh"]).expect(4);
    assert_eq!(fleet.serves("mover", "agent"), "2", "it is healed meanwhile");
    approve(&fleet, "prod");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.tenant("mover")["ring"], "prod");
    assert_eq!(fleet.tenant("mover")["phase"], "synced");
    assert_eq!(volume(&fleet), data);
    assert_eq!(fleet.engine.with(|w| w.volumes.len()), volumes);
}

#[test]
fn a_new_service_of_the_fleet_starts_with_dev_and_prod_takes_it_over() {
    let fleet = rings("mv-hub", "", "");
    go(&fleet, "staging");
    go(&fleet, "prod");
    let both = |version: &str| {
        let hub = service(
            "hub",
            version,
            "",
            "x-ringfence: {scope: fleet, rollout: {drain: 5ms}}",
        );
        release(&fleet, &(agent("1") + &hub));
    };
    both("2");
    assert_eq!(hub(&fleet).0, "2", "nobody stricter has one");
    both("3");
    assert_eq!(hub(&fleet).0, "3");
    go(&fleet, "staging");
    let three = hub(&fleet);
    go(&fleet, "prod");
    assert_eq!(hub(&fleet), three, "taken over as it is");
    both("4");
    assert_eq!(hub(&fleet), three, "prod's");
    assert!(fleet.synced("dev"), "{}", fleet.ring("dev"));
    go(&fleet, "staging");
    assert_eq!(hub(&fleet), three);
    go(&fleet, "prod");
    assert_eq!(hub(&fleet).0, "4");
}

#[test]
fn a_tenant_that_names_a_service_which_its_ring_does_not_have_yet_gets_it_with_the_release() {
    let fleet = rings("mv-names", "", "");
    go(&fleet, "staging");
    release(&fleet, &(agent("1") + &service("web", "1", "", "")));
    fleet
        .on("main")
        .write(
            "desired/tenants/two.yaml",
            &(tenant("two", "staging") + "services: [agent, web]\n"),
        )
        .commit("two wants web");
    fleet.ringfence(&["apply"]);
    assert!(fleet.server("two", "web").is_none());
    assert_eq!(fleet.serves("two", "agent"), "1");
    let said = fleet.tenant("two")["conditions"].to_string();
    assert!(said.contains("web"), "{said}");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serves("two", "web"), "1");
    assert_eq!(fleet.tenant("two")["phase"], "synced");
}

#[test]
fn a_release_that_the_values_of_one_tenant_spoil_stops_at_its_first_gate() {
    let fleet = rings("mv-spoilt", "", "");
    fleet
        .on("main")
        .write(
            "desired/tenants/three.yaml",
            &(tenant("three", "prod") + "config_overrides: {ROOM: plenty}\n"),
        )
        .commit("three has its own idea of room");
    go(&fleet, "staging");
    go(&fleet, "prod");
    release(
        &fleet,
        &service("agent", "2", "", "mem_limit: \"${ROOM:-64m}\"\n"),
    );
    go(&fleet, "staging");
    fleet.ringfence(&["promote", "prod"]).expect(0);
    fleet.ringfence(&["apply", "prod"]).expect(4);
    let first = gate(&fleet, "prod", "release");
    assert_eq!(first["state"], "fail");
    let said = text(&first["evidence"]);
    assert!(said.contains("three") && said.contains("plenty"), "{said}");
    assert_eq!(fleet.serves("three", "agent"), "1");
}

#[test]
fn a_release_whose_shared_services_cannot_be_made_goes_nowhere() {
    let fleet = rings("mv-shared", "", "");
    let hub = "user: \"${WHO}\"\nx-ringfence: {scope: fleet}\n";
    fleet
        .on("main")
        .write(
            AGENT_FILE,
            &format!("services:\n{}{}", agent("2"), service("hub", "2", "", hub)),
        )
        .commit("nobody says who");
    fleet.ringfence(&["apply", "dev"]).expect(4);
    let first = gate(&fleet, "dev", "release");
    assert_eq!(first["state"], "fail");
    let said = text(&first["evidence"]);
    assert!(
        said.contains("cannot be rendered") && said.contains("WHO"),
        "{said}"
    );
    assert_eq!(fleet.serves("one", "agent"), "1");
}

#[test]
fn a_promotion_that_waits_keeps_its_approval_while_a_tenant_comes() {
    let fleet = rings(
        "mv-pending",
        "",
        "approval_required: true, tenant_changes: free, soak: 1h, ",
    );
    let waive = || {
        fleet
            .ringfence(&["waive", "prod", "soak", "-m", "a test", "--yes"])
            .expect(0)
    };
    go(&fleet, "staging");
    fleet.ringfence(&["promote", "prod"]).expect(0);
    approve(&fleet, "prod");
    waive();
    fleet.ringfence(&["apply", "prod"]).expect(0);
    release(&fleet, &agent("2"));
    go(&fleet, "staging");
    fleet.ringfence(&["promote", "prod"]).expect(0);
    approve(&fleet, "prod");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    fleet
        .on("main")
        .write("desired/tenants/four.yaml", &tenant("four", "prod"))
        .commit("four comes");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    assert_eq!(fleet.serves("four", "agent"), "1", "it comes with what prod runs");
    assert_eq!(gate(&fleet, "prod", "approval")["state"], "pass");
    waive();
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "2");
    assert_eq!(fleet.serves("four", "agent"), "2");
}

#[test]
fn a_tenant_that_was_sick_before_keeps_no_release_from_its_ring_nor_from_the_next() {
    let fleet = rings("mv-sick", "", "");
    fleet
        .on("main")
        .write("desired/tenants/sick.yaml", &tenant("sick", "staging"))
        .commit("a second tenant");
    go(&fleet, "staging");
    go(&fleet, "prod");
    assert_eq!(fleet.serves("sick", "agent"), "1");
    let ill = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&ill);
    fleet.engine.with(|world| {
        world.behave(move |container| {
            let sick = container.env("TENANT_SLUG") == Some("sick") && still.load(Ordering::Relaxed);
            Behaviour {
                health: if sick {
                    Health::Unhealthy(SOON)
                } else {
                    Health::Healthy(SOON)
                },
                ..Behaviour::default()
            }
        });
    });
    let one = fleet.server("sick", "agent").unwrap();
    fleet.engine.with(|world| world.run(&one.id));
    fleet.eventually("it is sick", |f| {
        f.ringfence(&["apply", "--refresh"]);
        f.tenant("sick")["phase"] == "degraded"
    });
    release(&fleet, &agent("2"));
    let second = fleet.ring("dev")["running"].clone();
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.serves("two", "agent"), "2");
    assert_eq!(
        fleet.ring("staging")["running"],
        second,
        "{}",
        fleet.ringfence(&["why", "staging"])
    );
    fleet.ringfence(&["promote", "prod"]).expect(0);
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "2");
}

#[test]
fn a_newer_request_replaces_a_rollout_that_hangs_and_nothing_is_held_against_it() {
    let fleet = rings("mv-hangs", "", "");
    go(&fleet, "staging");
    let first = fleet.ring("staging")["running"].clone();
    fleet
        .on("main")
        .write(
            "desired/tenants/two.yaml",
            &(tenant("two", "staging") + "config_overrides: {FAIL: never}\n"),
        )
        .commit("a value that version 2 reads");
    fleet.ringfence(&["apply"]).expect(0);
    release(&fleet, &service("agent", "2", "${FAIL:-}", ""));
    let second = fleet.ring("dev")["running"].clone();
    let _daemon = fleet.daemon();
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.eventually("it hangs", |f| {
        f.in_phase("staging", "rolling")
            && f.all()
                .values()
                .any(|c| c.env("AGENT_FAIL") == Some("never") && c.runs())
    });
    fleet
        .on("main")
        .write(AGENT_FILE, &format!("services:\n{}", agent("3")))
        .commit("the fix");
    fleet.eventually("dev has the fix", |f| {
        f.synced("dev") && f.serves("one", "agent") == "3"
    });
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.eventually("the fix is there", |f| {
        f.synced("staging") && f.serves("two", "agent") == "3"
    });
    let ring = fleet.ring("staging");
    assert_eq!(ring["previous"], first, "what hung was never healthy here");
    let said = fleet.ringfence(&["events"]).stdout;
    assert!(
        !said.contains("failed in staging"),
        "{} has not failed: {said}",
        text(&second)
    );
}
