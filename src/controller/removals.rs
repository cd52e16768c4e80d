//! What a pass may remove: only what was asked for, and no more at once than a person has allowed.

use std::collections::BTreeSet;

use super::Request;
use super::gather::Gathered;
use super::wanted::{Wanted, in_scope};
use crate::decide::{Decision, Task};
use crate::fleet::names::{Owner, ServiceKey};
use crate::plan::seen::Observation;
use crate::plan::{Action, Hold, Plan};

/// What is not asked for goes out of the plan. The fleet's own services belong to the ring that provides them.
pub(super) fn scope_plan(plan: &mut Plan, request: &Request, decision: &Decision) {
    plan.retain(|owner| in_scope(request, decision, owner));
    if !request.rings.is_empty() {
        let named = |ring: &Option<String>| {
            ring.as_ref()
                .is_some_and(|r| request.rings.iter().any(|n| n.as_str() == r))
        };
        plan.services
            .retain(|s| s.key.owner != Owner::Fleet || named(&s.ring));
    }
}

/// What goes at once is bounded: services that a release drops, in each ring, and the data of erased tenants. More
/// waits for a person.
pub(super) fn hold_removals(plan: &mut Plan, gathered: &mut Gathered, request: &Request) {
    if request.prune {
        return;
    }
    let tenants = &gathered.decision.tenants;
    let mut held = BTreeSet::new();
    for ring in &mut gathered.decision.rings {
        let stays = |owner: &Owner| match owner {
            Owner::Tenant(slug) => tenants
                .get(slug)
                .is_some_and(|t| t.ring == ring.name && t.task == Task::Run),
            Owner::Ring(name) => *name == ring.name,
            Owner::Fleet => false,
        };
        let going: Vec<ServiceKey> = plan
            .services
            .iter()
            .filter(|s| s.action == Action::Remove && stays(&s.key.owner))
            .map(|s| s.key.clone())
            .collect();
        let all = plan.running.iter().filter(|k| stays(&k.owner)).count();
        let most = (all / 5).max(1);
        if going.len() > most {
            ring.conditions.push(format!(
                "{} of {all} services would be removed at once, more than {most}: `ringfence apply {} --prune` allows it",
                going.len(),
                ring.name
            ));
            held.extend(going);
        }
    }
    plan.services.retain(|s| !held.contains(&s.key));
    let erased: BTreeSet<&Owner> = plan.remove_volumes.iter().map(|v| &v.owner).collect();
    if erased.len() > (tenants.len() / 5).max(1) {
        let text = format!(
            "the data of {} tenants would be erased at once: `ringfence apply --prune` allows it",
            erased.len()
        );
        plan.remove_volumes.clear();
        gathered.conditions.push(text);
    }
}

/// Tenants that run here, that no ledger knows and no ring declares: a person may have them removed. Their data stays.
pub(super) fn nobodys(wanted: &mut Wanted, gathered: &mut Gathered, seen: &Observation, request: &Request) {
    let containers = seen.containers.iter().filter_map(|c| c.owner.as_ref());
    let networks = seen.networks.iter().filter_map(|n| n.owner.as_ref());
    let is_nobodys = |owner: &&Owner| match owner {
        Owner::Tenant(slug) => {
            let claimed = gathered.claimed.as_ref();
            !wanted.holds.contains_key(*owner)
                && !gathered.decision.tenants.contains_key(slug)
                && claimed.is_some_and(|claimed| !claimed.contains(slug))
        }
        _ => false,
    };
    let nobodys: BTreeSet<Owner> = containers.chain(networks).filter(is_nobodys).cloned().collect();
    if nobodys.is_empty() {
        return;
    }
    let most = (gathered.decision.tenants.len() / 5).max(1);
    let names: Vec<String> = nobodys.iter().map(Owner::to_string).collect();
    let names = names.join(", ");
    if !request.adopt || request.is_scoped() {
        gathered.conditions.push(format!(
            "tenants that no ring declares run here: {names}: they are left alone, until `ringfence apply --adopt` removes them (their volumes stay)"
        ));
    } else if nobodys.len() > most && !request.prune {
        gathered.conditions.push(format!(
            "{} tenants that no ring declares would be removed at once, more than {most} ({names}): `ringfence apply --adopt --prune` allows it",
            nobodys.len()
        ));
    } else {
        wanted
            .holds
            .extend(nobodys.into_iter().map(|owner| (owner, Hold::Free)));
    }
}
