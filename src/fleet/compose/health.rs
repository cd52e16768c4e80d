//! Health: `healthcheck` (run by the engine) and `x-ringfence.probe` (asked by ringfence).

use super::super::values::duration_ms;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::service::{Healthcheck, Probe, ProbeKind, Service};
use super::top::note;
use super::values::RELEASE_VARIABLE;
use crate::text::Safe;

/// A duration in milliseconds that is at least `least`.
pub fn duration(ctx: &Context<'_>, node: &Node, least: u64) -> Option<u64> {
    let text = ctx.reader.string(node)?;
    match duration_ms(&text.value) {
        Ok(ms) if ms >= least => Some(ms),
        Ok(_) => {
            ctx.reader.error(
                "duration",
                &node.at,
                "a duration of 0 makes no sense here",
                "write it like `5s`, or leave it out for the default",
            );
            None
        }
        Err(why) => {
            ctx.reader.error(
                "duration",
                &node.at,
                format!("`{}`: {why}", Safe::new(&text.value)),
                "write it like `90s` or `1m30s`",
            );
            None
        }
    }
}

/// Reads `healthcheck:`.
pub fn healthcheck(ctx: &Context<'_>, node: &Node) -> Option<Healthcheck> {
    let fields = ctx.reader.fields(node, "the healthcheck")?;
    let disabled = fields
        .get("disable")
        .and_then(|n| ctx.boolean(n))
        .unwrap_or(false);
    let command = fields.get("test").and_then(|n| test_of(ctx, n));
    let interval_ms = fields.get("interval").and_then(|n| duration(ctx, n, 1));
    let timeout_ms = fields.get("timeout").and_then(|n| duration(ctx, n, 1));
    let start_period_ms = fields.get("start_period").and_then(|n| duration(ctx, n, 0));
    let retries = fields
        .get("retries")
        .and_then(|n| ctx.integer(n, 1..=1000))
        .and_then(|n| u32::try_from(n).ok());
    if fields
        .get("start_interval")
        .is_some_and(|n| duration(ctx, n, 0).is_some())
    {
        note(
            ctx.reader,
            &fields.key_at("start_interval"),
            "`start_interval` means nothing here: the engine asks at `interval` from the start",
        );
    }
    fields.finish();
    let switched_off = matches!(command.as_deref(), Some([word]) if word == "NONE");
    if disabled || switched_off {
        return Some(Healthcheck::Disabled);
    }
    let set = Healthcheck::Set {
        test: command,
        interval_ms,
        timeout_ms,
        retries,
        start_period_ms,
    };
    let empty = Healthcheck::Set {
        test: None,
        interval_ms: None,
        timeout_ms: None,
        retries: None,
        start_period_ms: None,
    };
    (set != empty).then_some(set)
}

/// A string is a command of the shell; a list begins with `NONE`, `CMD` or `CMD-SHELL`.
fn test_of(ctx: &Context<'_>, node: &Node) -> Option<Vec<String>> {
    let wrong = |why: &str| {
        ctx.reader.error(
            "healthcheck",
            &node.at,
            why,
            "write `[CMD, program, argument]`, `[CMD-SHELL, \"command line\"]`, `[NONE]`, or one string",
        );
    };
    if let Kind::Seq(_) = &node.kind {
        let words: Vec<String> = ctx.reader.strings(node)?.into_iter().map(|s| s.value).collect();
        let good = match words.first().map(String::as_str) {
            Some("NONE") => words.len() == 1,
            Some("CMD") => words.len() > 1,
            Some("CMD-SHELL") => words.len() == 2,
            Some(_) => {
                wrong("the first word of a test is none of `CMD`, `CMD-SHELL`, `NONE`");
                return None;
            }
            None => false,
        };
        if !good {
            wrong("the test has no command, or too many words");
            return None;
        }
        return Some(words);
    }
    let text = ctx.reader.string(node)?.value;
    if text.trim().is_empty() {
        wrong("the test is empty");
        return None;
    }
    Some(vec!["CMD-SHELL".to_owned(), text])
}

/// Reads `x-ringfence.probe`.
pub fn probe(ctx: &Context<'_>, node: &Node) -> Option<Probe> {
    let fields = ctx.reader.fields(node, "the probe")?;
    let http = fields.get("http");
    let tcp = fields.get("tcp");
    let kind = match (http, tcp) {
        (Some(_), Some(tcp)) => {
            ctx.reader.error(
                "conflict",
                &tcp.at,
                "a probe asks either `http` or `tcp`",
                "keep one of them",
            );
            None
        }
        (Some(node), None) => target(ctx, node, true),
        (None, Some(node)) => target(ctx, node, false),
        (None, None) => {
            ctx.reader.error(
                "missing-key",
                &node.at,
                "the probe needs `http` or `tcp`",
                "add `http: \":8080/healthz\"` or `tcp: \":5432\"`",
            );
            None
        }
    };
    let interval = fields.get("interval").map(|n| duration(ctx, n, 1));
    let timeout = fields.get("timeout").map(|n| duration(ctx, n, 1));
    let retries = fields.get("retries").map(|n| ctx.integer(n, 1..=1000));
    let start_period = fields.get("start_period").map(|n| duration(ctx, n, 0));
    let names_release = fields.get("names_release").map(|n| (n, ctx.boolean(n)));
    fields.finish();
    let kind = kind?;
    if let Some((node, _)) = names_release
        .as_ref()
        .filter(|_| matches!(kind, ProbeKind::Tcp { .. }))
    {
        ctx.reader.error(
            "probe",
            &node.at,
            "only the answer of `http` can name the release",
            "remove `names_release`, or ask with `http: \":8080/version\"`",
        );
        return None;
    }
    Some(Probe {
        kind,
        interval_ms: interval.unwrap_or(Some(5000))?,
        timeout_ms: timeout.unwrap_or(Some(2000))?,
        retries: u32::try_from(retries.unwrap_or(Some(3))?).ok()?,
        start_period_ms: start_period.unwrap_or(Some(0))?,
        names_release: names_release.is_some_and(|(_, on)| on == Some(true)),
    })
}

/// A container that shall name its release must have been told it, or it never gets healthy.
pub fn check_told(ctx: &Context<'_>, extension: &Node, service: &Service) {
    let asked = service.probe.as_ref().is_some_and(|p| p.names_release);
    let (true, Some(release)) = (asked, ctx.values.get(RELEASE_VARIABLE)) else {
        return;
    };
    let words = [&service.command, &service.entrypoint]
        .into_iter()
        .flatten()
        .flatten();
    if words
        .chain(service.environment.values())
        .any(|text| text.contains(release))
    {
        return;
    }
    let node = extension.get("probe").and_then(|p| p.get("names_release"));
    ctx.reader.error(
        "probe",
        &node.unwrap_or(extension).at,
        "the service is not told which release it belongs to, so its answer cannot name it",
        format!("give it to it: `environment: {{RELEASE: \"${{{RELEASE_VARIABLE}}}\"}}`"),
    );
}

/// `:8080/healthz` for HTTP, `:5432` or `5432` for TCP.
fn target(ctx: &Context<'_>, node: &Node, http: bool) -> Option<ProbeKind> {
    let text = ctx.reader.string(node)?.value;
    let rest = text.strip_prefix(':').unwrap_or(&text);
    let (port, path) = rest.find('/').map_or((rest, ""), |i| rest.split_at(i));
    let number = port
        .parse::<u16>()
        .ok()
        .filter(|p| *p > 0 && port.bytes().all(|b| b.is_ascii_digit()));
    let clean = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
    match number {
        Some(port) if http && clean => Some(ProbeKind::Http {
            port,
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path.to_owned()
            },
        }),
        Some(port) if !http && path.is_empty() => Some(ProbeKind::Tcp { port }),
        _ => {
            let example = if http {
                "`\":8080/healthz\"`"
            } else {
                "`\":5432\"`"
            };
            ctx.reader.error(
                "probe",
                &node.at,
                format!("`{}` is no port of the container", Safe::new(&text)),
                format!("write it like {example}"),
            );
            None
        }
    }
}
