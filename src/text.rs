//! Text from outside, made safe for a terminal.

use std::fmt;

/// Text that came from git, an engine, a log or a document, and reaches a terminal only through its `Display`,
/// which replaces control characters, escape sequences and bidirectional marks (Trojan-source tricks).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Safe(String);

impl Safe {
    /// Cleans `text`: every character that could move a cursor or reorder text is shown as `\u{…}`.
    pub fn new(text: &str) -> Self {
        let plain = |b: &u8| matches!(b, b' '..=b'~');
        if text.as_bytes().iter().all(plain) || text.chars().all(harmless) {
            return Self(text.to_owned());
        }
        let mut out = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            if harmless(c) {
                out.push(c);
            } else {
                out.extend(c.escape_unicode());
            }
        }
        Self(out)
    }

    /// Cleans several lines, keeping the line breaks and tabs.
    pub fn lines(text: &str) -> Self {
        Self(
            text.split('\n')
                .map(|l| Self::new(&l.replace('\t', "    ")).0)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Safe> for String {
    fn from(safe: Safe) -> Self {
        safe.0
    }
}

impl fmt::Display for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a character has no place in a value: it moves a cursor, turns the order of what follows, or is not seen at
/// all. Joiners and direction marks, which some scripts need, are no such characters.
pub fn is_unseen(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_marks_become_visible() {
        assert_eq!(Safe::new("a\u{1b}[31mb").as_str(), "a\\u{1b}[31mb");
        assert_eq!(Safe::new("x\u{202e}y\n").as_str(), "x\\u{202e}y\\u{a}");
        assert_eq!(Safe::lines("one\ntwo\u{7}").as_str(), "one\ntwo\\u{7}");
        assert_eq!(Safe::new("grün ✓").as_str(), "grün ✓");
    }
}
