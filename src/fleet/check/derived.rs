//! What follows from a tenant's file: the variables of DESIGN 2.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::fleet::Base;
use crate::fleet::compose::Vars;
use crate::fleet::names::{RingName, Slug};
use crate::fleet::settings::Settings;
use crate::fleet::tenants::{PlanTier, Tenant};

/// What follows from a tenant's file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Derived {
    /// Stable id of fleet and slug, unless the file gives one.
    pub tenant_id: String,
    /// Its slug.
    pub slug: Slug,
    /// Its ring.
    pub ring: RingName,
    /// The name of its database.
    pub db_name: String,
    /// Where its knowledge lies; empty for the platform.
    pub strata_prefix: String,
    /// What its events start with; empty for the platform.
    pub flux_prefix: String,
    /// Where its secrets lie; empty for the platform.
    pub secrets_namespace: String,
    /// For people.
    pub display_name: String,
    /// Its plan tier.
    pub plan_tier: PlanTier,
    /// Its stack; empty where neither it nor the base names one.
    pub stack: String,
    /// Its spirit; empty where it names none.
    pub spirit: String,
    /// The highest effort; -1 is uncapped.
    pub effort_cap: i64,
    /// The packages that it has, sorted.
    pub packages: Vec<String>,
}

/// What follows from a tenant's file, in a fleet and with a base.
pub fn derived(settings: &Settings, base: &Base, tenant: &Tenant) -> Derived {
    let slug = &tenant.slug.value;
    let tier = tenant.plan_tier.value;
    let platform = tier == PlanTier::Platform;
    let prefix = |text: String| if platform { String::new() } else { text };
    let effort_cap = if platform {
        -1
    } else {
        base.plans
            .0
            .get(&tier)
            .map_or_else(|| crate::fleet::plans::default_effort_cap(tier), |p| p.effort_cap)
    };
    Derived {
        tenant_id: tenant
            .tenant_id
            .clone()
            .unwrap_or_else(|| stable_id(&settings.fleet, slug)),
        slug: slug.clone(),
        ring: tenant.ring.value.clone(),
        db_name: tenant
            .db_name
            .clone()
            .unwrap_or_else(|| format!("aither_{}", slug.as_str().replace('-', "_"))),
        strata_prefix: prefix(format!("tenants/{slug}/")),
        flux_prefix: prefix(format!("{slug}:")),
        secrets_namespace: prefix(format!("tenants/{slug}")),
        display_name: tenant.display_name.clone(),
        plan_tier: tier,
        stack: tenant
            .stack
            .as_ref()
            .or(base.stacks.active.as_ref())
            .map(|s| s.value.clone())
            .unwrap_or_default(),
        spirit: tenant
            .spirit
            .as_ref()
            .map(|s| s.value.clone())
            .unwrap_or_default(),
        effort_cap,
        packages: packages(base, tenant),
    }
}

/// A UUID (version 8: of our own making, RFC 9562) made of the fleet's name and the slug.
fn stable_id(fleet: &str, slug: &Slug) -> String {
    let hex = Digest::of("ringfence.tenant.1", &(fleet, slug)).hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

/// Those that its plan tier opens by default, and those that it asks for and may have, without those that it
/// switches off.
fn packages(base: &Base, tenant: &Tenant) -> Vec<String> {
    base.packages
        .0
        .iter()
        .filter(|(name, package)| {
            let named = |list: &[crate::diagnostic::Spanned<String>]| list.iter().any(|p| p.value == **name);
            tenant.plan_tier.value >= package.from
                && (package.default || named(&tenant.enable))
                && !named(&tenant.disable)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

impl Derived {
    /// The variables that stand in every container's environment: what never changes while the tenant lives.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.all()
            .into_iter()
            .filter(|(_, _, in_environment)| *in_environment)
            .map(|(name, value, _)| (name.to_owned(), value))
            .collect()
    }

    /// All variables in the order of DESIGN 2: name, value, and whether it stands in the environment (the others
    /// are in the live file). All of them interpolate.
    pub fn all(&self) -> Vec<(&'static str, String, bool)> {
        vec![
            ("TENANT_ID", self.tenant_id.clone(), true),
            ("TENANT_SLUG", self.slug.to_string(), true),
            ("TENANT_RING", self.ring.to_string(), true),
            ("TENANT_DB_NAME", self.db_name.clone(), true),
            ("TENANT_STRATA_PREFIX", self.strata_prefix.clone(), true),
            ("TENANT_FLUX_PREFIX", self.flux_prefix.clone(), true),
            ("TENANT_SECRETS_NAMESPACE", self.secrets_namespace.clone(), true),
            ("TENANT_DISPLAY_NAME", self.display_name.clone(), false),
            ("TENANT_PLAN_TIER", self.plan_tier.word().to_owned(), false),
            ("TENANT_STACK", self.stack.clone(), false),
            ("TENANT_SPIRIT", self.spirit.clone(), false),
            ("TENANT_EFFORT_CAP", self.effort_cap.to_string(), false),
        ]
    }
}

/// The values that a tenant brings to interpolation: `config_overrides` and the derived ones, which win.
pub fn tenant_vars(settings: &Settings, base: &Base, tenant: &Tenant) -> Vars {
    let plain = |values: &BTreeMap<String, crate::diagnostic::Spanned<String>>| {
        values
            .iter()
            .map(|(k, v)| (k.clone(), v.value.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let mut common = plain(&tenant.overrides);
    for (name, value, _) in derived(settings, base, tenant).all() {
        common.insert(name.to_owned(), value);
    }
    Vars {
        common,
        of_service: tenant
            .service_overrides
            .iter()
            .map(|(service, (_, values))| (service.clone(), plain(values)))
            .collect(),
    }
}
