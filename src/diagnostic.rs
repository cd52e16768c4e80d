//! Findings: what is wrong with a document, and where.
//!
//! A [`Finding`] is data. The terminal, JSON and (later) the TUI each render the same one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::text::Safe;

/// In characters. Lists of names fit; a value of a megabyte does not.
const LONGEST_MESSAGE: usize = 500;

/// One text file as it was read, kept so that a finding can show the line it speaks of.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Path inside the repository, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Makes a source that many positions can share.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            text: text.into(),
        })
    }
}

/// A place in a source: a byte range in its text.
#[derive(Clone, PartialEq, Eq)]
pub struct At {
    /// The file.
    pub source: Arc<Source>,
    /// Byte range in the file's text; empty ranges point between two characters.
    pub span: Range<usize>,
}

impl At {
    /// A place in `source`.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self {
            source: Arc::clone(source),
            span,
        }
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn line_col(&self) -> (usize, usize) {
        let text = &self.source.text;
        let mut end = self.span.start.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        (line, before.get(start..).unwrap_or_default().chars().count() + 1)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, col) = self.line_col();
        write!(f, "{}:{line}:{col}", Safe::new(&self.source.path))
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value with the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: At,
}

impl<T> Spanned<T> {
    /// Pairs a value with its place.
    pub fn new(value: T, at: At) -> Self {
        Self { value, at }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document is taken; this is for information.
    Note,
    /// The document is taken, but this is probably not meant.
    Warning,
    /// The document is refused.
    Error,
}

impl Severity {
    /// The word people and JSON see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing to say about the fleet's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable code in kebab-case, such as `unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is; none when it is about the whole (an absent file, say).
    pub at: Option<At>,
    /// One sentence in lower case, without a full stop. Never holds a secret.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Finding {
    /// An error at a place.
    pub fn error(code: &'static str, at: At, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            at: Some(at),
            message: message.into(),
            help: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, at: At, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, at, message)
        }
    }

    /// A note at a place.
    pub fn note(code: &'static str, at: At, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(code, at, message)
        }
    }

    /// A finding about a path that could not be read as text at all.
    pub fn about_path(code: &'static str, path: &str, message: impl Into<String>) -> Self {
        Self::error(code, At::new(&Source::new(path, ""), 0..0), message)
    }

    /// Adds the line that says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The path that it is about, if any.
    pub fn path(&self) -> Option<&str> {
        self.at.as_ref().map(|at| at.source.path.as_str())
    }
}

/// All findings of a run, in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, mut finding: Finding) {
        // A value that is repeated in a message may be as long as its file.
        if let Some((cut, _)) = finding.message.char_indices().nth(LONGEST_MESSAGE) {
            finding.message.truncate(cut);
            finding.message.push('…');
        }
        self.0.push(finding);
    }

    /// Adds all of another run.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|f| f.severity == severity).count()
    }

    /// Sorts by path and position and drops exact repeats (a shared base read for several tenants says
    /// the same thing once).
    pub fn tidy(&mut self) {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        self.0.dedup();
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(f: &Finding) -> (&str, usize, std::cmp::Reverse<Severity>, &str, &str) {
    let (path, start) =
        f.at.as_ref()
            .map_or(("", 0), |at| (at.source.path.as_str(), at.span.start));
    (path, start, std::cmp::Reverse(f.severity), f.code, &f.message)
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// The candidate nearest to `word`, when it is near enough to be a slip of the pen.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(word, c), c))
        .filter(|(distance, c)| *distance <= (c.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let source = Source::new("a.yaml", "key: 1\nschlüssel: x\n");
        let x = source.text.find('x').unwrap();
        assert_eq!(At::new(&source, x..x + 1).to_string(), "a.yaml:2:12");
        assert_eq!(At::new(&source, 9999..9999).line_col(), (3, 1));
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_another_word_is_not() {
        let keys = ["image", "environment", "container_name"];
        assert_eq!(did_you_mean("iamge", keys), Some("image"));
        assert_eq!(did_you_mean("enironemnt", keys), Some("environment"));
        assert_eq!(did_you_mean("contianer_name", keys), Some("container_name"));
        assert_eq!(did_you_mean("wibble", keys), None);
    }
}
