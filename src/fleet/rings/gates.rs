//! The gates that a ring declares; `decide` judges them.

use serde::Serialize;

use super::{Approvals, given, time};
use crate::diagnostic::{At, Spanned};
use crate::fleet::principals;
use crate::fleet::read::{Fields, Reader};
use crate::fleet::yaml::Node;
use crate::text::Safe;

/// Which kinds of principals count, and whether they ever do.
const KINDS: &[(&str, bool)] = &[("human", true), ("agent", false), ("ci", false)];
/// Whose approvals do not count, and whether these are the authors'.
const EXCLUDE: &[(&str, bool)] = &[("requester", false), ("authors", true)];

/// A check of a release, made in the ring before, on every tenant there that has the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, for people; default: what it asks.
    pub name: String,
    /// The service that it asks.
    pub service: String,
    /// What it does.
    pub kind: CheckKind,
    /// How long one may take, in milliseconds; default 5 s.
    pub timeout_ms: u64,
    /// How often it is asked, in milliseconds; default 10 s.
    pub interval_ms: u64,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A request that must be answered with 200 to 399.
    Http {
        /// The container's port.
        port: u16,
        /// With its slash.
        path: String,
        /// Whether the answer must name the release (its body or a header), so that no older container answers for it.
        names_release: bool,
    },
    /// A connection that must be taken.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// A command in the container that must end with 0.
    Exec {
        /// With its arguments.
        command: Vec<String>,
    },
}

/// Reads `soak` and `checks` of a ring.
pub(super) fn read(fields: &Fields<'_, '_>, reader: &Reader) -> (u64, Vec<Check>) {
    let soak = given(fields, "soak").and_then(|(node, _)| time(node, reader));
    let checks = given(fields, "checks").map_or_else(Vec::new, |(node, _)| checks(node, reader));
    (soak.map_or(0, |s| s.value), checks)
}

/// Reads `approval_required` and `approvals` of a ring.
pub(super) fn approvals(fields: &Fields<'_, '_>, reader: &Reader) -> Option<Approvals> {
    let required = given(fields, "approval_required")
        .and_then(|(node, at)| Some(Spanned::new(reader.boolean(node)?, at)));
    let approvals = given(fields, "approvals");
    if let (Some(Spanned { value: false, at }), Some(_)) = (&required, &approvals) {
        reader.error(
            "contradiction",
            at,
            "`approval_required: false` contradicts `approvals`",
            "remove one of the two",
        );
    }
    match approvals {
        Some((node, at)) => approvals_of(node, at, reader),
        None => required.filter(|r| r.value).map(|r| Approvals::one(r.at)),
    }
}

fn approvals_of(node: &Node, at: At, reader: &Reader) -> Option<Approvals> {
    let fields = reader.fields(node, "`approvals`")?;
    let mut approvals = Approvals::one(at);
    let required = fields
        .get("required")
        .map_or(Some(1), |n| reader.integer(n, 1..=20));
    if let Some(node) = fields.get("from") {
        let nobody = "nobody is left who may approve";
        approvals.from = principals::names(node, nobody, reader).unwrap_or_default();
    }
    let exclude = words(fields.get("exclude"), EXCLUDE, reader);
    approvals.exclude_authors = exclude.iter().any(|e| e.value);
    humans(fields.get("kinds"), reader);
    if let Some(node) = fields.get("allow_self") {
        approvals.allow_self = reader.boolean(node).unwrap_or_default();
    }
    if let Some(first) = exclude.first().filter(|_| approvals.allow_self) {
        reader.error(
            "contradiction",
            &first.at,
            "`allow_self: true` contradicts `exclude`",
            "remove one of the two",
        );
    }
    if let Some(expires) = fields.get("expires").and_then(|n| positive(n, reader)) {
        approvals.expires_ms = expires;
    }
    fields.finish();
    approvals.required = u32::try_from(required?).ok()?;
    Some(approvals)
}

/// `kinds` can only say what is so anyway.
fn humans(node: Option<&Node>, reader: &Reader) {
    let kinds = words(node, KINDS, reader);
    if let Some(kind) = kinds.iter().find(|k| !k.value) {
        reader.error(
            "not-carried-out",
            &kind.at,
            "only the approval of a human counts",
            "write `kinds: [human]`, or leave it out; an agent may request and hold",
        );
    }
}

fn words<T: Copy>(node: Option<&Node>, words: &[(&'static str, T)], reader: &Reader) -> Vec<Spanned<T>> {
    node.and_then(|n| reader.list(n))
        .unwrap_or_default()
        .iter()
        .filter_map(|n| Some(Spanned::new(reader.one_of(n, words)?, n.at.clone())))
        .collect()
}

fn positive(node: &Node, reader: &Reader) -> Option<u64> {
    let time = time(node, reader)?;
    if time.value == 0 {
        reader.error(
            "bad-duration",
            &time.at,
            "a time of zero",
            "write a time such as `24h`",
        );
        return None;
    }
    Some(time.value)
}

fn checks(node: &Node, reader: &Reader) -> Vec<Check> {
    let items = reader.list(node).unwrap_or_default();
    items.iter().filter_map(|item| check(item, reader)).collect()
}

fn check(item: &Node, reader: &Reader) -> Option<Check> {
    let fields = reader.fields(item, "the check")?;
    let string = |key| fields.get(key).and_then(|n| reader.string(n));
    let of_service = string("service").map(|s| s.value);
    let names_release = fields.get("names_release").map(|n| (n, reader.boolean(n)));
    let versioned = names_release.as_ref().is_some_and(|(_, on)| *on == Some(true));
    let http = fields.get("http").map(|n| http(n, versioned, reader));
    let tcp = fields.get("tcp").map(|n| tcp(n, reader));
    let exec = fields.get("exec").map(|n| exec(n, reader));
    let name = string("name").map(|s| s.value);
    let timeout_ms = fields.get("timeout").and_then(|n| positive(n, reader));
    let interval_ms = fields.get("interval").and_then(|n| positive(n, reader));
    fields.finish();
    let mut kinds = [http, tcp, exec].into_iter().flatten();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        reader.error(
            "bad-check",
            &item.at,
            "a check takes one of `http`, `tcp` and `exec`",
            "write `- http: http://web:8080/healthz`, or `- {service: web, exec: [\"/app\", \"check\"]}`",
        );
        return None;
    };
    let (host, kind) = kind?;
    if let Some((node, _)) = names_release.filter(|_| !matches!(kind, CheckKind::Http { .. })) {
        reader.error(
            "bad-check",
            &node.at,
            "only the answer of `http` can name the release",
            "remove `names_release`, or ask with `http: http://web:8080/version`",
        );
        return None;
    }
    let Some(service) = of_service.or(host) else {
        reader.error(
            "bad-check",
            &item.at,
            "a check that runs a command names its service",
            "write `- {service: web, exec: [\"/app\", \"check\"]}`",
        );
        return None;
    };
    Some(Check {
        name: name.unwrap_or_else(|| describe(&service, &kind)),
        service,
        kind,
        timeout_ms: timeout_ms.unwrap_or(5_000),
        interval_ms: interval_ms.unwrap_or(10_000),
    })
}

type HostAndKind = Option<(Option<String>, CheckKind)>;

fn describe(service: &str, kind: &CheckKind) -> String {
    match kind {
        CheckKind::Http { port, path, .. } => format!("http://{service}:{port}{path}"),
        CheckKind::Tcp { port } => format!("tcp {service}:{port}"),
        CheckKind::Exec { command } => format!("{service}: {}", command.join(" ")),
    }
}

fn http(node: &Node, names_release: bool, reader: &Reader) -> HostAndKind {
    let text = reader.string(node)?;
    let parsed = text.value.strip_prefix("http://").and_then(|rest| {
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(h, p)| (h, p));
        let (host, port) = address(host, Some(80))?;
        let path = format!("/{path}");
        let kind = CheckKind::Http {
            port,
            path,
            names_release,
        };
        Some((Some(host), kind))
    });
    if parsed.is_none() {
        bad_address(
            &text,
            "write `http://SERVICE:PORT/PATH`: the request goes to the service's container",
            reader,
        );
    }
    parsed
}

fn tcp(node: &Node, reader: &Reader) -> HostAndKind {
    let text = reader.string(node)?;
    let parsed = address(&text.value, None).map(|(host, port)| (Some(host), CheckKind::Tcp { port }));
    if parsed.is_none() {
        bad_address(&text, "write `SERVICE:PORT`", reader);
    }
    parsed
}

fn exec(node: &Node, reader: &Reader) -> HostAndKind {
    let command: Vec<String> = reader.strings(node)?.into_iter().map(|s| s.value).collect();
    (!command.is_empty()).then_some((None, CheckKind::Exec { command }))
}

fn bad_address(text: &Spanned<String>, help: &str, reader: &Reader) {
    let message = format!("`{}` names no service and port", Safe::new(&text.value));
    reader.error("bad-check", &text.at, message, help);
}

/// `web:8080`. The host is a service's name.
fn address(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, default?),
    };
    let good = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    (good && port > 0).then(|| (host.to_owned(), port))
}
