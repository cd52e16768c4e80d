//! `ringfence.yaml`: the fleet's name, its instance, its targets, its addresses.

use std::collections::BTreeMap;

use std::net::Ipv4Addr;

use super::document;
use super::names::{Instance, RingName, Slug};
use super::read::{Fields, Reader};
use super::tree::Tree;
use super::yaml::{Kind, Node};
use crate::diagnostic::{At, Spanned, did_you_mean};
use crate::text::Safe;

/// Where the settings stand.
pub const PATH: &str = "ringfence.yaml";

/// `ringfence.yaml`, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The fleet's name.
    pub fleet: String,
    /// The instance: labels everything it owns on an engine.
    pub instance: Instance,
    /// The branch that policy and decisions are read from; none: the repository's own default (its HEAD).
    pub control_branch: Option<Spanned<String>>,
    /// Slugs that may carry `plan_tier: platform`, and the ring each lives in (none: the last ring).
    pub platform: Vec<(Spanned<Slug>, Option<Spanned<RingName>>)>,
    /// Targets by name; `local-docker` is always there.
    pub targets: BTreeMap<String, Target>,
    /// Addresses for the tenants' networks.
    pub address_pool: AddressPool,
}

/// The target that needs no entry: `DOCKER_HOST`, or the default socket.
pub const LOCAL_DOCKER: &str = "local-docker";

/// An engine, as the fleet declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `DOCKER_HOST`, or the default socket.
    Local,
    /// The same as another target.
    SameAs(Spanned<String>),
    /// A unix socket, `unix:///path`.
    Unix(Spanned<String>),
}

/// Where the networks' subnets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The first address of the pool.
    pub base: Ipv4Addr,
    /// The pool's own prefix length.
    pub base_prefix: u8,
    /// The prefix length of one tenant's subnet.
    pub prefix: u8,
}

impl Default for AddressPool {
    fn default() -> Self {
        Self {
            base: Ipv4Addr::new(10, 201, 0, 0),
            base_prefix: 16,
            prefix: 27,
        }
    }
}

impl Settings {
    /// The settings of a repository without `ringfence.yaml`.
    pub fn of_name(fleet: &str, instance: Instance) -> Self {
        Self {
            fleet: fleet.to_owned(),
            instance,
            control_branch: None,
            platform: Vec::new(),
            targets: BTreeMap::new(),
            address_pool: AddressPool::default(),
        }
    }

    /// Follows `same_as` to the engine that a target means. `Err` holds the name that is not declared.
    ///
    /// # Errors
    /// The name of the target that is declared nowhere (or that only points in a circle).
    pub fn target(&self, name: &str) -> Result<Target, String> {
        let mut name = name;
        for _ in 0..=self.targets.len() {
            match self.targets.get(name) {
                Some(Target::SameAs(other)) => name = &other.value,
                Some(target) => return Ok(target.clone()),
                None if name == LOCAL_DOCKER => return Ok(Target::Local),
                None => return Err(name.to_owned()),
            }
        }
        Err(name.to_owned())
    }
}

/// A place in `ringfence.yaml` for findings that are about the whole file.
pub fn whole(path: &str) -> At {
    At::new(&crate::diagnostic::Source::new(path, ""), 0..0)
}

/// Reads `ringfence.yaml`; without it everything has its default and the fleet's name is a slug made of
/// `default_name`.
pub fn read(tree: &Tree, default_name: &str, reader: &Reader) -> Settings {
    let default = default_name
        .parse()
        .unwrap_or_else(|_| Instance::of_name(default_name));
    let mut settings = Settings::of_name(default.as_str(), default.clone());
    let Some(node) = tree
        .get(PATH)
        .and_then(|entry| document::yaml(PATH, entry, reader))
    else {
        return settings;
    };
    let Some(fields) = reader.fields(&node, "ringfence.yaml") else {
        return settings;
    };
    if let Some(fleet) = fields.get("fleet").and_then(|n| fleet_name(n, reader)) {
        settings.instance = fleet.parse().unwrap_or_else(|_| Instance::of_name(&fleet));
        settings.fleet = fleet;
    }
    if let Some(instance) = fields
        .get("instance")
        .and_then(|n| reader.parse(n, "bad-name", "choose a name such as `aither`"))
    {
        settings.instance = instance.value;
    }
    settings.control_branch = fields.get("control_branch").and_then(|n| branch(n, reader));
    if let Some(node) = fields.get("platform") {
        settings.platform = platform(node, reader);
    }
    if let Some(node) = fields.get("targets") {
        settings.targets = targets(node, reader);
    }
    if let Some(pool) = fields.get("address_pool").and_then(|n| address_pool(n, reader)) {
        settings.address_pool = pool;
    }
    fields.refuse(
        "notifications",
        "is not carried out yet: nothing sends messages",
        "remove it; `ringfence status --watch` and `ringfence events` show what happens",
    );
    fields.finish();
    settings
}

fn fleet_name(node: &Node, reader: &Reader) -> Option<String> {
    let name = reader.string(node)?;
    let length = name.value.chars().count();
    if (1..=63).contains(&length) && name.value.trim() == name.value && !name.value.contains('\n') {
        return Some(name.value);
    }
    reader.error(
        "bad-name",
        &name.at,
        "a fleet's name takes 1 to 63 characters on one line, without spaces around it",
        "choose a name such as `aither`",
    );
    None
}

/// The name of a branch, by git's rules.
pub(super) fn branch(node: &Node, reader: &Reader) -> Option<Spanned<String>> {
    let name = reader.string(node)?;
    let text = name.value.as_str();
    let bad = text.is_empty()
        || text == "@"
        || text.starts_with(['-', '/'])
        || text.ends_with(['/', '.'])
        || ["..", "//", "@{"].iter().any(|p| text.contains(p))
        || text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
        || text
            .split('/')
            .any(|part| part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock"));
    if bad {
        reader.error(
            "bad-branch",
            &name.at,
            format!("`{}` cannot be the name of a branch", Safe::new(text)),
            "write the branch's short name, such as `main`",
        );
        return None;
    }
    Some(name)
}

type PlatformSlug = (Spanned<Slug>, Option<Spanned<RingName>>);

fn platform(node: &Node, reader: &Reader) -> Vec<PlatformSlug> {
    const HELP: &str = "write a slug such as `platform`, or `{slug: platform, ring: prod}`";
    let mut all: Vec<PlatformSlug> = Vec::new();
    for item in reader.list(node).unwrap_or_default() {
        let entry = match &item.kind {
            Kind::Map(_) => reader.fields(item, "the platform tenant").and_then(|fields| {
                let slug = fields
                    .require("slug")
                    .and_then(|n| reader.parse(n, "bad-slug", HELP));
                let ring = fields
                    .get("ring")
                    .and_then(|n| reader.parse(n, "bad-name", "name a ring of rings/rings.yaml"));
                fields.finish();
                Some((slug?, ring))
            }),
            _ => reader.parse(item, "bad-slug", HELP).map(|slug| (slug, None)),
        };
        let Some((slug, ring)) = entry else { continue };
        if all.iter().any(|(s, _)| s.value == slug.value) {
            reader.error(
                "duplicate",
                &slug.at,
                format!("`{}` stands twice in `platform`", slug.value),
                "keep one of them",
            );
            continue;
        }
        all.push((slug, ring));
    }
    all
}

fn targets(node: &Node, reader: &Reader) -> BTreeMap<String, Target> {
    let mut all = BTreeMap::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        if !is_target_name(&key.text) {
            reader.error(
                "bad-name",
                &key.at,
                format!("`{}` cannot be the name of a target", Safe::new(&key.text)),
                "use lower-case letters, digits and `-`, a letter first",
            );
            continue;
        }
        if let Some(target) = reader
            .fields(value, "the target")
            .and_then(|fields| target(fields, &key.at, reader))
        {
            all.insert(key.text.clone(), target);
        }
    }
    for (name, target) in &all {
        if let Target::SameAs(other) = target {
            same_as(name, other, &all, reader);
        }
    }
    all
}

fn is_target_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn target(fields: Fields<'_, '_>, at: &At, reader: &Reader) -> Option<Target> {
    let same_as = fields.get("same_as");
    let host = fields.get("host");
    for key in ["ssh", "tls", "swarm"] {
        fields.refuse(
            key,
            "is not carried out yet: engines of other machines come later",
            "use `host: unix:///run/docker.sock`, or `same_as: local-docker`",
        );
    }
    fields.finish();
    match (same_as, host) {
        (Some(node), None) => reader.string(node).map(Target::SameAs),
        (None, Some(node)) => reader.string(node).and_then(|host| self::host(host, reader)),
        _ => {
            reader.error(
                "bad-target",
                at,
                "a target takes one of `same_as` and `host`",
                "write `{same_as: local-docker}`, or `{host: unix:///run/docker.sock}`",
            );
            None
        }
    }
}

fn host(host: Spanned<String>, reader: &Reader) -> Option<Target> {
    const HELP: &str = "use `unix:///run/docker.sock`, or `same_as: local-docker`";
    let text = host.value.as_str();
    if text
        .strip_prefix("unix://")
        .is_some_and(|p| p.starts_with('/') && !p.contains("/../"))
    {
        return Some(Target::Unix(host));
    }
    let later = ["ssh://", "tcp://", "http://", "https://", "npipe://"];
    if let Some(scheme) = later.iter().find(|s| text.starts_with(**s)) {
        reader.error(
            "not-carried-out",
            &host.at,
            format!("`{scheme}` is not carried out yet: engines of other machines come later"),
            HELP,
        );
    } else {
        // The address is not repeated: it could hold a password.
        reader.error(
            "bad-target",
            &host.at,
            "the address is no `unix://` followed by an absolute path",
            HELP,
        );
    }
    None
}

fn same_as(name: &str, other: &Spanned<String>, all: &BTreeMap<String, Target>, reader: &Reader) {
    let mut seen = vec![name];
    let mut next = other.value.as_str();
    loop {
        if seen.contains(&next) {
            reader.error(
                "target-circle",
                &other.at,
                format!("the target `{name}` only points at itself"),
                "let one of them name a `host:`, or use `same_as: local-docker`",
            );
            return;
        }
        seen.push(next);
        match all.get(next) {
            Some(Target::SameAs(further)) => next = &further.value,
            Some(_) => return,
            None if next == LOCAL_DOCKER => return,
            // Where a further one dangles, that one has the finding.
            None if next != other.value => return,
            None => {
                let known = all
                    .keys()
                    .map(String::as_str)
                    .filter(|k| *k != name)
                    .chain([LOCAL_DOCKER]);
                let help = did_you_mean(next, known).map_or_else(
                    || {
                        format!(
                            "declare `{}` under `targets:`, or use `local-docker`",
                            Safe::new(next)
                        )
                    },
                    |near| format!("did you mean `{near}`?"),
                );
                reader.error(
                    "unknown-target",
                    &other.at,
                    format!("no target is called `{}`", Safe::new(next)),
                    help,
                );
                return;
            }
        }
    }
}

fn address_pool(node: &Node, reader: &Reader) -> Option<AddressPool> {
    let fields = reader.fields(node, "the address pool")?;
    let default = AddressPool::default();
    let base = match fields.get("base") {
        Some(node) => cidr(node, reader),
        None => Some((default.base, default.base_prefix)),
    };
    // A subnet holds its gateway, a service and its replacement: /29 is the smallest that does.
    let prefix = match fields.get("prefix") {
        Some(node) => reader
            .integer(node, 16..=29)
            .map(|p| (u8::try_from(p).unwrap_or(29), &node.at)),
        None => Some((default.prefix, &node.at)),
    };
    fields.finish();
    let ((base, base_prefix), (prefix, at)) = (base?, prefix?);
    if prefix < base_prefix {
        reader.error(
            "address-pool",
            at,
            format!("subnets of /{prefix} do not fit into a pool of /{base_prefix}"),
            "choose a larger number for `prefix`, or a larger pool",
        );
        return None;
    }
    Some(AddressPool {
        base,
        base_prefix,
        prefix,
    })
}

fn cidr(node: &Node, reader: &Reader) -> Option<(Ipv4Addr, u8)> {
    const HELP: &str = "write a private IPv4 network such as `10.201.0.0/16`";
    let text = reader.string(node)?;
    let parsed = text
        .value
        .split_once('/')
        .and_then(|(base, prefix)| Some((base.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?)))
        .filter(|(_, prefix)| (8..=29).contains(prefix));
    let Some((base, prefix)) = parsed else {
        reader.error(
            "address-pool",
            &text.at,
            format!("`{}` is no IPv4 network of /8 to /29", Safe::new(&text.value)),
            HELP,
        );
        return None;
    };
    let mask = u32::MAX << (32 - u32::from(prefix));
    let network = Ipv4Addr::from(u32::from(base) & mask);
    if network != base {
        reader.error(
            "address-pool",
            &text.at,
            format!("`{base}` is an address inside the network, not its first"),
            format!("write `{network}/{prefix}`"),
        );
        return None;
    }
    let [a, b, ..] = base.octets();
    // RFC 1918, and RFC 6598's shared space.
    if !(base.is_private() || (a == 100 && (64..128).contains(&b))) {
        reader.error(
            "address-pool",
            &text.at,
            format!("`{base}` is no private network"),
            HELP,
        );
        return None;
    }
    Some((base, prefix))
}
