//! Compose for each tenant: the services that it runs with its own values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{services_of, tenant_vars};
use crate::diagnostic::{Finding, Findings};
use crate::fleet::compose::service::{Scope, Service};
use crate::fleet::compose::{MISSING, RELEASE_VARIABLE, Vars};
use crate::fleet::read::Reader;
use crate::fleet::tenants::Tenant;
use crate::fleet::{Base, Policy};

/// A tenant's services and the shared ones, interpolated with its values.
pub(super) fn of_tenant(
    policy: &Policy,
    base: &Base,
    tenant: &Tenant,
) -> (BTreeMap<String, Arc<Service>>, Findings) {
    let own = services_of(policy, base, tenant);
    let (mut services, findings) = with(base, tenant_vars(&policy.settings, base, tenant), &own);
    services.retain(|name, service| own.contains(name) || service.scope != Scope::Tenant);
    (services, findings)
}

/// What is to be said of the services without any tenant: the shared ones have no tenant's values, and what a tenant's
/// value would decide is left to the tenants.
pub(super) fn of_nobody(base: &Base) -> Findings {
    let shared = base
        .services
        .declared()
        .values()
        .filter(|d| d.scope != Scope::Tenant)
        .map(|d| d.name.clone())
        .collect();
    with(base, Vars::default(), &shared)
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

fn with(base: &Base, mut vars: Vars, runs: &BTreeSet<String>) -> (BTreeMap<String, Arc<Service>>, Findings) {
    // `render` knows the real one; here it only has to have a value.
    vars.common
        .entry(RELEASE_VARIABLE.to_owned())
        .or_insert_with(|| "rel-00000000".to_owned());
    let reader = Reader::new();
    let services = base.services.resolve(&vars, &reader);
    (services, judge(base, &reader.into_findings(), runs))
}

/// A service that is not run here and lacks a value says nothing: whoever runs it gives the value.
fn judge(base: &Base, findings: &Findings, runs: &BTreeSet<String>) -> Findings {
    let silent: BTreeSet<&str> = findings
        .iter()
        .filter(|f| f.code == MISSING)
        .filter_map(|f| service_at(base, f))
        .filter(|name| !runs.contains(*name))
        .collect();
    findings
        .iter()
        .filter(|f| service_at(base, f).is_none_or(|name| !silent.contains(name)))
        .cloned()
        .collect()
}

/// The service in whose text a finding stands: the last that begins before it in the same file.
fn service_at<'a>(base: &'a Base, finding: &Finding) -> Option<&'a str> {
    let at = finding.at.as_ref()?;
    base.services
        .declared()
        .values()
        .filter(|d| d.at.source.path == at.source.path && d.at.span.start <= at.span.start)
        .max_by_key(|d| d.at.span.start)
        .map(|d| d.name.as_str())
}
