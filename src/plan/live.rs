//! What can change on a container while it lives, and labels do not tell: limits, and how it hangs on its networks.

use std::collections::BTreeSet;

use super::seen::SeenContainer;
use crate::fleet::compose::service::Limits;
use crate::render::object::ServiceObject;

/// The limits to set, if the container has others; none before it was inspected. No limit at all is no drift: no update
/// takes one away, and an engine that cannot limit says so. The exception is that of processes, where others are kept.
pub(super) fn limits(wanted: &Limits, seen: &SeenContainer) -> Option<Limits> {
    let now = &seen.details.as_ref()?.limits;
    let other = |wanted: Option<u64>, now: Option<u64>| wanted.is_some() && now.is_some() && wanted != now;
    let limits_at_all = now.memory.is_some() || now.nano_cpus.is_some();
    let differ = other(wanted.memory, now.memory)
        || other(wanted.memory_reservation, now.memory_reservation)
        || other(wanted.nano_cpus, now.nano_cpus)
        || wanted.pids != now.pids && (now.pids.is_some() || limits_at_all);
    differ.then_some(*wanted)
}

/// Limits that somebody set where the spec has none: the engine cannot take them away again.
pub(super) fn limits_to_stay(wanted: &Limits, seen: &SeenContainer) -> Vec<&'static str> {
    let Some(details) = &seen.details else {
        return Vec::new();
    };
    let now = &details.limits;
    [
        ("memory", wanted.memory, now.memory),
        (
            "memory reservation",
            wanted.memory_reservation,
            now.memory_reservation,
        ),
        ("cpus", wanted.nano_cpus, now.nano_cpus),
    ]
    .into_iter()
    .filter(|(_, wanted, now)| wanted.is_none() && now.is_some())
    .map(|(name, ..)| name)
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
