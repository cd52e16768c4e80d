//! The tenant context: what a tenant's containers can read live in `/run/ringfence/context.json`.

use serde_json::{Value, json};

use super::From;
use crate::fleet::check;
use crate::fleet::tenants::{Tenant, TenantFiles};

/// The tenant's context as JSON. A new stack, spirit or display name changes this file and restarts nothing.
pub fn context(from: From<'_>, files: &TenantFiles, tenant: &Tenant) -> Value {
    let d = check::derived(&from.policy.settings, from.base, tenant);
    let stack = from.base.stacks.stack_of(tenant);
    let (spirit, _) = from.base.spirits.choose(files, None);
    json!({
        "tenant_id": d.tenant_id,
        "slug": d.slug,
        "display_name": d.display_name,
        "ring": d.ring,
        "environment": from.ring.environment,
        "plan_tier": d.plan_tier,
        "effort_cap": d.effort_cap,
        "packages": d.packages,
        "db_name": d.db_name,
        "strata_prefix": d.strata_prefix,
        "flux_prefix": d.flux_prefix,
        "secrets_namespace": d.secrets_namespace,
        "stack": stack.map(|s| json!({ "name": s.name, "requires_gpu": s.requires_gpu, "routes": s.preview(), "cloud_pool": s.cloud_pool })),
        "spirit": { "name": d.spirit, "description": spirit.as_ref().map(|s| s.description.clone()), "effort_cap": spirit.and_then(|s| s.effort_cap) },
        "metadata": tenant.metadata,
    })
}
