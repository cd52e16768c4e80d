//! The gates that a ring declares. They are validated here and carried out by promotion; until then a ring that
//! has them waits, and says which.

use super::{Approvals, DeclaredGate, GateKind, given, time};
use crate::diagnostic::{At, Spanned};
use crate::fleet::principals;
use crate::fleet::read::{Fields, Reader};
use crate::fleet::yaml::Node;
use crate::text::Safe;

/// Which kinds of principals count, and whether they ever do.
const KINDS: &[(&str, bool)] = &[("human", true), ("agent", false), ("ci", false)];
/// Whose approvals do not count, and whether these are the authors'.
const EXCLUDE: &[(&str, bool)] = &[("requester", false), ("authors", true)];

/// Reads `soak`, `checks` and `windows` of a ring, in the order of the gates; `approvals` come after them.
pub(super) fn read(
    fields: &Fields<'_, '_>,
    approvals: Option<&Approvals>,
    reader: &Reader,
) -> Vec<DeclaredGate> {
    let mut gates = Vec::new();
    if let Some((node, at)) = given(fields, "soak")
        && let Some(soak) = time(node, reader)
        && soak.value > 0
    {
        let written = node.scalar().unwrap_or_default();
        gates.push(gate(GateKind::Soak, format!("soak {}", Safe::new(written)), at));
    }
    if let Some((node, at)) = given(fields, "checks") {
        let count = checks(node, reader);
        if count > 0 {
            gates.push(gate(GateKind::Checks, plural(count, "check"), at));
        }
    }
    if let Some((node, at)) = given(fields, "windows") {
        let count = windows(node, reader);
        if count > 0 {
            gates.push(gate(GateKind::Window, plural(count, "window"), at));
        }
    }
    gates.extend(approvals.map(|a| {
        let count = usize::try_from(a.required).unwrap_or(1);
        gate(GateKind::Approval, plural(count, "approval"), a.at.clone())
    }));
    gates
}

fn gate(kind: GateKind, summary: String, at: At) -> DeclaredGate {
    DeclaredGate { kind, summary, at }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
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

fn checks(node: &Node, reader: &Reader) -> usize {
    let items = reader.list(node).unwrap_or_default();
    for item in items {
        let Some(fields) = reader.fields(item, "the check") else {
            continue;
        };
        let mut kinds = 0;
        for key in ["http", "tcp"] {
            if let Some(node) = fields.get(key) {
                kinds += 1;
                let _ = reader.string(node);
            }
        }
        if let Some(node) = fields.get("exec") {
            kinds += 1;
            let _ = reader.strings(node);
        }
        for key in ["name", "service"] {
            if let Some(node) = fields.get(key) {
                let _ = reader.string(node);
            }
        }
        for key in ["timeout", "interval"] {
            if let Some(node) = fields.get(key) {
                let _ = positive(node, reader);
            }
        }
        fields.finish();
        if kinds != 1 {
            reader.error(
                "bad-check",
                &item.at,
                "a check takes one of `http`, `tcp` and `exec`",
                "write `- http: http://web:8080/healthz`, or `- exec: [\"/app\", \"check\"]`",
            );
        }
    }
    items.len()
}

fn windows(node: &Node, reader: &Reader) -> usize {
    let items = reader.list(node).unwrap_or_default();
    for item in items {
        let Some(fields) = reader.fields(item, "the window") else {
            continue;
        };
        let mut kinds = 0;
        for key in ["allow", "deny"] {
            if let Some(span) = fields.get(key).and_then(|n| reader.string(n)) {
                kinds += 1;
                if !is_span(&span.value) {
                    reader.error(
                        "bad-window",
                        &span.at,
                        format!("`{}` is no span of the week", Safe::new(&span.value)),
                        "write `Fri 15:00..Mon 08:00`, or `09:00..17:00` for each day",
                    );
                }
            }
        }
        if let Some(zone) = fields.get("tz").and_then(|n| reader.string(n))
            && !is_zone(&zone.value)
        {
            reader.error(
                "bad-window",
                &zone.at,
                format!("`{}` is no name of a time zone", Safe::new(&zone.value)),
                "write `UTC`, or a name such as `Europe/Berlin`",
            );
        }
        fields.finish();
        if kinds != 1 {
            reader.error(
                "bad-window",
                &item.at,
                "a window takes one of `allow` and `deny`",
                "write `- deny: \"Fri 15:00..Mon 08:00\"`",
            );
        }
    }
    items.len()
}

/// `Fri 15:00..Mon 08:00` or `09:00..17:00`; a span between two equal moments is empty and refused.
fn is_span(text: &str) -> bool {
    let Some((from, to)) = text.split_once("..") else {
        return false;
    };
    let (Some(from), Some(to)) = (moment(from.trim()), moment(to.trim())) else {
        return false;
    };
    from != to && from.0.is_some() == to.0.is_some()
}

fn moment(text: &str) -> Option<(Option<usize>, u32)> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (Some(DAYS.iter().position(|d| *d == day)?), clock.trim()),
        None => (None, text),
    };
    let (hours, minutes) = clock.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
    (hours < 24 && minutes < 60).then_some((day, hours * 60 + minutes))
}

fn is_zone(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('/')
        && !text.contains("//")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c))
}
