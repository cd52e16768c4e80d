//! From nodes to values, one key at a time, so that a file's findings are all told at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::yaml::{Key, Kind, Node};
use crate::diagnostic::{At, Finding, Findings, Spanned, did_you_mean};
use crate::text::{Safe, is_unseen};

/// Collects findings while documents are read. Shared by reference, so that readers can nest.
#[derive(Debug, Default)]
pub struct Reader {
    findings: RefCell<Findings>,
}

impl Reader {
    /// With no findings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding.
    pub fn report(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Adds an error at a place, with what to do.
    pub fn error(&self, code: &'static str, at: &At, message: impl Into<String>, help: impl Into<String>) {
        self.report(Finding::error(code, at.clone(), message).help(help));
    }

    /// How many errors there are so far (compare before and after to learn whether a part was clean).
    pub fn errors(&self) -> usize {
        self.findings.borrow().count(crate::diagnostic::Severity::Error)
    }

    /// The findings.
    pub fn into_findings(self) -> Findings {
        self.findings.into_inner()
    }

    /// Lets `parse` add to the same findings.
    pub fn with<T>(&self, f: impl FnOnce(&mut Findings) -> T) -> T {
        f(&mut self.findings.borrow_mut())
    }

    fn wrong(&self, node: &Node, want: &str) {
        self.error(
            "wrong-type",
            &node.at,
            format!("expected {want}, found {}", node.describe()),
            format!("write {want} here"),
        );
    }

    /// The entries of a map, to be taken one by one; `what` names it in messages (`the ring`).
    pub fn fields<'n, 'r>(&'r self, node: &'n Node, what: &'n str) -> Option<Fields<'n, 'r>> {
        match &node.kind {
            Kind::Map(entries) => Some(Fields {
                reader: self,
                node,
                what,
                entries,
                known: RefCell::new(Vec::new()),
            }),
            _ => {
                self.wrong(node, "a map");
                None
            }
        }
    }

    /// The items of a list.
    pub fn list<'n>(&self, node: &'n Node) -> Option<&'n [Node]> {
        node.items().or_else(|| {
            self.wrong(node, "a list");
            None
        })
    }

    /// The entries of a map whose keys are free.
    pub fn map<'n>(&self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        node.entries().or_else(|| {
            self.wrong(node, "a map");
            None
        })
    }

    /// A string. Numbers and booleans are taken as they were written.
    pub fn string(&self, node: &Node) -> Option<Spanned<String>> {
        match &node.kind {
            Kind::Scalar { text, quoted } if *quoted || !node.is_null() => {
                if let Some(c) = text
                    .chars()
                    .find(|c| is_unseen(*c) && !matches!(c, '\n' | '\t' | '\r'))
                {
                    self.error(
                        "control-character",
                        &node.at,
                        format!(
                            "the value holds {}, a character that nobody sees",
                            Safe::new(&c.to_string())
                        ),
                        "remove it",
                    );
                    return None;
                }
                Some(Spanned::new(text.clone(), node.at.clone()))
            }
            _ => {
                self.wrong(node, "a string");
                None
            }
        }
    }

    /// `true` or `false`, nothing else (`yes` and `on` are strings).
    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match (&node.kind, node.scalar()) {
            (Kind::Scalar { quoted: false, .. }, Some("true" | "True" | "TRUE")) => Some(true),
            (Kind::Scalar { quoted: false, .. }, Some("false" | "False" | "FALSE")) => Some(false),
            _ => {
                self.wrong(node, "true or false");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer(&self, node: &Node, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = match (&node.kind, node.scalar()) {
            (Kind::Scalar { quoted: false, .. }, Some(text)) => text.parse::<i64>().ok(),
            _ => None,
        };
        match value {
            Some(value) if range.contains(&value) => Some(value),
            Some(_) => {
                self.error(
                    "out-of-range",
                    &node.at,
                    format!("expected a number from {} to {}", range.start(), range.end()),
                    "choose a number in that range",
                );
                None
            }
            None => {
                self.wrong(node, "a whole number");
                None
            }
        }
    }

    /// A finite number that is not negative; NaN and infinities are refused.
    pub fn number(&self, node: &Node) -> Option<f64> {
        let value = match (&node.kind, node.scalar()) {
            (Kind::Scalar { quoted: false, .. }, Some(text)) => {
                text.parse::<f64>().ok().filter(|v| v.is_finite())
            }
            _ => None,
        };
        match value {
            Some(value) if value >= 0.0 => Some(value),
            Some(_) => {
                self.error(
                    "out-of-range",
                    &node.at,
                    "a negative number",
                    "write a number from 0 on",
                );
                None
            }
            None => {
                self.wrong(node, "a finite number");
                None
            }
        }
    }

    /// A string that `T` can be made of; its error is the message.
    pub fn parse<T>(&self, node: &Node, code: &'static str, help: &str) -> Option<Spanned<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.string(node)?;
        match text.value.parse() {
            Ok(value) => Some(Spanned::new(value, text.at)),
            Err(error) => {
                self.error(code, &text.at, error.to_string(), help);
                None
            }
        }
    }

    /// A moment: a time with its zone, or a day, which begins in UTC.
    pub fn moment(&self, node: &Node) -> Option<Spanned<Timestamp>> {
        let text = self.string(node)?;
        let day = || {
            // A time of day without a zone would be read as the day it falls on.
            let day: Date = text.value.parse().ok().filter(|_| text.value.len() == 10)?;
            Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        let Some(moment) = text.value.parse().ok().or_else(day) else {
            self.error(
                "bad-time",
                &text.at,
                format!("`{}` is no moment", Safe::new(&text.value)),
                "write a day such as `2026-11-23`, which begins in UTC, or `2026-11-23T10:00:00Z`",
            );
            return None;
        };
        Some(Spanned::new(moment, text.at))
    }

    /// A list of strings.
    pub fn strings(&self, node: &Node) -> Option<Vec<Spanned<String>>> {
        let items = self.list(node)?;
        Some(items.iter().filter_map(|n| self.string(n)).collect())
    }

    /// A map of strings to strings.
    pub fn string_map(&self, node: &Node) -> Option<BTreeMap<String, Spanned<String>>> {
        let entries = self.map(node)?;
        Some(
            entries
                .iter()
                .filter_map(|(k, v)| Some((k.text.clone(), self.string(v)?)))
                .collect(),
        )
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.string(node)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text.value) {
            return Some(*value);
        }
        let list = words
            .iter()
            .map(|(w, _)| format!("`{w}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let help = did_you_mean(&text.value, words.iter().map(|(w, _)| *w)).map_or_else(
            || format!("choose one of {list}"),
            |w| format!("did you mean `{w}`? One of {list}"),
        );
        self.error(
            "unknown-value",
            &text.at,
            format!("`{}` is none of {list}", Safe::new(&text.value)),
            help,
        );
        None
    }
}

/// The entries of one map while it is read: what nobody asks for is a finding.
pub struct Fields<'n, 'r> {
    reader: &'r Reader,
    node: &'n Node,
    what: &'n str,
    entries: &'n [(Key, Node)],
    known: RefCell<Vec<&'static str>>,
}

impl<'n> Fields<'n, '_> {
    /// The value of a key; `null` counts as absent. Asking makes the key known.
    pub fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.known.borrow_mut().push(key);
        self.entries
            .iter()
            .find(|(k, _)| k.text == key)
            .map(|(_, v)| v)
            .filter(|v| !v.is_null())
    }

    /// The value of a key that must be there.
    pub fn require(&self, key: &'static str) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let start = self.node.at.span.start;
            let at = At::new(&self.node.at.source, start..start);
            self.reader.error(
                "missing-key",
                &at,
                format!("{} needs `{key}`", self.what),
                format!("add `{key}:`"),
            );
        }
        found
    }

    /// Where a key of this map stands, for a finding about the key itself.
    pub fn key_at(&self, key: &str) -> At {
        self.entries
            .iter()
            .find(|(k, _)| k.text == key)
            .map_or_else(|| self.node.at.clone(), |(k, _)| k.at.clone())
    }

    /// A key that is understood but that nothing carries out: refused with its position and the next step.
    pub fn refuse(&self, key: &'static str, why: &str, help: &str) {
        if self.get(key).is_some() {
            self.reader.error(
                "not-carried-out",
                &self.key_at(key),
                format!("`{key}` {why}"),
                help,
            );
        }
    }

    /// Reports every key that was never asked for. Keys that start with `x-` are extensions and pass.
    pub fn finish(self) {
        let known = self.known.into_inner();
        for (key, _) in self
            .entries
            .iter()
            .filter(|(k, _)| !known.contains(&k.text.as_str()) && !k.text.starts_with("x-"))
        {
            let mut sorted = known.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let help = did_you_mean(&key.text, known.iter().copied()).map_or_else(
                || format!("known here: {}", sorted.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.reader.error(
                "unknown-key",
                &key.at,
                format!("{} has no key `{}`", self.what, Safe::new(&key.text)),
                help,
            );
        }
    }
}
