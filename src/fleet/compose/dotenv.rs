//! Files of `KEY=value` lines: `.env` beside the Compose files, and what `env_file` names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::read::Reader;
use super::template::{Get, Problem, Template};
use super::values::report;
use crate::diagnostic::{At, Source};
use crate::text::Safe;

/// The most bytes that all values of one file may have together.
const MAX_TOTAL: usize = 4 << 20;

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The variable.
    pub key: String,
    /// Where the line stands.
    pub at: At,
    /// Its value; none for a bare `KEY`, which takes the variable's value from outside.
    pub value: Option<Raw>,
}

/// A value before interpolation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The text, quotes taken off.
    pub text: String,
    /// Whether variables in it are replaced (not in single quotes).
    pub expands: bool,
}

/// What parts a key from its value.
const SEPARATORS: [char; 2] = ['=', ':'];

/// Reads the lines; what is no assignment is a finding.
pub fn lines(source: &Arc<Source>, reader: &Reader) -> Vec<Line> {
    let text = source.text.as_str();
    let mut out = Vec::new();
    let mut pos = 0;
    while let Some(rest) = text.get(pos..).filter(|r| !r.is_empty()) {
        let end = rest.find('\n').map_or(text.len(), |i| pos + i);
        let line = text.get(pos..end).unwrap_or_default();
        let at = At::new(source, pos..end);
        pos = end + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        // `KEY: value` is read as well, as by Compose.
        let (key, value) = match assignment.split_once(SEPARATORS) {
            Some((key, value)) => (key.trim_end(), Some(value.trim_start())),
            None => (assignment, None),
        };
        if !is_name(key) {
            reader.error(
                "dotenv",
                &at,
                format!(
                    "`{}` is no name of a variable",
                    Safe::new(&key.chars().take(40).collect::<String>())
                ),
                "write one `KEY=value` a line; a comment starts with `#`",
            );
            continue;
        }
        let value = match value {
            None => None,
            Some(value) if value.starts_with(['"', '\'']) => {
                // A quoted value may go on over several lines: it is read from the text, not from the line.
                let start = end - line.len() + line.find(SEPARATORS).map_or(0, |i| i + 1);
                let start = start + text.get(start..).map_or(0, |t| t.len() - t.trim_start().len());
                if let Some((raw, used)) = quoted(text.get(start..).unwrap_or_default()) {
                    let after = start + used;
                    pos = text
                        .get(after..)
                        .and_then(|t| t.find('\n'))
                        .map_or(text.len(), |i| after + i + 1);
                    Some(raw)
                } else {
                    reader.error(
                        "dotenv",
                        &at,
                        format!("the quote of `{key}` is not closed"),
                        "close it",
                    );
                    continue;
                }
            }
            Some(value) => Some(Raw {
                text: without_comment(value).to_owned(),
                expands: true,
            }),
        };
        out.push(Line {
            key: key.to_owned(),
            at,
            value,
        });
    }
    out
}

/// The same without quotes, comments behind a value, and variables (`format: raw`).
pub fn raw_lines(source: &Arc<Source>, reader: &Reader) -> Vec<Line> {
    let mut out = Vec::new();
    let mut pos = 0;
    for line in source.text.split('\n') {
        let at = At::new(source, pos..pos + line.len());
        pos += line.len() + 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(k, v)| (k, Some(v)));
        if is_name(key) {
            let value = value.map(|text| Raw {
                text: text.to_owned(),
                expands: false,
            });
            out.push(Line {
                key: key.to_owned(),
                at,
                value,
            });
        } else {
            let shown = Safe::new(&key.chars().take(40).collect::<String>()).to_string();
            reader.error(
                "dotenv",
                &at,
                format!("`{shown}` is no name of a variable"),
                "write one `KEY=value` a line; a comment starts with `#`",
            );
        }
    }
    out
}

/// Values of all lines, in order; a line sees those before it, then `outside`. `missing` hears of variables that
/// have no value, and says whether they may be empty.
pub fn values(
    lines: &[Line],
    reader: &Reader,
    outside: Get<'_>,
    missing: &dyn Fn(&At, &Problem) -> bool,
) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut total = 0usize;
    for line in lines {
        let (value, problems) = {
            let get = |name: &str| out.get(name).map(String::as_str).or_else(|| outside(name));
            match &line.value {
                None => match outside(&line.key) {
                    Some(value) => (value.to_owned(), Vec::new()),
                    None => {
                        missing(&line.at, &Problem::Missing(line.key.clone(), None));
                        continue;
                    }
                },
                Some(raw) if raw.expands && raw.text.contains('$') => match Template::parse(&raw.text) {
                    Ok(template) => template.fill(&get),
                    Err(problem) => (String::new(), vec![problem]),
                },
                Some(raw) => (raw.text.clone(), Vec::new()),
            }
        };
        let mut good = true;
        for problem in &problems {
            good &= match problem {
                Problem::Missing(..) => missing(&line.at, problem),
                other => {
                    report(reader, &line.at, other);
                    false
                }
            };
        }
        if !good {
            continue;
        }
        total = total.saturating_add(value.len());
        if total > MAX_TOTAL {
            report(reader, &line.at, &Problem::TooLong);
            return out;
        }
        out.insert(line.key.clone(), value);
    }
    out
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// An unquoted value ends before ` #`.
fn without_comment(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let end = value
        .find(" #")
        .into_iter()
        .chain(value.find("\t#"))
        .min()
        .unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_end()
}

/// The quoted text at the beginning, and how many bytes it takes with its quotes.
fn quoted(text: &str) -> Option<(Raw, usize)> {
    if let Some(body) = text.strip_prefix('\'') {
        let end = body.find('\'')?;
        let raw = Raw {
            text: body.get(..end)?.to_owned(),
            expands: false,
        };
        return Some((raw, end + 2));
    }
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                let raw = Raw {
                    text: out,
                    expands: true,
                };
                return Some((raw, i + 2));
            }
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                // A dollar that stays a dollar through interpolation.
                '$' => out.push_str("$$"),
                c @ ('"' | '\\') => out.push(c),
                c => {
                    out.push('\\');
                    out.push(c);
                }
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
        let source = Source::new(".env", text);
        let reader = Reader::new();
        let lines = lines(&source, &reader);
        let outside = |name: &str| (name == "OUT").then_some("outside");
        let values = values(&lines, &reader, &outside, &|at, p| {
            report(&reader, at, p);
            false
        });
        let findings = reader.into_findings();
        (
            values,
            findings
                .iter()
                .map(|f| format!("{} {}", f.code, f.at.as_ref().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn lines_quotes_comments_and_references_are_read() {
        let text = "# comment\nA=1\n export B = two words # said\nC='$A # kept'\nD=\"$A\\n\\$B\"\nE=${A}x\nF=\nG=\"over\nlines\" # x\nH=a#b\nOUT\nI=$OUT\r\nJ: 'a: b'\nK:l=m\n";
        let (values, findings) = read(text);
        assert_eq!(findings, Vec::<String>::new());
        for (key, want) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A # kept"),
            ("D", "1\n$B"),
            ("E", "1x"),
            ("F", ""),
            ("G", "over\nlines"),
            ("H", "a#b"),
            ("OUT", "outside"),
            ("I", "outside"),
            ("J", "a: b"),
            ("K", "l=m"),
        ] {
            assert_eq!(values.get(key).map(String::as_str), Some(want), "{key}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_a_finding_and_the_rest_is_read() {
        let (values, findings) = read("A=1\nnot a line\n=x\n1A=x\nB=\"open\nC=$NO\nD=${\n");
        assert_eq!(values.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(
            findings,
            [
                "dotenv .env:2:1",
                "dotenv .env:3:1",
                "dotenv .env:4:1",
                "dotenv .env:5:1",
                "missing-variable .env:6:1",
                "interpolation .env:7:1"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,80}", dense in "[A-C=\"'#$\\\\{}\n ä]{0,40}") {
            read(&text);
            read(&dense);
        }
    }
}
