//! Compose for each tenant: the services that it runs with its own values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{services_of, tenant_vars};
use crate::diagnostic::Findings;
use crate::fleet::compose::service::{Scope, Service};
use crate::fleet::compose::{MISSING, RELEASE_VARIABLE, Told, Vars};
use crate::fleet::tenants::Tenant;
use crate::fleet::{Base, Policy};

/// A tenant's services and the shared ones, interpolated with its values.
pub(super) fn of_tenant(
    policy: &Policy,
    base: &Base,
    tenant: &Tenant,
) -> (BTreeMap<String, Arc<Service>>, Findings) {
    let own = services_of(policy, base, tenant);
    let declared = base.services.declared();
    // Who runs a service that cannot be read is not known: it is told here rather than nowhere.
    let says = |name: &String| own.contains(name) || !declared.contains_key(name);
    let (mut services, findings) = with(base, tenant_vars(&policy.settings, base, tenant), says);
    services.retain(|name, service| own.contains(name) || service.scope != Scope::Tenant);
    (services, findings)
}

/// What is to be said of the services without any tenant: the shared ones have no tenant's values, and what a tenant's
/// value would decide is left to the tenants.
pub(super) fn of_nobody(base: &Base) -> Findings {
    let declared = base.services.declared();
    let shared = |name: &String| declared.get(name).is_some_and(|d| d.scope != Scope::Tenant);
    with(base, Vars::default(), shared)
        .1
        .into_iter()
        .map(|finding| match finding.code {
            MISSING => finding.help(
                "a shared service serves many tenants and has the values of none: write a default here, or the value into `desired/services/.env`",
            ),
            _ => finding,
        })
        .collect()
}

fn with(
    base: &Base,
    mut vars: Vars,
    says: impl Fn(&String) -> bool,
) -> (BTreeMap<String, Arc<Service>>, Findings) {
    // `render` knows the real one; here it only has to have a value.
    vars.common
        .entry(RELEASE_VARIABLE.to_owned())
        .or_insert_with(|| "rel-00000000".to_owned());
    let (services, told) = base.services.resolve_apart(&vars);
    (services, judge(told, says))
}

/// What is not run here and lacks a value says nothing: whoever runs it gives the value.
fn judge(told: Vec<Told>, says: impl Fn(&String) -> bool) -> Findings {
    told.into_iter()
        .filter(|t| t.of.iter().any(&says) || t.findings.iter().all(|f| f.code != MISSING))
        .flat_map(|t| t.findings)
        .collect()
}
