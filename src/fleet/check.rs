//! Cross references: what one document says about another, and `ringfence check`, which reads everything.

mod derived;
mod fits;
mod ports;
mod resolve;

pub use derived::{Derived, derived, tenant_vars};
pub use fits::{services_of, tenant_fits};

use std::collections::BTreeMap;

use super::settings;
use super::stacks::{Stack, Tier};
use super::tenants::{Tenant, TenantFiles, TenantState};
use super::tree::Tree;
use super::{Base, Policy};
use crate::diagnostic::{Finding, Findings};
use crate::text::Safe;

/// All that one tree declares, as if it were all branches at once.
#[derive(Debug)]
pub struct Report {
    /// None when it has an error.
    pub policy: Option<Policy>,
    /// The base.
    pub base: Base,
    /// The tenants, by the name of their file.
    pub tenants: BTreeMap<String, TenantFiles>,
    /// Everything there is to say, sorted.
    pub findings: Findings,
}

/// Reads one tree as if it were all branches at once, with all cross references: what `ringfence check` shows.
pub fn check(tree: &Tree, default_name: &str) -> Report {
    let policy_read = super::policy(tree, default_name);
    let base_read = super::base(tree);
    let tenants_read = super::tenants(tree);
    let (policy, base, tenants) = (policy_read.policy, base_read.base, tenants_read.tenants);
    let mut findings = policy_read.findings;
    findings.extend(base_read.findings);
    findings.extend(tenants_read.findings);
    findings.extend(stack_gaps(&base));
    findings.extend(resolve::of_nobody(&base));
    if let Some(policy) = &policy {
        let names_itself = tree
            .get(settings::PATH)
            .is_some_and(|e| std::str::from_utf8(&e.bytes).is_ok_and(names_the_fleet));
        if !names_itself {
            findings.push(unnamed(&policy.settings));
        }
        findings.extend(targets(policy));
        findings.extend(ring_profiles(policy, &base));
        findings.extend(same_names(policy, &base, &tenants));
        let mut resolved = Vec::new();
        for files in tenants.values() {
            findings.extend(tenant_fits(policy, &base, files));
            if let Some(tenant) = &files.tenant {
                let (services, more) = resolve::of_tenant(policy, &base, tenant);
                findings.extend(more);
                resolved.push((tenant, services));
            }
        }
        resolved.retain(|(tenant, _)| tenant.state == TenantState::Running);
        findings.extend(ports::clashes(policy, &resolved));
    }
    findings.tidy();
    Report {
        policy,
        base,
        tenants,
        findings,
    }
}

/// Whether `ringfence.yaml` writes the fleet's name down.
fn names_the_fleet(text: &str) -> bool {
    let source = crate::diagnostic::Source::new(settings::PATH, text);
    super::yaml::parse(&source, &mut Findings::new()).is_some_and(|n| n.get("fleet").is_some())
}

fn unnamed(settings: &settings::Settings) -> Finding {
    let name = Safe::new(&settings.fleet);
    Finding::warning(
        "fleet-unnamed",
        settings::whole(settings::PATH),
        format!("the fleet's name is written down nowhere; `{name}` is the directory's"),
    )
    .help(format!(
        "write `fleet: {name}` into ringfence.yaml: tenant ids are made of it, and another clone may be called otherwise"
    ))
}

/// A tier without a backend of its own is served by another one: allowed, and probably not meant.
fn stack_gaps(base: &Base) -> Findings {
    base.stacks
        .stacks
        .values()
        .flat_map(|stack| Tier::WORDS.iter().filter_map(|(_, tier)| gap(stack, *tier)))
        .collect()
}

fn gap(stack: &Stack, tier: Tier) -> Option<Finding> {
    let efforts: Vec<String> = (1..=10)
        .zip(stack.effort_to_tier)
        .filter(|(_, t)| *t == tier)
        .map(|(effort, _)| effort.to_string())
        .collect();
    let (served_by, _) = stack.route(tier)?;
    if efforts.is_empty() || served_by == tier {
        return None;
    }
    let (name, tier, substitute) = (Safe::new(&stack.name), tier.word(), served_by.word());
    Some(
        Finding::warning(
            "tier-without-backend",
            stack.at.clone(),
            format!(
                "the stack `{name}` sends effort {} to `{tier}`, which has no backend: `{substitute}` answers",
                efforts.join(", ")
            ),
        )
        .help(format!("add `{tier}:` to its `tier_backends`, or send these efforts to `{substitute}`")),
    )
}

/// A ring whose target is declared nowhere waits; nothing is deployed to a guess.
fn targets(policy: &Policy) -> Findings {
    policy
        .rings
        .0
        .iter()
        .filter_map(|ring| {
            let missing = policy.settings.target(&ring.deployment_target.value).err()?;
            let missing = Safe::new(&missing);
            Some(
                Finding::warning(
                    "target-undeclared",
                    ring.deployment_target.at.clone(),
                    format!(
                        "the target `{missing}` is declared nowhere; the ring `{}` waits",
                        ring.name
                    ),
                )
                .help(format!(
                    "declare it in ringfence.yaml: `targets: {{{missing}: {{same_as: local-docker}}}}`"
                )),
            )
        })
        .collect()
}

fn ring_profiles(policy: &Policy, base: &Base) -> Findings {
    let mut findings = Findings::new();
    for ring in &policy.rings.0 {
        for profile in &ring.profiles {
            if !fits::profiles(base).contains(profile.as_str()) {
                findings.push(
                    Finding::warning(
                        "unknown-profile",
                        ring.at.clone(),
                        format!(
                            "the ring `{}` switches on the profile `{}`, which no service has",
                            ring.name,
                            Safe::new(profile)
                        ),
                    )
                    .help("correct the name, or give a service `profiles:`"),
                );
            }
        }
    }
    findings
}

/// Two tenants with one id or one database would see each other's data.
fn same_names(policy: &Policy, base: &Base, tenants: &BTreeMap<String, TenantFiles>) -> Findings {
    let mut findings = Findings::new();
    let mut seen: BTreeMap<(&str, String), &Tenant> = BTreeMap::new();
    for tenant in tenants.values().filter_map(|f| f.tenant.as_ref()) {
        let derived = derived(&policy.settings, base, tenant);
        for (key, value) in [("tenant_id", derived.tenant_id), ("db_name", derived.db_name)] {
            let Some(first) = seen.insert((key, value.clone()), tenant) else {
                continue;
            };
            findings.push(
                Finding::error(
                    "shared-name",
                    tenant.slug.at.clone(),
                    format!(
                        "`{}` and `{}` have the same {key} `{}`",
                        first.slug.value,
                        tenant.slug.value,
                        Safe::new(&value)
                    ),
                )
                .help(format!("give each tenant a `{key}` of its own")),
            );
        }
    }
    findings
}
