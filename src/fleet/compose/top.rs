//! What stands beside `services:` in a Compose file: volumes, networks, configs, secrets.

use std::collections::BTreeMap;

use super::super::read::{Fields, Reader};
use super::super::yaml::{Key, Node};
use super::release::{self, BadPath, Found, ReleaseFiles};
use super::service::FileSet;
use super::template::Problem;
use super::values::Values;
use crate::diagnostic::{At, Finding};
use crate::text::Safe;

/// The declarations of one file. A name whose declaration has an error is there, with `None` or `false`, so that who
/// uses it is not told that it is unknown.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Named volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Networks, and whether they can be used.
    pub networks: BTreeMap<String, bool>,
    /// Configs.
    pub configs: BTreeMap<String, Option<FileSet>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Option<FileSet>>,
}

/// What a named volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volume {
    /// The tenant's own.
    Own,
    /// Another name for a `./path`, as it is written.
    Path(String),
    /// It cannot be used.
    Bad,
}

/// Adds a note about a key that means less here.
pub fn note(reader: &Reader, at: &At, message: impl Into<String>) {
    reader.report(Finding::note("means-less", at.clone(), message));
}

/// Whether a node switches something on: `false`, nothing, and an empty list or map do not.
pub fn says_something(node: &Node) -> bool {
    let empty =
        node.items().is_some_and(<[Node]>::is_empty) || node.entries().is_some_and(<[(Key, Node)]>::is_empty);
    !(node.is_null() || empty || matches!(node.scalar(), Some("false" | "")))
}

/// Refuses a key that says something.
pub fn refuse(reader: &Reader, fields: &Fields<'_, '_>, key: &'static str, why: &str, help: &str) -> bool {
    if !fields.get(key).is_some_and(says_something) {
        return false;
    }
    reader.error(
        "not-carried-out",
        &fields.key_at(key),
        format!("`{key}` {why}"),
        help,
    );
    true
}

/// Reads the declarations of a file's interpolated root.
pub fn read(reader: &Reader, root: &Node, release: &ReleaseFiles, values: &Values<'_>) -> Top {
    let mut top = Top::default();
    each(reader, root, "volumes", |name, _, node| {
        let volume = volume(reader, name, node, values);
        top.volumes.insert(name.to_owned(), volume);
    });
    each(reader, root, "networks", |name, at, node| {
        let good = network(reader, name, at, node);
        top.networks.insert(name.to_owned(), good);
    });
    each(reader, root, "configs", |name, at, node| {
        let set = content(reader, "config", name, at, node, (release, values));
        top.configs.insert(name.to_owned(), set);
    });
    each(reader, root, "secrets", |name, at, node| {
        let set = content(reader, "secret", name, at, node, (release, values));
        top.secrets.insert(name.to_owned(), set);
    });
    top
}

fn each<'n>(
    reader: &Reader,
    root: &'n Node,
    section: &str,
    mut f: impl FnMut(&'n str, &'n At, Option<&'n Node>),
) {
    let Some(node) = root.get(section).filter(|n| !n.is_null()) else {
        return;
    };
    for (key, value) in reader.map(node).unwrap_or_default() {
        if key.text.starts_with("x-") {
            continue;
        }
        if !is_name(&key.text) {
            reader.error(
                "name",
                &key.at,
                format!("`{}` is no valid name", Safe::new(&key.text)),
                "a name takes letters, digits, `_`, `.` and `-`, a letter or digit first",
            );
            continue;
        }
        f(&key.text, &key.at, Some(value).filter(|v| !v.is_null()));
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as the engine asks of names.
pub fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn volume(reader: &Reader, name: &str, node: Option<&Node>, values: &Values<'_>) -> Volume {
    let Some(node) = node else {
        return Volume::Own;
    };
    let what = format!("the volume `{name}`");
    let before = reader.errors();
    let Some(fields) = reader.fields(node, &what) else {
        return Volume::Bad;
    };
    refuse(
        reader,
        &fields,
        "external",
        "is not carried out: every volume belongs to one tenant",
        "remove it; ringfence makes the volume for each tenant",
    );
    let options = fields.get("driver_opts");
    let path = options.and_then(bound_path);
    // Where a tenant says which path it is, it is judged with the tenant.
    let open = options
        .and_then(|o| o.get("device"))
        .is_some_and(|d| values.is_open(&d.at));
    if path.is_none() && !open {
        refuse(
            reader,
            &fields,
            "driver_opts",
            "is not carried out: it could reach the host's files",
            "remove it; volumes lie where the engine keeps them",
        );
    }
    if let Some(driver) = fields.get("driver")
        && driver.scalar() != Some("local")
    {
        reader.error(
            "not-carried-out",
            &driver.at,
            "only the driver `local` is carried out",
            "remove `driver`",
        );
    }
    for key in ["name", "labels"] {
        if fields.get(key).is_some_and(says_something) {
            note(
                reader,
                &fields.key_at(key),
                format!(
                    "`{key}` of a volume means nothing here: each tenant has its own, named by ringfence"
                ),
            );
        }
    }
    fields.finish();
    match path {
        _ if reader.errors() > before => Volume::Bad,
        Some(path) => Volume::Path(path),
        None => Volume::Own,
    }
}

/// `{type: none, o: bind, device: ./path}` is a mount of that path under a name.
fn bound_path(options: &Node) -> Option<String> {
    let of = |key| options.get(key).and_then(Node::scalar).unwrap_or_default();
    let known = options
        .entries()?
        .iter()
        .all(|(k, _)| matches!(k.text.as_str(), "type" | "o" | "device"));
    let mut how = of("o").split(',').map(str::trim);
    let bind = of("o").contains("bind") && how.all(|o| matches!(o, "bind" | "rbind" | "rw"));
    let device = of("device");
    let relative = !device.is_empty() && !device.starts_with(['/', '~']) && !device.contains(['\\', ':']);
    if !(known && bind && relative && matches!(of("type"), "none" | "bind")) {
        return None;
    }
    Some(if device.starts_with('.') {
        device.to_owned()
    } else {
        format!("./{device}")
    })
}

fn network(reader: &Reader, name: &str, at: &At, node: Option<&Node>) -> bool {
    let before = reader.errors();
    let Some(node) = node else {
        note(
            reader,
            at,
            format!("the network `{name}` is not made: a tenant's services share one network"),
        );
        return true;
    };
    let what = format!("the network `{name}`");
    let Some(fields) = reader.fields(node, &what) else {
        return false;
    };
    refuse(
        reader,
        &fields,
        "external",
        "networks are not carried out: no tenant shares a network with another",
        "remove the network; a service that many tenants use takes `x-ringfence: {scope: ring}`",
    );
    for key in [
        "name",
        "driver",
        "driver_opts",
        "ipam",
        "attachable",
        "enable_ipv4",
        "enable_ipv6",
        "labels",
    ] {
        let _ = fields.get(key);
    }
    if fields.get("internal").is_some_and(says_something) {
        reader.report(
            Finding::warning(
                "means-less",
                fields.key_at("internal"),
                "`internal` is not enforced: a tenant's services share one network",
            )
            .help("remove it, knowing that the service can reach the internet: closing the way out comes with isolation"),
        );
    }
    fields.finish();
    if reader.errors() == before {
        note(
            reader,
            at,
            format!("the network `{name}` is not made: a tenant's services share one network"),
        );
    }
    reader.errors() == before
}

fn content(
    reader: &Reader,
    kind: &str,
    name: &str,
    at: &At,
    node: Option<&Node>,
    (release, values): (&ReleaseFiles, &Values<'_>),
) -> Option<FileSet> {
    let what = format!("the {kind} `{name}`");
    let before = reader.errors();
    let Some(node) = node else {
        reader.error(
            "missing-key",
            at,
            format!("{what} needs `file`"),
            "add `file: ./…`",
        );
        return None;
    };
    let fields = reader.fields(node, &what)?;
    let secret = kind == "secret";
    let external = if secret {
        "is not carried out yet: a tenant's own secrets come later"
    } else {
        "is not carried out: there is no store of configs"
    };
    let mut refused = refuse(
        reader,
        &fields,
        "external",
        external,
        "name a file of the release with `file`",
    );
    if secret {
        refused |= refuse(
            reader,
            &fields,
            "environment",
            "is not carried out: a secret never comes from a variable",
            "name a file of the release with `file`",
        );
    }
    for key in ["driver", "template_driver"] {
        refused |= refuse(reader, &fields, key, "is not carried out", "remove it");
    }
    for key in ["name", "labels"] {
        if fields.get(key).is_some_and(says_something) {
            note(
                reader,
                &fields.key_at(key),
                format!("`{key}` of {what} means nothing here"),
            );
        }
    }
    let inline = if secret { None } else { fields.get("content") };
    let variable = if secret { None } else { fields.get("environment") };
    if let (Some(variable), true) = (variable, inline.is_some() || fields.get("file").is_some()) {
        reader.error(
            "conflict",
            &variable.at,
            format!("{what} has `environment` beside `file` or `content`"),
            "keep one of them",
        );
    }
    let file = fields.get("file");
    let set = match (file, inline) {
        (Some(_), Some(inline)) => {
            reader.error(
                "conflict",
                &inline.at,
                format!("{what} has both `file` and `content`"),
                "keep one of them",
            );
            None
        }
        (Some(file), None) => {
            if secret {
                reader.report(
                    Finding::warning(
                        "plain-secret",
                        file.at.clone(),
                        format!("{what} is a plain file of the release: everybody who reads the repository reads it"),
                    )
                    .help("secrets of their own come to tenants later; keep real ones out of the repository"),
                );
            }
            held_file(reader, file, release)
        }
        (None, Some(inline)) => reader.string(inline).map(|t| release::inline(name, &t.value)),
        (None, None) if variable.is_some() => {
            variable.and_then(|node| of_variable(reader, name, node, values))
        }
        (None, None) => {
            if !refused {
                let _ = fields.require("file");
            }
            None
        }
    };
    fields.finish();
    set.filter(|_| reader.errors() == before)
}

/// A config whose content is a variable's value.
fn of_variable(reader: &Reader, name: &str, node: &Node, values: &Values<'_>) -> Option<FileSet> {
    let variable = reader.string(node)?;
    if let Some(value) = values.get(&variable.value) {
        return Some(release::inline(name, value));
    }
    values.missing(reader, &node.at, &Problem::Missing(variable.value, None));
    None
}

/// A file that the release must hold.
pub fn held_file(reader: &Reader, node: &Node, release: &ReleaseFiles) -> Option<FileSet> {
    let path = inside(reader, node, release)?;
    match release.find(&path) {
        Found::File(set) => Some(set),
        Found::Folder(_) => {
            reader.error(
                "not-a-file",
                &node.at,
                format!("`{}` is a folder", Safe::new(&path)),
                "name a file",
            );
            None
        }
        Found::Unusable(path, why) => {
            unusable(reader, &node.at, &path, why);
            None
        }
        Found::Nothing => {
            not_held(reader, &node.at, &path, COMMIT);
            None
        }
    }
}

/// What to do about a file that the release does not hold.
pub const COMMIT: &str = "commit the file there";

/// The release does not hold a file that it must hold.
pub fn not_held(reader: &Reader, at: &At, path: &str, help: &str) {
    reader.error(
        "missing-file",
        at,
        format!("the release holds no `{}{}`", release::FOLDER, Safe::new(path)),
        help,
    );
}

/// An entry of the tree that is never read.
pub fn unusable(reader: &Reader, at: &At, path: &str, why: &str) {
    reader.error(
        "unusable-file",
        at,
        format!("`{}{}` {why}", release::FOLDER, Safe::new(path)),
        "commit a regular file of at most 1 MiB in its place",
    );
}

/// A path in a Compose file, relative to its folder.
pub fn inside(reader: &Reader, node: &Node, release: &ReleaseFiles) -> Option<String> {
    let text = reader.string(node)?.value;
    if text.starts_with(['/', '~']) || text.contains("://") || text.contains('\\') {
        reader.error(
            "host-path",
            &node.at,
            format!("`{}` is not a path of the release", Safe::new(&text)),
            "put the file beside the Compose file and name it with `./`",
        );
        return None;
    }
    match release.locate(&text) {
        Ok(path) if !path.is_empty() => Some(path),
        Ok(_) => {
            reader.error(
                "path",
                &node.at,
                "the path names no file",
                "name a file with `./`",
            );
            None
        }
        Err(bad) => {
            bad_path(reader, &node.at, &text, bad);
            None
        }
    }
}

/// A relative path that is refused.
pub fn bad_path(reader: &Reader, at: &At, text: &str, bad: BadPath) {
    match bad {
        BadPath::Leaves => reader.error(
            "path",
            at,
            format!("`{}` leaves the folder of the Compose files", Safe::new(text)),
            format!("put it below `{}`", release::FOLDER),
        ),
        BadPath::Malformed => reader.error(
            "path",
            at,
            format!(
                "`{}` holds characters that no path here may hold",
                Safe::new(text)
            ),
            "use letters, digits, `-`, `_`, `.` and `/`",
        ),
    }
}
