//! `desired/tenants/<slug>.yaml`: the tenants.

use std::collections::BTreeMap;

use super::compose::service::Limits;
use super::document;
use super::names::{FilesId, RingName, Slug};
use super::plans;
use super::read::{Fields, Reader};
use super::spirits;
use super::tree::{Entry, Tree};
use super::yaml::{Key, Kind, Node};
use crate::diagnostic::{At, Finding, Spanned};
use crate::digest::Digest;
use crate::text::Safe;

/// Where the tenants stand.
pub const FOLDER: &str = "desired/tenants/";
const SECRETS: &str = "desired/secrets/";
const SPIRITS: &str = "desired/spirits/tenants/";

/// The seven plan tiers, from the smallest.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PlanTier {
    /// Looking around.
    Explorer,
    /// Building.
    Builder,
    /// A first product.
    Starter,
    /// Growing.
    Growth,
    /// Professional use.
    Professional,
    /// Large organisations.
    Enterprise,
    /// The platform's own tenants.
    Platform,
}

impl PlanTier {
    /// Words and tiers, from the smallest.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("explorer", Self::Explorer),
        ("builder", Self::Builder),
        ("starter", Self::Starter),
        ("growth", Self::Growth),
        ("professional", Self::Professional),
        ("enterprise", Self::Enterprise),
        ("platform", Self::Platform),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("", |(w, _)| w)
    }
}

/// Whether a tenant shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Its containers run.
    #[default]
    Running,
    /// Its containers go, its data stays.
    Stopped,
    /// Its data goes too.
    Erased,
}

/// A tenant, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its slug; the file's name.
    pub slug: Spanned<Slug>,
    /// For people.
    pub display_name: String,
    /// Plan tier.
    pub plan_tier: Spanned<PlanTier>,
    /// Its ring.
    pub ring: Spanned<RingName>,
    /// Its stack; none: the one that `stacks:` calls `active`.
    pub stack: Option<Spanned<String>>,
    /// Its spirit.
    pub spirit: Option<Spanned<String>>,
    /// Its services by name; none: every tenant-scoped service of its profiles.
    pub services: Option<Vec<Spanned<String>>>,
    /// Compose profiles of its own, beside the ring's.
    pub profiles: Vec<Spanned<String>>,
    /// Variables for all its services.
    pub overrides: BTreeMap<String, Spanned<String>>,
    /// Variables for one service only.
    pub service_overrides: BTreeMap<String, (At, BTreeMap<String, Spanned<String>>)>,
    /// Packages switched on.
    pub enable: Vec<Spanned<String>>,
    /// Packages switched off.
    pub disable: Vec<Spanned<String>>,
    /// Limits of each of its containers.
    pub resources: Limits,
    /// Where they are written.
    pub resources_at: Option<At>,
    /// Running, stopped or erased.
    pub state: TenantState,
    /// Given id; none: derived from fleet and slug.
    pub tenant_id: Option<String>,
    /// Given database name; none: `aither_<slug>`.
    pub db_name: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
}

/// One tenant's files on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFiles {
    /// The name its file has (a slug, if it is a good one).
    pub name: String,
    /// Hash of all its files' entries.
    pub files: FilesId,
    /// The tenant; none where its file has an error.
    pub tenant: Option<Tenant>,
    /// The ring that the file names, also where something else in it is wrong.
    pub ring: Option<RingName>,
    /// Its own overlays, by path.
    pub spirits: BTreeMap<String, super::spirits::Spirit>,
}

/// Whether a path is one of the tenant files, which are never part of a base.
pub fn is_tenant_file(path: &str) -> bool {
    [FOLDER, SECRETS, SPIRITS].iter().any(|f| path.starts_with(f))
}

/// Reads the files of all tenants, by the name that their file has.
pub fn read(tree: &Tree, reader: &Reader) -> BTreeMap<String, TenantFiles> {
    let mut all = BTreeMap::new();
    for (path, entry) in tree.below(FOLDER) {
        if document::is_for_people(path) {
            continue;
        }
        let Some(name) = document::stem(path, FOLDER, ".yaml") else {
            let stem = path.rsplit('/').next().and_then(|n| n.split('.').next());
            let known = format!("{FOLDER}{}.yaml", stem.unwrap_or("<slug>"));
            document::unknown_file(path, [known.as_str()], reader);
            continue;
        };
        all.insert(name.to_owned(), files(tree, name, path, entry, reader));
    }
    clashes(&all, reader);
    strays(tree, &all, reader);
    all
}

fn files(tree: &Tree, name: &str, path: &str, entry: &Entry, reader: &Reader) -> TenantFiles {
    let mut ring = None;
    let before = reader.errors();
    let tenant = document::yaml(path, entry, reader).and_then(|node| tenant(&node, name, &mut ring, reader));
    let own_folder = format!("{SPIRITS}{name}/");
    let own_file = format!("{SPIRITS}{name}.md");
    let secrets = format!("{SECRETS}{name}/");
    let mut spirits = BTreeMap::new();
    let overlays = tree.get(&own_file).map(|e| (own_file.as_str(), e));
    for (path, entry) in overlays.into_iter().chain(tree.below(&own_folder)) {
        if document::is_for_people(path) {
            continue;
        }
        if path != own_file && document::stem(path, &own_folder, ".md").is_none() {
            document::unknown_file(path, [format!("{own_folder}<agent>.md").as_str()], reader);
            continue;
        }
        if let Some(spirit) = spirits::one(path, entry, reader) {
            spirits.insert(path.to_owned(), spirit);
        }
    }
    secret_files(tree, &secrets, reader);
    let clean = reader.errors() == before;
    let entries: Vec<(&str, &Entry)> = [(path, entry)]
        .into_iter()
        .chain(tree.below(&secrets))
        .chain(overlays)
        .chain(tree.below(&own_folder))
        .collect();
    TenantFiles {
        name: name.to_owned(),
        files: FilesId(digest("ringfence.files.1", entries)),
        tenant: tenant.filter(|_| clean),
        ring,
        spirits,
    }
}

/// The digest of entries: path, kind and object id, in the order of the paths.
pub(super) fn digest(domain: &str, mut entries: Vec<(&str, &Entry)>) -> Digest {
    entries.sort_by_key(|(path, _)| *path);
    let list: Vec<_> = entries
        .iter()
        .map(|(path, entry)| (path, entry.kind, &entry.oid))
        .collect();
    Digest::of(domain, &list)
}

fn secret_files(tree: &Tree, folder: &str, reader: &Reader) {
    let mut first = None;
    for (path, entry) in tree.below(folder) {
        if document::is_for_people(path) || !document::plain(path, entry, reader) {
            continue;
        }
        if document::stem(path, folder, ".age").is_none() {
            document::unknown_file(path, [format!("{folder}<name>.age").as_str()], reader);
            continue;
        }
        first = first.or(Some(path));
    }
    if let Some(path) = first {
        reader.report(Finding {
            severity: crate::diagnostic::Severity::Warning,
            ..Finding::about_path(
                "not-delivered",
                path,
                "the secrets in this folder are not delivered yet: no container gets them",
            )
            .help("they count as tenant files; keep them, or remove them until secrets are carried out")
        });
    }
}

fn tenant(node: &Node, name: &str, ring_out: &mut Option<RingName>, reader: &Reader) -> Option<Tenant> {
    let fields = reader.fields(node, "the tenant")?;
    let slug = fields.require("slug").and_then(|n| slug(n, name, reader));
    let ring = fields
        .require("ring")
        .and_then(|n| reader.parse::<RingName>(n, "bad-name", "name a ring of rings/rings.yaml"));
    *ring_out = ring.as_ref().map(|r| r.value.clone());
    let plan_tier = fields.require("plan_tier").and_then(|n| {
        let tier = reader.one_of(n, PlanTier::WORDS)?;
        Some(Spanned::new(tier, n.at.clone()))
    });
    let string = |key: &'static str| fields.get(key).and_then(|n| reader.string(n));
    let strings = |key: &'static str| fields.get(key).map(|n| reader.strings(n).unwrap_or_default());
    let display_name = string("display_name").map_or_else(|| name.to_owned(), |s| s.value);
    let stack = string("stack");
    let spirit = string("spirit");
    let services = strings("services");
    let profiles = strings("profiles").unwrap_or_default();
    let (overrides, service_overrides) = fields
        .get("config_overrides")
        .map(|n| overrides(n, reader))
        .unwrap_or_default();
    let (enable, disable) = fields
        .get("packages")
        .map(|n| packages(n, reader))
        .unwrap_or_default();
    let resources = fields.get("resources");
    let resources_at = resources.map(|n| n.at.clone());
    let resources = resources.map(|n| plans::limits(n, reader)).unwrap_or_default();
    let state = fields
        .get("state")
        .and_then(|n| reader.one_of(n, STATES))
        .unwrap_or_default();
    let tenant_id = fields.get("tenant_id").and_then(|n| id(n, reader));
    let db_name = fields.get("db_name").and_then(|n| database(n, reader));
    let metadata = fields
        .get("metadata")
        .and_then(|n| reader.string_map(n))
        .unwrap_or_default();
    not_yet(&fields, reader);
    fields.finish();
    once(services.as_deref().unwrap_or_default(), reader);
    once(&profiles, reader);
    Some(Tenant {
        slug: slug?,
        display_name,
        plan_tier: plan_tier?,
        ring: ring?,
        stack,
        spirit,
        services,
        profiles,
        overrides,
        service_overrides,
        enable,
        disable,
        resources,
        resources_at,
        state,
        tenant_id,
        db_name,
        metadata: metadata.into_iter().map(|(k, v)| (k, v.value)).collect(),
    })
}

const STATES: &[(&str, TenantState)] = &[
    ("running", TenantState::Running),
    ("stopped", TenantState::Stopped),
    ("erased", TenantState::Erased),
];

/// Keys that are read for their sake alone, and those that nothing carries out yet.
fn not_yet(fields: &Fields<'_, '_>, reader: &Reader) {
    if let Some(created) = fields.get("created_at").and_then(|n| reader.string(n))
        && created.value.parse::<jiff::Timestamp>().is_err()
    {
        reader.error(
            "bad-time",
            &created.at,
            format!("`{}` is no time", Safe::new(&created.value)),
            "write it as RFC 3339 does: `2026-11-22T00:00:00Z`",
        );
    }
    if let Some(network) = fields.get("network").and_then(|n| reader.fields(n, "`network`")) {
        if let Some(node) = network.get("egress")
            && let Some(true) = reader.one_of(node, &[("allow", false), ("deny", true)])
        {
            reader.error(
                "not-carried-out",
                &node.at,
                "`egress: deny` is not carried out yet: it comes with the isolation of tenants",
                "write `egress: allow`, or leave `network` out, knowing that the tenant can reach the internet",
            );
        }
        network.finish();
    }
    fields.refuse(
        "data_sources",
        "is not carried out yet",
        "remove it; give connection settings through `config_overrides`",
    );
}

fn slug(node: &Node, name: &str, reader: &Reader) -> Option<Spanned<Slug>> {
    let slug = reader.parse::<Slug>(node, "bad-slug", "choose a name such as `acme` or `dev-lab`")?;
    if slug.value.as_str() != name {
        reader.error(
            "file-name",
            &slug.at,
            format!(
                "the tenant is called `{}`, but its file `{}.yaml`",
                slug.value,
                Safe::new(name)
            ),
            format!(
                "move the file to {FOLDER}{}.yaml, or correct the slug",
                slug.value
            ),
        );
        return None;
    }
    Some(slug)
}

type Values = BTreeMap<String, Spanned<String>>;

/// `config_overrides`: variables for all services, and maps of variables for one.
fn overrides(node: &Node, reader: &Reader) -> (Values, BTreeMap<String, (At, Values)>) {
    let mut common = Values::new();
    let mut of_service = BTreeMap::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        if let Kind::Map(entries) = &value.kind {
            let own = entries
                .iter()
                .filter_map(|(k, v)| variable(k, v, reader))
                .collect();
            of_service.insert(key.text.clone(), (key.at.clone(), own));
        } else {
            common.extend(variable(key, value, reader));
        }
    }
    (common, of_service)
}

fn variable(key: &Key, value: &Node, reader: &Reader) -> Option<(String, Spanned<String>)> {
    let name = key.text.as_str();
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        reader.error(
            "bad-variable",
            &key.at,
            format!("`{}` cannot be the name of a variable", Safe::new(name)),
            "use letters, digits and `_`, no digit first",
        );
        return None;
    }
    if name.starts_with("TENANT_") || name.starts_with("RINGFENCE_") {
        reader.error(
            "reserved-variable",
            &key.at,
            format!("`{name}` is set by ringfence"),
            "choose another name; `ringfence tenant env` shows what ringfence sets",
        );
        return None;
    }
    Some((name.to_owned(), reader.string(value)?))
}

fn packages(node: &Node, reader: &Reader) -> (Vec<Spanned<String>>, Vec<Spanned<String>>) {
    let Some(fields) = reader.fields(node, "`packages`") else {
        return Default::default();
    };
    let list = |key| {
        fields
            .get(key)
            .and_then(|n| reader.strings(n))
            .unwrap_or_default()
    };
    let (enable, disable) = (list("enable"), list("disable"));
    fields.finish();
    once(&enable, reader);
    once(&disable, reader);
    for package in disable
        .iter()
        .filter(|d| enable.iter().any(|e| e.value == d.value))
    {
        reader.error(
            "contradiction",
            &package.at,
            format!("`{}` is both enabled and disabled", Safe::new(&package.value)),
            "keep it in one of the two lists",
        );
    }
    (enable, disable)
}

fn once(list: &[Spanned<String>], reader: &Reader) {
    for (i, item) in list.iter().enumerate() {
        if list.iter().take(i).any(|before| before.value == item.value) {
            reader.error(
                "duplicate",
                &item.at,
                format!("`{}` stands twice in this list", Safe::new(&item.value)),
                "keep one of them",
            );
        }
    }
}

fn id(node: &Node, reader: &Reader) -> Option<String> {
    let id = reader.string(node)?;
    let good = (1..=64).contains(&id.value.len())
        && id
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !good {
        reader.error(
            "bad-id",
            &id.at,
            "a tenant id takes 1 to 64 letters, digits, `-`, `_` and `.`",
            "leave `tenant_id` out, and ringfence derives one that stays",
        );
        return None;
    }
    Some(id.value)
}

fn database(node: &Node, reader: &Reader) -> Option<String> {
    let name = reader.string(node)?;
    let text = name.value.as_str();
    // 63 bytes is what PostgreSQL keeps of a name.
    let good = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !good {
        reader.error(
            "bad-db-name",
            &name.at,
            "a database name takes up to 63 lower-case letters, digits and `_`, no digit first",
            "leave `db_name` out for `aither_<slug>`",
        );
        return None;
    }
    Some(name.value)
}

/// Names that only differ in the case of their letters would be one name to the engine's name server.
fn clashes(all: &BTreeMap<String, TenantFiles>, reader: &Reader) {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for name in all.keys() {
        if let Some(first) = folded.insert(name.to_lowercase(), name) {
            reader.report(
                Finding::about_path(
                    "slug-clash",
                    &format!("{FOLDER}{name}.yaml"),
                    format!("`{}` and `{}` are one name", Safe::new(first), Safe::new(name)),
                )
                .help("rename or delete one of the two files"),
            );
        }
    }
}

/// Overlays and secrets of tenants that have no file.
fn strays(tree: &Tree, all: &BTreeMap<String, TenantFiles>, reader: &Reader) {
    for (folder, extension) in [(SECRETS, ".age"), (SPIRITS, ".md")] {
        for (path, entry) in tree.below(folder) {
            let rest = path.strip_prefix(folder).unwrap_or_default();
            let owner = match rest.split_once('/') {
                Some((owner, _)) => owner,
                None if folder == SPIRITS => rest.strip_suffix(extension).unwrap_or(rest),
                None => "",
            };
            if document::is_for_people(path) || all.contains_key(owner) {
                continue;
            }
            if !document::plain(path, entry, reader) {
                continue;
            }
            if owner.is_empty() || !rest.ends_with(extension) {
                document::unknown_file(
                    path,
                    [format!("{folder}<slug>/<name>{extension}").as_str()],
                    reader,
                );
                continue;
            }
            reader.report(Finding {
                severity: crate::diagnostic::Severity::Warning,
                ..Finding::about_path(
                    "no-such-tenant",
                    path,
                    format!("no tenant is called `{}`", Safe::new(owner)),
                )
                .help(format!(
                    "write {FOLDER}{}.yaml, or delete this file",
                    Safe::new(owner)
                ))
            });
        }
    }
}
