//! Why a container is replaced: field by field, secrets never shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::render::object::ContainerSpec;
use crate::text::Safe;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Why {
    /// `image`, `env.THEME`, `mounts./data` …
    pub field: String,
    /// What runs; none: nothing.
    pub from: Option<String>,
    /// What shall run; none: nothing.
    pub to: Option<String>,
}

impl Why {
    /// A cause that is no field of the spec.
    pub fn cause(text: impl Into<String>) -> Self {
        Self {
            field: text.into(),
            from: None,
            to: None,
        }
    }
}

/// Words that make the value of a variable a secret.
const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "KEY",
    "CREDENTIAL",
    "PRIVATE",
    "DSN",
    "AUTH",
];

/// Whether a variable's value must not be shown.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|w| name.contains(w))
}

/// The fields that differ, by path.
pub fn differences(old: &ContainerSpec, new: &ContainerSpec) -> Vec<Why> {
    let hidden = secrets(old).into_iter().chain(secrets(new)).collect();
    let (old, new) = (fields(old, &hidden), fields(new, &hidden));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|n| old.get(*n) != new.get(*n))
        .map(|n| Why {
            field: n.clone(),
            from: old.get(n).cloned(),
            to: new.get(n).cloned(),
        })
        .collect()
}

/// A spec as lines `field: value`, for a unified diff.
pub fn lines(spec: &ContainerSpec) -> String {
    fields(spec, &secrets(spec))
        .into_iter()
        .map(|(k, v)| format!("{k}: {v}\n"))
        .collect()
}

/// Shorter values are words that stand in many places: hiding each of them would hide more than the secret.
const SHORTEST_SECRET: usize = 6;

/// The values of a spec's secrets, which must not be shown elsewhere either (a password inside a URL or a command).
fn secrets(spec: &ContainerSpec) -> BTreeSet<String> {
    let named = spec.env.iter().chain(&spec.labels);
    named
        .filter(|(name, value)| is_secret(name) && value.len() >= SHORTEST_SECRET)
        .map(|(_, value)| value.clone())
        .collect()
}

/// Field paths to values as people read them, secrets replaced by a digest of their value.
fn fields(spec: &ContainerSpec, hidden: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Ok(Value::Object(map)) = serde_json::to_value(spec) {
        for (key, value) in map {
            let depth = if key == "env" || key == "labels" { 1 } else { 2 };
            flatten(&key, &value, depth, hidden, &mut out);
        }
    }
    out
}

fn flatten(
    path: &str,
    value: &Value,
    depth: usize,
    hidden: &BTreeSet<String>,
    out: &mut BTreeMap<String, String>,
) {
    match value {
        Value::Object(map) if depth > 0 && !map.is_empty() => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, depth - 1, hidden, out);
            }
        }
        _ => {
            let named = path.strip_prefix("env.").or_else(|| path.strip_prefix("labels."));
            let shown = match value {
                _ if named.is_some_and(is_secret) => mark(value),
                Value::String(text) => masked(text, hidden),
                other => masked(&written(other, hidden).to_string(), &BTreeSet::new()),
            };
            out.insert(Safe::new(path).to_string(), Safe::new(&shown).to_string());
        }
    }
}

/// A value with the texts in it masked before JSON escapes them.
fn written(value: &Value, hidden: &BTreeSet<String>) -> Value {
    match value {
        Value::String(text) => Value::String(masked(text, hidden)),
        Value::Array(items) => items.iter().map(|v| written(v, hidden)).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), written(v, hidden))).collect(),
        other => other.clone(),
    }
}

/// What stands for a secret. Another value has another mark, so that its change is seen.
fn mark(value: &Value) -> String {
    format!("(secret, sha256:{}…)", Digest::of("secret", value).short())
}

/// A text without the secrets in it: those of the spec, and the password of any `scheme://user:password@host`.
fn masked(text: &str, hidden: &BTreeSet<String>) -> String {
    let mut text = text.to_owned();
    // The longest first: one secret may hold another.
    let mut hidden: Vec<&String> = hidden.iter().filter(|h| text.contains(h.as_str())).collect();
    hidden.sort_by_key(|h| std::cmp::Reverse(h.len()));
    for secret in hidden {
        text = text.replace(secret.as_str(), &mark(&Value::String(secret.clone())));
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        rest = after;
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c));
        let authority = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        let Some((user, password)) = authority
            .rsplit_once('@')
            .and_then(|(info, _)| info.split_once(':'))
        else {
            continue;
        };
        out.push_str(user);
        out.push(':');
        // One that is hidden already stands as its mark.
        if password.is_empty() || password.starts_with("(secret,") {
            out.push_str(password);
        } else {
            out.push_str(&mark(&Value::String(password.to_owned())));
        }
        rest = rest.get(user.len() + 1 + password.len()..).unwrap_or_default();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(env: &[(&str, &str)]) -> ContainerSpec {
        ContainerSpec {
            image: "sha256:aa".to_owned(),
            env: env
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn a_changed_variable_is_the_only_difference() {
        let why = differences(
            &spec(&[("THEME", "light"), ("A", "1")]),
            &spec(&[("THEME", "dark"), ("A", "1")]),
        );
        assert_eq!(
            why,
            [Why {
                field: "env.THEME".into(),
                from: Some("light".into()),
                to: Some("dark".into())
            }]
        );
    }

    #[test]
    fn a_secret_is_never_shown_but_its_change_is() {
        let (old, new) = (
            spec(&[("DB_PASSWORD", "hunter2")]),
            spec(&[("DB_PASSWORD", "hunter3")]),
        );
        let why = format!("{:?}", differences(&old, &new));
        assert!(
            why.contains("env.DB_PASSWORD") && !why.contains("hunter"),
            "{why}"
        );
        assert!(!lines(&old).contains("hunter"));
        assert_ne!(lines(&old), lines(&new));
    }
}
