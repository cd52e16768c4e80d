//! Health, failures and times.

use super::health::{failure, judge, next_look};
use super::*;
use crate::fleet::compose::service::{Probe, ProbeKind};

fn acme() -> Owner {
    tenant("acme")
}

fn seen(state: State, health: EngineHealth) -> SeenContainer {
    let mut seen = container(&acme(), "web", 1, "web.acme.aither");
    (seen.state, seen.health) = (state, health);
    seen
}

fn sources() -> [HealthSource; 3] {
    let probe = Probe {
        kind: ProbeKind::Tcp { port: 80 },
        interval_ms: 5000,
        timeout_ms: 2000,
        retries: 3,
        start_period_ms: 0,
        names_release: false,
    };
    [
        HealthSource::Engine,
        HealthSource::Probe(probe),
        HealthSource::Running { settle_ms: 10_000 },
    ]
}

fn later(seconds: i64) -> Timestamp {
    start() + jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn a_state_that_decides_alone_decides_for_every_source() {
    for source in sources() {
        let mut object = object(&acme(), "web", 1);
        object.health = source;
        for (state, want) in [
            (State::Created, Health::Unknown),
            (State::Unknown, Health::Unknown),
            (State::Removing, Health::Unknown),
            (State::Paused, Health::Unhealthy),
            (State::Restarting, Health::Unhealthy),
            (State::Dead, Health::Unhealthy),
            // Its exit code is not known.
            (State::Exited, Health::Unknown),
        ] {
            let seen = seen(state, EngineHealth::Healthy);
            assert_eq!(
                judge(&object, &seen, Some(Health::Healthy), later(99)),
                want,
                "{state:?}"
            );
        }
    }
}

#[test]
fn a_running_one_is_judged_by_its_source() {
    use EngineHealth as E;
    let [engine, probe, running] = sources();
    for (source, said, probed, at, want) in [
        (&engine, E::Healthy, None, 0, Health::Healthy),
        (&engine, E::Unhealthy, None, 0, Health::Unhealthy),
        (&engine, E::Starting, None, 0, Health::Starting),
        // What was asked for is not there: nothing can be said.
        (&engine, E::None, None, 99, Health::Unknown),
        (&probe, E::Healthy, None, 0, Health::Starting),
        (&probe, E::Healthy, Some(Health::Unhealthy), 0, Health::Unhealthy),
        (&probe, E::Unhealthy, Some(Health::Healthy), 0, Health::Healthy),
        (&probe, E::None, Some(Health::Unknown), 0, Health::Unknown),
        (&running, E::None, None, 9, Health::Starting),
        (&running, E::None, None, 10, Health::Healthy),
        // A healthcheck of the image's own decides.
        (&running, E::Starting, None, 99, Health::Starting),
        (&running, E::Unhealthy, None, 99, Health::Unhealthy),
    ] {
        let mut object = object(&acme(), "web", 1);
        object.health = source.clone();
        assert_eq!(
            judge(&object, &seen(State::Running, said), probed, later(at)),
            want,
            "{source:?} {said:?} {probed:?}"
        );
    }
    let mut object = object(&acme(), "web", 1);
    object.health = running;
    let mut unseen = seen(State::Running, E::None);
    unseen.details = None;
    assert_eq!(judge(&object, &unseen, None, later(99)), Health::Unknown);
}

#[test]
fn a_job_is_healthy_when_it_has_ended_with_0() {
    let mut object = object(&acme(), "web", 1);
    for (job, state, code, want) in [
        (true, State::Running, None, Health::Starting),
        (true, State::Exited, Some(0), Health::Healthy),
        (true, State::Exited, Some(1), Health::Unhealthy),
        (true, State::Exited, None, Health::Unknown),
        (false, State::Exited, Some(0), Health::Unhealthy),
    ] {
        object.job = job;
        let mut seen = seen(state, EngineHealth::None);
        Arc::make_mut(seen.details.as_mut().unwrap()).exit_code = code;
        assert_eq!(
            judge(&object, &seen, None, later(0)),
            want,
            "{job} {state:?} {code:?}"
        );
    }
}

#[test]
fn a_failure_is_told_in_words_and_what_says_nothing_is_none() {
    let object = object(&acme(), "web", 1);
    let told = |state, health: Health, at: i64, change: &dyn Fn(&mut Details)| {
        let said = match health {
            Health::Healthy => EngineHealth::Healthy,
            Health::Unhealthy => EngineHealth::Unhealthy,
            _ => EngineHealth::Starting,
        };
        let mut seen = seen(state, said);
        change(Arc::make_mut(seen.details.as_mut().unwrap()));
        failure(&object, &seen, health, Timestamp::MIN, later(at))
    };
    let nothing = |_: &mut Details| {};
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told(State::Running, Health::Starting, 59, &nothing), None);
    assert_eq!(
        told(State::Running, Health::Starting, 60, &nothing),
        some("it did not get healthy within 60 s")
    );
    assert_eq!(told(State::Running, Health::Healthy, 999, &nothing), None);
    assert_eq!(
        told(State::Running, Health::Unhealthy, 1, &nothing),
        some("it is unhealthy")
    );
    assert_eq!(
        told(State::Exited, Health::Unknown, 1, &|d| d.exit_code = Some(3)),
        some("it ended with exit code 3")
    );
    assert_eq!(
        told(State::Exited, Health::Unknown, 1, &|d| (
            d.exit_code,
            d.oom_killed
        ) = (Some(137), true)),
        some("it ended with exit code 137, killed for memory")
    );
    assert_eq!(
        told(State::Restarting, Health::Unhealthy, 1, &|d| d.restart_count = 2),
        None
    );
    assert_eq!(
        told(State::Restarting, Health::Unhealthy, 1, &|d| d.restart_count = 3),
        some("it was restarted 3 times")
    );
    // Never started, or its start was refused; paused; stopped by us.
    assert_eq!(
        told(State::Created, Health::Unknown, 999, &|d| d.started_at = None),
        None
    );
    assert_eq!(
        told(State::Exited, Health::Unknown, 999, &|d| d.started_at = None),
        None
    );
    assert_eq!(told(State::Paused, Health::Unhealthy, 999, &nothing), None);
    assert_eq!(
        told(State::Exited, Health::Unknown, 1, &|d| (d.exit_code, d.restart) =
            (Some(143), Restart::No)),
        None
    );
    // What nobody can tell is no failure, however late.
    assert_eq!(told(State::Running, Health::Unknown, 999, &nothing), None);
    assert!(told(State::Running, Health::Starting, 999, &nothing).is_some());
    let mut unseen = seen(State::Exited, EngineHealth::None);
    unseen.details = None;
    assert_eq!(
        failure(&object, &unseen, Health::Unknown, Timestamp::MIN, later(999)),
        None
    );
}

#[test]
fn a_job_fails_by_its_code_and_never_by_the_clock() {
    let mut object = object(&acme(), "web", 1);
    object.job = true;
    Arc::make_mut(&mut object.spec).restart = Restart::No;
    let mut seen = seen(State::Running, EngineHealth::None);
    assert_eq!(
        failure(&object, &seen, Health::Starting, Timestamp::MIN, later(9999)),
        None
    );
    seen.state = State::Exited;
    Arc::make_mut(seen.details.as_mut().unwrap()).exit_code = Some(0);
    assert_eq!(
        failure(&object, &seen, Health::Healthy, Timestamp::MIN, later(1)),
        None
    );
    Arc::make_mut(seen.details.as_mut().unwrap()).exit_code = Some(2);
    assert!(failure(&object, &seen, Health::Unhealthy, Timestamp::MIN, later(1)).is_some());
}

#[test]
fn the_next_look_is_at_the_first_time_that_changes_a_verdict() {
    let mut object = object(&acme(), "web", 1);
    let seen = seen(State::Running, EngineHealth::None);
    assert_eq!(
        next_look(&object, &seen, Timestamp::MIN, later(0)),
        Some(later(60))
    );
    object.health = HealthSource::Running { settle_ms: 10_000 };
    assert_eq!(
        next_look(&object, &seen, Timestamp::MIN, later(0)),
        Some(later(10))
    );
    assert_eq!(
        next_look(&object, &seen, Timestamp::MIN, later(10)),
        Some(later(60))
    );
    assert_eq!(next_look(&object, &seen, Timestamp::MIN, later(60)), None);
}
