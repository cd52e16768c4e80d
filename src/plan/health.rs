//! A container's health, and when a new one has failed.

use jiff::{SignedDuration, Timestamp};

use super::replace::{Activity, Health};
use super::seen::{EngineHealth, SeenContainer, State};
use crate::fleet::compose::service::Restart;
use crate::render::object::{HealthSource, ServiceObject};

/// So many restarts by the engine while a container is new are a crash loop (its status alone alternates).
const CRASH_LOOP: u64 = 3;

/// Whether it runs.
pub fn activity(seen: &SeenContainer) -> Activity {
    match seen.state {
        State::Running | State::Restarting | State::Paused | State::Unknown => Activity::Running,
        State::Removing => Activity::Removing,
        State::Created | State::Exited | State::Dead => Activity::Stopped,
    }
}

/// Its health. `probed` is the answer of ringfence's own probe, where the service has one.
pub fn judge(object: &ServiceObject, seen: &SeenContainer, probed: Option<Health>, now: Timestamp) -> Health {
    match seen.state {
        State::Unknown | State::Created | State::Removing => return Health::Unknown,
        State::Paused | State::Restarting | State::Dead => return Health::Unhealthy,
        State::Exited => return ended(object, seen),
        State::Running => {}
    }
    if object.job {
        return Health::Starting;
    }
    match (&object.health, seen.health) {
        (HealthSource::Probe(_), _) => probed.unwrap_or(Health::Starting),
        (_, EngineHealth::Healthy) => Health::Healthy,
        (_, EngineHealth::Unhealthy) => Health::Unhealthy,
        (_, EngineHealth::Starting) => Health::Starting,
        (HealthSource::Engine, EngineHealth::None) => Health::Unknown,
        (HealthSource::Running { settle_ms }, EngineHealth::None) => match settles_at(seen, *settle_ms) {
            None => Health::Unknown,
            Some(at) if at <= now => Health::Healthy,
            Some(_) => Health::Starting,
        },
    }
}

fn ended(object: &ServiceObject, seen: &SeenContainer) -> Health {
    match seen.details.as_ref().and_then(|d| d.exit_code) {
        None => Health::Unknown,
        Some(0) if object.job => Health::Healthy,
        Some(_) => Health::Unhealthy,
    }
}

/// When a container without any check has run long enough; none while its start is not known.
fn settles_at(seen: &SeenContainer, settle_ms: u64) -> Option<Timestamp> {
    seen.details
        .as_ref()?
        .started_at
        .and_then(|t| after(t, settle_ms))
}

/// `at` plus milliseconds.
pub fn after(at: Timestamp, ms: u64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_millis(i64::try_from(ms).ok()?))
        .ok()
}

/// The time at which a verdict about this container can change without any event: it settles, or its deadline ends.
pub fn next_look(
    object: &ServiceObject,
    seen: &SeenContainer,
    watched_since: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let started = seen.details.as_ref()?.started_at?;
    let deadline = after(started.max(watched_since), object.deadline_ms);
    let settled = match object.health {
        HealthSource::Running { settle_ms } => after(started, settle_ms),
        _ => None,
    };
    [settled, deadline]
        .into_iter()
        .flatten()
        .filter(|t| *t > now)
        .min()
}

/// Why a container that shall take over has failed; none while it may still get healthy. What says nothing about the
/// release (it was never started, its start was refused, its health is unknown) is no failure, nor is what happened while
/// nobody watched: a deadline counts watched time, and what ended before is simply started again.
pub fn failure(
    object: &ServiceObject,
    seen: &SeenContainer,
    health: Health,
    watched_since: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let details = seen.details.as_ref()?;
    let started = details.started_at?;
    match seen.state {
        // We took its restart policy away before we stopped it; its own is set before each start.
        State::Exited if details.restart == Restart::No && object.spec.restart != Restart::No => return None,
        State::Exited if details.finished_at.is_some_and(|ended| ended < watched_since) => return None,
        State::Exited if !(object.job && details.exit_code == Some(0)) => {
            let why = if details.oom_killed {
                ", killed for memory"
            } else {
                ""
            };
            return Some(format!(
                "it ended with exit code {}{why}",
                details.exit_code.unwrap_or_default()
            ));
        }
        State::Running | State::Restarting if details.restart_count >= CRASH_LOOP => {
            return Some(format!("it was restarted {} times", details.restart_count));
        }
        State::Running if seen.health == EngineHealth::Unhealthy || health == Health::Unhealthy => {
            return Some("it is unhealthy".to_owned());
        }
        State::Running | State::Restarting => {}
        _ => return None,
    }
    let late = after(started.max(watched_since), object.deadline_ms).is_some_and(|deadline| deadline <= now);
    (late && matches!(health, Health::Starting | Health::Unhealthy) && !object.job)
        .then(|| format!("it did not get healthy within {} s", object.deadline_ms / 1000))
}
