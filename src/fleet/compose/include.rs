//! `include`: further Compose files of the release, with a folder and values of their own.

use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::extends::{folder_of, read};
use super::files::Contents;
use super::release::{Found, ReleaseFiles};
use super::top::{self, note};
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
    /// The files that led to it, itself the last.
    pub chain: Vec<String>,
}

/// Reads all entries of `include:`.
pub fn read_all(contents: &mut Contents, reader: &Reader, node: &Node, origin: &Origin) {
    for item in reader.list(node).unwrap_or_default() {
        if let Some((path, at, folder, env)) = entry(reader, item, origin) {
            one(contents, reader, (path, at), (folder, env), origin);
        }
    }
}

type Entry<'n> = (String, At, Option<String>, Option<&'n Node>);

fn entry<'n>(reader: &Reader, item: &'n Node, origin: &Origin) -> Option<Entry<'n>> {
    if !matches!(item.kind, Kind::Map(_)) {
        let path = top::inside(reader, item, &origin.release)?;
        return Some((path, item.at.clone(), None, None));
    }
    let fields = reader.fields(item, "the `include`")?;
    let path = fields.require("path");
    let folder = fields.get("project_directory");
    let env = fields.get("env_file");
    fields.finish();
    let path = match path?.items() {
        None => path?,
        Some([only]) => only,
        Some(several) => {
            laid_over(reader, path?, several);
            return None;
        }
    };
    let folder = match folder {
        Some(node) if node.scalar() == Some(".") => {
            Some(origin.release.start().trim_end_matches('/').to_owned())
        }
        Some(node) => Some(top::inside(reader, node, &origin.release)?),
        None => None,
    };
    Some((
        top::inside(reader, path, &origin.release)?,
        path.at.clone(),
        folder,
        env,
    ))
}

/// Files of one project that are laid over each other: the finding stands where the second begins to.
fn laid_over(reader: &Reader, list: &Node, several: &[Node]) {
    let Some(second) = several.get(1) else {
        reader.error(
            "wrong-type",
            &list.at,
            "`path` names no file",
            "name a Compose file",
        );
        return;
    };
    let named = several.iter().filter_map(Node::scalar);
    let options: String = named.map(|name| format!(" -f {}", Safe::new(name))).collect();
    reader.error(
        "not-carried-out",
        &second.at,
        "several paths of one `include` are laid over each other, which is not carried out",
        format!(
            "join them into one file and include that: `docker compose{options} config --no-interpolate` prints it; files that have no service in common can be included each by itself"
        ),
    );
}

fn one(
    contents: &mut Contents,
    reader: &Reader,
    (path, at): (String, At),
    (folder, env): (Option<String>, Option<&Node>),
    origin: &Origin,
) {
    if origin.chain.contains(&path) || origin.chain.len() > MAX_DEPTH {
        let why = if origin.chain.contains(&path) {
            format!("`{}` includes itself", Safe::new(&path))
        } else {
            format!("files include each other more than {MAX_DEPTH} deep")
        };
        reader.error("include-cycle", &at, why, "remove one `include`");
        return;
    }
    if !path.contains('/') && super::files::is_compose(&path) {
        let read = matches!(origin.release.find(&path), Found::File(_));
        if read {
            note(
                reader,
                &at,
                "every file of `desired/services/` is read: this one is, without `include` too",
            );
        } else {
            top::not_held(reader, &at, &path, top::COMMIT);
        }
        return;
    }
    if !contents.included.insert(path.clone()) {
        return;
    }
    let Some(root) = read(reader, &origin.release, &path, &at) else {
        return;
    };
    let folder = folder.unwrap_or_else(|| folder_of(&path).to_owned());
    let release = origin.release.seen_from(&folder);
    // What includes knows better than what is included.
    let mut dotenv = values(reader, &release, env, origin);
    dotenv.extend(origin.dotenv.clone());
    let mut chain = origin.chain.clone();
    chain.push(path);
    contents.file(
        reader,
        root,
        &Origin {
            release,
            dotenv,
            chain,
        },
    );
}

/// The values of an included file: those that `env_file` names, else a `.env` in its folder.
fn values(
    reader: &Reader,
    release: &ReleaseFiles,
    env: Option<&Node>,
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
    for node in env.items().unwrap_or(std::slice::from_ref(env)) {
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
