//! Findings for people and for programs. Everything that came from a document is made safe for a terminal.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnostic::{At, Finding, Findings, Severity};
use crate::text::Safe;

/// The longest line that is shown, in characters.
const MAX_LINE: usize = 160;

/// Findings for people: code and message, place, the excerpt with a caret, and what to do; then how many there are.
pub fn render(findings: &Findings, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
    .decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for finding in findings {
        out.push_str(&one(&renderer, finding));
        out.push_str("\n\n");
    }
    out.push_str(&summary(findings));
    out
}

/// `2 errors, 1 warning`; empty when there is nothing to say.
fn summary(findings: &Findings) -> String {
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter_map(|severity| match findings.count(severity) {
            0 => None,
            1 => Some(format!("1 {}", severity.word())),
            n => Some(format!("{n} {}s", severity.word())),
        })
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!("{}\n", parts.join(", "))
    }
}

fn one(renderer: &Renderer, finding: &Finding) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let message = Safe::new(&finding.message).to_string();
    let title = level.primary_title(message).id(finding.code);
    let mut group = Group::with_title(title);
    if let Some(at) = &finding.at {
        let path = Safe::new(&at.source.path).to_string();
        let (line, column) = at.line_col();
        // The line of a secret is not shown, not even to whoever wrote it there: logs of a build are read by others.
        let excerpt = Excerpt::of(at).filter(|_| finding.code != "plain-secret");
        group = match excerpt {
            None if !at.source.text.is_empty() => {
                group.element(Origin::path(path).line(line).char_column(column))
            }
            None => group.element(Origin::path(path)),
            Some(excerpt) => {
                let whole = excerpt.whole;
                let snippet = Snippet::source(excerpt.line)
                    .line_start(line)
                    .annotation(AnnotationKind::Primary.span(excerpt.start..excerpt.end));
                if whole {
                    group.element(snippet.path(path))
                } else {
                    // The column is that of the file, not of an excerpt that was cut or has characters spelled out.
                    group
                        .element(Origin::path(path).line(line).char_column(column))
                        .element(snippet)
                }
            }
        };
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(Safe::new(help).to_string()));
    }
    renderer.render(&[group])
}

/// One line of a file, made safe, with the part that is meant.
struct Excerpt {
    line: String,
    /// Whether it is the line as it stands in the file.
    whole: bool,
    start: usize,
    end: usize,
}

impl Excerpt {
    /// The first line of a place; none where the file has no text.
    fn of(at: &At) -> Option<Self> {
        let text = &at.source.text;
        if text.is_empty() {
            return None;
        }
        let (number, column) = at.line_col();
        let from = text
            .split('\n')
            .take(number - 1)
            .map(|l| l.len() + 1)
            .sum::<usize>();
        let line = text.get(from..)?.split('\n').next()?.trim_end_matches('\r');
        let before = line.char_indices().nth(column - 1).map_or(line.len(), |(i, _)| i);
        let length = at.span.end.saturating_sub(at.span.start);
        let mut end = (before + length).min(line.len());
        while !line.is_char_boundary(end) {
            end += 1;
        }
        let full = line;
        let (mut line, mut before, mut end) = (line, before, end);
        // A very long line is shown around the place.
        if line.chars().count() > MAX_LINE {
            let skip = line
                .get(..before)?
                .char_indices()
                .rev()
                .nth(MAX_LINE / 4)
                .map_or(0, |(i, _)| i);
            line = line.get(skip..)?;
            (before, end) = (before - skip, end - skip);
            let cut = line.char_indices().nth(MAX_LINE).map_or(line.len(), |(i, _)| i);
            line = line.get(..cut)?;
            end = end.min(cut);
        }
        // Cleaned in three pieces, so that the span still points at what it meant.
        let clean = |part: &str| Safe::lines(part).to_string();
        let head = clean(line.get(..before)?);
        let middle = clean(line.get(before..end)?);
        let tail = clean(line.get(end..)?);
        let shown = format!("{head}{middle}{tail}");
        Some(Self {
            whole: shown == full,
            start: head.len(),
            end: head.len() + middle.len(),
            line: shown,
        })
    }
}

/// A finding for programs. What there is none of is null.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Told<'a> {
    /// A stable word: `unknown-key`, `wrong-type` …
    code: &'a str,
    /// `error`, `warning` or `note`.
    severity: &'a str,
    /// The file, from the repository's root.
    file: Option<&'a str>,
    /// Counted from 1.
    line: Option<usize>,
    /// In characters, counted from 1.
    column: Option<usize>,
    /// What is wrong, in a sentence.
    message: &'a str,
    /// What to do next.
    help: Option<&'a str>,
}

/// Findings for programs.
pub fn json(findings: &Findings) -> Vec<Told<'_>> {
    findings
        .iter()
        .map(|f| {
            let place = f.at.as_ref().map(At::line_col);
            Told {
                code: f.code,
                severity: f.severity.word(),
                file: f.path(),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                message: &f.message,
                help: f.help.as_deref(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    fn sample() -> Findings {
        let source = Source::new(
            "desired/tenants/acme.yaml",
            "slug: acme\nrign: dev\nnäme: \"a\u{1b}[31m\u{202e}b\"\n",
        );
        let at = |text: &str| {
            let start = source.text.find(text).unwrap();
            At::new(&source, start..start + text.len())
        };
        let mut findings = Findings::new();
        findings.push(
            Finding::error("unknown-key", at("rign"), "the tenant has no key `rign`")
                .help("did you mean `ring`?"),
        );
        findings.push(Finding::warning(
            "odd",
            at("\"a\u{1b}[31m\u{202e}b\""),
            "an odd \u{1b}[2Jname",
        ));
        findings.push(
            Finding::about_path("symlink", "stacks/x\u{7}.yaml", "symbolic links are refused")
                .help("commit the file"),
        );
        findings.push(Finding {
            code: "whole",
            severity: Severity::Note,
            at: None,
            message: "about the whole".into(),
            help: None,
        });
        findings
    }

    #[test]
    fn people_see_place_excerpt_and_help_and_no_escape_sequence() {
        let text = render(&sample(), false);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn colour_comes_only_when_asked_for() {
        assert!(render(&sample(), true).contains('\u{1b}'));
        let clean = render(&sample(), true).replace("\u{1b}[", "");
        assert!(!clean.contains(['\u{7}', '\u{202e}']));
        assert_eq!(render(&Findings::new(), true), "");
    }

    #[test]
    fn programs_get_every_field() {
        insta::assert_json_snapshot!(json(&sample()));
    }

    #[test]
    fn the_place_is_that_of_the_file_however_long_or_odd_its_line_is() {
        let source = Source::new("a.yaml", format!("x: \"{}\u{7}\" bad", "y".repeat(5000)));
        let start = source.text.find("bad").unwrap();
        let mut findings = Findings::new();
        findings.push(Finding::error("odd", At::new(&source, start..start + 3), "m"));
        insta::assert_snapshot!(render(&findings, false));
    }

    #[test]
    fn a_span_anywhere_in_a_file_can_be_shown() {
        let long = format!("a: {}\n\tb: \u{1}ü\r\n\nlast", "x".repeat(5000));
        let source = Source::new("a.yaml", long);
        let len = source.text.len();
        for start in (0..=len).filter(|s| *s < 3 || *s > 4900 || *s % 97 == 0) {
            for length in [0, 1, 2, 6000] {
                let mut findings = Findings::new();
                findings.push(Finding::error("x", At::new(&source, start..start + length), "m"));
                assert!(render(&findings, false).contains("a.yaml:"));
            }
        }
    }
}
