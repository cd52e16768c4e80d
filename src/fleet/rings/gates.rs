//! The gates that a ring declares. They are validated here and carried out by promotion; until then a ring that
//! has them waits, and says which.

use super::{DeclaredGate, GateKind, given, time};
use crate::diagnostic::{At, Spanned};
use crate::fleet::read::{Fields, Reader};
use crate::fleet::yaml::Node;
use crate::text::Safe;

const KINDS: &[(&str, ())] = &[("human", ()), ("agent", ())];
const EXCLUDE: &[(&str, ())] = &[("requester", ()), ("authors", ())];

/// Reads `soak`, `checks`, `windows`, `approval_required` and `approvals` of a ring, in the order of the gates.
pub(super) fn read(fields: &Fields<'_, '_>, reader: &Reader) -> Vec<DeclaredGate> {
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
    gates.extend(approval(fields, reader));
    gates
}

fn gate(kind: GateKind, summary: String, at: At) -> DeclaredGate {
    DeclaredGate { kind, summary, at }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn approval(fields: &Fields<'_, '_>, reader: &Reader) -> Option<DeclaredGate> {
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
    if let Some((node, at)) = approvals {
        let count = approvals_of(node, reader)?;
        return Some(gate(
            GateKind::Approval,
            plural(usize::try_from(count).unwrap_or(1), "approval"),
            at,
        ));
    }
    required
        .filter(|r| r.value)
        .map(|r| gate(GateKind::Approval, plural(1, "approval"), r.at))
}

/// How many approvals are asked for.
fn approvals_of(node: &Node, reader: &Reader) -> Option<i64> {
    let fields = reader.fields(node, "`approvals`")?;
    let required = match fields.get("required") {
        Some(node) => reader.integer(node, 1..=20),
        None => Some(1),
    };
    if let Some(node) = fields.get("from") {
        let from = reader.strings(node);
        if from.is_some_and(|f| f.is_empty()) {
            reader.error(
                "empty-list",
                &node.at,
                "nobody is left who may approve",
                "name principals or groups, or leave `from` out",
            );
        }
    }
    words(fields.get("exclude"), EXCLUDE, reader);
    words(fields.get("kinds"), KINDS, reader);
    if let Some(node) = fields.get("allow_self") {
        let _ = reader.boolean(node);
    }
    if let Some(node) = fields.get("expires") {
        positive(node, reader);
    }
    fields.finish();
    required
}

fn words(node: Option<&Node>, words: &[(&'static str, ())], reader: &Reader) {
    for item in node.and_then(|n| reader.list(n)).unwrap_or_default() {
        let _ = reader.one_of(item, words);
    }
}

fn positive(node: &Node, reader: &Reader) {
    if let Some(Spanned { value: 0, at }) = time(node, reader) {
        reader.error(
            "bad-duration",
            &at,
            "a time of zero",
            "write a time such as `24h`",
        );
    }
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
                positive(node, reader);
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
