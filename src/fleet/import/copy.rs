//! What a project's files are taken along: configuration, not data.

use std::collections::{BTreeMap, BTreeSet};

use super::super::compose;
use super::super::compose::filled;
use super::super::yaml::{self, Kind, Node};
use super::{ComposeFile, DOTENV, Text, Work, is_read};
use crate::diagnostic::{At, Finding, Findings, Source};
use crate::text::Safe;

/// The largest file of a folder that is taken for configuration.
const MAX_CONFIG: usize = 256 << 10;

/// What lies at a path of the project.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file of at most 1 MiB: its bytes, and whether it can be run.
    File(Vec<u8>, bool),
    /// A folder's files, by their path in it.
    Folder(Vec<(String, Vec<u8>, bool)>),
    /// Too large, too many, or no plain file.
    Unfit,
    /// Nothing.
    Nothing,
}

/// Looks a path of the project up: relative to the folder that `desired/services/` stands for.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Found;

/// What a `.env` gives.
type Values = BTreeMap<String, String>;

/// A path that a Compose file names.
struct Mention {
    /// As it is written, `./` and all.
    path: String,
    /// The folder that a Compose file's own paths start from, as it is written; none: the one that it lies in.
    start: Option<String>,
    at: std::ops::Range<usize>,
    use_: Use,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A mount; `true` is read-only.
    Mount(bool),
    /// A file of values, a config.
    Read,
    /// A secret.
    Secret,
    /// Another Compose file.
    Compose,
}

/// Copies what a Compose file names, its `.env` among it. Its paths start from `folder`.
pub fn copy(work: &mut Work, file: &ComposeFile, folder: &str, lookup: Lookup<'_>) {
    let dotenv = format!("{folder}{DOTENV}");
    if !work.copies.contains_key(&dotenv)
        && let Found::File(bytes, _) = lookup(&dotenv)
    {
        let at = work.texts.get(&file.path).map(|t| t.at(&(0..0)));
        if let Some(at) = at {
            work.changes.push(
                Finding::warning(
                    "copied",
                    at,
                    format!("`{dotenv}` is copied: it gives values to variables"),
                )
                .help("everybody who reads the repository reads it: keep real secrets out of it"),
            );
        }
        put(work, dotenv, (bytes, false), true);
    }
    mentions_of(work, &file.path, folder, lookup, 0);
}

fn mentions_of(work: &mut Work, path: &str, folder: &str, lookup: Lookup<'_>, depth: usize) {
    let Some(text) = work.texts.get(path).cloned() else {
        return;
    };
    let source = Source::new(path, text.now());
    let Some(root) = yaml::parse(&source, &mut Findings::new()) else {
        return;
    };
    for mention in mentions(&root, &work.dotenv(folder)) {
        let Some(target) = normalise(folder, &mention.path) else {
            if let Use::Mount(_) = mention.use_ {
                let at = text.at(&mention.at);
                let whole = mention.path.split('/').all(|part| matches!(part, "" | "."));
                work.changes.push(if whole {
                    whole_project(at, &mention.path)
                } else {
                    outside(at, &mention.path)
                });
            }
            continue;
        };
        if work.copies.contains_key(&target) || work.texts.contains_key(&target) {
            continue;
        }
        let at = text.at(&mention.at);
        match (lookup(&target), mention.use_) {
            (Found::File(bytes, _), Use::Compose) if depth < 8 => {
                let Ok(other) = String::from_utf8(bytes) else {
                    continue;
                };
                // It is read where it is named, and nowhere else.
                work.texts.insert(target.clone(), Text::new(&target, &other));
                let below = match &mention.start {
                    Some(start) => normalise(folder, start).map_or_else(String::new, |f| f + "/"),
                    None => compose::folder_of(&target).to_owned(),
                };
                if let Found::File(bytes, _) = lookup(&format!("{below}{DOTENV}")) {
                    put(work, format!("{below}{DOTENV}"), (bytes, false), true);
                }
                mentions_of(work, &target, &below, lookup, depth + 1);
            }
            (Found::File(bytes, executable), _) => one(work, at, &target, (bytes, executable), mention.use_),
            (Found::Folder(files), Use::Mount(read_only)) => {
                folder_of(work, at, &target, files, read_only);
            }
            (Found::Unfit, _) => work.changes.push(
                Finding::warning(
                    "left-out",
                    at,
                    format!(
                        "`{}` is too large for a release, or no plain file: it stays behind",
                        Safe::new(&target)
                    ),
                )
                .help("put it into an image, or fill the volume by hand once it is made"),
            ),
            _ => {}
        }
    }
}

/// What lies outside of the project stays there.
fn outside(at: At, path: &str) -> Finding {
    let message = format!(
        "`{}` lies outside of the project: it becomes a volume of the tenant's own, which is empty",
        Safe::new(path)
    );
    Finding::warning("left-out", at, message)
        .help("copy the data into the volume once it is made, with `docker cp`; a file belongs beside the Compose file")
}

/// Nobody can say what of a whole project its containers need.
fn whole_project(at: At, path: &str) -> Finding {
    let message = format!(
        "`{}` is the whole project: its container sees what is copied of it, read-only",
        Safe::new(path)
    );
    Finding::warning("changed", at, message)
        .help("mount the folders that it needs, each by its own name; what it writes belongs into a volume")
}

fn one(work: &mut Work, at: At, target: &str, file: (Vec<u8>, bool), use_: Use) {
    let shown = Safe::new(target);
    let (message, help) = match use_ {
        Use::Secret => (
            format!("the secret `{shown}` is copied in plain text"),
            "everybody who reads the repository reads it: keep real secrets out of it",
        ),
        Use::Mount(false) => (
            format!("`{shown}` is copied, and mounted read-only from the release"),
            "a change is a commit; what the service itself writes belongs in a volume",
        ),
        _ => (format!("`{shown}` is copied"), "a change is a commit"),
    };
    work.changes.push(Finding::note("copied", at, message).help(help));
    put(work, target.to_owned(), file, use_ == Use::Read);
}

/// Keeps a file. One that `check` reads line by line may have lines that must go.
fn put(work: &mut Work, path: String, (bytes, executable): (Vec<u8>, bool), read: bool) {
    if work.texts.contains_key(&path) || work.copies.contains_key(&path) {
        return;
    }
    let yaml = path
        .rsplit('.')
        .next()
        .is_some_and(|e| matches!(e, "yaml" | "yml"));
    match String::from_utf8(bytes) {
        Ok(text) if read && !yaml => {
            let kept = Text::new(&path, &text);
            work.texts.insert(path, kept);
        }
        Ok(text) => {
            work.copies.insert(path, (text.into_bytes(), executable));
        }
        Err(error) => {
            work.copies.insert(path, (error.into_bytes(), executable));
        }
    }
}

/// A folder is configuration when it is mounted read-only, or holds nothing but small texts.
fn folder_of(work: &mut Work, at: At, target: &str, files: Vec<(String, Vec<u8>, bool)>, read_only: bool) {
    let shown = Safe::new(target);
    if files.is_empty() {
        return;
    }
    let texts = files
        .iter()
        .all(|(_, bytes, _)| bytes.len() <= MAX_CONFIG && std::str::from_utf8(bytes).is_ok());
    if !read_only && !texts {
        work.changes.push(
            Finding::warning(
                "left-out",
                at,
                format!("`{shown}` holds data: it becomes a volume of the tenant's own, which is empty"),
            )
            .help("copy the data into the volume once it is made, with `docker cp`"),
        );
        return;
    }
    let count = files.len();
    let how = if read_only { "" } else { ", and mounted read-only" };
    work.changes.push(
        Finding::note(
            "copied",
            at,
            format!(
                "`{shown}` is copied from the project ({}){how}",
                if count == 1 {
                    "1 file".to_owned()
                } else {
                    format!("{count} files")
                }
            ),
        )
        .help("a change is a commit; a folder that the release does not hold would be a volume"),
    );
    for (name, bytes, executable) in files {
        work.copies
            .insert(format!("{target}/{name}"), (bytes, executable));
    }
}

/// Whether files declare a service together: each is then laid over those before it, as `docker compose -f A -f B` does.
pub fn are_laid_over<'t>(texts: impl IntoIterator<Item = &'t str>) -> bool {
    let mut all = BTreeSet::new();
    texts.into_iter().any(|text| {
        let root = yaml::parse(&Source::new("", text), &mut Findings::new());
        let services = root
            .as_ref()
            .and_then(|root| root.get("services"))
            .and_then(Node::entries);
        let names = services
            .unwrap_or_default()
            .iter()
            .map(|(key, _)| key.text.clone());
        let names: BTreeSet<String> = names.collect();
        let again = !all.is_disjoint(&names);
        all.extend(names);
        again
    })
}

/// Whether a Compose file names another one beside it. It must then lie in a folder, or the other would be read too.
pub fn names_a_sibling(text: &str) -> bool {
    let source = Source::new("", text);
    yaml::parse(&source, &mut Findings::new()).is_some_and(|root| {
        mentions(&root, &Values::new())
            .iter()
            .any(|m| m.use_ == Use::Compose && normalise("", &m.path).is_some_and(|p| is_read(&p)))
    })
}

/// The path below `desired/services/`; none where it leaves the project.
fn normalise(folder: &str, path: &str) -> Option<String> {
    compose::inside(&format!("{folder}{path}")).filter(|p| !p.is_empty())
}

fn mentions(root: &Node, values: &Values) -> Vec<Mention> {
    let mut out = Vec::new();
    let mut add = |node: &Node, path: &str, use_: Use| mention(&mut out, node, path, use_, values);
    let scalar = |node: &Node, use_: Use, add: &mut dyn FnMut(&Node, &str, Use)| {
        if let Some(path) = node.scalar() {
            add(node, path, use_);
        }
    };
    for (_, service) in root.get("services").and_then(Node::entries).unwrap_or_default() {
        for key in ["env_file", "label_file"] {
            for item in service.get(key).map(items).unwrap_or_default() {
                scalar(item.get("path").unwrap_or(item), Use::Read, &mut add);
            }
        }
        for item in service.get("volumes").map(items).unwrap_or_default() {
            mount(item, values, &mut add);
        }
        if let Some(file) = service.get("extends").and_then(|e| e.get("file")) {
            scalar(file, Use::Compose, &mut add);
        }
    }
    for (section, use_) in [("configs", Use::Read), ("secrets", Use::Secret)] {
        for (_, node) in root.get(section).and_then(Node::entries).unwrap_or_default() {
            if let Some(file) = node.get("file") {
                scalar(file, use_, &mut add);
            }
        }
    }
    for item in root.get("include").map(items).unwrap_or_default() {
        for path in item.get("env_file").map(items).unwrap_or_default() {
            scalar(path, Use::Read, &mut add);
        }
    }
    // Files that are laid over each other start from one folder.
    for item in root.get("include").map(items).unwrap_or_default() {
        let paths = items(item.get("path").unwrap_or(item));
        let of = |node: &Node| node.scalar().and_then(|text| filled(text, values));
        let first = paths
            .first()
            .and_then(of)
            .map(|p| compose::folder_of(&p).to_owned());
        let start = item.get("project_directory").and_then(of).or(first);
        for path in paths {
            let before = out.len();
            let text = path.scalar().unwrap_or_default();
            mention(&mut out, path, text, Use::Compose, values);
            for mention in out.iter_mut().skip(before) {
                mention.start.clone_from(&start);
            }
        }
    }
    out
}

fn mention(out: &mut Vec<Mention>, node: &Node, path: &str, use_: Use, values: &Values) {
    let Some(path) = filled(path, values) else {
        return;
    };
    if !path.starts_with(['/', '~']) && !path.is_empty() && !path.contains("://") {
        out.push(Mention {
            path,
            start: None,
            at: node.at.span.clone(),
            use_,
        });
    }
}

fn items(node: &Node) -> &[Node] {
    node.items().unwrap_or(std::slice::from_ref(node))
}

fn mount(item: &Node, values: &Values, add: &mut dyn FnMut(&Node, &str, Use)) {
    if let Kind::Map(_) = item.kind {
        let bind = item.get("type").and_then(Node::scalar) == Some("bind");
        let read_only = item.get("read_only").and_then(Node::scalar) == Some("true");
        if let (true, Some(source)) = (bind, item.get("source"))
            && let Some(path) = source.scalar()
        {
            add(source, path, Use::Mount(read_only));
        }
        return;
    }
    let text = item.scalar().and_then(|text| filled(text, values));
    let mut parts = text.as_deref().unwrap_or_default().split(':');
    let (source, _, options) = (parts.next(), parts.next(), parts.next());
    let read_only = options.is_some_and(|o| o.split(',').any(|o| o == "ro"));
    if let Some(source) = source.filter(|s| s.starts_with('.')) {
        add(item, source, Use::Mount(read_only));
    }
}
