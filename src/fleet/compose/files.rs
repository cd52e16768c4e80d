//! The Compose files of a tree, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::read::Reader;
use super::super::tree::{Entry, EntryKind, Tree};
use super::super::yaml::{self, Key, Kind, Node, Over};
use super::convert::Converted;
use super::include::Origin;
use super::release::{FOLDER, Found, ReleaseFiles};
use super::settled::Settled;
use super::top::{self, Top, note};
use super::values::{Values, report};
use super::{dotenv, extends, image, include, merge, named, names, settled};
use crate::diagnostic::{At, Finding, Findings, Source, Spanned, did_you_mean};
use crate::text::Safe;

/// Keys of a service that say what it is, before any tenant comes into it.
const SETTLED: &[&str] = &["depends_on", "profiles", "pull_policy"];
/// Top-level keys that are read.
const SECTIONS: &[&str] = &["volumes", "networks", "configs", "secrets"];

/// All of `desired/services/`.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Files, by path.
    pub files: Vec<File>,
    /// Services with a good name, by name.
    pub services: BTreeMap<String, ServiceNode>,
    /// Every name that is declared, good or not.
    pub names: BTreeSet<String>,
    /// Files that were included: those of one entry together.
    pub included: BTreeSet<Vec<String>>,
}

/// One file's declarations beside its services.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Where it comes from: what `./path` means in it, and values for its variables.
    pub origin: Origin,
    /// Its root, with `volumes`, `networks`, `configs` and `secrets` only.
    root: Option<Node>,
    /// The same for every tenant.
    pub fixed: Option<Top>,
    /// Known without a tenant, where the values of one are needed for all of it.
    draft: Option<Top>,
}

impl File {
    /// What is known without a tenant.
    pub fn any_top(&self) -> Option<&Top> {
        self.fixed.as_ref().or(self.draft.as_ref())
    }
}

/// A service as it is written.
#[derive(Debug, Clone)]
pub struct ServiceNode {
    /// Which file, as an index.
    pub file: usize,
    /// Where its name stands.
    pub at: At,
    node: Node,
    /// Its image and the variables in it; none where it is wrong or missing.
    pub image: Option<(Spanned<String>, Vec<String>)>,
    /// What else was settled without a tenant.
    pub settled: Vec<Settled>,
    /// The service, if it is the same for every tenant.
    pub fixed: Option<Converted>,
    /// What was said when the files were read.
    pub said: Findings,
}

impl Contents {
    /// Reads the files, `.env`, and the names and images of services.
    pub fn read(tree: &Tree, reader: &Reader) -> Self {
        let mut out = Self::default();
        let release = ReleaseFiles::of(tree);
        let dotenv = match release.find(".env") {
            Found::File(_) => dotenv_of(&release, ".env", reader),
            _ => BTreeMap::new(),
        };
        let candidates = candidates(tree);
        let (mut parsed, mut foreign) = (Vec::new(), Vec::new());
        for (path, name, entry) in &candidates {
            match yaml::text(path, &entry.bytes) {
                Ok(source) if is_anothers(name, &source, &candidates) => {}
                Ok(source) => {
                    let mut told = Findings::new();
                    let root = yaml::parse_layer(&source, &mut told).filter(|root| !root.is_null());
                    let file = (*path, *name, root, told);
                    match &file.2 {
                        Some(root) if is_foreign(name, root) => foreign.push(file),
                        _ => parsed.push(file),
                    }
                }
                Err(finding) => reader.report(finding),
            }
        }
        if parsed.is_empty() {
            // Where there is nothing else, one of them was meant to be a Compose file.
            parsed = foreign;
        } else {
            let at = foreign
                .iter()
                .filter_map(|(_, name, root, _)| Some((*name, &root.as_ref()?.at)));
            at.for_each(|(name, at)| reader.report(not_read(name, at)));
        }
        let roots = parsed
            .iter()
            .filter_map(|(_, name, root, _)| Some((*name, root.as_ref()?)))
            .collect();
        let through = named::through_others(&roots, &release, &dotenv);
        let mut aside = Vec::new();
        for (path, name, root, told) in parsed {
            match root {
                _ if through.contains(name) => aside.push((name, root)),
                Some(root) => {
                    reader.with(|f| f.extend(told));
                    let origin = Origin {
                        release: release.clone(),
                        dotenv: dotenv.clone(),
                        chain: vec![vec![name.to_owned()]],
                        settled: Vec::new(),
                    };
                    out.file(reader, root, &origin);
                }
                None if told.is_empty() => reader.report(
                    Finding::about_path("empty-file", path, "the file declares nothing")
                        .help("write `services:`, or remove the file"),
                ),
                None => reader.with(|f| f.extend(told)),
            }
        }
        for (name, root) in aside {
            if !out.included.iter().flatten().any(|i| i == name) {
                only_extended(reader, root.as_ref(), &out.names);
            }
        }
        out.check_names(reader);
        out
    }

    /// Takes a file's services and declarations, and what it includes.
    pub fn file(&mut self, reader: &Reader, root: Node, origin: &Origin) {
        let Some(fields) = reader.fields(&root, "a Compose file") else {
            return;
        };
        if let Some(at) = first_version(&root) {
            reader.error(
                "compose-version",
                &at,
                "the file has no `services:`; it is written in the first version of Compose's format",
                "write `services:` on a line of its own and indent the rest below it",
            );
            return;
        }
        for key in ["version", "name"] {
            if fields.get(key).is_some() {
                note(reader, &fields.key_at(key), format!("`{key}` means nothing here"));
            }
        }
        if fields.get("x-ringfence").is_some() {
            reader.error(
                "unknown-key",
                &fields.key_at("x-ringfence"),
                "`x-ringfence` belongs to a service, not to the file",
                "move it under the service that it is about",
            );
        }
        let include = fields.get("include").cloned();
        fields.refuse(
            "models",
            "is not carried out",
            "name a model stack in the tenant's file",
        );
        for key in SECTIONS {
            let _ = fields.get(key);
        }
        let index = self.files.len();
        let services = if include.is_some() {
            fields.get("services")
        } else {
            fields.require("services")
        };
        let services = services.and_then(|n| reader.map(n)).unwrap_or_default();
        let place = extends::Place {
            services,
            release: &origin.release,
            dotenv: &origin.dotenv,
        };
        for (key, node) in services {
            if !key.text.starts_with("x-") && key.over != Over::Reset {
                self.names.insert(key.text.clone());
                let mut settled = Vec::new();
                if let Some(node) = extends::resolve(reader, place, (key, node), &mut settled) {
                    self.service(
                        reader,
                        index,
                        (key, merge::without_resets(node)),
                        &origin.dotenv,
                        settled,
                    );
                }
            }
        }
        fields.finish();
        let mut root = merge::without_resets(root);
        if let Kind::Map(entries) = &mut root.kind {
            entries.retain(|(k, _)| SECTIONS.contains(&k.text.as_str()));
        }
        self.files.push(File {
            origin: origin.clone(),
            root: Some(root),
            fixed: None,
            draft: None,
        });
        if let Some(node) = include {
            include::read_all(self, reader, &node, origin);
        }
    }

    fn service(
        &mut self,
        reader: &Reader,
        file: usize,
        (key, node): (&Key, Node),
        dotenv: &BTreeMap<String, String>,
        settled: Vec<Settled>,
    ) {
        if !names::check_service(reader, key) {
            return;
        }
        if let Some(first) = self.services.get(&key.text) {
            reader.error(
                "duplicate-service",
                &key.at,
                format!("the service `{}` is declared twice", key.text),
                format!("the first is at {}: rename one of them", first.at),
            );
            return;
        }
        let quiet = Reader::new();
        let image = node
            .get("image")
            .filter(|n| !n.is_null())
            .and_then(|n| image::declared(&quiet, n, dotenv));
        let mut service = ServiceNode {
            file,
            at: key.at.clone(),
            node,
            image,
            settled,
            fixed: None,
            said: Findings::new(),
        };
        // What is wrong is told with all that is known of the service.
        if let Some((node, settled)) = service.settle(&quiet, dotenv) {
            service.node = node;
            service.settled.extend(settled);
        }
        self.services.insert(key.text.clone(), service);
    }

    /// Names that the engine's name server cannot tell apart.
    fn check_names(&self, reader: &Reader) {
        let mut seen: BTreeMap<String, (&str, &At)> = BTreeMap::new();
        for (name, node) in &self.services {
            let (other, at) = *seen.entry(name.to_lowercase()).or_insert((name, &node.at));
            if other != name {
                reader.error(
                    "service-name",
                    &node.at,
                    format!("the names `{name}` and `{other}` differ only in case"),
                    format!("the other is at {at}: rename one of them"),
                );
            }
        }
        let mut volumes: BTreeMap<&str, &At> = BTreeMap::new();
        for file in &self.files {
            for (key, _) in file
                .root
                .as_ref()
                .and_then(|root| root.get("volumes"))
                .and_then(Node::entries)
                .unwrap_or_default()
            {
                let first = *volumes.entry(&key.text).or_insert(&key.at);
                if first.source.path != key.at.source.path {
                    reader.report(
                        Finding::warning(
                            "shared-volume",
                            key.at.clone(),
                            format!(
                                "the volume `{}` is declared in two files and is one volume",
                                Safe::new(&key.text)
                            ),
                        )
                        .help(format!(
                            "the other is at {first}: rename one of them, if they are two"
                        )),
                    );
                }
            }
        }
    }

    /// Reads a file's declarations without a tenant, and keeps them where none can change them.
    pub fn fix_top(&mut self, index: usize, reader: &Reader) {
        let Some(file) = self.files.get(index) else { return };
        let own = Reader::new();
        let values = Values::new(None, "", &file.origin.dotenv);
        let read = file.top(&values, &own);
        let asked = values.asked();
        let open = values.into_unknown();
        let told: Findings = own
            .into_findings()
            .into_iter()
            .filter(|f| super::is_own_fault(f, &open))
            .collect();
        reader.with(|f| f.extend(told));
        if let Some(file) = self.files.get_mut(index) {
            if asked {
                file.draft = Some(read);
            } else {
                file.fixed = Some(read);
            }
        }
    }

    /// Says what is wrong with a service's image.
    pub fn image(&self, reader: &Reader, service: &ServiceNode) {
        let node = &service.node;
        match node.get("image").filter(|n| !n.is_null()) {
            Some(image) => {
                let dotenv = self
                    .files
                    .get(service.file)
                    .map(|f| f.origin.dotenv.clone())
                    .unwrap_or_default();
                let _ = image::declared(reader, image, &dotenv);
            }
            // `build` has a finding of its own.
            None if node.get("build").is_some_and(top::says_something) => {}
            None if node.entries().is_none() && !node.is_null() => {}
            None => reader.error(
                "missing-key",
                &service.at,
                format!("the service `{}` needs `image`", service.at_text()),
                "add `image:`",
            ),
        }
    }
}

impl File {
    /// Its declarations with these values.
    pub fn top(&self, values: &Values<'_>, reader: &Reader) -> Top {
        let Some(root) = &self.root else {
            return Top::default();
        };
        let root = values.top(reader, root);
        top::read(reader, &root, &self.origin.release, values)
    }
}

impl ServiceNode {
    /// Where its image is written.
    pub fn image_node(&self) -> Option<&Node> {
        self.node.get("image")
    }

    /// The node with those keys settled that say what a service is, before any tenant comes into it. None: a finding
    /// says why not.
    pub fn settle(&self, reader: &Reader, dotenv: &BTreeMap<String, String>) -> Option<(Node, Vec<Settled>)> {
        let mut out = Vec::new();
        let mut one = |node: &Node, what: &str| settled::node(reader, node, what, dotenv, &mut out);
        let mut node = self.node.clone();
        let Kind::Map(entries) = &mut node.kind else {
            return None;
        };
        for (key, value) in entries.iter_mut() {
            match (key.text.as_str(), &mut value.kind) {
                (what, Kind::Seq(items)) if SETTLED.contains(&what) => {
                    let of: Option<Vec<Node>> = items.iter().map(|n| one(n, &format!("`{what}`"))).collect();
                    *items = of?;
                    items.retain(|n| !n.is_null());
                }
                (what, Kind::Scalar { .. }) if SETTLED.contains(&what) => {
                    *value = one(value, &format!("`{what}`"))?;
                }
                ("x-ringfence", Kind::Map(ours)) => {
                    for (_, scope) in ours.iter_mut().filter(|(k, _)| k.text == "scope") {
                        *scope = one(scope, "`scope`")?;
                    }
                }
                _ => {}
            }
        }
        entries.retain(|(k, n)| k.text != "pull_policy" || !n.is_null());
        Some((node, out))
    }

    /// Its node without what is not interpolated with a tenant's values: the image, and what could not be settled.
    pub fn for_tenants(&self) -> Node {
        let mut node = self.node.clone();
        if let Kind::Map(entries) = &mut node.kind {
            entries.retain(|(k, n)| {
                let items = n.items().unwrap_or(std::slice::from_ref(n));
                !SETTLED.contains(&k.text.as_str())
                    || !items.iter().any(|n| n.scalar().is_some_and(|t| t.contains('$')))
            });
            for (_, value) in entries.iter_mut().filter(|(k, _)| k.text == "image") {
                value.kind = Kind::Scalar {
                    text: String::new(),
                    quoted: false,
                };
            }
        }
        node
    }

    fn at_text(&self) -> Safe {
        Safe::new(self.at.source.text.get(self.at.span.clone()).unwrap_or_default())
    }
}

/// A service that others only begin from runs nowhere by itself, though it is whole: nobody `runs` one of its name.
fn only_extended(reader: &Reader, root: Option<&Node>, runs: &BTreeSet<String>) {
    let services = root.and_then(|root| root.get("services")).and_then(Node::entries);
    let whole = |(key, service): &&(Key, Node)| service.get("image").is_some() && !runs.contains(&key.text);
    if let Some((key, _)) = services.unwrap_or_default().iter().find(whole) {
        reader.report(
            Finding::warning(
                "means-less",
                key.at.clone(),
                "another file extends services of this one: it is read for them alone, and this does not run by itself",
            )
            .help("if it shall, `include` this file, or keep what services have in common in a file of its own"),
        );
    }
}

/// The files that may be Compose files, with path and name. What is no file, or too large, is told by whoever reads the
/// whole tree.
fn candidates(tree: &Tree) -> Vec<(&str, &str, &Entry)> {
    tree.below(FOLDER)
        .filter_map(|(path, entry)| {
            let name = path.strip_prefix(FOLDER).unwrap_or(path);
            let is_file = matches!(entry.kind, EntryKind::File | EntryKind::Executable);
            let good =
                !name.contains('/') && is_compose(name) && is_file && entry.bytes.len() as u64 == entry.size;
            good.then_some((path, name, entry))
        })
        .collect()
}

/// Whether a YAML file is a program's configuration, which lies beside the Compose file that mounts it: it declares
/// nothing of Compose's, and another of these files names it.
fn is_anothers(name: &str, source: &Arc<Source>, all: &[(&str, &str, &Entry)]) -> bool {
    let declares = |line: &str| line.starts_with("services:") || line.starts_with("include:");
    if source.text.lines().any(declares) {
        return false;
    }
    let named = format!("./{name}");
    let names_it = |(_, other, entry): &(&str, &str, &Entry)| {
        *other != name
            && entry
                .bytes
                .windows(named.len())
                .any(|part| part == named.as_bytes())
    };
    all.iter().any(names_it)
        && yaml::parse_layer(source, &mut Findings::new()).is_none_or(|root| {
            root.get("services").is_none() && root.get("include").is_none() && first_version(&root).is_none()
        })
}

/// Whether a YAML file is no Compose file at all, of which nobody says what it is for: it has keys, and none of them is
/// Compose's or a slip of the pen of one that declares services. A file that is called like a Compose file is never taken for another.
fn is_foreign(name: &str, root: &Node) -> bool {
    if name.contains("compose") || first_version(root).is_some() {
        return false;
    }
    // Many formats have these two.
    let keys = root
        .entries()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.text.as_str());
    let mut telling = keys.filter(|key| !matches!(*key, "name" | "version")).peekable();
    let declares = |key: &str| did_you_mean(key, ["services", "include"]).is_some();
    let theirs = |key: &str| SECTIONS.contains(&key) || key.starts_with("x-") || declares(key);
    telling.peek().is_some() && !telling.any(theirs)
}

fn not_read(name: &str, at: &At) -> Finding {
    let name = Safe::new(name);
    Finding::warning(
        "not-compose",
        at.clone(),
        format!("`{name}` is not read: nothing in it is a Compose file's"),
    )
    .help(format!(
        "mount it as `./{name}` where it is needed, or keep it in a folder below `{FOLDER}`; a Compose file has `services:`"
    ))
}

/// Whether a path's name is a Compose file's. Dot files are for people and their tools.
pub fn is_compose(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.starts_with('.') && matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
}

/// Where the first service stands in a file without `services:`.
fn first_version(root: &Node) -> Option<At> {
    let entries = root.entries()?;
    if entries.iter().any(|(k, _)| k.text == "services") {
        return None;
    }
    entries
        .iter()
        .find(|(k, v)| !k.text.starts_with("x-") && (v.get("image").is_some() || v.get("build").is_some()))
        .map(|(k, _)| k.at.clone())
}

/// The values of a file of `KEY=value` lines that the release holds, at a path relative to the Compose files' folder.
pub fn dotenv_of(release: &ReleaseFiles, path: &str, reader: &Reader) -> BTreeMap<String, String> {
    let bytes = release.bytes(path).unwrap_or_default();
    match yaml::text(&format!("{FOLDER}{path}"), &bytes) {
        Ok(source) => {
            let lines = dotenv::lines(&source, reader);
            dotenv::values(&lines, reader, &|_| None, &|at, problem| {
                report(reader, at, problem);
                false
            })
        }
        Err(finding) => {
            reader.report(finding);
            BTreeMap::new()
        }
    }
}
