//! `include`: further Compose files of the release, with a folder and values of their own.

use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{Kind, MAX_NODES, Node};
use super::extends::{self, folder_of, read};
use super::files::Contents;
use super::merge::{self, merge_files};
use super::release::{Found, ReleaseFiles};
use super::settled::{self, Settled};
use super::top;
use crate::diagnostic::At;
use crate::text::Safe;

/// How deep files may include each other.
const MAX_DEPTH: usize = 8;

/// Where a file is read from, and with what.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The release, seen from the file.
    pub release: ReleaseFiles,
    /// Values for its variables.
    pub dotenv: BTreeMap<String, String>,
    /// The files that led to it, those of one `include` together, itself the last.
    pub chain: Vec<Vec<String>>,
    /// What was settled on the way to it.
    pub settled: Vec<Settled>,
}

/// Reads all entries of `include:`.
pub fn read_all(contents: &mut Contents, reader: &Reader, node: &Node, origin: &Origin) {
    for item in reader.list(node).unwrap_or_default() {
        let mut settled = origin.settled.clone();
        if let Some(entry) = entry(reader, item, origin, &mut settled) {
            let origin = Origin {
                settled,
                ..origin.clone()
            };
            one(contents, reader, entry, &origin);
        }
    }
}

/// One entry of `include:`.
struct Entry {
    /// The file, and what is laid over it, in order: paths relative to `desired/services/`. At least one.
    paths: Vec<(String, At)>,
    /// Where relative paths start; by default the first file's folder.
    folder: Option<String>,
    env: Option<Vec<Node>>,
}

fn entry(reader: &Reader, item: &Node, origin: &Origin, settled: &mut Vec<Settled>) -> Option<Entry> {
    let mut settle = |node: &Node| settled::node(reader, node, "`include`", &origin.dotenv, settled);
    if !matches!(item.kind, Kind::Map(_)) {
        let path = top::inside(reader, &settle(item)?, &origin.release)?;
        return Some(Entry {
            paths: vec![(path, item.at.clone())],
            folder: None,
            env: None,
        });
    }
    let fields = reader.fields(item, "the `include`")?;
    let path = fields.require("path");
    let folder = fields.get("project_directory");
    let env = fields.get("env_file");
    fields.finish();
    let path = path?;
    let named = path.items().unwrap_or(std::slice::from_ref(path));
    if named.is_empty() {
        reader.error(
            "wrong-type",
            &path.at,
            "`path` names no file",
            "name a Compose file",
        );
        return None;
    }
    let paths = named
        .iter()
        .map(|node| {
            Some((
                top::inside(reader, &settle(node)?, &origin.release)?,
                node.at.clone(),
            ))
        })
        .collect::<Option<Vec<_>>>()?;
    let folder = match folder {
        Some(node) => Some(settle(node)?),
        None => None,
    };
    let folder = match &folder {
        Some(node) if node.scalar() == Some(".") => {
            Some(origin.release.start().trim_end_matches('/').to_owned())
        }
        Some(node) => Some(top::inside(reader, node, &origin.release)?),
        None => None,
    };
    let env = match env {
        Some(node) => {
            let named = node.items().unwrap_or(std::slice::from_ref(node));
            Some(named.iter().filter_map(&mut settle).collect())
        }
        None => None,
    };
    Some(Entry { paths, folder, env })
}

fn one(contents: &mut Contents, reader: &Reader, entry: Entry, origin: &Origin) {
    for (path, at) in &entry.paths {
        if !may_be_included(reader, (path, at), origin) {
            return;
        }
    }
    let names: Vec<String> = entry.paths.iter().map(|(path, _)| path.clone()).collect();
    if !contents.included.insert(names.clone()) {
        return;
    }
    let first = names.first().map(|path| folder_of(path).to_owned());
    let folder = entry.folder.or(first).unwrap_or_default();
    let release = origin.release.seen_from(&folder);
    // What includes knows better than what is included.
    let mut dotenv = values(reader, &release, entry.env.as_deref(), origin);
    dotenv.extend(origin.dotenv.clone());
    let mut settled = origin.settled.clone();
    let Some(root) = layers(reader, &release, &entry.paths, (&dotenv, &mut settled)) else {
        return;
    };
    let mut chain = origin.chain.clone();
    chain.push(names);
    contents.file(
        reader,
        root,
        &Origin {
            release,
            dotenv,
            chain,
            settled,
        },
    );
}

/// Whether a file can be included here; if not, it was said why.
fn may_be_included(reader: &Reader, (path, at): (&str, &At), origin: &Origin) -> bool {
    let again = origin.chain.iter().flatten().any(|p| p == path);
    if again || origin.chain.len() > MAX_DEPTH {
        let why = if again {
            format!("`{}` includes itself", Safe::new(path))
        } else {
            format!("files include each other more than {MAX_DEPTH} deep")
        };
        reader.error("include-cycle", at, why, "remove one `include`");
        return false;
    }
    true
}

/// The files of one entry as one, each laid over those before it. What a service extends belongs to it before anything is
/// laid over it, as in Compose.
fn layers(
    reader: &Reader,
    release: &ReleaseFiles,
    paths: &[(String, At)],
    (dotenv, settled): (&BTreeMap<String, String>, &mut Vec<Settled>),
) -> Option<Node> {
    let mut whole: Option<Node> = None;
    for (path, at) in paths {
        let layer = read(reader, release, path, at)?;
        let Some(base) = whole else {
            if paths.len() == 1 {
                return Some(layer);
            }
            let base = extends::complete(reader, layer, (release, dotenv), settled)?;
            whole = Some(merge::without_resets(base));
            continue;
        };
        let merged = merge_files(
            base,
            extends::complete(reader, layer, (release, dotenv), settled)?,
        );
        if merged.weight() > MAX_NODES {
            reader.error(
                "budget",
                at,
                format!("the files have more than {MAX_NODES} nodes together"),
                "include fewer of them at once",
            );
            return None;
        }
        whole = Some(merge::without_resets(merged));
    }
    whole
}

/// The values of an included file: those that `env_file` names, else a `.env` in its folder.
fn values(
    reader: &Reader,
    release: &ReleaseFiles,
    env: Option<&[Node]>,
    origin: &Origin,
) -> BTreeMap<String, String> {
    let Some(env) = env else {
        let path = release.locate(".env").unwrap_or_default();
        return match release.find(&path) {
            Found::File(_) => super::files::dotenv_of(release, &path, reader),
            _ => BTreeMap::new(),
        };
    };
    let mut out = BTreeMap::new();
    for node in env {
        let Some(path) = top::inside(reader, node, &origin.release) else {
            continue;
        };
        match origin.release.find(&path) {
            Found::File(_) => out.extend(super::files::dotenv_of(release, &path, reader)),
            _ => top::not_held(reader, &node.at, &path, top::COMMIT),
        }
    }
    out
}
