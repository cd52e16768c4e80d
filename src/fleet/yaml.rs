//! YAML as nodes that know their place.
//!
//! The events come from the parser under `serde-saphyr`; the tree is built here, because a fleet wants every
//! finding of a file at once, scalars exactly as they were written (`0644`, `on`, `1.10`), and duplicate keys
//! and aliases with both of their places. Limits follow `Budget`; a bomb of aliases ends at once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, options};

use crate::diagnostic::{At, Finding, Findings, Source};
use crate::text::Safe;

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// The most nodes of one document, aliases counted as often as they are used.
pub const MAX_NODES: usize = 20_000;
const MAX_DEPTH: usize = 32;
const MAX_ANCHORS: usize = 32;
/// Each is counted with all that it stands for: this only bounds how often that is done.
const MAX_ALIASES: usize = 512;

/// A node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands (for an alias: where its anchor's content stands).
    pub at: At,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A scalar as it was written, escapes resolved.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was quoted or a block scalar, and so is a string whatever it looks like.
        quoted: bool,
    },
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping, in the order written, merge keys already merged in; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub at: At,
    /// What its value does to the one that it is laid over.
    pub over: Over,
}

/// What a value does to the one that it is laid over, as its tag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Over {
    /// It is merged into it.
    #[default]
    Merge,
    /// `!override`: it takes its place.
    Override,
    /// `!reset`: neither stays.
    Reset,
}

impl Node {
    /// The text of a scalar; none for `null`, `~` and an empty plain scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether this is YAML's null.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a sequence.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?
            .iter()
            .find(|(k, _)| k.text == key)
            .map(|(_, v)| v)
    }

    /// What it is, in words for a message.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar { quoted: true, .. } => "a string",
            Kind::Scalar { .. } => "a scalar",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// How many nodes it has.
    pub fn weight(&self) -> usize {
        match &self.kind {
            Kind::Scalar { .. } => 1,
            Kind::Seq(items) => 1 + items.iter().map(Node::weight).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|(_, v)| 1 + v.weight()).sum::<usize>(),
        }
    }
}

/// Turns bytes into a source, refusing what is too large, not UTF-8, or holds control characters.
///
/// # Errors
/// One finding that names the file and, where there is one, the place.
pub fn text(path: &str, bytes: &[u8]) -> Result<Arc<Source>, Finding> {
    if bytes.len() > MAX_FILE {
        return Err(Finding::about_path(
            "too-large",
            path,
            format!("the file has {} bytes; the limit is 1 MiB", bytes.len()),
        )
        .help("split it, or keep large data out of the fleet repository"));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Finding::about_path("encoding", path, "the file is UTF-16").help("save it as UTF-8"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let good =
                std::str::from_utf8(bytes.get(..e.valid_up_to()).unwrap_or_default()).unwrap_or_default();
            let source = Source::new(path, good);
            return Err(Finding::error(
                "encoding",
                At::new(&source, good.len()..good.len()),
                "not UTF-8 from here on",
            )
            .help("save the file as UTF-8"));
        }
    };
    let source = Source::new(path, text);
    if let Some(rest) = text.strip_prefix('\u{feff}') {
        let _ = rest;
        return Err(Finding::error(
            "encoding",
            At::new(&source, 0..3),
            "the file starts with a byte order mark",
        )
        .help("save it as UTF-8 without a BOM"));
    }
    if let Some((i, c)) = text
        .char_indices()
        .find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        let shown = Safe::new(&c.to_string());
        return Err(Finding::error(
            "control-character",
            At::new(&source, i..i + c.len_utf8()),
            format!("the control character {shown}"),
        )
        .help("remove it"));
    }
    Ok(source)
}

/// Reads one document. Syntax errors, duplicate keys, tags, further documents and budget breaches are findings.
/// The node is absent where the document is empty or its syntax is broken.
pub fn parse(source: &Arc<Source>, findings: &mut Findings) -> Option<Node> {
    read(source, findings, false)
}

/// Reads one document that may be laid over another, and say so with `!reset` and `!override`.
pub fn parse_layer(source: &Arc<Source>, findings: &mut Findings) -> Option<Node> {
    read(source, findings, true)
}

fn read(source: &Arc<Source>, findings: &mut Findings, is_layer: bool) -> Option<Node> {
    let mut builder = Builder {
        is_layer,
        source,
        findings,
        stack: Vec::new(),
        anchors: HashMap::new(),
        aliases: 0,
        nodes: 0,
        root: None,
        documents: 0,
        stopped: false,
    };
    let opts = options! { emit_comments: false, emit_unresolved_aliases: true };
    for next in Parser::new_from_str_with_options(&source.text, opts) {
        match next {
            Ok((event, span)) => builder.event(&event, &span),
            Err(error) => {
                let mark = error.marker();
                let at = mark
                    .byte_offset()
                    .unwrap_or(source.text.len())
                    .min(source.text.len());
                let finding = Finding::error(
                    "syntax",
                    At::new(source, at..at),
                    format!("not valid YAML: {}", error.info()),
                );
                builder.findings.push(hint_for_syntax(finding, source, at));
                return None;
            }
        }
        if builder.stopped {
            return None;
        }
    }
    builder.root
}

fn hint_for_syntax(finding: Finding, source: &Source, at: usize) -> Finding {
    let line_start = source
        .text
        .get(..at)
        .and_then(|t| t.rfind('\n'))
        .map_or(0, |i| i + 1);
    let line = source
        .text
        .get(line_start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    if indent.contains('\t') {
        return finding.help("YAML is indented with spaces, not with tabs");
    }
    finding.help("check the indentation, quotes and colons of this line and the one before it")
}

struct Builder<'a> {
    is_layer: bool,
    source: &'a Arc<Source>,
    findings: &'a mut Findings,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliases: usize,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
    stopped: bool,
}

struct Open {
    anchor: usize,
    start: usize,
    body: Body,
}

enum Body {
    Seq(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        merges: Vec<Node>,
        key: Option<Key>,
        skip_value: bool,
    },
}

/// `!!merge <<` is `<<`, as some programs write it.
fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, _, _, Some(tag)) if text == "<<" && tag.original() == "!!merge")
}

impl Builder<'_> {
    fn range(&self, span: &Span) -> Range<usize> {
        let len = self.source.text.len();
        let range = span.byte_range().unwrap_or(0..0);
        range.start.min(len)..range.end.min(len)
    }

    fn at(&self, range: Range<usize>) -> At {
        At::new(self.source, range)
    }

    /// Takes the tag of a value that is laid over another. False: it is another tag, or stands elsewhere.
    fn says_over(&mut self, tag: &str) -> bool {
        let over = match tag {
            "!reset" => Over::Reset,
            "!override" => Over::Override,
            _ => return false,
        };
        let Some(Body::Map { key: Some(key), .. }) = self.stack.last_mut().map(|open| &mut open.body) else {
            return false;
        };
        if self.is_layer {
            key.over = over;
        }
        self.is_layer
    }

    fn stop(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.stopped = true;
    }

    fn event(&mut self, event: &Event<'_>, span: &Span) {
        let range = self.range(span);
        if let Some(tag) = event.tag()
            && !matches!(
                tag.core_suffix(),
                Some("str" | "int" | "float" | "bool" | "null" | "map" | "seq")
            )
            && !is_merge_key(event)
            && !self.says_over(&tag.original())
        {
            let at = self.at(range.clone());
            self.findings.push(
                Finding::error(
                    "tag",
                    at,
                    format!("the tag `{}` is not carried out", Safe::new(&tag.original())),
                )
                .help("write the value without a tag"),
            );
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents == 2 {
                    let at = self.at(range);
                    self.stop(
                        Finding::error("several-documents", at, "a second YAML document starts here")
                            .help("one document a file: move it into its own file"),
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = *style != ScalarStyle::Plain
                    || tag.as_ref().is_some_and(|t| t.core_suffix() == Some("str"));
                let node = Node {
                    kind: Kind::Scalar {
                        text: text.to_string(),
                        quoted,
                    },
                    at: self.at(range),
                };
                self.close(*anchor, node);
            }
            Event::SequenceStart(_, anchor, _) => self.open(*anchor, range.start, Body::Seq(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(
                    *anchor,
                    range.start,
                    Body::Map {
                        entries: Vec::new(),
                        merges: Vec::new(),
                        key: None,
                        skip_value: false,
                    },
                );
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return };
                let kind = match open.body {
                    Body::Seq(items) => Kind::Seq(items),
                    Body::Map { entries, merges, .. } => Kind::Map(self.merge(entries, merges)),
                };
                let node = Node {
                    kind,
                    at: self.at(open.start..range.end.max(open.start)),
                };
                self.close(open.anchor, node);
            }
            Event::Alias(id) => self.alias(*id, range),
            Event::UnresolvedAlias(name) => {
                let at = self.at(range.clone());
                self.findings.push(
                    Finding::error(
                        "alias",
                        at.clone(),
                        format!("no anchor `&{}` stands before this alias", Safe::new(name)),
                    )
                    .help("define the anchor earlier in the same file"),
                );
                self.close(
                    0,
                    Node {
                        kind: Kind::Scalar {
                            text: String::new(),
                            quoted: false,
                        },
                        at,
                    },
                );
            }
            _ => {}
        }
    }

    /// An alias stands for its anchor's node, which is copied: the budget counts it as often as it is used.
    fn alias(&mut self, id: usize, range: Range<usize>) {
        self.aliases += 1;
        match self.anchors.get(&id).cloned() {
            _ if self.aliases > MAX_ALIASES => {
                self.over_budget(range, &format!("more than {MAX_ALIASES} aliases"));
            }
            Some(node) => {
                self.nodes += node.weight();
                self.close(0, node);
            }
            None => {
                let at = self.at(range);
                self.stop(
                    Finding::error("alias", at, "an alias inside its own anchor").help("write the value out"),
                );
            }
        }
    }

    fn over_budget(&mut self, range: Range<usize>, what: &str) {
        let at = self.at(range);
        self.stop(
            Finding::error("budget", at, format!("the document has {what}"))
                .help("write less by reference, or split the file"),
        );
    }

    fn open(&mut self, anchor: usize, start: usize, body: Body) {
        if self.stack.len() >= MAX_DEPTH {
            return self.over_budget(start..start, &format!("more than {MAX_DEPTH} levels"));
        }
        self.stack.push(Open { anchor, start, body });
    }

    /// A node is complete: it becomes the root, an item, a key or a value.
    fn close(&mut self, anchor: usize, node: Node) {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.over_budget(node.at.span.clone(), &format!("more than {MAX_NODES} nodes"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
            if self.anchors.len() > MAX_ANCHORS {
                return self.over_budget(node.at.span.clone(), &format!("more than {MAX_ANCHORS} anchors"));
            }
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.body {
            Body::Seq(items) => items.push(node),
            Body::Map {
                entries,
                merges,
                key,
                skip_value,
            } => match key.take() {
                None => self.key(node),
                Some(_) if std::mem::take(skip_value) => {}
                Some(k) if k.text == "<<" => merges.push(node),
                Some(k) => entries.push((k, node)),
            },
        }
    }

    fn key(&mut self, node: Node) {
        let text = match &node.kind {
            Kind::Scalar { text, .. } => text.clone(),
            _ => {
                self.findings.push(
                    Finding::error("key", node.at.clone(), "a key must be a scalar")
                        .help("quote it, if it is meant as text"),
                );
                String::new()
            }
        };
        let Some(Open {
            body:
                Body::Map {
                    entries,
                    key,
                    skip_value,
                    ..
                },
            ..
        }) = self.stack.last_mut()
        else {
            return;
        };
        if let Some((first, _)) = entries.iter().find(|(k, _)| k.text == text) {
            let (line, _) = first.at.line_col();
            self.findings.push(
                Finding::error(
                    "duplicate-key",
                    node.at.clone(),
                    format!("the key `{}` stands twice in this map", Safe::new(&text)),
                )
                .help(format!("the first is on line {line}: keep one of them")),
            );
            *skip_value = true;
        }
        *key = Some(Key {
            text,
            at: node.at,
            over: Over::Merge,
        });
    }

    /// YAML 1.1 merge keys: what stands in the map itself wins, then the earlier of several merged maps.
    fn merge(&mut self, mut entries: Vec<(Key, Node)>, merges: Vec<Node>) -> Vec<(Key, Node)> {
        for merged in merges {
            let maps = match merged.kind {
                Kind::Seq(items) => items,
                _ => vec![merged],
            };
            for map in maps {
                let Kind::Map(pairs) = map.kind else {
                    self.findings.push(
                        Finding::error(
                            "merge-key",
                            map.at.clone(),
                            "a merge key `<<` takes a map or a list of maps",
                        )
                        .help("use `<<: *anchor`, where the anchor stands on a map"),
                    );
                    continue;
                };
                for (key, value) in pairs {
                    if !entries.iter().any(|(k, _)| k.text == key.text) {
                        entries.push((key, value));
                    }
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let source = Source::new("t.yaml", text);
        let mut findings = Findings::new();
        let node = parse(&source, &mut findings);
        let list = findings
            .iter()
            .map(|f| format!("{} {} {}", f.code, f.at.as_ref().unwrap(), f.message))
            .collect();
        (node, list)
    }

    #[test]
    fn scalars_stay_as_they_were_written() {
        let (node, findings) = read("mode: 0644\nv: 1.10\nb: on\nq: \"80\"\nport: 3306:3306\nn: ~\n");
        let node = node.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        for (key, want) in [
            ("mode", "0644"),
            ("v", "1.10"),
            ("b", "on"),
            ("q", "80"),
            ("port", "3306:3306"),
        ] {
            assert_eq!(node.get(key).unwrap().scalar(), Some(want));
        }
        assert!(node.get("n").unwrap().is_null());
    }

    #[test]
    fn every_duplicate_key_is_found_and_the_first_value_stays() {
        let (node, findings) = read("a: 1\nb: {x: 1, x: 2}\na: 3\n");
        assert_eq!(node.unwrap().get("a").unwrap().scalar(), Some("1"));
        assert_eq!(
            findings,
            [
                "duplicate-key t.yaml:2:11 the key `x` stands twice in this map",
                "duplicate-key t.yaml:3:1 the key `a` stands twice in this map"
            ]
        );
    }

    #[test]
    fn merge_keys_and_anchors_are_resolved() {
        for key in ["<<", "!!merge <<"] {
            let (node, findings) = read(&format!("base: &b {{x: 1, y: 2}}\nuse:\n  {key}: *b\n  y: 3\n"));
            assert!(findings.is_empty(), "{findings:?}");
            let node = node.unwrap();
            let used = node.get("use").unwrap();
            assert_eq!(used.get("x").unwrap().scalar(), Some("1"));
            assert_eq!(used.get("y").unwrap().scalar(), Some("3"));
        }
    }

    #[test]
    fn a_bomb_of_aliases_ends_at_the_budget() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..10 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let (node, findings) = read(&text);
        assert!(node.is_none());
        assert!(findings[0].starts_with("budget"), "{findings:?}");
        // Many small ones do no harm; too many do not go on either.
        let many = |n: usize| format!("a: &a {{x: 1}}\nb: [{}]\n", vec!["*a"; n].join(","));
        assert!(read(&many(400)).1.is_empty());
        assert!(read(&many(513)).1[0].contains("more than 512 aliases"));
        let large = format!(
            "a: &a [{}]\nb: [{}]\n",
            vec!["x"; 1000].join(","),
            vec!["*a"; 30].join(",")
        );
        assert!(read(&large).1[0].contains("nodes"));
        let deep = "[".repeat(100_000);
        assert!(read(&deep).0.is_none());
    }

    #[test]
    fn syntax_tags_documents_and_unknown_aliases_have_places() {
        assert!(read("a: [1, 2\nb: 3\n").1[0].starts_with("syntax t.yaml:"));
        assert_eq!(
            read("a: !!python/object x\n").1[0],
            "tag t.yaml:1:20 the tag `!!python/object` is not carried out"
        );
        assert!(read("a: 1\n---\nb: 2\n").1[0].starts_with("several-documents t.yaml:2"));
        assert_eq!(
            read("a: *nope\n").1[0],
            "alias t.yaml:1:4 no anchor `&nope` stands before this alias"
        );
    }

    #[test]
    fn text_refuses_what_is_not_plain_utf8() {
        assert_eq!(text("a", b"\xff\xfea").unwrap_err().code, "encoding");
        assert_eq!(text("a", b"ok\xff").unwrap_err().at.unwrap().line_col(), (1, 3));
        assert_eq!(text("a", b"\xef\xbb\xbfa").unwrap_err().code, "encoding");
        assert_eq!(text("a", b"a\0b").unwrap_err().code, "control-character");
        assert_eq!(
            text("a", &vec![b'a'; MAX_FILE + 1]).unwrap_err().code,
            "too-large"
        );
    }
}
