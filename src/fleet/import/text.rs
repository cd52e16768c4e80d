//! A text that is changed by position, and still knows where each part of it came from.

use std::ops::Range;
use std::sync::Arc;

use super::super::yaml::{Kind, Node};
use crate::diagnostic::{At, Source};

/// A file of the user's while it is changed.
#[derive(Debug, Clone)]
pub struct Text {
    /// As the user has it, under the name the user gave.
    original: Arc<Source>,
    /// As it is now.
    now: String,
    /// For each byte of `now` and for its end: the byte of the original that it stands for.
    from: Vec<usize>,
}

/// A part of a document that can be left out: an entry of a map, or an item of a list.
#[derive(Debug, Clone)]
pub struct Part<'n> {
    /// The key of an entry; none for an item.
    pub key: Option<&'n str>,
    /// Where its text begins: at the key, or at an item's content.
    start: usize,
    /// The value.
    pub value: &'n Node,
    /// The map or list that it is in.
    parent: &'n Node,
}

impl Part<'_> {
    /// Where what it is in stands.
    pub fn parent_at(&self) -> At {
        self.parent.at.clone()
    }
}

impl Text {
    /// A file as it was given.
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            original: Source::new(name, text),
            now: text.to_owned(),
            from: (0..=text.len()).collect(),
        }
    }

    /// The text as it is now.
    pub fn now(&self) -> &str {
        &self.now
    }

    /// A range of the text as it is now, where the user has it.
    pub fn at(&self, range: &Range<usize>) -> At {
        let end = self.original.text.len();
        let of = |i: usize| self.from.get(i).copied().unwrap_or(end);
        let start = of(range.start);
        At::new(&self.original, start..of(range.end).max(start))
    }

    /// Puts `new` in the place of a range.
    pub fn replace(&mut self, range: Range<usize>, new: &str) {
        let origin = self.from.get(range.start).copied().unwrap_or(0);
        self.now.replace_range(range.clone(), new);
        self.from.splice(range, std::iter::repeat_n(origin, new.len()));
    }

    /// The range that leaves a part out, and what stands there then: block style becomes a comment, so that nobody
    /// loses what was written; flow style goes. None: only the whole that it is in can be left out.
    pub fn without(&self, part: &Part<'_>) -> Option<(Range<usize>, String)> {
        let text = self.now.as_str();
        if is_flow(text, part.parent) {
            return Some((self.flow_range(part), String::new()));
        }
        let start = match part.key {
            Some(_) => part.start,
            None => dash_before(text, part.start)?,
        };
        let line = text.get(..start)?.rfind('\n').map_or(0, |i| i + 1);
        let before = text.get(line..start)?;
        if before.chars().all(|c| c == ' ') {
            let end = block_end(text, line, start - line, part.key.is_some());
            return Some((line..end, commented(text.get(line..end)?, start - line)));
        }
        // The first key of a list's item: the next one takes its place behind the dash.
        let next = part
            .parent
            .entries()?
            .iter()
            .map(|(k, _)| k.at.span.start)
            .filter(|s| *s > start && part.parent.at.span.contains(s))
            .min()?;
        Some((start..next, String::new()))
    }

    fn flow_range(&self, part: &Part<'_>) -> Range<usize> {
        let text = self.now.as_str();
        let end = part.value.at.span.end.max(part.start);
        let after = text.get(end..).unwrap_or_default();
        let rest = after.trim_start();
        if let Some(more) = rest.strip_prefix(',') {
            let blanks = more.len() - more.trim_start_matches(' ').len();
            return part.start..end + (after.len() - rest.len()) + 1 + blanks;
        }
        let before = text.get(..part.start).unwrap_or_default().trim_end();
        match before.strip_suffix(',') {
            Some(kept) => kept.len()..end,
            None => part.start..end,
        }
    }
}

/// The parts that lie around a place, from the outermost to the innermost.
pub fn parts_at(root: &Node, place: usize) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut node = root;
    loop {
        let inside = |start: usize| node.at.span.contains(&start);
        let next = match &node.kind {
            Kind::Map(entries) => entries
                .iter()
                // What a merge key brought stands elsewhere.
                .filter(|(k, _)| inside(k.at.span.start) && k.at.span.start <= place)
                .max_by_key(|(k, _)| k.at.span.start)
                .map(|(k, v)| (Some(k.text.as_str()), k.at.span.start, v)),
            Kind::Seq(items) => items
                .iter()
                .filter(|v| inside(v.at.span.start) && v.at.span.start <= place)
                .max_by_key(|v| v.at.span.start)
                .map(|v| (None, v.at.span.start, v)),
            Kind::Scalar { .. } => None,
        };
        let Some((key, start, value)) = next else {
            return out;
        };
        out.push(Part {
            key,
            start,
            value,
            parent: node,
        });
        if value.at.span.start < start {
            // An alias: its content stands elsewhere.
            return out;
        }
        node = value;
    }
}

fn is_flow(text: &str, node: &Node) -> bool {
    text.get(node.at.span.start..)
        .is_some_and(|t| t.starts_with(['[', '{']))
}

/// The dash of an item whose content begins here.
fn dash_before(text: &str, start: usize) -> Option<usize> {
    let before = text.get(..start)?;
    let line = before.rfind('\n').map_or(0, |i| i + 1);
    let head = before.get(line..)?;
    // `- &anchor value` and `- - x` keep their last dash.
    head.rfind("- ").map(|i| line + i).or_else(|| {
        let above = before.trim_end();
        above.ends_with('-').then(|| above.len() - 1)
    })
}

/// Where the block that begins on a line ends: before the next line that is not deeper than it.
fn block_end(text: &str, line: usize, column: usize, is_entry: bool) -> usize {
    let mut end = line;
    let mut at = line;
    for (i, full) in text
        .get(line..)
        .unwrap_or_default()
        .split_inclusive('\n')
        .enumerate()
    {
        let body = full.trim_end();
        let indent = body.len() - body.trim_start_matches(' ').len();
        let is_item = body.trim_start().starts_with("- ") || body.trim_start() == "-";
        let belongs =
            i == 0 || body.is_empty() || indent > column || (is_entry && indent == column && is_item);
        if !belongs {
            break;
        }
        at += full.len();
        if !body.is_empty() {
            end = at;
        }
    }
    end
}

fn commented(block: &str, column: usize) -> String {
    block
        .split_inclusive('\n')
        .map(|line| {
            let deep = line
                .get(..column)
                .is_some_and(|head| head.chars().all(|c| c == ' '));
            match (deep, line.trim().is_empty()) {
                (_, true) => line.to_owned(),
                (true, _) => format!(
                    "{}# {}",
                    line.get(..column).unwrap_or_default(),
                    line.get(column..).unwrap_or_default()
                ),
                (false, _) => format!("# {line}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Findings;
    use crate::fleet::yaml;

    fn without(text: &str, word: &str) -> Option<String> {
        let mut file = Text::new("t.yaml", text);
        let source = Source::new("t.yaml", text);
        let root = yaml::parse(&source, &mut Findings::new()).unwrap();
        let place = text.find(word).unwrap();
        let parts = parts_at(&root, place);
        let (range, new) = file.without(parts.last().unwrap())?;
        file.replace(range, &new);
        assert!(
            yaml::parse(&Source::new("t.yaml", file.now()), &mut Findings::new()).is_some(),
            "{}",
            file.now()
        );
        Some(file.now().to_owned())
    }

    #[test]
    fn a_block_becomes_a_comment_and_its_neighbours_stay() {
        for (text, word, want) in [
            (
                "a:\n  b: 1\n  c: 2 # said\n",
                "b",
                "a:\n  # b: 1\n  c: 2 # said\n",
            ),
            (
                "a:\n  b:\n    - x\n\n    - y\n  # of c\n  c: 2\n",
                "b",
                "a:\n  # b:\n  #   - x\n\n  #   - y\n  # of c\n  c: 2\n",
            ),
            (
                "a:\n  b:\n  - x\n  - y\n  c: 2\n",
                "b",
                "a:\n  # b:\n  # - x\n  # - y\n  c: 2\n",
            ),
            ("a:\n- x: 1\n  y: 2\n- z\n", "z", "a:\n- x: 1\n  y: 2\n# - z\n"),
            ("a:\n  - x: 1\n    y: 2\n  - z\n", "x", "a:\n  - y: 2\n  - z\n"),
            ("a:\n  - x\n  - \"y\"\n", "y", "a:\n  - x\n  # - \"y\"\n"),
            (
                "a: |\n  text\n  more\nb: 1\n",
                "a",
                "# a: |\n#   text\n#   more\nb: 1\n",
            ),
        ] {
            assert_eq!(without(text, word).as_deref(), Some(want), "{text}");
        }
        assert_eq!(without("a:\n  - x: 1\n", "x"), None, "the item as a whole");
    }

    #[test]
    fn a_part_in_brackets_goes_with_its_comma() {
        for (text, word, want) in [
            ("a: {b: 1, c: [2], d: 3}\n", "b", "a: {c: [2], d: 3}\n"),
            ("a: {b: 1, c: [2], d: 3}\n", "c", "a: {b: 1, d: 3}\n"),
            ("a: {b: 1, c: [2], d: 3}\n", "d", "a: {b: 1, c: [2]}\n"),
            ("a: [x, y]\n", "y", "a: [x]\n"),
            ("a: [x]\n", "x", "a: []\n"),
        ] {
            assert_eq!(without(text, word).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_users_file() {
        let mut text = Text::new("t.yaml", "abc\ndef\nghi\n");
        text.replace(0..3, "a much longer line");
        text.replace(19..22, "");
        let i = text.now().find("ghi").unwrap();
        assert_eq!(text.at(&(i..i + 3)).to_string(), "t.yaml:3:1");
        assert_eq!(text.at(&(0..3)).to_string(), "t.yaml:1:1");
    }
}
