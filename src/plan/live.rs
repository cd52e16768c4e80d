//! What can change on a container while it lives, and labels do not tell: limits, and how it hangs on its networks.

use std::collections::BTreeSet;

use super::look::Look;
use super::replace::LimitsUpdate;
use super::seen::{Cgroups, SeenContainer, SeenLimits, State};
use crate::render::object::{ContainerSpec, MountFrom, ServiceObject};

/// The live directory that a run of a service's container mounted and that was lost: the run goes on to see what was
/// deleted, whatever is made under that name. A job is left to end.
pub(super) fn stale(look: &Look<'_>, object: &ServiceObject, seen: &SeenContainer) -> Option<String> {
    if object.job || !matches!(seen.state, State::Running | State::Paused) {
        return None;
    }
    let mut mounts = object.spec.mounts.values();
    let folder = mounts.find_map(|mount| match &mount.from {
        MountFrom::Live(folder) => Some(folder),
        _ => None,
    })?;
    let began = seen.details.as_ref().and_then(|d| d.started_at);
    let written = look.input.stale.get(&seen.id);
    let same = written.is_some_and(|run| run.is_none() || *run == began);
    (same || look.input.lost_live.contains(folder)).then(|| folder.clone())
}

/// The weight of a container that was given none.
const USUAL_SHARES: u64 = 1024;

/// What must be set for a container to have the limits of its spec; nothing before it was inspected. What the engine shows
/// as never set is no drift: no update brings that about, so that it is an engine that cannot limit. The exception is the
/// number of processes, which an update takes away.
pub(super) fn limits(spec: &ContainerSpec, seen: &SeenContainer, engine: Cgroups) -> Option<LimitsUpdate> {
    let now = &seen.details.as_ref()?.limits;
    let (limits, options) = (&spec.limits, &spec.options);
    let other = |wanted: Option<u64>, now: i64| wanted.filter(|wanted| now != 0 && !is(now, *wanted));
    let swaps = |wanted: u64| engine.swap && now.memory_swap != 0 && !is(now.memory_swap, wanted);
    let able = now.pids > 0 || now.memory > 0 || now.nano_cpus > 0;
    let update = LimitsUpdate {
        memory: limits
            .memory
            .filter(|wanted| now.memory != 0 && (!is(now.memory, *wanted) || swaps(*wanted))),
        memory_reservation: match limits.memory_reservation {
            Some(_) => other(limits.memory_reservation, now.memory_reservation)
                .and_then(|wanted| i64::try_from(wanted).ok()),
            None => (engine.first && now.memory_reservation > 0).then_some(-1),
        },
        nano_cpus: other(limits.nano_cpus, now.nano_cpus),
        // Beside `nano_cpus` the engine refuses a quota, and one that shows both means one thing.
        cpu_quota: (limits.nano_cpus.is_none() && now.nano_cpus == 0 && now.cpu_quota > 0).then_some(-1),
        cpu_shares: match options.cpu_shares {
            Some(_) => other(options.cpu_shares, now.cpu_shares),
            None => (engine.first && shares(now)).then_some(USUAL_SHARES),
        },
        cpuset: options
            .cpuset
            .clone()
            .filter(|wanted| !now.cpuset.is_empty() && *wanted != now.cpuset),
        blkio_weight: other(options.blkio_weight, now.blkio_weight),
        pids: Some(limits.pids.unwrap_or(0)).filter(|wanted| able && !is(now.pids.max(0), *wanted)),
    };
    (update != LimitsUpdate::default()).then_some(update)
}

fn is(now: i64, wanted: u64) -> bool {
    i64::try_from(wanted).unwrap_or(i64::MAX) == now
}

/// Whether it has a weight that is not the usual one.
fn shares(now: &SeenLimits) -> bool {
    now.cpu_shares != 0 && !is(now.cpu_shares, USUAL_SHARES)
}

/// Limits that somebody set where the spec has none, and that the engine cannot take away again: it takes 0 for "as it is".
pub(super) fn limits_to_stay(
    spec: &ContainerSpec,
    seen: &SeenContainer,
    engine: Cgroups,
) -> Vec<&'static str> {
    let Some(details) = &seen.details else {
        return Vec::new();
    };
    let (now, limits, options) = (&details.limits, &spec.limits, &spec.options);
    [
        ("memory", limits.memory.is_none() && now.memory > 0),
        (
            "memory reservation",
            limits.memory_reservation.is_none() && now.memory_reservation != 0 && !engine.first,
        ),
        ("cpus", limits.nano_cpus.is_none() && now.nano_cpus > 0),
        // This undoes `cpus` and is shown beside it for good: whether they were set since, nobody can say.
        ("CPU quota", limits.nano_cpus.is_some() && now.cpu_quota < 0),
        (
            "CPU weight",
            options.cpu_shares.is_none() && shares(now) && !engine.first,
        ),
        ("realtime CPU time", now.cpu_realtime > 0),
        ("set of CPUs", options.cpuset.is_none() && !now.cpuset.is_empty()),
        ("memory nodes", !now.memory_nodes.is_empty()),
        (
            "disk weight",
            options.blkio_weight.is_none() && now.blkio_weight > 0,
        ),
    ]
    .into_iter()
    .filter(|(_, stays)| *stays)
    .map(|(name, _)| name)
    .collect()
}

/// Networks on which a container hangs otherwise than it should: the network was removed and made again, or the
/// container lost a name there. Links go with the names: whoever joins a network by hand gives it neither.
pub(super) fn wrongly_attached(object: &ServiceObject, seen: &SeenContainer) -> BTreeSet<String> {
    let ends = seen.details.as_ref().map(|details| &details.networks);
    let lost_names = |network: &String, names: &BTreeSet<String>| {
        ends.and_then(|ends| ends.get(network))
            .is_some_and(|(now, _)| !names.is_subset(now))
    };
    object
        .networks
        .iter()
        .filter(|(network, _)| seen.networks.contains(*network))
        .filter(|(network, attachment)| {
            seen.stale_networks.contains(*network)
                || seen.spec == Some(object.hash) && lost_names(network, &attachment.aliases)
        })
        .map(|(network, _)| network.clone())
        .collect()
}
