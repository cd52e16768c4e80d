//! GPUs: `gpus` and `deploy.resources.reservations.devices`.

use std::collections::BTreeMap;

use super::super::read::Fields;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::options::wrong;
use super::service::DeviceRequest;
use crate::text::Safe;

/// What a GPU may be asked for.
const CAPABILITIES: &[&str] = &[
    "gpu", "compute", "utility", "video", "graphics", "display", "compat32", "ngx", "nvidia",
];

/// Reads both keys of a service.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>) -> Vec<DeviceRequest> {
    let mut out = Vec::new();
    if let Some(node) = fields.get("gpus") {
        if node.scalar() == Some("all") {
            out.push(all());
        } else {
            requests(ctx, node, false, &mut out);
        }
    }
    if let Some(node) = fields
        .get("deploy")
        .and_then(|n| n.get("resources"))
        .and_then(|n| n.get("reservations"))
        .and_then(|n| n.get("devices"))
        .filter(|n| !n.is_null())
    {
        requests(ctx, node, true, &mut out);
    }
    out
}

fn all() -> DeviceRequest {
    DeviceRequest {
        driver: String::new(),
        count: Some(-1),
        ids: Vec::new(),
        capabilities: vec!["gpu".to_owned()],
        options: BTreeMap::new(),
    }
}

fn requests(ctx: &Context<'_>, node: &Node, long: bool, out: &mut Vec<DeviceRequest>) {
    for item in ctx.reader.list(node).unwrap_or_default() {
        out.extend(request(ctx, item, long));
    }
}

fn request(ctx: &Context<'_>, node: &Node, long: bool) -> Option<DeviceRequest> {
    let fields = ctx.reader.fields(node, "the device")?;
    let before = ctx.reader.errors();
    let driver = fields
        .get("driver")
        .and_then(|n| ctx.reader.string(n))
        .map(|d| d.value)
        .unwrap_or_default();
    if !matches!(driver.as_str(), "" | "nvidia" | "amd") {
        ctx.reader.error(
            "not-carried-out",
            &fields.key_at("driver"),
            format!(
                "the device driver `{}` is not carried out: it could reach any device of the host",
                Safe::new(&driver)
            ),
            "use `nvidia`, or leave it out",
        );
    }
    let ids = fields
        .get("device_ids")
        .and_then(|n| ctx.reader.strings(n))
        .unwrap_or_default();
    let count = fields.get("count").and_then(|n| count(ctx, n));
    if !ids.is_empty() && count.is_some() {
        ctx.reader.error(
            "conflict",
            &fields.key_at("count"),
            "`count` and `device_ids` are two ways to say which devices",
            "keep one of them",
        );
    }
    let capabilities = match fields.get("capabilities") {
        Some(list) => capabilities(ctx, list),
        None if long => {
            let _ = fields.require("capabilities");
            Vec::new()
        }
        None => vec!["gpu".to_owned()],
    };
    let options = fields
        .get("options")
        .and_then(|n| ctx.reader.string_map(n))
        .map(|map| map.into_iter().map(|(k, v)| (k, v.value)).collect())
        .unwrap_or_default();
    fields.finish();
    let ids: Vec<String> = ids.into_iter().map(|id| id.value).collect();
    (ctx.reader.errors() == before).then(|| DeviceRequest {
        driver,
        // Neither means all, as in Compose.
        count: count.or_else(|| ids.is_empty().then_some(-1)),
        ids,
        capabilities,
        options,
    })
}

fn count(ctx: &Context<'_>, node: &Node) -> Option<i64> {
    if node.scalar() == Some("all") {
        return Some(-1);
    }
    ctx.integer(node, 1..=1024)
}

fn capabilities(ctx: &Context<'_>, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    let mut take = |at: &crate::diagnostic::At, text: &str| {
        if CAPABILITIES.contains(&text) {
            out.push(text.to_owned());
        } else {
            wrong(
                ctx,
                at,
                "not-carried-out",
                text,
                "is no capability of a GPU",
                "GPUs are the devices that can be asked for: `capabilities: [gpu]`",
            );
        }
    };
    for item in ctx.reader.list(node).unwrap_or_default() {
        // Older files nest a list.
        if let Kind::Seq(inner) = &item.kind {
            for item in inner {
                if let Some(text) = ctx.reader.string(item) {
                    take(&text.at, &text.value);
                }
            }
        } else if let Some(text) = ctx.reader.string(item) {
            take(&text.at, &text.value);
        }
    }
    out
}
