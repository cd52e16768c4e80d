//! Mounts: `volumes` of a service, short and long.

use std::collections::BTreeSet;

use super::super::yaml::{Kind, Node};
use super::convert::{Context, VolumeUse};
use super::host;
use super::release::{self, Found};
use super::service::{FileSet, Mount, MountSource};
use super::tmpfs::{bytes, octal};
use super::top::{self, Volume, is_name, note, says_something};
use crate::diagnostic::{At, Finding, did_you_mean};
use crate::text::Safe;

/// Mount options of the short form that change nothing here.
const QUIET_OPTIONS: &[&str] = &[
    "rw",
    "z",
    "Z",
    "cached",
    "delegated",
    "consistent",
    "rprivate",
    "private",
];

/// A mount as written, short or long.
#[derive(Debug, Default)]
struct Written {
    source: String,
    target: String,
    read_only: bool,
    no_copy: bool,
}

/// Reads `volumes:`.
pub fn volumes(ctx: &Context<'_>, node: &Node, key: &At, out: &mut Vec<Mount>) {
    let mut said = Said::default();
    for item in ctx.reader.list(node).unwrap_or_default() {
        let mount = match &item.kind {
            Kind::Map(_) => long(ctx, item, &mut said),
            _ => short(ctx, item, &mut said).and_then(|w| resolve(ctx, (&item.at, &item.at), &w, &mut said)),
        };
        if let Some(mount) = mount {
            add(ctx, out, mount);
        }
    }
    said.tell(ctx, key);
}

/// What the notes of a service's mounts are about: one note each, at the key.
#[derive(Debug, Default)]
struct Said {
    options: BTreeSet<String>,
    own: BTreeSet<String>,
    read_only: BTreeSet<String>,
    read_only_host: BTreeSet<String>,
}

impl Said {
    fn tell(&self, ctx: &Context<'_>, key: &At) {
        let list = |names: &BTreeSet<String>| {
            let shown: Vec<String> = names.iter().map(|n| format!("`{}`", Safe::new(n))).collect();
            shown.join(", ")
        };
        let mut parts = Vec::new();
        if !self.own.is_empty() {
            parts.push(format!(
                "not in the release, so volumes of the tenant's own: {}",
                list(&self.own)
            ));
        }
        if !self.read_only.is_empty() {
            parts.push(format!(
                "held by the release, so mounted read-only: {}",
                list(&self.read_only)
            ));
        }
        if !self.read_only_host.is_empty() {
            parts.push(format!(
                "the host's own, so mounted read-only: {}",
                list(&self.read_only_host)
            ));
        }
        if !self.options.is_empty() {
            parts.push(format!("options without a meaning here: {}", list(&self.options)));
        }
        if !parts.is_empty() {
            note(ctx.reader, key, format!("`volumes`: {}", parts.join("; ")));
        }
    }
}

fn short(ctx: &Context<'_>, item: &Node, said: &mut Said) -> Option<Written> {
    let text = ctx.reader.string(item)?.value;
    if text.contains('\\') {
        // A drive letter's colon parts nothing.
        host::path(ctx, &item.at, &item.at, &text, "")?;
    }
    let mut parts = text.split(':');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if parts.next().is_some() {
        wrong(ctx, &item.at, "a mount with more than three parts");
        return None;
    }
    let Some(target) = second else {
        return Some(Written {
            target: first.to_owned(),
            ..Written::default()
        });
    };
    if first.is_empty() {
        wrong(ctx, &item.at, "a mount without a source");
        return None;
    }
    let mut written = Written {
        source: first.to_owned(),
        target: target.to_owned(),
        ..Written::default()
    };
    for option in third.unwrap_or_default().split(',').filter(|o| !o.is_empty()) {
        if option == "ro" {
            written.read_only = true;
        } else if option == "nocopy" {
            written.no_copy = true;
        } else if QUIET_OPTIONS.contains(&option) {
            if option != "rw" {
                said.options.insert(option.to_owned());
            }
        } else {
            let help = did_you_mean(option, ["ro", "rw"])
                .map_or("one of `ro`, `rw`".to_owned(), |w| format!("did you mean `{w}`?"));
            ctx.reader.error(
                "not-carried-out",
                &item.at,
                format!("the mount option `{}` is not carried out", Safe::new(option)),
                help,
            );
            return None;
        }
    }
    Some(written)
}

fn wrong(ctx: &Context<'_>, at: &At, why: &str) {
    ctx.reader.error(
        "mount",
        at,
        why,
        "write `name:/inside`, `./path:/inside` or `./path:/inside:ro`",
    );
}

/// The name of a volume that nobody named: after its service and its target.
pub fn unnamed(service: &str, target: &str) -> String {
    let inside = sanitised(target).unwrap_or_else(|| "data".to_owned());
    let name = format!("{}-{inside}", service.to_lowercase());
    name.chars().take(100).collect()
}

/// A volume without a name is the tenant's own too, named after its service and its target: as with Compose, what it
/// holds outlives the container.
fn anonymous(ctx: &Context<'_>, at: &At, target: &str, said: &mut Said) -> MountSource {
    let name = unnamed(ctx.service, target);
    said.own.insert(target.to_owned());
    ctx.use_volume(VolumeUse {
        name: name.clone(),
        origin: format!("{}:{target}", ctx.service),
        at: at.clone(),
    });
    MountSource::Volume(name)
}

const TYPES: &[(&str, Type)] = &[
    ("volume", Type::Volume),
    ("bind", Type::Bind),
    ("tmpfs", Type::Tmpfs),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Volume,
    Bind,
    Tmpfs,
}

fn long(ctx: &Context<'_>, item: &Node, said: &mut Said) -> Option<Mount> {
    let fields = ctx.reader.fields(item, "the mount")?;
    let before = ctx.reader.errors();
    let kind = fields.require("type").and_then(|n| ctx.reader.one_of(n, TYPES));
    let target = fields.require("target").and_then(|n| ctx.reader.string(n));
    let source = fields.get("source").and_then(|n| ctx.reader.string(n));
    let read_only = fields
        .get("read_only")
        .and_then(|n| ctx.boolean(n))
        .unwrap_or(false);
    if fields.get("consistency").is_some() {
        said.options.insert("consistency".to_owned());
    }
    let mut no_copy = false;
    for section in ["bind", "volume", "image"] {
        if let Some(options) = fields
            .get(section)
            .and_then(|n| ctx.reader.fields(n, "the mount"))
        {
            no_copy |= options
                .get("nocopy")
                .and_then(|n| ctx.boolean(n))
                .unwrap_or(false);
            for key in [
                "create_host_path",
                "selinux",
                "labels",
                "propagation",
                "recursive",
            ] {
                if options.get(key).is_some_and(says_something) {
                    said.options.insert(key.to_owned());
                }
            }
            top::refuse(
                ctx.reader,
                &options,
                "subpath",
                "is not carried out yet",
                "mount the whole volume",
            );
            options.finish();
        }
    }
    let (mut size, mut mode) = (None, None);
    if let Some(options) = fields
        .get("tmpfs")
        .and_then(|n| ctx.reader.fields(n, "the mount"))
    {
        size = options.get("size").and_then(|n| bytes(ctx, n));
        mode = options.get("mode").and_then(|n| {
            let text = ctx.reader.string(n)?.value;
            octal(ctx, &n.at, text.strip_prefix("0o").unwrap_or(&text))
        });
        options.finish();
    }
    fields.finish();
    let (kind, target) = (kind?, target?.value);
    if ctx.reader.errors() > before {
        return None;
    }
    let (source, source_at) = source.map_or_else(|| (String::new(), item.at.clone()), |s| (s.value, s.at));
    match kind {
        Type::Tmpfs => Some(Mount {
            target: checked_target(ctx, &item.at, &target)?,
            source: MountSource::Tmpfs {
                size,
                mode,
                options: BTreeSet::new(),
            },
            read_only,
            no_copy: false,
            at: item.at.clone(),
        }),
        Type::Bind if source.is_empty() => {
            let _ = ctx.reader.fields(item, "the mount")?.require("source");
            None
        }
        Type::Volume | Type::Bind => {
            let source = if kind == Type::Bind && !source.starts_with(['.', '/', '~']) {
                format!("./{source}")
            } else {
                source
            };
            let written = Written {
                source,
                target,
                read_only,
                no_copy,
            };
            resolve(ctx, (&item.at, &source_at), &written, said)
        }
    }
}

/// Finds what a source means. Places are the mount's and its source's.
fn resolve(
    ctx: &Context<'_>,
    (at, source_at): (&At, &At),
    written: &Written,
    said: &mut Said,
) -> Option<Mount> {
    let at = at.clone();
    let path = match ctx.top.volumes.get(&written.source) {
        Some(Volume::Path(path)) => path.as_str(),
        _ => written.source.as_str(),
    };
    // Where both are wrong, the host's path is what is wrong.
    let host_path = if path.starts_with(['/', '~']) || path.contains('\\') {
        Some(host::path(ctx, &at, source_at, path, &written.target)?)
    } else {
        None
    };
    let target = checked_target(ctx, &at, &written.target)?;
    let mut read_only = written.read_only;
    let source = if path.starts_with('.') {
        let source = relative(ctx, &at, path, said)?;
        if let MountSource::Release(set) = &source {
            if !read_only {
                writable_release(ctx, &at, path, set, said);
            }
            read_only = true;
        }
        source
    } else if let Some(path) = host_path {
        if !read_only {
            said.read_only_host.insert(path.clone());
        }
        read_only = true;
        MountSource::Host(path)
    } else if path.is_empty() {
        anonymous(ctx, &at, &target, said)
    } else {
        named(ctx, &at, path)?
    };
    Some(Mount {
        target,
        no_copy: written.no_copy && matches!(source, MountSource::Volume(_)),
        source,
        read_only,
        at,
    })
}

fn writable_release(ctx: &Context<'_>, at: &At, source: &str, set: &FileSet, said: &mut Said) {
    let keeper = !set.files.is_empty()
        && set
            .files
            .keys()
            .all(|f| matches!(f.as_str(), ".gitkeep" | ".keep" | ".gitignore"));
    if keeper {
        ctx.reader.report(
            Finding::warning(
                "read-only",
                at.clone(),
                format!(
                    "`{}` is held by the release and so is mounted read-only, empty as it is",
                    Safe::new(source)
                ),
            )
            .help("remove its placeholder file from the repository: then it is the tenant's own volume"),
        );
    } else if !ctx.values.is_open(at) {
        said.read_only.insert(source.to_owned());
    }
}

fn relative(ctx: &Context<'_>, at: &At, source: &str, said: &mut Said) -> Option<MountSource> {
    let path = match ctx.release.locate(source) {
        Ok(path) => path,
        Err(bad) => {
            let Some(path) = ctx.release.outside(source) else {
                top::bad_path(ctx.reader, at, source, bad);
                return None;
            };
            return own_volume(ctx, at, &path, said);
        }
    };
    match ctx.release.find(&path) {
        Found::File(set) | Found::Folder(set) => Some(MountSource::Release(set)),
        Found::Unusable(path, why) => {
            top::unusable(ctx.reader, at, &path, why);
            None
        }
        Found::Nothing => own_volume(ctx, at, &format!("./{path}"), said),
    }
}

/// A path that the release does not hold is the tenant's own volume. What looks like a file is a configuration that is
/// missing, more often than data.
fn own_volume(ctx: &Context<'_>, at: &At, path: &str, said: &mut Said) -> Option<MountSource> {
    let Some(name) = sanitised(path) else {
        wrong(ctx, at, "no volume can be named after this path");
        return None;
    };
    let last = path.rsplit('/').next().unwrap_or(path);
    let is_file = last
        .rsplit_once('.')
        .is_some_and(|(stem, ext)| !stem.is_empty() && (1..=5).contains(&ext.len()) && ext != "d");
    let shown = Safe::new(path);
    if is_file {
        ctx.reader.report(
            Finding::warning(
                "looks-like-a-file",
                at.clone(),
                format!("`{shown}` looks like a file, but the release does not hold it: it becomes the volume `{name}`, a directory"),
            )
            .help(match path.strip_prefix("./") {
                Some(path) => format!("commit `{}{}`, if it is a file", release::FOLDER, Safe::new(path)),
                None => format!("if it is a file, commit it below `{}`, and name it there", release::FOLDER),
            }),
        );
    } else if !ctx.values.is_open(at) {
        said.own.insert(path.to_owned());
    }
    ctx.use_volume(VolumeUse {
        name: name.clone(),
        origin: path.to_owned(),
        at: at.clone(),
    });
    Some(MountSource::Volume(name))
}

/// `[a-z0-9][a-z0-9_.-]*` of a path.
fn sanitised(path: &str) -> Option<String> {
    let text: String = path
        .trim_start_matches("../")
        .to_lowercase()
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') => c,
            _ => '-',
        })
        .collect();
    let text = text.trim_start_matches(['-', '_', '.']).trim_end_matches('-');
    let short: String = text.chars().take(64).collect();
    (!short.is_empty()).then_some(short)
}

fn named(ctx: &Context<'_>, at: &At, source: &str) -> Option<MountSource> {
    if source.contains('/') {
        ctx.reader.error(
            "mount",
            at,
            format!("`{}` is no name of a volume", Safe::new(source)),
            format!(
                "write `./{}` for a path beside the Compose file",
                Safe::new(source)
            ),
        );
        return None;
    }
    if !is_name(source) {
        wrong(ctx, at, "the name of the volume is not valid");
        return None;
    }
    match ctx.top.volumes.get(source) {
        Some(Volume::Own) => {
            ctx.use_volume(VolumeUse {
                name: source.to_owned(),
                origin: source.to_owned(),
                at: at.clone(),
            });
            Some(MountSource::Volume(source.to_owned()))
        }
        // Its own declaration is the finding.
        Some(Volume::Bad | Volume::Path(_)) => {
            ctx.spoil();
            None
        }
        None => {
            let help = did_you_mean(source, ctx.top.volumes.keys().map(String::as_str)).map_or_else(
                || {
                    format!(
                        "add `{source}:` under the top-level `volumes:` of this file, or write `./{source}`"
                    )
                },
                |near| format!("did you mean `{near}`?"),
            );
            ctx.reader.error(
                "unknown-volume",
                at,
                format!("the volume `{source}` is not declared"),
                help,
            );
            None
        }
    }
}

/// A target without `.` parts and slashes too many, where something may be mounted.
pub fn checked_target(ctx: &Context<'_>, at: &At, target: &str) -> Option<String> {
    let why = if !target.starts_with('/') {
        Some("a mount's target is an absolute path inside the container")
    } else if target.split('/').any(|p| p == "..") {
        Some("a mount's target has no `..`")
    } else if target.chars().any(char::is_control) || target.contains(':') {
        Some("a mount's target has no colon and no control characters")
    } else {
        None
    };
    if let Some(why) = why {
        ctx.reader
            .error("mount-target", at, why, "write it like `/var/lib/data`");
        return None;
    }
    let parts: Vec<&str> = target.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let clean = format!("/{}", parts.join("/"));
    let below = |dir: &str| clean == dir || clean.strip_prefix(dir).is_some_and(|r| r.starts_with('/'));
    let reserved = clean == "/"
        || below("/proc")
        || below("/sys")
        || below("/run/ringfence")
        || (below("/dev") && clean != "/dev/shm");
    if reserved {
        ctx.reader.error(
            "mount-target",
            at,
            format!("nothing is mounted at `{}`", Safe::new(&clean)),
            "choose another path inside the container",
        );
        return None;
    }
    Some(clean)
}

/// Warns of a mount inside one that cannot be written: the engine has no way to make its directory there.
pub fn check_nested(ctx: &Context<'_>, mounts: &[Mount]) {
    for outer in mounts {
        let MountSource::Release(set) = &outer.source else {
            continue;
        };
        for inner in mounts {
            let Some(below) = inner
                .target
                .strip_prefix(&outer.target)
                .and_then(|r| r.strip_prefix('/'))
            else {
                continue;
            };
            let folder = format!("{below}/");
            if !set.files.keys().any(|f| f == below || f.starts_with(&folder)) {
                ctx.reader.report(
                    Finding::warning(
                        "nested-mount",
                        inner.at.clone(),
                        format!(
                            "`{}` lies inside `{}`, which is read-only and has no such entry",
                            Safe::new(&inner.target),
                            Safe::new(&outer.target)
                        ),
                    )
                    .help("mount it elsewhere, or commit an empty file or a folder of that name"),
                );
            }
        }
    }
}

/// Adds a mount, unless its target is taken.
pub fn add(ctx: &Context<'_>, out: &mut Vec<Mount>, mount: Mount) {
    if let Some(first) = out.iter().find(|m| m.target == mount.target) {
        let same = Mount {
            at: mount.at.clone(),
            ..first.clone()
        };
        if same == mount {
            note(
                ctx.reader,
                &mount.at,
                format!("the same mount stands at {}", first.at),
            );
            return;
        }
        ctx.reader.error(
            "duplicate-mount",
            &mount.at,
            format!("two mounts have the target `{}`", Safe::new(&mount.target)),
            format!("the first is at {}: keep one of them", first.at),
        );
        return;
    }
    out.push(mount);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_named_after_their_paths() {
        for (path, name) in [
            ("data", Some("data")),
            ("data/db", Some("data-db")),
            (".config/My App", Some("config-my-app")),
            ("./data", Some("data")),
            ("../../data/x", Some("data-x")),
            ("_x", Some("x")),
            ("...", None),
            ("ä", None),
        ] {
            assert_eq!(sanitised(path).as_deref(), name, "{path}");
        }
    }
}
