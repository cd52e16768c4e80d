//! `ringfence tenant`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::declared::clean;
use super::error::CliError;
use super::out::Out;
use super::table::table;
use super::{Global, complete};
use std::collections::BTreeMap;

use crate::fleet::check::{Derived, derived, services_of};
use crate::fleet::names::RingName;
use crate::fleet::tenants::{PlanTier, TenantState};

/// Tenants: list them, show one, print its environment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence tenant list
  ringfence tenant show acme        plan tier, stack, spirit, services …
  ringfence tenant env acme         the variables that its services get")]
pub(crate) struct TenantVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every tenant that a ring's branch declares.
    List,
    /// All that follows from one tenant's file.
    Show {
        /// Its slug.
        #[arg(add = ArgValueCandidates::new(complete::tenants))]
        tenant: String,
    },
    /// Its derived variables; `live` ones stand in /run/ringfence/context.json, the others in the environment.
    Env {
        /// Its slug.
        #[arg(add = ArgValueCandidates::new(complete::tenants))]
        tenant: String,
    },
}

/// One of `tenant list -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantLine {
    /// The name that its file has.
    slug: String,
    /// Its ring.
    ring: RingName,
    /// Whether its file has errors; nothing more is known then.
    error: bool,
    #[serde(flatten)]
    declared: Option<TenantDeclared>,
}

/// What a file without errors declares.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantDeclared {
    /// For people.
    display_name: String,
    /// What it may use.
    plan_tier: PlanTier,
    /// Its stack; empty where neither it nor the base names one.
    stack: String,
    /// Its spirit; empty where it names none.
    spirit: String,
    /// Whether it shall run.
    state: TenantState,
}

/// What `tenant show -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantShown<'a> {
    /// What follows from its file.
    tenant: &'a Derived,
    /// Its services.
    services: &'a [String],
    /// The id of its files, `ten-…`.
    files: String,
    /// Whether it shall run.
    state: TenantState,
    /// Free keys.
    metadata: &'a BTreeMap<String, String>,
}

/// What `tenant env -o json` prints: its derived variables by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantEnv(BTreeMap<&'static str, Variable>);

/// A derived variable.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Variable {
    /// Its value.
    value: String,
    /// Where it stands.
    #[serde(rename = "in")]
    stands: Stands,
}

/// Where a variable stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stands {
    /// In every container's environment.
    Environment,
    /// In `/run/ringfence/context.json`, which is replaced without a restart.
    Live,
}

impl TenantVerb {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        match &self.verb {
            Verb::List => list(global, *out),
            Verb::Show { tenant } => show(global, *out, tenant),
            Verb::Env { tenant } => env(global, *out, tenant),
        }
    }
}

fn state(state: TenantState) -> &'static str {
    match state {
        TenantState::Running => "running",
        TenantState::Stopped => "stopped",
        TenantState::Erased => "erased",
    }
}

fn list(global: &Global, out: Out) -> Result<u8, CliError> {
    let fleet = global.fleet()?;
    let mut rows = vec![
        ["TENANT", "RING", "PLAN TIER", "STACK", "SPIRIT", "STATE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut all = Vec::new();
    for declared in fleet.declared()? {
        for files in &declared.tenants {
            let Some(tenant) = &files.tenant else {
                rows.push(vec![
                    files.name.clone(),
                    declared.ring.name.to_string(),
                    "its file has errors".to_owned(),
                ]);
                all.push(TenantLine {
                    slug: files.name.clone(),
                    ring: declared.ring.name.clone(),
                    error: true,
                    declared: None,
                });
                continue;
            };
            let d = derived(&fleet.policy.settings, &declared.base.base, tenant);
            let dash = |t: &str| {
                if t.is_empty() {
                    "-".to_owned()
                } else {
                    t.to_owned()
                }
            };
            rows.push(vec![
                files.name.clone(),
                declared.ring.name.to_string(),
                d.plan_tier.word().to_owned(),
                dash(&d.stack),
                dash(&d.spirit),
                state(tenant.state).to_owned(),
            ]);
            all.push(TenantLine {
                slug: files.name.clone(),
                ring: d.ring,
                error: false,
                declared: Some(TenantDeclared {
                    display_name: d.display_name,
                    plan_tier: d.plan_tier,
                    stack: d.stack,
                    spirit: d.spirit,
                    state: tenant.state,
                }),
            });
        }
    }
    if out.json() {
        Out::print_json(&all)?;
    } else {
        Out::print(&table(&rows));
    }
    Ok(0)
}

fn show(global: &Global, out: Out, slug: &str) -> Result<u8, CliError> {
    let fleet = global.fleet()?;
    let (declared, files) = fleet.tenant(slug)?;
    clean(&declared.base)?;
    let Some(tenant) = &files.tenant else { return Ok(1) };
    let base = &declared.base.base;
    let d = derived(&fleet.policy.settings, base, tenant);
    let services: Vec<String> = services_of(&fleet.policy, base, tenant).into_iter().collect();
    if out.json() {
        Out::print_json(&TenantShown {
            tenant: &d,
            services: &services,
            files: files.files.to_string(),
            state: tenant.state,
            metadata: &tenant.metadata,
        })?;
        return Ok(0);
    }
    let mut rows = vec![
        vec!["slug".to_owned(), d.slug.to_string()],
        vec!["display name".to_owned(), d.display_name.clone()],
        vec!["ring".to_owned(), d.ring.to_string()],
        vec!["plan tier".to_owned(), d.plan_tier.word().to_owned()],
        vec![
            "effort cap".to_owned(),
            if d.effort_cap < 0 {
                "uncapped".to_owned()
            } else {
                d.effort_cap.to_string()
            },
        ],
        vec!["stack".to_owned(), d.stack.clone()],
        vec![
            "spirit".to_owned(),
            if d.spirit.is_empty() {
                "(default)".to_owned()
            } else {
                d.spirit.clone()
            },
        ],
        vec!["packages".to_owned(), d.packages.join(", ")],
        vec!["services".to_owned(), services.join(", ")],
        vec!["state".to_owned(), state(tenant.state).to_owned()],
        vec!["files".to_owned(), files.files.to_string()],
    ];
    rows.extend(
        tenant
            .metadata
            .iter()
            .map(|(k, v)| vec![format!("metadata.{k}"), v.clone()]),
    );
    Out::print(&table(&rows));
    Ok(0)
}

fn env(global: &Global, out: Out, slug: &str) -> Result<u8, CliError> {
    let fleet = global.fleet()?;
    let (declared, files) = fleet.tenant(slug)?;
    let Some(tenant) = &files.tenant else { return Ok(1) };
    let d = derived(&fleet.policy.settings, &declared.base.base, tenant);
    if out.json() {
        let all = d.all().into_iter().map(|(name, value, fixed)| {
            let stands = if fixed { Stands::Environment } else { Stands::Live };
            (name, Variable { value, stands })
        });
        Out::print_json(&TenantEnv(all.collect()))?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    for (name, value, fixed) in d.all() {
        rows.push(vec![
            format!("{name}={value}"),
            if fixed {
                String::new()
            } else {
                "# live file".to_owned()
            },
        ]);
    }
    rows.extend(
        tenant
            .overrides
            .iter()
            .map(|(k, v)| vec![format!("{k}={}", shown(k, &v.value))]),
    );
    for (service, (_, own)) in &tenant.service_overrides {
        rows.extend(
            own.iter()
                .map(|(k, v)| vec![format!("{k}={}", shown(k, &v.value)), format!("# {service} only")]),
        );
    }
    Out::print(&table(&rows));
    Ok(0)
}

fn shown(name: &str, value: &str) -> String {
    if crate::plan::why::is_secret(name) {
        "(secret)".to_owned()
    } else {
        value.to_owned()
    }
}
