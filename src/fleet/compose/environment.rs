//! `environment`, `env_file` and `labels`.

use std::collections::BTreeMap;

use super::super::yaml::{self, Kind, Node};
use super::convert::Context;
use super::release::Found;
use super::template::Problem;
use super::{dotenv, top};
use crate::diagnostic::{At, Finding};
use crate::text::Safe;

/// Prefixes of labels that are somebody else's.
const RESERVED_LABELS: &[&str] = &["dev.ringfence.", "com.docker."];
/// The most bytes that all labels of a service may have.
const MAX_LABELS: usize = 64 << 10;

/// `env_file`s in their order, then `environment`.
pub fn read(
    ctx: &Context<'_>,
    files: Option<&Node>,
    environment: Option<(&Node, At)>,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Some(node) = files {
        env_files(ctx, node, &mut out);
    }
    if let Some((node, key)) = environment {
        for (name, at, value) in pairs(ctx, node, Bare::Variable) {
            if checked_name(ctx, &at, &key, &name) {
                plain_secret(ctx, &at, &name, &value);
                out.insert(name, value);
            }
        }
    }
    out
}

/// What an entry without a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// The variable's own value.
    Variable,
    /// The empty text.
    Empty,
}

/// A map, or a list of `KEY=value`.
fn pairs(ctx: &Context<'_>, node: &Node, bare: Bare) -> Vec<(String, At, String)> {
    let mut out: Vec<(String, At, String)> = Vec::new();
    let alone = |name: &str, at: &At| match bare {
        Bare::Empty => Some(String::new()),
        Bare::Variable if !is_variable(name) => {
            no_variable(ctx, at, name);
            None
        }
        // One without a value is not set at all.
        Bare::Variable => ctx.values.get(name).map(str::to_owned).or_else(|| {
            ctx.values
                .blank(ctx.reader, at, &Problem::Missing(name.to_owned(), None));
            None
        }),
    };
    match &node.kind {
        Kind::Seq(items) => {
            for item in items {
                let Some(text) = ctx.reader.string(item) else {
                    continue;
                };
                let found = match text.value.split_once('=') {
                    Some((name, value)) => Some((name.to_owned(), value.to_owned())),
                    None => alone(&text.value, &item.at).map(|value| (text.value.clone(), value)),
                };
                let Some((name, value)) = found else { continue };
                if out.iter().any(|(n, _, _)| *n == name) {
                    ctx.reader.report(
                        Finding::warning(
                            "duplicate-key",
                            item.at.clone(),
                            format!(
                                "`{}` stands twice in this list: the last one counts",
                                Safe::new(&name)
                            ),
                        )
                        .help("keep one of them"),
                    );
                    out.retain(|(n, _, _)| *n != name);
                }
                out.push((name, item.at.clone(), value));
            }
        }
        Kind::Map(entries) => {
            for (key, value) in entries {
                let value = if value.is_null() {
                    alone(&key.text, &key.at)
                } else {
                    ctx.reader.string(value).map(|t| t.value)
                };
                if let Some(value) = value {
                    out.push((key.text.clone(), key.at.clone(), value));
                }
            }
        }
        Kind::Scalar { .. } => {
            let _ = ctx.reader.map(node);
        }
    }
    out
}

/// Whether a name is one that a variable can have.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An entry without a value whose name no variable can have: as with Compose, it is not set.
fn no_variable(ctx: &Context<'_>, at: &At, name: &str) {
    // Where a variable made it empty, or could not be read, that was said.
    let written = at.source.text.get(at.span.clone()).unwrap_or_default();
    if name.is_empty() && written.contains('$') {
        return;
    }
    let shown: String = name.chars().take(80).collect();
    ctx.reader.report(
        Finding::warning(
            "environment",
            at.clone(),
            format!(
                "`{}` has no value and is left out: no variable is called so",
                Safe::new(&shown)
            ),
        )
        .help("write `NAME=value`"),
    );
}

fn checked_name(ctx: &Context<'_>, at: &At, key: &At, name: &str) -> bool {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=') {
        ctx.reader.error(
            "environment",
            at,
            format!("`{}` is no name of a variable", Safe::new(name)),
            "write `NAME=value`, without blanks around the name",
        );
        return false;
    }
    if name.starts_with("RINGFENCE_") {
        ctx.reader.error(
            "reserved-name",
            at,
            format!("`{}` is ringfence's own", Safe::new(name)),
            "choose a name that does not start with `RINGFENCE_`",
        );
        return false;
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        ctx.reader.report(
            Finding::warning(
                "environment",
                at.clone(),
                format!("`{}` starts with a digit: no shell can read it", Safe::new(name)),
            )
            .help("start it with a letter or `_`"),
        );
    }
    if name.starts_with("TENANT_") && !ctx.tenant_noted.replace(true) {
        top::note(
            ctx.reader,
            key,
            "variables that start with `TENANT_` are set by ringfence, which wins",
        );
    }
    true
}

/// Warns of a value that looks like a key. The value is never shown.
fn plain_secret(ctx: &Context<'_>, at: &At, name: &str, value: &str) {
    if looks_secret(value) {
        ctx.reader.report(
            Finding::warning(
                "plain-secret",
                at.clone(),
                format!("the value of `{}` looks like a key or a token", Safe::new(name)),
            )
            .help("everybody who reads the repository reads it: keep real secrets out of it"),
        );
    }
}

fn looks_secret(value: &str) -> bool {
    let token = |prefix: &str, least: usize| {
        value.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= least
                && rest
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
    };
    value.contains("PRIVATE KEY-----")
        || value.starts_with("AGE-SECRET-KEY-1")
        || token("sk-", 20)
        || token("AKIA", 16)
        || ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-"]
            .iter()
            .any(|p| token(p, 16))
        || (value.starts_with("eyJ") && value.matches('.').count() == 2 && value.contains(".eyJ"))
}

/// A string, a list of strings, or a list of `{path, required, format}`.
fn env_files(ctx: &Context<'_>, node: &Node, out: &mut BTreeMap<String, String>) {
    for item in node.items().unwrap_or(std::slice::from_ref(node)) {
        if !matches!(item.kind, Kind::Map(_)) {
            env_file(ctx, item, true, false, out);
            continue;
        }
        let Some(fields) = ctx.reader.fields(item, "the `env_file`") else {
            continue;
        };
        let required = fields
            .get("required")
            .and_then(|n| ctx.boolean(n))
            .unwrap_or(true);
        let raw = fields
            .get("format")
            .and_then(|n| ctx.reader.one_of(n, &[("raw", true)]))
            .unwrap_or(false);
        if let Some(path) = fields.require("path") {
            env_file(ctx, path, required, raw, out);
        }
        fields.finish();
    }
}

fn env_file(ctx: &Context<'_>, node: &Node, required: bool, raw: bool, out: &mut BTreeMap<String, String>) {
    for (name, at, value) in file_values(ctx, node, "env_file", required, raw) {
        if checked_name(ctx, &at, &at, &name) {
            plain_secret(ctx, &at, &name, &value);
            out.insert(name, value);
        }
    }
}

/// What a file of `KEY=value` lines says, which the release must hold. With `raw`, values are as they are written.
fn file_values(
    ctx: &Context<'_>,
    node: &Node,
    key: &str,
    required: bool,
    raw: bool,
) -> Vec<(String, At, String)> {
    let Some(path) = top::inside(ctx.reader, node, ctx.release) else {
        return Vec::new();
    };
    let help = match key {
        "env_file" => {
            "commit it there without what is secret, or let it be absent: `{path: …, required: false}`"
        }
        _ => top::COMMIT,
    };
    match ctx.release.find(&path) {
        Found::File(_) => {}
        Found::Nothing => {
            if required {
                top::not_held(ctx.reader, &node.at, &path, help);
            }
            return Vec::new();
        }
        Found::Unusable(path, why) => {
            top::unusable(ctx.reader, &node.at, &path, why);
            return Vec::new();
        }
        Found::Folder(_) => {
            let message = format!("`{key}` names a folder");
            ctx.reader.error("not-a-file", &node.at, message, "name a file");
            return Vec::new();
        }
    }
    let bytes = ctx.release.bytes(&path).unwrap_or_default();
    let source = match yaml::text(&format!("{}{path}", super::release::FOLDER), &bytes) {
        Ok(source) => source,
        Err(finding) => {
            ctx.reader.report(finding);
            return Vec::new();
        }
    };
    let lines = if raw {
        dotenv::raw_lines(&source, ctx.reader)
    } else {
        dotenv::lines(&source, ctx.reader)
    };
    let values = dotenv::values(
        &lines,
        ctx.reader,
        &|name| ctx.values.get(name),
        &|at, problem| ctx.values.blank(ctx.reader, at, problem),
    );
    lines
        .into_iter()
        .filter_map(|line| {
            let value = values.get(&line.key)?.clone();
            Some((line.key, line.at, value))
        })
        .collect()
}

/// `label_file`s in their order, then `labels`.
pub fn labels(ctx: &Context<'_>, files: Option<&Node>, node: Option<&Node>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut size = 0;
    let mut all = Vec::new();
    for file in files
        .map(|n| n.items().unwrap_or(std::slice::from_ref(n)))
        .unwrap_or_default()
    {
        all.extend(file_values(ctx, file, "label_file", true, false));
    }
    all.extend(node.map(|n| pairs(ctx, n, Bare::Empty)).unwrap_or_default());
    for (name, at, value) in all {
        size += name.len() + value.len();
        if let Some(prefix) = RESERVED_LABELS.iter().find(|p| name.starts_with(**p)) {
            ctx.reader.error(
                "reserved-label",
                &at,
                format!("labels that start with `{prefix}` are not a service's own"),
                "choose another prefix, such as your domain backwards",
            );
        } else if name.is_empty()
            || name.contains(|c: char| c.is_control() || c == '=')
            || value.contains('\n')
        {
            ctx.reader.error(
                "label",
                &at,
                "a label without a name, or with a line break",
                "write `name: value`",
            );
        } else {
            plain_secret(ctx, &at, &name, &value);
            out.insert(name, value);
        }
    }
    if let Some(node) = node.or(files)
        && size > MAX_LABELS
    {
        ctx.reader.error(
            "label",
            &node.at,
            "the labels have more than 64 KiB",
            "keep large texts in a file of the release",
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_recognised_and_plain_values_are_not() {
        for value in [
            "sk-abcdefghijklmnopqrstuvwx",
            "-----BEGIN RSA PRIVATE KEY-----\nx",
            "ghp_0123456789abcdefghij",
            "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl",
        ] {
            assert!(looks_secret(value), "{value}");
        }
        for value in ["sk-short", "postgres", "https://example.org/a.b.c", ""] {
            assert!(!looks_secret(value), "{value}");
        }
    }
}
