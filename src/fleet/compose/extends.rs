//! `extends`: a service that begins as another one, of the same file or of another file of the release.

use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{self, Key, Kind, MAX_NODES, Node};
use super::merge::{self, merge_services};
use super::release::{FOLDER, Found, ReleaseFiles};
use super::settled::{self, Settled};
use super::top;
use super::values::HERE;
use crate::diagnostic::{At, did_you_mean};
use crate::text::Safe;

/// How many services may stand one behind the other.
const MAX_DEPTH: usize = 16;

/// Where a service stands: the services of its file, and the folder that its paths start from.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// All services of the file.
    pub services: &'a [(Key, Node)],
    /// The release, seen from the file.
    pub release: &'a ReleaseFiles,
    /// Values for variables in `extends`.
    pub dotenv: &'a BTreeMap<String, String>,
}

/// The service with all that it extends. None: a finding says why not.
pub fn resolve(
    reader: &Reader,
    place: Place<'_>,
    (key, node): (&Key, &Node),
    settled: &mut Vec<Settled>,
) -> Option<Node> {
    let mut chain = Chain {
        links: vec![(key.at.source.path.clone(), key.text.clone())],
        settled,
    };
    extended(reader, place, node, &mut chain)
}

/// The services that stand behind each other, and what was settled to find them.
struct Chain<'a> {
    links: Vec<(String, String)>,
    settled: &'a mut Vec<Settled>,
}

/// A file whose services have all that they extend. None: a finding says why not.
pub fn complete(
    reader: &Reader,
    mut root: Node,
    (release, dotenv): (&ReleaseFiles, &BTreeMap<String, String>),
    settled: &mut Vec<Settled>,
) -> Option<Node> {
    let services = root
        .get("services")
        .and_then(Node::entries)
        .unwrap_or_default()
        .to_vec();
    let place = Place {
        services: &services,
        release,
        dotenv,
    };
    let complete = services
        .iter()
        .map(|(key, node)| Some((key.clone(), resolve(reader, place, (key, node), settled)?)))
        .collect::<Option<Vec<_>>>()?;
    if let Kind::Map(sections) = &mut root.kind
        && let Some((_, all)) = sections.iter_mut().find(|(key, _)| key.text == "services")
        && let Kind::Map(services) = &mut all.kind
    {
        *services = complete;
    }
    Some(root)
}

fn extended(reader: &Reader, place: Place<'_>, node: &Node, chain: &mut Chain<'_>) -> Option<Node> {
    let Some(extends) = node.get("extends").filter(|n| !n.is_null()) else {
        return Some(node.clone());
    };
    let mut settle = |node: &Node| settled::node(reader, node, "`extends`", place.dotenv, chain.settled);
    let (service, file) = if let Kind::Map(_) = extends.kind {
        let fields = reader.fields(extends, "`extends`")?;
        let service = fields.require("service").and_then(&mut settle);
        let file = fields.get("file");
        fields.finish();
        let file = match file {
            Some(node) => Some(settle(node)?),
            None => None,
        };
        (service?, file)
    } else {
        (settle(extends)?, None)
    };
    let service = reader.string(&service)?;
    let base = match &file {
        None => named(reader, place, &service.value, &service.at, chain)?,
        Some(file) => {
            let path = top::inside(reader, file, place.release)?;
            let source = read(reader, place.release, &path, &file.at)?;
            let services = source.get("services").and_then(Node::entries).unwrap_or_default();
            let release = place.release.seen_from(folder_of(&path));
            let there = Place {
                services,
                release: &release,
                dotenv: place.dotenv,
            };
            let mut base = named(reader, there, &service.value, &service.at, chain)?;
            if release.start() != place.release.start() {
                rebase(&mut base, &release, place.release);
            }
            base
        }
    };
    let merged = merge_services(merge::without_resets(base), without_extends(node));
    if merged.weight() > MAX_NODES {
        reader.error(
            "budget",
            &extends.at,
            format!("the service has more than {MAX_NODES} nodes with all that it extends"),
            "extend less",
        );
        return None;
    }
    Some(merged)
}

fn named(reader: &Reader, place: Place<'_>, name: &str, at: &At, chain: &mut Chain<'_>) -> Option<Node> {
    let Some((key, node)) = place.services.iter().find(|(k, _)| k.text == name) else {
        let near = did_you_mean(name, place.services.iter().map(|(k, _)| k.text.as_str()));
        reader.error(
            "unknown-service",
            at,
            format!("no service is called `{}` in that file", Safe::new(name)),
            near.map_or_else(
                || "name a service of the file that it extends".to_owned(),
                |n| format!("did you mean `{n}`?"),
            ),
        );
        return None;
    };
    let link = (key.at.source.path.clone(), key.text.clone());
    let again = chain.links.contains(&link);
    if again || chain.links.len() >= MAX_DEPTH {
        let (why, help) = if again {
            ("services extend each other", "remove one `extends`")
        } else {
            (
                "more than 16 services stand one behind the other",
                "extend fewer of them",
            )
        };
        reader.error("extends-cycle", at, why, help);
        return None;
    }
    chain.links.push(link);
    extended(reader, place, node, chain)
}

/// The folder of a path, with its slash; empty for a path without one.
pub fn folder_of(path: &str) -> &str {
    path.rfind('/').and_then(|i| path.get(..=i)).unwrap_or_default()
}

/// A Compose file of the release, at a path relative to `desired/services/`.
pub fn read(reader: &Reader, release: &ReleaseFiles, path: &str, at: &At) -> Option<Node> {
    match release.find(path) {
        Found::File(_) => {}
        Found::Nothing => {
            top::not_held(reader, at, path, top::COMMIT);
            return None;
        }
        Found::Folder(_) => {
            reader.error("not-a-file", at, "this is a folder", "name a Compose file in it");
            return None;
        }
        Found::Unusable(path, why) => {
            top::unusable(reader, at, &path, why);
            return None;
        }
    }
    let bytes = release.bytes(path).unwrap_or_default();
    match yaml::text(&format!("{FOLDER}{path}"), &bytes) {
        Ok(source) => reader.with(|findings| yaml::parse_layer(&source, findings)),
        Err(finding) => {
            reader.report(finding);
            None
        }
    }
}

fn without_extends(node: &Node) -> Node {
    let mut node = node.clone();
    if let Kind::Map(entries) = &mut node.kind {
        entries.retain(|(k, _)| k.text != "extends");
    }
    node
}

/// Paths of the file that is extended start from its own folder: written anew for the one that extends it.
fn rebase(service: &mut Node, from: &ReleaseFiles, to: &ReleaseFiles) {
    let up = "../".repeat(to.start().matches('/').count());
    let moved = |text: &str| {
        let path = from.locate(text).ok()?;
        Some(format!("./{up}{path}"))
    };
    let change = |node: &mut Node, dotted: bool| {
        if let Kind::Scalar { text, .. } = &mut node.kind {
            let here = [format!("${{{HERE}}}"), format!("${HERE}")];
            let rest = here.iter().find_map(|here| text.strip_prefix(here.as_str()));
            if let Some(rest) = rest.filter(|rest| rest.starts_with(['/', ':']) || rest.is_empty()) {
                *text = format!(".{rest}");
            }
            let (path, rest) = match text.split_once(':') {
                Some((path, rest)) if dotted => (path.to_owned(), format!(":{rest}")),
                _ => (text.clone(), String::new()),
            };
            if (!dotted || path.starts_with('.'))
                && !path.starts_with(['/', '~'])
                && let Some(path) = moved(&path)
            {
                *text = format!("{path}{rest}");
            }
        }
    };
    let Kind::Map(entries) = &mut service.kind else {
        return;
    };
    for (key, value) in entries {
        let volumes = key.text == "volumes";
        if !volumes && !matches!(key.text.as_str(), "env_file" | "label_file") {
            continue;
        }
        let own = |node: &mut Node| match &mut node.kind {
            Kind::Map(long) => {
                let bind = long
                    .iter()
                    .any(|(k, v)| k.text == "type" && v.scalar() == Some("bind"));
                for (k, v) in long {
                    match k.text.as_str() {
                        "source" if bind => change(v, false),
                        "path" if !volumes => change(v, false),
                        _ => {}
                    }
                }
            }
            _ => change(node, volumes),
        };
        if let Kind::Seq(items) = &mut value.kind {
            items.iter_mut().for_each(own);
        } else {
            own(value);
        }
    }
}
