//! `x-ringfence`: what Compose has no key for.

use super::super::read::{Fields, Reader};
use super::super::yaml::Node;
use super::convert::Context;
use super::health::{duration, probe};
use super::service::{Order, Probe, Rollout, Scope};
use crate::diagnostic::{Finding, did_you_mean};
use crate::text::Safe;

/// The extension's key.
pub const KEY: &str = "x-ringfence";

/// What the extension says.
#[derive(Debug, Clone, Default)]
pub struct Extension {
    /// How many run.
    pub scope: Scope,
    /// How it is replaced.
    pub rollout: Rollout,
    /// ringfence's own look.
    pub probe: Option<Probe>,
}

/// Reads `x-ringfence:` of a service.
pub fn read(ctx: &Context<'_>, service: &Fields<'_, '_>) -> Extension {
    let mut out = Extension::default();
    if let Some(node) = service.get(KEY)
        && let Some(fields) = ctx.reader.fields(node, "`x-ringfence`")
    {
        fields.refuse(
            "provides",
            "is not carried out yet: databases that ringfence makes come later",
            "remove it",
        );
        if let Some(node) = fields.get("scope") {
            out.scope = ctx
                .reader
                .one_of(
                    node,
                    &[
                        ("tenant", Scope::Tenant),
                        ("ring", Scope::Ring),
                        ("fleet", Scope::Fleet),
                    ],
                )
                .unwrap_or_default();
        }
        out.rollout = fields.get("rollout").map(|n| rollout(ctx, n)).unwrap_or_default();
        out.probe = fields.get("probe").and_then(|n| probe(ctx, n));
        strict(ctx, node);
        fields.finish();
    }
    out
}

/// A slip in the extension's own name would pass as somebody else's extension.
pub fn check_slips(reader: &Reader, node: &Node) {
    for (key, _) in node.entries().unwrap_or_default() {
        if key.text.starts_with("x-") && key.text != KEY && did_you_mean(&key.text, [KEY]).is_some() {
            reader.report(
                Finding::warning(
                    "unknown-key",
                    key.at.clone(),
                    format!("`{}` is read by nobody", Safe::new(&key.text)),
                )
                .help(format!("did you mean `{KEY}`?")),
            );
        }
    }
}

/// In our own map an `x-` key is a slip, not an extension.
fn strict(ctx: &Context<'_>, node: &Node) {
    for (key, _) in node.entries().unwrap_or_default() {
        if key.text.starts_with("x-") {
            ctx.reader.error(
                "unknown-key",
                &key.at,
                format!("`x-ringfence` has no key `{}`", Safe::new(&key.text)),
                "known here: probe, provides, rollout, scope",
            );
        }
    }
}

fn rollout(ctx: &Context<'_>, node: &Node) -> Rollout {
    let mut out = Rollout::default();
    let Some(fields) = ctx.reader.fields(node, "the rollout") else {
        return out;
    };
    out.order = fields.get("order").and_then(|n| {
        ctx.reader.one_of(
            n,
            &[
                ("start-first", Order::StartFirst),
                ("stop-first", Order::StopFirst),
            ],
        )
    });
    if let Some(drain) = fields.get("drain").and_then(|n| duration(ctx, n, 0)) {
        out.drain_ms = drain;
    }
    fields.finish();
    out
}
