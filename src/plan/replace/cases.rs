//! What the search cannot reach: names as texts, and containers without a spec of ours.

use jiff::Timestamp;

use super::model::{Mode, SPECS, World};
use super::{Activity, Aim, Call, Health, LimitsUpdate, Next, Part, Seat, Wait, next, part, spelled};
use crate::fleet::compose::service::Restart;

fn aim(service: &str, base: &str) -> Aim {
    Aim {
        service: service.to_owned(),
        base_name: base.to_owned(),
        ..World::new(Mode::StartFirst).aim()
    }
}

fn seat(name: &str) -> Seat {
    Seat {
        id: "c0".to_owned(),
        name: name.to_owned(),
        spec: Some(SPECS[0]),
        activity: Activity::Running,
        health: Health::Healthy,
        restart: Some(Restart::Always),
        missing: [].into(),
        surplus: [].into(),
        limits: None,
        gave_up_at: None,
    }
}

#[test]
fn a_crash_loop_under_its_passing_name_is_ended_before_it_is_renamed() {
    let own = SPECS[1].0.short();
    let mut looping = Seat {
        spec: Some(SPECS[1]),
        health: Health::Unhealthy,
        ..seat(&format!("web.acme.aither.{own}"))
    };
    let aim = Aim {
        wanted: Some(SPECS[0]),
        good: Some(SPECS[0]),
        failed: [SPECS[1]].into(),
        ..aim("web", "web.acme.aither")
    };
    let serving = Seat {
        id: "c1".to_owned(),
        ..seat("web.acme.aither")
    };
    let call = |looping: &Seat| next(&aim, &[looping.clone(), serving.clone()], Timestamp::UNIX_EPOCH);
    let id = || "c0".to_owned();
    let restart = Restart::No;
    assert_eq!(call(&looping), Next::Call(Call::SetRestart { id: id(), restart }));
    looping.restart = Some(restart);
    assert_eq!(call(&looping), Next::Call(Call::Stop { id: id() }));
    looping.activity = Activity::Stopped;
    let to = format!("web.acme.aither.failed-{own}");
    assert!(matches!(call(&looping), Next::Call(Call::Rename { to: name, .. }) if name == to));
}

#[test]
fn the_first_letter_after_the_service_changes_its_case() {
    for (service, base, other) in [
        ("web", "web.acme.aither", "web.Acme.aither"),
        ("web", "web.0-dev.aither", "web.0-Dev.aither"),
        ("redis", "redis.aither", "redis.Aither"),
    ] {
        assert_eq!(spelled(&aim(service, base)), [base, other]);
    }
}

#[test]
fn a_name_says_the_part() {
    let aim = aim("web", "web.acme.aither");
    let [own, other] = [SPECS[0], SPECS[1]].map(|spec| spec.0.short());
    for (name, wanted) in [
        ("web.acme.aither".to_owned(), Part::Serving),
        ("web.Acme.aither".to_owned(), Part::Serving),
        ("web.aCme.aither".to_owned(), Part::Stray),
        (format!("web.acme.aither.{own}"), Part::Passing),
        (format!("web.acme.aither.{other}"), Part::Stray),
        (
            format!("web.acme.aither.old-{other}"),
            Part::Parked(other.clone()),
        ),
        ("web.acme.aither.old-mine".to_owned(), Part::Stray),
        ("web.acme.aither.gone-c0".to_owned(), Part::Leaving),
        (format!("web.acme.aither.failed-{own}"), Part::Failed),
        (format!("web.acme.aither.failed-{other}"), Part::Stray),
        ("web.acme.aitherx".to_owned(), Part::Stray),
        (String::new(), Part::Stray),
    ] {
        assert_eq!(part(&aim, &seat(&name)), wanted, "{name}");
    }
}

#[test]
fn a_container_without_a_spec_serves_until_its_successor_does() {
    let aim = aim("web", "web.acme.aither");
    let old = Seat {
        spec: None,
        id: "c1".to_owned(),
        ..seat("web.acme.aither")
    };
    let new = seat("web.Acme.aither");
    let create = Call::Create {
        name: format!("web.acme.aither.{}", SPECS[0].0.short()),
    };
    assert_eq!(
        next(&aim, std::slice::from_ref(&old), World::now()),
        Next::Call(create)
    );
    let to = "web.acme.aither.gone-c1".to_owned();
    let leaves = Call::Rename {
        id: "c1".to_owned(),
        from: old.name.clone(),
        to,
    };
    assert_eq!(next(&aim, &[old, new], World::now()), Next::Call(leaves));
}

#[test]
fn the_drain_counts_from_when_the_name_was_given_up_and_else_from_now() {
    let aim = Aim {
        drain_ms: 1000,
        ..aim("web", "web.acme.aither")
    };
    let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
    let gone = |gave_up_at| Seat {
        gave_up_at,
        id: "c1".to_owned(),
        ..seat("web.acme.aither.gone-c1")
    };
    let stay = seat("web.acme.aither");
    let until = |ms| {
        Next::Wait(Wait::Drain {
            id: "c1".to_owned(),
            until: at(ms),
        })
    };
    assert_eq!(next(&aim, &[gone(None), stay.clone()], at(500)), until(1500));
    assert_eq!(
        next(&aim, &[gone(Some(at(100))), stay.clone()], at(500)),
        until(1100)
    );
    let silenced = Call::SetRestart {
        id: "c1".to_owned(),
        restart: Restart::No,
    };
    assert_eq!(
        next(&aim, &[gone(Some(at(100))), stay], at(1100)),
        Next::Call(silenced)
    );
}

#[test]
fn what_was_never_inspected_is_not_called_done() {
    let aim = aim("web", "web.acme.aither");
    let unseen = Seat {
        restart: None,
        ..seat("web.acme.aither")
    };
    assert_eq!(
        next(&aim, &[unseen], World::now()),
        Next::Wait(Wait::Inspection { id: "c0".to_owned() })
    );
    assert_eq!(next(&aim, &[seat("web.acme.aither")], World::now()), Next::Done);
}

/// Somebody gave it the policy, or we did before a crash: the search has no hand that starts or updates.
#[test]
fn with_stop_first_what_waits_for_another_to_end_would_not_be_woken_by_an_engine_restart() {
    let aim = Aim {
        stop_first: true,
        wanted: Some(SPECS[1]),
        ..aim("web", "web.acme.aither")
    };
    let waiting = Seat {
        id: "c1".to_owned(),
        spec: Some(SPECS[1]),
        activity: Activity::Stopped,
        ..seat(&format!("web.acme.aither.{}", SPECS[1].0.short()))
    };
    let serving = seat("web.acme.aither");
    let silenced = Call::SetRestart {
        id: "c1".to_owned(),
        restart: Restart::No,
    };
    assert_eq!(
        next(&aim, &[serving, waiting], World::now()),
        Next::Call(silenced)
    );
}

#[test]
fn limits_are_set_back_before_anything_else_and_nothing_else_is_touched() {
    let limits = LimitsUpdate {
        pids: Some(9),
        ..LimitsUpdate::default()
    };
    let squeezed = Seat {
        limits: Some(limits.clone()),
        missing: ["m".to_owned()].into(),
        ..seat("web.acme.aither")
    };
    let set = Next::Call(Call::SetLimits {
        id: "c0".to_owned(),
        limits,
    });
    let aim = aim("web", "web.acme.aither");
    assert_eq!(next(&aim, std::slice::from_ref(&squeezed), World::now()), set);
    // The one that still serves is kept whole while its successor is on its way.
    let successor = Seat {
        id: "c1".to_owned(),
        name: format!("web.acme.aither.{}", SPECS[1].0.short()),
        spec: Some(SPECS[1]),
        health: Health::Starting,
        ..seat("")
    };
    let aim = Aim {
        wanted: Some(SPECS[1]),
        ..aim
    };
    assert_eq!(next(&aim, &[squeezed, successor], World::now()), set);
}

#[test]
fn a_network_that_is_joined_wrongly_is_left_and_joined_again() {
    let aim = aim("web", "web.acme.aither");
    let network = "acme.aither".to_owned();
    let mut wrong = Seat {
        missing: [network.clone()].into(),
        surplus: [network.clone(), "other".to_owned()].into(),
        ..seat("web.acme.aither")
    };
    let id = || "c0".to_owned();
    let network = || network.clone();
    let calls = std::iter::from_fn(|| match next(&aim, &[wrong.clone()], World::now()) {
        Next::Call(call) => {
            match &call {
                Call::Connect { network, .. } => wrong.missing.remove(network),
                Call::Disconnect { network, .. } => wrong.surplus.remove(network),
                other => panic!("{other:?}"),
            };
            Some(call)
        }
        _ => None,
    });
    let expected = [
        Call::Disconnect {
            id: id(),
            network: network(),
        },
        Call::Connect {
            id: id(),
            network: network(),
        },
        Call::Disconnect {
            id: id(),
            network: "other".to_owned(),
        },
    ];
    assert_eq!(calls.collect::<Vec<_>>(), expected);
}
