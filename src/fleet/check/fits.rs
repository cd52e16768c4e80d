//! Whether one tenant's files fit one policy and one base.

use std::collections::BTreeSet;

use crate::diagnostic::{At, Finding, Findings, Severity, Spanned, did_you_mean};
use crate::fleet::compose::service::{Limits, Scope};
use crate::fleet::read::Reader;
use crate::fleet::settings::AddressPool;
use crate::fleet::stacks;
use crate::fleet::tenants::{PlanTier, Tenant, TenantFiles, TenantState};
use crate::fleet::{Base, Policy};
use crate::text::Safe;

/// What a tenant names and its ring's policy or base lacks, and what its plan tier does not allow.
pub fn tenant_fits(policy: &Policy, base: &Base, files: &TenantFiles) -> Findings {
    let reader = Reader::new();
    if let Some(tenant) = &files.tenant {
        ring(policy, tenant, &reader);
        names(base, tenant, &reader);
        packages(base, tenant, &reader);
        limits(base, tenant, &reader);
        if tenant.state == TenantState::Running {
            dependencies(policy, base, tenant, &reader);
            addresses(policy, base, tenant, &reader);
        }
    }
    reader.into_findings()
}

fn ring(policy: &Policy, tenant: &Tenant, reader: &Reader) {
    let ring = &tenant.ring;
    if policy.rings.get(ring.value.as_str()).is_none() {
        policy.rings.unknown(&ring.at, ring.value.as_str(), reader);
    }
    if tenant.plan_tier.value != PlanTier::Platform {
        return;
    }
    let slug = &tenant.slug.value;
    let Some((_, place)) = policy.settings.platform.iter().find(|(s, _)| s.value == *slug) else {
        reader.error(
            "platform-only",
            &tenant.plan_tier.at,
            format!("`{slug}` may not carry the plan tier `platform`"),
            format!("choose another tier, or add `{slug}` to `platform:` in ringfence.yaml"),
        );
        return;
    };
    let wanted = place
        .as_ref()
        .map(|r| &r.value)
        .or(policy.rings.last().map(|r| &r.name));
    if let Some(wanted) = wanted.filter(|w| **w != ring.value) {
        reader.error(
            "platform-ring",
            &ring.at,
            format!("the platform tenant `{slug}` lives in the ring `{wanted}`"),
            format!(
                "write `ring: {wanted}`, or `platform: [{{slug: {slug}, ring: {}}}]` in ringfence.yaml",
                ring.value
            ),
        );
    }
}

fn names(base: &Base, tenant: &Tenant, reader: &Reader) {
    if let Some(stack) = tenant
        .stack
        .as_ref()
        .filter(|s| !base.stacks.stacks.contains_key(&s.value))
    {
        stacks::unknown(stack, &base.stacks, reader);
    }
    if let Some(spirit) = tenant
        .spirit
        .as_ref()
        .filter(|s| !base.spirits.0.contains_key(&s.value))
    {
        let known = base.spirits.0.keys().map(String::as_str);
        unknown(
            "unknown-spirit",
            "spirit",
            &spirit.at,
            &spirit.value,
            known,
            reader,
        );
    }
    let declared = base.services.declared();
    let of_tenants = || {
        declared
            .values()
            .filter(|d| d.scope == Scope::Tenant)
            .map(|d| d.name.as_str())
    };
    for service in tenant.services.iter().flatten() {
        match declared.get(&service.value) {
            Some(d) if d.scope == Scope::Tenant => {}
            Some(_) => reader.error(
                "shared-service",
                &service.at,
                format!("`{}` is shared: every tenant has it", Safe::new(&service.value)),
                "remove it from `services:`",
            ),
            None => unknown(
                "unknown-service",
                "service",
                &service.at,
                &service.value,
                of_tenants(),
                reader,
            ),
        }
    }
    for (name, (at, _)) in &tenant.service_overrides {
        if !declared.get(name).is_some_and(|d| d.scope == Scope::Tenant) {
            unknown(
                "unknown-service",
                "service of a tenant",
                at,
                name,
                of_tenants(),
                reader,
            );
        }
    }
    let profiles = profiles(base);
    for profile in tenant
        .profiles
        .iter()
        .filter(|p| !profiles.contains(p.value.as_str()))
    {
        let known = profiles.iter().copied();
        unknown(
            "unknown-profile",
            "profile of a service",
            &profile.at,
            &profile.value,
            known,
            reader,
        );
    }
}

/// All profiles that a service has.
pub(super) fn profiles(base: &Base) -> BTreeSet<&str> {
    base.services
        .declared()
        .values()
        .flat_map(|d| d.profiles.iter().map(String::as_str))
        .collect()
}

fn unknown<'a>(
    code: &'static str,
    what: &str,
    at: &At,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    reader: &Reader,
) {
    let known: Vec<&str> = known.collect();
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("this base declares no {what} at all"),
        None => format!("known here: {}", known.join(", ")),
    };
    reader.error(
        code,
        at,
        format!("no {what} is called `{}`", Safe::new(name)),
        help,
    );
}

fn packages(base: &Base, tenant: &Tenant, reader: &Reader) {
    for package in tenant.enable.iter().chain(&tenant.disable) {
        if !base.packages.0.contains_key(&package.value) {
            let known = base.packages.0.keys().map(String::as_str);
            unknown(
                "unknown-package",
                "package",
                &package.at,
                &package.value,
                known,
                reader,
            );
        }
    }
    for Spanned { value, at } in &tenant.enable {
        let Some(package) = base.packages.0.get(value) else {
            continue;
        };
        let tier = tenant.plan_tier.value;
        if tier < package.from {
            reader.error(
                "package-tier",
                at,
                format!(
                    "the plan tier `{}` does not open the package `{}`",
                    tier.word(),
                    Safe::new(value)
                ),
                format!("it takes `{}` or more", package.from.word()),
            );
        }
    }
}

/// A tenant's own limits may only tighten what its plan tier allows.
fn limits(base: &Base, tenant: &Tenant, reader: &Reader) {
    let tier = tenant.plan_tier.value;
    let allowed = base.plans.0.get(&tier).map(|p| p.limits).unwrap_or_default();
    for (name, asked, most) in wider(&tenant.resources, &allowed) {
        reader.error(
            "resources-widen",
            tenant.resources_at.as_ref().unwrap_or(&tenant.plan_tier.at),
            format!(
                "the tenant asks for more {name} ({asked}) than the plan tier `{}` allows ({most})",
                tier.word()
            ),
            "a tenant's `resources` may only tighten its plan tier: lower them, or choose a larger tier",
        );
    }
}

fn wider(asked: &Limits, allowed: &Limits) -> Vec<(&'static str, String, String)> {
    let memory = |bytes: u64| format!("{} MiB", bytes >> 20);
    #[allow(clippy::cast_precision_loss)] // for people
    let cpus = |nano: u64| format!("{}", nano as f64 / 1e9);
    let pids = |count: u64| count.to_string();
    let mut out = Vec::new();
    let mut compare = |name, asked: Option<u64>, allowed: Option<u64>, show: &dyn Fn(u64) -> String| {
        if let (Some(asked), Some(allowed)) = (asked, allowed)
            && asked > allowed
        {
            out.push((name, show(asked), show(allowed)));
        }
    };
    compare("memory", asked.memory, allowed.memory, &memory);
    compare("cpus", asked.nano_cpus, allowed.nano_cpus, &cpus);
    compare("pids", asked.pids, allowed.pids, &pids);
    out
}

/// The tenant-scoped services that a tenant runs: those that it names, whatever their profiles (naming one switches
/// it on, as in Compose), else all whose profiles are on. Names that the base lacks are left out.
pub fn services_of(policy: &Policy, base: &Base, tenant: &Tenant) -> BTreeSet<String> {
    let ring = policy.rings.get(tenant.ring.value.as_str());
    let on = |profile: &String| {
        tenant.profiles.iter().any(|p| p.value == *profile)
            || ring.is_some_and(|r| r.profiles.contains(profile))
    };
    base.services
        .declared()
        .values()
        .filter(|d| d.scope == Scope::Tenant)
        .filter(|d| match &tenant.services {
            Some(named) => named.iter().any(|n| n.value == d.name),
            None => d.profiles.is_empty() || d.profiles.iter().any(on),
        })
        .map(|d| d.name.clone())
        .collect()
}

/// A tenant that names its services must name those that they wait for.
fn dependencies(policy: &Policy, base: &Base, tenant: &Tenant, reader: &Reader) {
    let own = services_of(policy, base, tenant);
    let declared = base.services.declared();
    for service in tenant.services.iter().flatten() {
        let Some(d) = declared.get(&service.value) else {
            continue;
        };
        for needed in &d.depends_on {
            let missing = declared
                .get(needed)
                .is_some_and(|n| n.scope == Scope::Tenant && !own.contains(needed));
            if missing {
                reader.error(
                    "missing-dependency",
                    &service.at,
                    format!(
                        "`{}` depends on `{}`, which this tenant does not run",
                        Safe::new(&service.value),
                        Safe::new(needed)
                    ),
                    format!("add `{}` to `services:`", Safe::new(needed)),
                );
            }
        }
    }
}

/// A tenant's subnet holds each of its services twice (for a swap), the shared ones, and the gateway.
fn addresses(policy: &Policy, base: &Base, tenant: &Tenant, reader: &Reader) {
    let own = services_of(policy, base, tenant).len();
    let shared = base
        .services
        .declared()
        .values()
        .filter(|d| d.scope != Scope::Tenant)
        .count();
    let needed = 2 * own + 2 * shared + 1;
    let prefix = u32::from(policy.settings.address_pool.prefix);
    // Without the network's own address and the broadcast one.
    let there = (1usize << (32 - prefix.min(32))).saturating_sub(2);
    if needed > there {
        reader.report(Finding {
            severity: Severity::Error,
            ..Finding::error(
                "subnet-full",
                tenant.slug.at.clone(),
                format!(
                    "`{}` needs {needed} addresses for {own} services of its own and {shared} shared ones; a /{prefix} has {there}",
                    tenant.slug.value
                ),
            )
            .help(wider_pool(&policy.settings.address_pool, needed))
        });
    }
}

/// The line of ringfence.yaml that gives each tenant enough addresses.
fn wider_pool(pool: &AddressPool, needed: usize) -> String {
    let bits = (needed + 2).next_power_of_two().trailing_zeros();
    let prefix = 32u32.saturating_sub(bits);
    let (base, base_prefix) = (pool.base, pool.base_prefix);
    if prefix > u32::from(base_prefix) {
        return format!(
            "write `address_pool: {{base: {base}/{base_prefix}, prefix: {prefix}}}` into ringfence.yaml"
        );
    }
    format!(
        "write `address_pool: {{base: …, prefix: {prefix}}}` into ringfence.yaml, with a base that holds several such subnets"
    )
}
