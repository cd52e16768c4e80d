//! `desired/spirits/`: personality overlays in Markdown with optional front matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document;
use super::read::Reader;
use super::tenants::TenantFiles;
use super::tree::{Entry, Tree};
use super::yaml;
use crate::diagnostic::{At, Finding, Source};
use crate::text::Safe;

const FOLDER: &str = "desired/spirits/";

/// The largest overlay, in bytes: more would fill a model's context.
const MAX_SPIRIT: u64 = 256 << 10;

/// One overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spirit {
    /// Its file.
    pub source: Arc<Source>,
    /// For people.
    pub description: String,
    /// Caps the effort of those who wear it; none: no cap.
    pub effort_cap: Option<i64>,
    /// Agents it is for; empty: all.
    pub agents: Vec<String>,
    /// The Markdown without the front matter.
    pub text: String,
}

/// The overlays of a base: name (`work`) → overlay. Those of tenants stand in [`TenantFiles`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spirits(pub BTreeMap<String, Spirit>);

/// A place that was looked at for a tenant's overlay.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Candidate {
    /// Path in the repository.
    pub path: String,
    /// Why it is a candidate: `the tenant's own for this agent`, `the tenant's spirit` …
    pub why: &'static str,
    /// Whether it is there.
    pub exists: bool,
    /// Whether it is the one chosen.
    pub chosen: bool,
}

impl Spirits {
    /// The overlay that a tenant gets for an agent (none: for no agent in particular), and all that was
    /// looked at, in order. The first that exists wins.
    pub fn choose(&self, tenant: &TenantFiles, agent: Option<&str>) -> (Option<Spirit>, Vec<Candidate>) {
        let mut looks: Vec<(String, &'static str)> = Vec::new();
        if let Some(agent) = agent {
            looks.push((
                format!("desired/spirits/tenants/{}/{agent}.md", tenant.name),
                "the tenant's own for this agent",
            ));
        }
        looks.push((
            format!("desired/spirits/tenants/{}.md", tenant.name),
            "the tenant's own",
        ));
        if let Some(spirit) = tenant.tenant.as_ref().and_then(|t| t.spirit.as_ref()) {
            looks.push((
                format!("desired/spirits/{}.md", spirit.value),
                "the spirit that the tenant names",
            ));
        }
        if let Some(agent) = agent {
            looks.push((format!("desired/spirits/{agent}.md"), "the agent's"));
        }
        looks.push(("desired/spirits/default.md".to_owned(), "the fleet's default"));
        let mut chosen = None;
        let mut candidates = Vec::new();
        for (path, why) in looks {
            let found = match tenant.spirits.get(&path) {
                Some(own) => Some(own.clone()),
                None => path
                    .strip_prefix("desired/spirits/")
                    .and_then(|p| p.strip_suffix(".md"))
                    .and_then(|name| self.0.get(name).cloned()),
            };
            let first = chosen.is_none() && found.is_some();
            candidates.push(Candidate {
                path,
                why,
                exists: found.is_some(),
                chosen: first,
            });
            if first {
                chosen = found;
            }
        }
        (chosen, candidates)
    }
}

/// Reads the overlays of a base: `desired/spirits/<name>.md`.
pub fn read(tree: &Tree, reader: &Reader) -> Spirits {
    let mut all = BTreeMap::new();
    for (path, entry) in tree.below(FOLDER) {
        if path.starts_with("desired/spirits/tenants/") || document::is_for_people(path) {
            continue;
        }
        let Some(name) = document::stem(path, FOLDER, ".md") else {
            document::unknown_file(path, ["desired/spirits/<name>.md"], reader);
            continue;
        };
        if let Some(spirit) = one(path, entry, reader) {
            all.insert(name.to_owned(), spirit);
        }
    }
    Spirits(all)
}

/// Reads one overlay.
pub fn one(path: &str, entry: &Entry, reader: &Reader) -> Option<Spirit> {
    if entry.size > MAX_SPIRIT && document::plain(path, entry, reader) {
        reader.report(
            Finding::about_path(
                "too-large",
                path,
                format!("the spirit has {} bytes; the limit is 256 KiB", entry.size),
            )
            .help("shorten it: a spirit is put before every conversation"),
        );
        return None;
    }
    let name = path.rsplit('/').next().and_then(|n| n.strip_suffix(".md"));
    if !name.is_some_and(is_name) {
        reader.report(
            Finding::about_path(
                "bad-name",
                path,
                format!(
                    "`{}` cannot be the name of a spirit",
                    Safe::new(name.unwrap_or(path))
                ),
            )
            .help("use lower-case letters, digits, `-` and `_`, a letter or digit first"),
        );
        return None;
    }
    let source = document::text(path, entry, reader)?;
    let before = reader.errors();
    let mut spirit = Spirit {
        source: Arc::clone(&source),
        description: String::new(),
        effort_cap: None,
        agents: Vec::new(),
        text: source.text.clone(),
    };
    if let Some(opening) = opening(&source.text) {
        let Some((end, body)) = closing(&source.text, opening) else {
            reader.error(
                "front-matter",
                &At::new(&source, 0..3),
                "the front matter does not end",
                "write a line `---` after it",
            );
            return None;
        };
        spirit.text = source.text.get(body..).map(str::to_owned).unwrap_or_default();
        front_matter(&source, opening, end, &mut spirit, reader);
    }
    if spirit.text.trim().is_empty() {
        reader.report(
            Finding::about_path("empty-file", path, "the spirit has no text")
                .help("write it, or delete the file"),
        );
    }
    (reader.errors() == before).then_some(spirit)
}

fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
}

/// Where the front matter begins, if the first line is `---`.
fn opening(text: &str) -> Option<usize> {
    let line = text.split_inclusive('\n').next()?;
    (line.trim_end() == "---").then_some(line.len())
}

/// Where the front matter ends, and where the text after it begins.
fn closing(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    for line in text.get(from..)?.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((at, at + line.len()));
        }
        at += line.len();
    }
    None
}

fn front_matter(source: &Arc<Source>, from: usize, to: usize, spirit: &mut Spirit, reader: &Reader) {
    // The opening line becomes blanks and the rest is cut off, so that every position is that of the file.
    let mut text = " ".repeat(from.saturating_sub(1));
    text.push('\n');
    text.push_str(source.text.get(from..to).unwrap_or_default());
    let masked = Source::new(source.path.clone(), text);
    let Some(node) = reader.with(|findings| yaml::parse(&masked, findings)) else {
        return;
    };
    if node.is_null() {
        return;
    }
    let Some(fields) = reader.fields(&node, "the front matter") else {
        return;
    };
    if let Some(text) = fields.get("description").and_then(|n| reader.string(n)) {
        spirit.description = text.value;
    }
    spirit.effort_cap = fields.get("effort_cap").and_then(|n| reader.integer(n, 1..=10));
    if let Some(agents) = fields.get("agents").and_then(|n| reader.strings(n)) {
        spirit.agents = agents.into_iter().map(|a| a.value).collect();
    }
    fields.finish();
}
