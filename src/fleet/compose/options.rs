//! What few services ask for: each of these keys is a field of [`Options`], and absent from it where it says the default.

use std::collections::BTreeMap;

use super::super::read::Fields;
use super::super::values::size_bytes;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::service::{Options, Ulimit};
use super::top::{note, says_something};
use super::{gpus, logging, resolver, security};
use crate::diagnostic::At;
use crate::text::Safe;

/// The engine's default weights: what asks for more would take it from other tenants.
const DEFAULT_SHARES: i64 = 1024;
const DEFAULT_BLKIO: i64 = 500;

/// Reads them all.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>) -> Options {
    let mut out = Options {
        ulimits: fields.get("ulimits").map(|n| ulimits(ctx, n)).unwrap_or_default(),
        logging: fields.get("logging").and_then(|n| logging::read(ctx, n)),
        shm_size: fields.get("shm_size").and_then(|n| shm(ctx, n)),
        group_add: fields
            .get("group_add")
            .map(|n| groups(ctx, n))
            .unwrap_or_default(),
        domainname: fields
            .get("domainname")
            .and_then(|n| super::names::host_name(ctx, n)),
        platform: fields.get("platform").and_then(|n| platform(ctx, n)),
        cpuset: fields.get("cpuset").and_then(|n| cpuset(ctx, n)),
        devices: gpus::read(ctx, fields),
        ..Options::default()
    };
    let weight = |key, range: std::ops::RangeInclusive<i64>, usual| {
        let value = fields.get(key).and_then(|n| ctx.integer(n, range))?;
        u64::try_from(value).ok().filter(|_| value != usual && value != 0)
    };
    out.cpu_shares = weight("cpu_shares", 0..=DEFAULT_SHARES, DEFAULT_SHARES);
    out.oom_score_adj = weight("oom_score_adj", 0..=1000, 0);
    out.blkio_weight = fields.get("blkio_config").and_then(|n| blkio(ctx, n));
    security::read(ctx, fields, &mut out);
    resolver::read(ctx, fields, &mut out);
    out
}

fn blkio(ctx: &Context<'_>, node: &Node) -> Option<u64> {
    let fields = ctx.reader.fields(node, "`blkio_config`")?;
    for key in [
        "weight_device",
        "device_read_bps",
        "device_read_iops",
        "device_write_bps",
        "device_write_iops",
    ] {
        fields.refuse(
            key,
            "is not carried out: it names a device of the host",
            "remove it; `weight` is carried out",
        );
    }
    let weight = fields
        .get("weight")
        .and_then(|n| ctx.integer(n, 10..=DEFAULT_BLKIO))
        .filter(|w| *w != DEFAULT_BLKIO)
        .and_then(|w| u64::try_from(w).ok());
    fields.finish();
    weight
}

fn ulimits(ctx: &Context<'_>, node: &Node) -> BTreeMap<String, Ulimit> {
    let mut out = BTreeMap::new();
    for (key, value) in ctx.reader.map(node).unwrap_or_default() {
        let known = [
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        if !known.contains(&key.text.as_str()) {
            let near = crate::diagnostic::did_you_mean(&key.text, known);
            ctx.reader.error(
                "unknown-key",
                &key.at,
                format!("`{}` is no limit of a process", Safe::new(&key.text)),
                near.map_or_else(
                    || format!("one of {}", known.join(", ")),
                    |n| format!("did you mean `{n}`?"),
                ),
            );
            continue;
        }
        let limit = if let Kind::Map(_) = value.kind {
            ctx.reader.fields(value, "the limit").and_then(|fields| {
                let soft = fields.require("soft").and_then(|n| ctx.integer(n, -1..=i64::MAX));
                let hard = fields.require("hard").and_then(|n| ctx.integer(n, -1..=i64::MAX));
                fields.finish();
                Some(Ulimit {
                    soft: soft?,
                    hard: hard?,
                })
            })
        } else {
            ctx.integer(value, -1..=i64::MAX).map(|both| Ulimit {
                soft: both,
                hard: both,
            })
        };
        let Some(limit) = limit else { continue };
        // -1 is without end: as large as can be.
        let size = |n: i64| if n < 0 { i64::MAX } else { n };
        if size(limit.soft) > size(limit.hard) {
            ctx.reader.error(
                "limit",
                &value.at,
                "the soft limit is above the hard one",
                "lower `soft`, or raise `hard`",
            );
            continue;
        }
        out.insert(key.text.clone(), limit);
    }
    out
}

fn shm(ctx: &Context<'_>, node: &Node) -> Option<u64> {
    let text = ctx.reader.string(node)?.value;
    match size_bytes(&text) {
        Ok(bytes) if bytes > 0 => Some(bytes).filter(|b| *b != 64 << 20),
        other => {
            let why = other.err().unwrap_or_else(|| "no memory at all".to_owned());
            ctx.reader.error(
                "size",
                &node.at,
                format!("`{}`: {why}", Safe::new(&text)),
                "write it like `128m`",
            );
            None
        }
    }
}

fn groups(ctx: &Context<'_>, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    for group in ctx.reader.strings(node).unwrap_or_default() {
        let good = !group.value.is_empty()
            && group
                .value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if good {
            out.push(group.value);
        } else {
            wrong(
                ctx,
                &group.at,
                "group",
                &group.value,
                "is no group",
                "write its name in the image, or its number",
            );
        }
    }
    out
}

/// `os`, `os/arch` or `os/arch/variant`; the engine refuses to make a container of an image for another one.
fn platform(ctx: &Context<'_>, node: &Node) -> Option<String> {
    let text = ctx.reader.string(node)?.value;
    if text.is_empty() {
        return None;
    }
    let parts: Vec<&str> = text.split('/').collect();
    let good = parts.len() <= 3
        && parts.iter().all(|p| {
            !p.is_empty()
                && p.chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        });
    if good {
        return Some(text);
    }
    wrong(
        ctx,
        &node.at,
        "platform",
        &text,
        "is no platform",
        "write it like `linux/amd64` or `linux/arm64/v8`",
    );
    None
}

fn cpuset(ctx: &Context<'_>, node: &Node) -> Option<String> {
    let text = ctx.reader.string(node)?.value;
    if text.is_empty() {
        return None;
    }
    let good = text.split(',').all(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(a), Ok(b)) if a <= b)
    });
    if good {
        return Some(text);
    }
    wrong(
        ctx,
        &node.at,
        "cpuset",
        &text,
        "names no CPUs",
        "write it like `0-3` or `0,2`",
    );
    None
}

/// A value that cannot be what its key asks for.
pub fn wrong(ctx: &Context<'_>, at: &At, code: &'static str, text: &str, why: &str, help: &str) {
    let shown: String = text.chars().take(80).collect();
    ctx.reader
        .error(code, at, format!("`{}` {why}", Safe::new(&shown)), help);
}

/// A key that is read, switches something on, and means nothing here.
pub fn means_nothing(ctx: &Context<'_>, fields: &Fields<'_, '_>, key: &'static str, message: &str) {
    if fields.get(key).is_some_and(says_something) {
        note(ctx.reader, &fields.key_at(key), message);
    }
}
