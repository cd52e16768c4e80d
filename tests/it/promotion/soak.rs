//! How long a release has done well in the ring before: what begins it anew, and what does not.

use super::moves::{release, rings, service};
use super::people::gate;
use crate::support::fleet::text;
use crate::support::simulated::SimulatedFleet;

/// When the soak of what prod is asked for will be over.
fn end(fleet: &SimulatedFleet) -> Option<jiff::Timestamp> {
    gate(fleet, "prod", "soak")["until"].as_str()?.parse().ok()
}

/// Waits for a soak that has an end.
#[track_caller]
fn begun(fleet: &SimulatedFleet) -> jiff::Timestamp {
    fleet.eventually_some("the soak has an end", |_| end(fleet))
}

/// staging has version 1, and prod is asked for it and waits for its soak.
fn soaking(name: &str, prod: &str) -> SimulatedFleet {
    let fleet = rings(name, "", prod);
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    fleet.ringfence(&["promote", "prod"]).expect(0);
    fleet
}

#[test]
fn a_restart_in_the_ring_before_begins_it_anew_and_in_the_end_the_release_goes_by_itself() {
    let fleet = soaking("soak-restart", "soak: 10s, ");
    let _daemon = fleet.daemon();
    let first = begun(&fleet);
    let one = fleet.server("two", "agent").unwrap();
    fleet.engine.with(|world| {
        world.ended(&one.id, 1);
        if let Some(container) = world.containers.get_mut(&one.id) {
            container.restarts += 1;
        }
        world.run(&one.id);
    });
    fleet.eventually("it began anew", |f| {
        let said = text(&gate(f, "prod", "soak")["evidence"]);
        said.contains("began anew: two: agent was restarted") && end(f).is_some_and(|until| until > first)
    });
    assert_eq!(fleet.serves("three", "agent"), "");
    fleet.eventually("prod has it", |f| {
        f.synced("prod") && f.serves("three", "agent") == "1"
    });
}

#[test]
fn it_stays_earned_when_another_release_comes_to_the_ring_before() {
    let fleet = soaking("soak-displaced", "soak: 1s, approval_required: true, ");
    let daemon = fleet.daemon();
    fleet.eventually("it has soaked", |f| gate(f, "prod", "soak")["state"] == "pass");
    assert_eq!(daemon.stop(), 0);
    release(&fleet, &service("agent", "2", "", ""));
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    assert_eq!(fleet.serves("two", "agent"), "2");
    fleet.ringfence(&["approve", "prod", "--yes"]).expect(0);
    fleet.ringfence(&["apply", "prod"]).expect(0);
    assert_eq!(fleet.serves("three", "agent"), "1");
}

#[test]
fn one_that_is_cut_short_by_another_release_has_failed() {
    let fleet = soaking("soak-short", "soak: 1h, ");
    let _daemon = fleet.daemon();
    begun(&fleet);
    release(&fleet, &service("agent", "2", "", ""));
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.eventually("it is cut short", |f| {
        f.serves("two", "agent") == "2" && gate(f, "prod", "soak")["state"] == "fail"
    });
    assert_eq!(fleet.serves("three", "agent"), "");
}

#[test]
fn it_goes_on_over_a_restart_of_the_daemon() {
    let fleet = soaking("soak-daemon", "soak: 1h, ");
    let daemon = fleet.daemon();
    let hour = jiff::SignedDuration::from_hours(1);
    let first = begun(&fleet) - hour;
    let some = jiff::SignedDuration::from_secs(3);
    fleet.eventually("some of it is over", |_| jiff::Timestamp::now() > first + some);
    assert_eq!(daemon.stop(), 0);
    let again = jiff::Timestamp::now();
    let _daemon = fleet.daemon();
    fleet.eventually("it counts from before the daemon's start", |f| {
        f.ringfence(&["apply", "prod"]);
        end(f).is_some_and(|until| until - hour < again)
    });
    let said = text(&gate(&fleet, "prod", "soak")["evidence"]);
    assert!(!said.contains("anew"), "{said}");
}
