//! What a service's calls will be, if the world is kind. The executor applies the same effects after each call that
//! was acknowledged, so that it need not look again for every one.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::health::after;
use super::replace::{Activity, Aim, Call, Health, Next, Seat, Wait, next};
use crate::fleet::compose::service::Restart;

/// No service needs more calls than this (the search finds at most 17 from anywhere).
const MOST_CALLS: usize = 64;

/// What a call that succeeded changes. `made` is the new container's id, `extra` the networks that it hangs on only
/// after a connect.
pub fn effect(
    aim: &Aim,
    seats: &mut Vec<Seat>,
    call: &Call,
    made: &str,
    extra: &BTreeSet<String>,
    now: Timestamp,
) {
    match call {
        Call::Create { name } => seats.push(Seat {
            id: made.to_owned(),
            name: name.clone(),
            spec: aim.wanted,
            activity: Activity::Stopped,
            health: Health::Unknown,
            restart: Some(if aim.stop_first { Restart::No } else { aim.restart }),
            missing: extra.clone(),
            surplus: BTreeSet::new(),
            limits: None,
            gave_up_at: None,
        }),
        Call::Remove { id } => seats.retain(|s| s.id != *id),
        Call::Connect { id, network } => with(seats, id, |s| {
            s.missing.remove(network);
        }),
        Call::Disconnect { id, network } => with(seats, id, |s| {
            s.surplus.remove(network);
        }),
        Call::Start { id } => with(seats, id, |s| {
            s.activity = Activity::Running;
            s.health = Health::Starting;
        }),
        Call::Rename { id, to, .. } => with(seats, id, |s| {
            if to.contains(".old-") || to.contains(".gone-") || to.contains(".failed-") {
                s.gave_up_at = Some(now);
            }
            s.name.clone_from(to);
        }),
        Call::SetLimits { id, .. } => with(seats, id, |s| s.limits = None),
        Call::SetRestart { id, restart } => with(seats, id, |s| s.restart = Some(*restart)),
        Call::Stop { id } => with(seats, id, |s| {
            s.activity = Activity::Stopped;
            s.health = Health::Unknown;
        }),
    }
}

fn with(seats: &mut [Seat], id: &str, change: impl FnOnce(&mut Seat)) {
    if let Some(seat) = seats.iter_mut().find(|s| s.id == id) {
        change(seat);
    }
}

/// All calls until the service is as it shall be, if everything gets healthy and nothing else happens.
pub fn foresee(aim: &Aim, seats: &[Seat], extra: &BTreeSet<String>, now: Timestamp) -> Vec<Call> {
    let (mut aim, mut seats, mut now) = (aim.clone(), seats.to_vec(), now);
    let mut calls = Vec::new();
    // Waits make no calls: they are bounded on their own.
    for _ in 0..MOST_CALLS * 2 {
        match next(&aim, &seats, now) {
            Next::Done => break,
            Next::Call(call) => {
                effect(&aim, &mut seats, &call, "new", extra, now);
                calls.push(call);
            }
            Next::Wait(wait) => {
                if !kindly(&wait, &mut aim, &mut seats, &mut now) {
                    break;
                }
            }
        }
    }
    calls
}

/// Lets what is waited for happen. False where nothing moves on by itself.
fn kindly(wait: &Wait, aim: &mut Aim, seats: &mut Vec<Seat>, now: &mut Timestamp) -> bool {
    match wait {
        Wait::Dependencies => {
            let waited = !aim.may_start;
            aim.may_start = true;
            waited
        }
        Wait::Drain { id, until } => {
            let start = *now;
            *now = (*until).max(start);
            with(seats, id, |s| s.gave_up_at = s.gave_up_at.or(Some(start)));
            true
        }
        Wait::Health { id } => {
            let job = aim.job;
            let mut moved = false;
            with(seats, id, |s| {
                moved = s.health != Health::Healthy;
                s.health = Health::Healthy;
                if job {
                    s.activity = Activity::Stopped;
                }
            });
            *now = after(*now, 1).unwrap_or(*now);
            moved
        }
        Wait::Ending { id } => {
            let removing = seats
                .iter()
                .any(|s| s.id == *id && s.activity == Activity::Removing);
            if removing {
                seats.retain(|s| s.id != *id);
            } else {
                with(seats, id, |s| s.activity = Activity::Stopped);
            }
            true
        }
        Wait::Inspection { id } => {
            let restart = aim.restart;
            with(seats, id, |s| s.restart = s.restart.or(Some(restart)));
            true
        }
    }
}
