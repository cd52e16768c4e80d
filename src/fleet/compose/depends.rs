//! `depends_on`, and the order that it asks for over all files.

use std::collections::{BTreeMap, BTreeSet};

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::service::{Condition, Dependency, Scope};
use super::top::note;
use crate::diagnostic::{At, Finding, did_you_mean};
use crate::text::Safe;

const CONDITIONS: &[(&str, Condition)] = &[
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::Completed),
];

/// Reads a list of names or a map of conditions.
pub fn read(ctx: &Context<'_>, node: &Node) -> BTreeMap<String, Dependency> {
    let mut out = BTreeMap::new();
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                if let Some(dependency) = long(ctx, &key.at, value) {
                    out.insert(key.text.clone(), dependency);
                }
            }
        }
        _ => {
            for name in ctx.reader.strings(node).unwrap_or_default() {
                let dependency = Dependency {
                    condition: Condition::Started,
                    required: true,
                    at: name.at,
                };
                out.insert(name.value, dependency);
            }
        }
    }
    out
}

fn long(ctx: &Context<'_>, at: &At, node: &Node) -> Option<Dependency> {
    let mut out = Dependency {
        condition: Condition::Started,
        required: true,
        at: at.clone(),
    };
    if node.is_null() {
        return Some(out);
    }
    let fields = ctx.reader.fields(node, "the dependency")?;
    if let Some(node) = fields.get("condition") {
        out.condition = ctx.reader.one_of(node, CONDITIONS)?;
    }
    if let Some(node) = fields.get("required") {
        out.required = ctx.boolean(node)?;
    }
    if fields.get("restart").and_then(|n| ctx.boolean(n)) == Some(true) {
        note(
            ctx.reader,
            &fields.key_at("restart"),
            "`restart` means nothing here: a service is replaced only when it changes itself",
        );
    }
    fields.finish();
    Some(out)
}

/// One service in the graph of all.
#[derive(Debug, Clone, Copy)]
pub struct Waits<'a> {
    /// How many of it run.
    pub scope: Scope,
    /// What it waits for.
    pub on: &'a BTreeMap<String, Dependency>,
}

/// Reports dependencies on services that do not exist or that cannot be waited for, and cycles.
/// `names` holds every service that is declared, also those with errors.
pub fn check(reader: &Reader, graph: &BTreeMap<&str, Waits<'_>>, names: &BTreeSet<&str>) {
    for (name, waits) in graph {
        for (other, dependency) in waits.on {
            if !names.contains(other.as_str()) {
                unknown(reader, other, dependency, names);
            } else if let Some(target) = graph.get(other.as_str())
                && reach(target.scope) < reach(waits.scope)
            {
                reader.error(
                    "scope",
                    &dependency.at,
                    format!("`{name}` serves more tenants than `{other}`, so it cannot wait for it"),
                    "give both the same `x-ringfence: {scope: …}`, or turn the dependency round",
                );
            }
        }
    }
    cycles(reader, graph);
}

fn reach(scope: Scope) -> u8 {
    match scope {
        Scope::Tenant => 0,
        Scope::Ring => 1,
        Scope::Fleet => 2,
    }
}

fn unknown(reader: &Reader, other: &str, dependency: &Dependency, names: &BTreeSet<&str>) {
    let help = did_you_mean(other, names.iter().copied()).map_or_else(
        || "declare the service, or remove it here".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!("no service is called `{}`", Safe::new(other));
    let finding = if dependency.required {
        Finding::error("unknown-service", dependency.at.clone(), message)
    } else {
        Finding::warning("unknown-service", dependency.at.clone(), message)
    };
    reader.report(finding.help(help));
}

/// Takes away, again and again, what waits for nothing that is left; what stays is on or before a cycle. Each cycle is
/// then walked from its first name and told once.
fn cycles(reader: &Reader, graph: &BTreeMap<&str, Waits<'_>>) {
    let mut left: BTreeSet<&str> = graph.keys().copied().collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .copied()
            .filter(|name| {
                graph
                    .get(name)
                    .is_none_or(|w| !w.on.keys().any(|o| left.contains(o.as_str())))
            })
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    while let Some(first) = left.first().copied() {
        let mut path = vec![first];
        let mut at = first;
        // Everything left waits for something left: the walk cannot end but in a cycle.
        while let Some(next) = graph
            .get(at)
            .and_then(|w| w.on.keys().find_map(|o| left.get(o.as_str()).copied()))
        {
            if let Some(start) = path.iter().position(|p| *p == next) {
                tell(reader, graph, path.get(start..).unwrap_or_default());
                break;
            }
            path.push(next);
            at = next;
        }
        for name in path {
            left.remove(name);
        }
    }
}

fn tell(reader: &Reader, graph: &BTreeMap<&str, Waits<'_>>, cycle: &[&str]) {
    let (Some(last), Some(first)) = (cycle.last(), cycle.first()) else {
        return;
    };
    let Some(dependency) = graph.get(last).and_then(|w| w.on.get(*first)) else {
        return;
    };
    let mut names: Vec<String> = cycle.iter().map(|n| format!("`{n}`")).collect();
    names.push(format!("`{first}`"));
    reader.error(
        "dependency-cycle",
        &dependency.at,
        format!("services wait for each other: {}", names.join(" → ")),
        "remove one of these dependencies",
    );
}
