//! From a release and tenant files to the objects that shall exist. Pure and deterministic: equal input gives
//! equal bytes, and so equal hashes.

mod container;
pub(crate) use container::repository;
mod context;
pub mod object;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use crate::diagnostic::{Finding, Findings};
use crate::fleet::compose::service::{Condition, Scope, Service};
use crate::fleet::compose::{RELEASE_VARIABLE, Vars};
use crate::fleet::names::{Owner, RingName, ServiceKey, Slug};
use crate::fleet::read::Reader;
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::fleet::settings::Settings;
use crate::fleet::tenants::{Tenant, TenantFiles};
use crate::fleet::{Base, Policy, check};
use container::Builder;
use context::context;
use object::{LiveFiles, NetworkObject, Objects, VolumeObject};

/// Objects, and what stood in the way of some of them. With an error the objects are incomplete and must not be used.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// What shall exist.
    pub objects: Objects,
    /// A tenant's context, which shared services are told as well.
    pub context: serde_json::Value,
    /// What is wrong.
    pub findings: Findings,
}

/// A shared service that a tenant's containers are linked to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedName {
    /// Whose: the fleet's or a ring's.
    pub owner: Owner,
    /// Its name.
    pub service: String,
}

/// The base, release and ring that something is rendered from.
#[derive(Clone, Copy)]
pub struct From<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// The ring.
    pub ring: &'a Ring,
    /// The content.
    pub base: &'a Base,
    /// The release.
    pub release: &'a Release,
}

/// Renders one tenant. `shared` are the services that serve it from outside.
pub fn tenant(from: From<'_>, files: &TenantFiles, shared: &BTreeSet<SharedName>) -> Rendered {
    let Some(tenant) = &files.tenant else {
        return Rendered::default();
    };
    let reader = Reader::new();
    let owner = Owner::Tenant(tenant.slug.value.clone());
    let mut vars = check::tenant_vars(&from.policy.settings, from.base, tenant);
    vars.common
        .insert(RELEASE_VARIABLE.to_owned(), from.release.id.to_string());
    let services = from.base.services.resolve_only(
        &vars,
        &reader,
        &check::services_of(from.policy, from.base, tenant),
    );
    check_dependencies(from.base, tenant, &services, &reader);
    let derived = check::derived(&from.policy.settings, from.base, tenant).environment();
    let mut builder = Builder::new(from, owner.clone(), &services, shared, &reader);
    for service in services.values() {
        let mut env = service.environment.clone();
        env.extend(tenant.overrides.iter().map(|(k, v)| (k.clone(), v.value.clone())));
        if let Some((_, own)) = tenant.service_overrides.get(&service.name) {
            env.extend(own.iter().map(|(k, v)| (k.clone(), v.value.clone())));
        }
        env.extend(derived.clone());
        let plan = from.base.plans.0.get(&tenant.plan_tier.value);
        let limits = service
            .limits
            .tightened_by(tenant.resources)
            .tightened_by(plan.map_or_else(Default::default, |p| p.limits));
        builder.add(service, env, limits);
    }
    let mut objects = builder.finish();
    let mut live = BTreeMap::new();
    let context = context(from, files, tenant);
    live.insert("context.json".to_owned(), pretty(&context));
    let (spirit, _) = from.base.spirits.choose(files, None);
    live.insert("spirit.md".to_owned(), spirit.map(|s| s.text).unwrap_or_default());
    add_owner(&mut objects, &from.policy.settings, &owner, live);
    Rendered {
        objects,
        context,
        findings: reader.into_findings(),
    }
}

/// Renders the shared services of a ring or of the fleet, for the tenants that they serve.
pub fn shared(from: From<'_>, owner: &Owner, only: &BTreeSet<String>, serves: &[Served<'_>]) -> Rendered {
    let reader = Reader::new();
    let mut vars = Vars::default();
    vars.common
        .insert(RELEASE_VARIABLE.to_owned(), from.release.id.to_string());
    let services = from.base.services.resolve_only(&vars, &reader, only);
    let none = BTreeSet::new();
    let mut builder = Builder::new(from, owner.clone(), &services, &none, &reader);
    let domains: Vec<(String, String)> = serves
        .iter()
        .map(|s| {
            let tenant = Owner::Tenant(s.slug.clone());
            (
                tenant.network(&from.policy.settings.instance),
                tenant.domain(&from.policy.settings.instance),
            )
        })
        .collect();
    for service in services.values() {
        builder.add(service, service.environment.clone(), service.limits);
        builder.serve(&service.name, &domains);
    }
    let mut objects = builder.finish();
    let contexts: serde_json::Map<String, serde_json::Value> = serves
        .iter()
        .map(|s| (s.slug.to_string(), s.context.clone()))
        .collect();
    let live = BTreeMap::from([("tenants.json".to_owned(), pretty(&json!({ "tenants": contexts })))]);
    add_owner(&mut objects, &from.policy.settings, owner, live);
    Rendered {
        objects,
        context: serde_json::Value::Null,
        findings: reader.into_findings(),
    }
}

/// A tenant that a shared service serves.
pub struct Served<'a> {
    /// Its slug.
    pub slug: &'a Slug,
    /// Its context.
    pub context: serde_json::Value,
}

/// Names of the services of a scope that a base declares for a ring's profiles.
pub fn scoped(base: &Base, ring: &Ring, scope: Scope) -> BTreeSet<String> {
    base.services
        .declared()
        .values()
        .filter(|d| d.scope == scope && active(&d.profiles, &ring.profiles))
        .map(|d| d.name.clone())
        .collect()
}

/// Whether a service with these profiles is on.
fn active(profiles: &[String], on: &[String]) -> bool {
    profiles.is_empty() || profiles.iter().any(|p| on.contains(p))
}

/// A required dependency must run somewhere: beside the service, or shared.
fn check_dependencies(
    base: &Base,
    tenant: &Tenant,
    services: &BTreeMap<String, Arc<Service>>,
    reader: &Reader,
) {
    let declared = base.services.declared();
    for service in services.values() {
        for (name, dependency) in &service.depends_on {
            let elsewhere = declared.get(name).is_some_and(|d| d.scope != Scope::Tenant);
            if dependency.required && !elsewhere && !services.contains_key(name) {
                let message = format!(
                    "`{}` depends on `{name}`, which tenant {} does not run",
                    service.name, tenant.slug.value
                );
                reader.report(
                    Finding::error("missing-dependency", dependency.at.clone(), message).help(format!(
                        "add `{name}` to the tenant's services or profiles, or say `required: false`"
                    )),
                );
            }
        }
    }
}

fn add_owner(objects: &mut Objects, settings: &Settings, owner: &Owner, files: BTreeMap<String, String>) {
    let name = owner.network(&settings.instance);
    objects.networks.insert(
        name.clone(),
        NetworkObject {
            name,
            owner: owner.clone(),
        },
    );
    let folder = owner.domain(&settings.instance);
    objects.live.insert(
        folder.clone(),
        LiveFiles {
            owner: owner.clone(),
            folder,
            files,
        },
    );
}

fn pretty(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// The key of a dependency: a sibling, else a shared service by that name.
fn dependency_key(
    owner: &Owner,
    name: &str,
    siblings: &BTreeMap<String, Arc<Service>>,
    shared: &BTreeSet<SharedName>,
) -> Option<ServiceKey> {
    if siblings.contains_key(name) {
        return Some(ServiceKey {
            owner: owner.clone(),
            service: name.to_owned(),
        });
    }
    shared.iter().find(|s| s.service == name).map(|s| ServiceKey {
        owner: s.owner.clone(),
        service: name.to_owned(),
    })
}

/// Services that another one waits for with `service_completed_successfully`.
fn jobs(services: &BTreeMap<String, Arc<Service>>) -> BTreeSet<&str> {
    services
        .values()
        .flat_map(|s| s.depends_on.iter())
        .filter(|(_, d)| d.condition == Condition::Completed)
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The full name of an owner's volume.
pub fn volume_name(name: &str, owner: &Owner, settings: &Settings) -> String {
    format!("{name}.{}", owner.domain(&settings.instance))
}

fn volume(name: &str, owner: &Owner, settings: &Settings) -> VolumeObject {
    VolumeObject {
        name: volume_name(name, owner, settings),
        owner: owner.clone(),
    }
}

/// The ring label of a rendered object.
fn ring_label(ring: &RingName) -> String {
    ring.to_string()
}
