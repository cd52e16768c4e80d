//! Limits: `deploy` and the short keys beside it.

use super::super::read::Fields;
use super::super::values::{nano_cpus, size_bytes};
use super::super::yaml::Node;
use super::convert::Context;
use super::keys::one_only;
use super::service::{Limits, Restart};
use super::top::{note, refuse, says_something};
use crate::diagnostic::At;
use crate::text::Safe;

/// The least memory that the engine takes as a limit.
const LEAST_MEMORY: u64 = 6 << 20;

/// Reads the short keys and `deploy.resources`; both may say the same, not different things.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>) -> (Limits, Option<Restart>) {
    let mut limits = Limits {
        memory: fields.get("mem_limit").and_then(|n| memory(ctx, n, LEAST_MEMORY)),
        memory_reservation: fields.get("mem_reservation").and_then(|n| memory(ctx, n, 1)),
        nano_cpus: fields.get("cpus").and_then(|n| cpus(ctx, n)),
        pids: fields.get("pids_limit").and_then(|n| pids(ctx, n)),
    };
    let quota = quota(ctx, fields);
    if quota.is_some() {
        let key = fields.key_at("cpu_quota");
        match limits.nano_cpus {
            Some(cpus) if Some(cpus) != quota => ctx.reader.error(
                "conflict",
                &key,
                "`cpus` and `cpu_quota` give different limits",
                "keep `cpus`",
            ),
            _ => limits.nano_cpus = quota,
        }
    }
    let mut restart = None;
    if let Some(node) = fields.get("deploy") {
        let (deploy, policy) = deploy(ctx, node);
        restart = policy;
        let at = fields.key_at("deploy");
        merge(ctx, &at, "memory", &mut limits.memory, deploy.memory);
        merge(
            ctx,
            &at,
            "memory reservation",
            &mut limits.memory_reservation,
            deploy.memory_reservation,
        );
        merge(ctx, &at, "cpus", &mut limits.nano_cpus, deploy.nano_cpus);
        merge(ctx, &at, "pids", &mut limits.pids, deploy.pids);
    }
    if let (Some(limit), Some(reserved)) = (limits.memory, limits.memory_reservation)
        && reserved > limit
    {
        let key = if fields.get("mem_reservation").is_some() {
            "mem_reservation"
        } else {
            "deploy"
        };
        ctx.reader.error(
            "limit",
            &fields.key_at(key),
            "more memory is reserved than the limit allows",
            "raise the limit, or reserve less",
        );
    }
    (limits, restart)
}

fn merge(ctx: &Context<'_>, at: &At, what: &str, short: &mut Option<u64>, long: Option<u64>) {
    match (*short, long) {
        (Some(a), Some(b)) if a != b => ctx.reader.error(
            "conflict",
            at,
            format!("`deploy.resources` and the short key give different values for {what}"),
            "keep one of them",
        ),
        (None, long) => *short = long,
        _ => {}
    }
}

fn deploy(ctx: &Context<'_>, node: &Node) -> (Limits, Option<Restart>) {
    let mut limits = Limits::default();
    let Some(fields) = ctx.reader.fields(node, "`deploy`") else {
        return (limits, None);
    };
    if let Some(replicas) = fields.get("replicas")
        && replicas.scalar() != Some("1")
    {
        one_only(ctx.reader, &fields.key_at("replicas"), "replicas");
    }
    match fields.get("mode").map(|mode| (mode, mode.scalar())) {
        None | Some((_, Some("replicated"))) => {}
        Some((_, Some("global"))) => note(
            ctx.reader,
            &fields.key_at("mode"),
            "`mode: global` is one container: a ring's target is one engine",
        ),
        Some((mode, _)) => ctx.reader.error(
            "not-carried-out",
            &mode.at,
            "only the modes `replicated` and `global` are carried out",
            "remove it; a service that others wait for with `service_completed_successfully` runs once",
        ),
    }
    for (key, message) in [
        ("endpoint_mode", "`endpoint_mode` means nothing on one engine"),
        (
            "labels",
            "`deploy.labels` mean nothing here: there is no service object to carry them",
        ),
        (
            "placement",
            "`placement` means nothing here: a ring's target is the place",
        ),
        (
            "update_config",
            "`update_config` means nothing here: see `x-ringfence: {rollout: …}` and the ring's `rollout`",
        ),
        (
            "rollback_config",
            "`rollback_config` means nothing here: see the ring's `rollback_on_failure`",
        ),
    ] {
        if fields.get(key).is_some_and(says_something) {
            note(ctx.reader, &fields.key_at(key), message);
        }
    }
    let restart = fields.get("restart_policy").and_then(|n| restart_policy(ctx, n));
    if let Some(resources) = fields
        .get("resources")
        .and_then(|n| ctx.reader.fields(n, "`deploy.resources`"))
    {
        if let Some(node) = resources.get("limits")
            && let Some(f) = ctx.reader.fields(node, "`limits`")
        {
            limits.memory = f.get("memory").and_then(|n| memory(ctx, n, LEAST_MEMORY));
            limits.nano_cpus = f.get("cpus").and_then(|n| cpus(ctx, n));
            limits.pids = f.get("pids").and_then(|n| pids(ctx, n));
            f.finish();
        }
        if let Some(node) = resources.get("reservations")
            && let Some(f) = ctx.reader.fields(node, "`reservations`")
        {
            limits.memory_reservation = f.get("memory").and_then(|n| memory(ctx, n, 1));
            if f.get("cpus").is_some_and(|n| cpus(ctx, n).is_some()) {
                note(
                    ctx.reader,
                    &f.key_at("cpus"),
                    "a reservation of `cpus` means nothing on one engine",
                );
            }
            // Read with `gpus`, which says the same.
            let _ = f.get("devices");
            refuse(
                ctx.reader,
                &f,
                "generic_resources",
                "is not carried out: it is for a swarm",
                "ask for GPUs with `devices: [{capabilities: [gpu]}]`",
            );
            f.finish();
        }
        resources.finish();
    }
    fields.finish();
    (limits, restart)
}

/// `cpu_quota` microseconds of each `cpu_period` (100 ms): the engine's older words for `cpus`.
fn quota(ctx: &Context<'_>, fields: &Fields<'_, '_>) -> Option<u64> {
    let micros = |key: &'static str| {
        let node = fields.get(key)?;
        let text = ctx.reader.string(node)?;
        let plain = text.value.parse::<u64>().ok();
        let value = plain.or_else(|| {
            let ms = super::super::values::duration_ms(&text.value).ok()?;
            ms.checked_mul(1000)
        });
        let value = value.filter(|n| (1_000..=100_000_000).contains(n));
        if value.is_none() && text.value != "-1" && text.value != "0" {
            limit(
                ctx,
                &node.at,
                &text.value,
                "not a time from 1000 microseconds on",
                "use `cpus: 0.5` instead",
            );
        }
        value
    };
    let (quota, period) = (micros("cpu_quota"), micros("cpu_period"));
    quota?
        .checked_mul(1_000_000_000)?
        .checked_div(period.unwrap_or(100_000))
}

fn restart_policy(ctx: &Context<'_>, node: &Node) -> Option<Restart> {
    let fields = ctx.reader.fields(node, "`restart_policy`")?;
    let attempts = fields
        .get("max_attempts")
        .and_then(|n| ctx.integer(n, 0..=1_000_000))
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(0);
    for key in ["delay", "window"] {
        if fields.get(key).is_some() {
            note(
                ctx.reader,
                &fields.key_at(key),
                format!("`{key}` means nothing here: the engine waits longer after each restart by itself"),
            );
        }
    }
    let policy = fields.get("condition").map_or(Some(Restart::Always), |n| {
        ctx.reader.one_of(
            n,
            &[
                ("none", Restart::No),
                ("on-failure", Restart::OnFailure(attempts)),
                ("any", Restart::Always),
                // The words of `restart`, which mean the same.
                ("no", Restart::No),
                ("always", Restart::Always),
                ("unless-stopped", Restart::UnlessStopped),
            ],
        )
    });
    fields.finish();
    policy
}

fn memory(ctx: &Context<'_>, node: &Node, least: u64) -> Option<u64> {
    let text = ctx.reader.string(node)?;
    let why = match size_bytes(&text.value) {
        Ok(0) => "no memory at all".to_owned(),
        Ok(bytes) if bytes < least => "less than 6 MiB, which no engine takes".to_owned(),
        Ok(bytes) => return Some(bytes),
        Err(why) => why,
    };
    limit(
        ctx,
        &node.at,
        &text.value,
        &why,
        "write it like `64m` or `1.5g`, or leave it out for no limit",
    );
    None
}

fn cpus(ctx: &Context<'_>, node: &Node) -> Option<u64> {
    let text = ctx.reader.string(node)?;
    nano_cpus(&text.value)
        .map_err(|why| limit(ctx, &node.at, &text.value, &why, "write it like `0.5` or `2`"))
        .ok()
}

fn pids(ctx: &Context<'_>, node: &Node) -> Option<u64> {
    let text = ctx.reader.string(node)?;
    match text.value.parse::<u32>() {
        Ok(pids) if pids > 0 => Some(u64::from(pids)),
        _ => {
            limit(
                ctx,
                &node.at,
                &text.value,
                "not a number of processes from 1 on",
                "write it like `256`, or leave it out for the plan tier's limit",
            );
            None
        }
    }
}

fn limit(ctx: &Context<'_>, at: &At, text: &str, why: &str, help: &str) {
    let shown: String = text.chars().take(80).collect();
    ctx.reader
        .error("limit", at, format!("`{}`: {why}", Safe::new(&shown)), help);
}
