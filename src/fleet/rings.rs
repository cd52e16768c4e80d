//! `rings/rings.yaml`: the rings and their gates. The form of DESIGN 2 is valid for ever.

use std::collections::BTreeMap;

use super::names::{CommitId, PrincipalName, RingName, Slug};
use super::read::{Fields, Reader};
use super::settings::{self, LOCAL_DOCKER};
use super::tree::Tree;
use super::values::duration_ms;
use super::yaml::{Key, Node};
use super::{decisions, document, principals};
use crate::diagnostic::{At, Finding, Spanned, did_you_mean};
use crate::text::Safe;

mod gates;
mod windows;
mod write;

pub use gates::{Check, CheckKind};
pub use windows::{Moment, Window};
pub use write::NewPin;

/// Where the rings stand.
pub const PATH: &str = "rings/rings.yaml";
/// Where the pins stand.
pub const PINS: &str = "rings/pins/";

/// The longest time that anything here may take: a year.
const MAX_TIME_MS: u64 = 366 * 24 * 3600 * 1000;

/// The rings, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rings(pub Vec<Ring>);

/// A ring: an ordered stage with a policy of gates. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Its key in the file.
    pub name: RingName,
    /// Where it is declared.
    pub at: At,
    /// 0, 1, 2 … without a gap.
    pub id: u32,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// For people and `context.json`.
    pub environment: String,
    /// Where its tenant files are read; none: the control branch.
    pub branch: Option<Spanned<String>>,
    /// Whether ringfence requests by itself.
    pub auto_deploy: bool,
    /// Which target it runs on.
    pub deployment_target: Spanned<String>,
    /// Whether a failed move goes back.
    pub rollback_on_failure: bool,
    /// Compose profiles switched on.
    pub profiles: Vec<String>,
    /// The ring before it, unless it is the first.
    pub promote_from: Option<RingName>,
    /// Whether tenant files pass the ring's gates.
    pub tenant_changes: TenantChanges,
    /// Rollout times.
    pub rollout: RingRollout,
    /// Whose word it asks for; none: nobody's.
    pub approvals: Option<Approvals>,
    /// How long a release must have been healthy in the ring before; 0: not at all.
    pub soak_ms: u64,
    /// Extra checks of a release in the ring before.
    pub checks: Vec<Check>,
    /// When it may change; empty: always.
    pub windows: Vec<Window>,
}

/// Whether changes of tenant files are gated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TenantChanges {
    /// By window and approval, as the ring has them.
    #[default]
    Gated,
    /// Not at all.
    Free,
}

/// How a release spreads over the tenants of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingRollout {
    /// Tenants that go first, by name.
    pub canary: Vec<Spanned<Slug>>,
    /// How many tenants move at the same time.
    pub max_parallel: Share,
    /// How long a container without a healthcheck must run to count as healthy; default 10 s.
    pub observe_ms: u64,
    /// How long it may take to get healthy; none: by the slowest healthcheck.
    pub deadline_ms: Option<u64>,
}

/// A number of tenants, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Share {
    /// How many of `all` that is; at least one.
    pub fn of(self, all: usize) -> usize {
        let share = match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => all * usize::try_from(percent).unwrap_or(100) / 100,
        };
        share.max(1)
    }
}

impl Default for RingRollout {
    fn default() -> Self {
        Self {
            canary: Vec::new(),
            max_parallel: Share::Percent(100),
            observe_ms: 10_000,
            deadline_ms: None,
        }
    }
}

/// Whose word a ring asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    /// Where it is written.
    pub at: At,
    /// How many approvals.
    pub required: u32,
    /// Principals and groups who may give them; empty: every human.
    pub from: Vec<Spanned<PrincipalName>>,
    /// Whether authors of what changes may not, as requesters never may.
    pub exclude_authors: bool,
    /// Lifts both exclusions.
    pub allow_self: bool,
    /// How long an approval counts.
    pub expires_ms: u64,
}

impl Approvals {
    /// What `approval_required: true` says: one approval of any other human, good for a day.
    fn one(at: At) -> Self {
        Self {
            at,
            required: 1,
            from: Vec::new(),
            exclude_authors: false,
            allow_self: false,
            expires_ms: 24 * 3600 * 1000,
        }
    }
}

impl Rings {
    /// A ring by name.
    pub fn get(&self, name: &str) -> Option<&Ring> {
        self.0.iter().find(|r| r.name.as_str() == name)
    }

    /// Reports a name that no ring has.
    pub(super) fn unknown(&self, at: &At, name: &str, reader: &Reader) {
        unknown_ring(at, name, self.0.iter().map(|r| r.name.as_str()), reader);
    }

    /// The last ring.
    pub fn last(&self) -> Option<&Ring> {
        self.0.last()
    }
}

/// `rings/pins/<ring>.yaml`: which release a ring shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The commit whose content is the release.
    pub release: Spanned<CommitId>,
    /// The ring it was proven in, as written.
    pub proven_in: Option<Spanned<String>>,
    /// Image as written → `id:sha256:…` or `digest:sha256:…`; empty: the set proven in the ring before.
    pub images: BTreeMap<String, Spanned<String>>,
    /// Why.
    pub reason: Option<String>,
}

/// Reads `rings/rings.yaml`.
pub fn read(tree: &Tree, reader: &Reader) -> Rings {
    let Some(entry) = tree.get(PATH) else {
        reader.report(
            Finding::about_path("missing-file", PATH, "there is no rings/rings.yaml")
                .help("`ringfence init` writes one; a single ring is `rings: {prod: {id: 0}}`"),
        );
        return Rings::default();
    };
    let Some(node) = document::yaml(PATH, entry, reader) else {
        return Rings::default();
    };
    let Some(fields) = reader.fields(&node, "rings.yaml") else {
        return Rings::default();
    };
    let mut rings = Vec::new();
    if let Some(node) = fields.require("rings") {
        for (key, value) in reader.map(node).unwrap_or_default() {
            rings.extend(ring(key, value, reader));
        }
        if node.entries().is_some_and(<[_]>::is_empty) {
            reader.error(
                "no-rings",
                &node.at,
                "no ring is declared",
                "declare at least one: `prod: {id: 0}`",
            );
        }
    }
    fields.finish();
    rings.sort_by_key(|(ring, _)| ring.id);
    number(&rings, reader);
    let declared: Vec<(RingName, u32)> = rings.iter().map(|(r, _)| (r.name.clone(), r.id)).collect();
    Rings(
        rings
            .into_iter()
            .map(|(ring, from)| linked(ring, from, &declared, reader))
            .collect(),
    )
}

type From = Option<Spanned<RingName>>;

fn ring(key: &Key, node: &Node, reader: &Reader) -> Option<(Ring, From)> {
    let name = match key.text.parse::<RingName>() {
        Ok(name) => Some(name),
        Err(error) => {
            reader.error(
                "bad-name",
                &key.at,
                error.to_string(),
                "choose a name such as `staging`",
            );
            None
        }
    };
    let fields = reader.fields(node, "the ring")?;
    let string = |name: &'static str| fields.get(name).and_then(|n| reader.string(n)).map(|s| s.value);
    let flag = |name: &'static str| fields.get(name).and_then(|n| reader.boolean(n));
    let id = fields
        .require("id")
        .and_then(|n| reader.integer(n, 0..=1000))
        .and_then(|id| u32::try_from(id).ok());
    let display_name = string("name").unwrap_or_else(|| key.text.clone());
    let description = string("description").unwrap_or_default();
    let environment = string("environment").unwrap_or_else(|| key.text.clone());
    let branch = fields.get("branch").and_then(|n| settings::branch(n, reader));
    let auto_deploy = flag("auto_deploy").unwrap_or(false);
    let rollback_on_failure = flag("rollback_on_failure").unwrap_or(true);
    let deployment_target = fields
        .get("deployment_target")
        .and_then(|n| reader.string(n))
        .unwrap_or_else(|| Spanned::new(LOCAL_DOCKER.to_owned(), key.at.clone()));
    let profiles = fields
        .get("profiles")
        .and_then(|n| reader.strings(n))
        .unwrap_or_default();
    let promote_from = fields
        .get("promote_from")
        .and_then(|n| reader.parse(n, "bad-name", "name a ring with a lower id"));
    let tenant_changes = fields
        .get("tenant_changes")
        .and_then(|n| {
            let words = [("gated", TenantChanges::Gated), ("free", TenantChanges::Free)];
            reader.one_of(n, &words)
        })
        .unwrap_or_default();
    let rollout = fields
        .get("rollout")
        .and_then(|n| rollout(n, reader))
        .unwrap_or_default();
    let approvals = gates::approvals(&fields, reader);
    let (soak_ms, checks) = gates::read(&fields, reader);
    let windows = given(&fields, "windows").map_or_else(Vec::new, |(node, _)| windows::read(node, reader));
    fields.finish();
    let ring = Ring {
        name: name?,
        at: key.at.clone(),
        id: id?,
        display_name,
        description,
        environment,
        branch,
        auto_deploy,
        deployment_target,
        rollback_on_failure,
        profiles: profiles.into_iter().map(|p| p.value).collect(),
        promote_from: None,
        tenant_changes,
        rollout,
        approvals,
        soak_ms,
        checks,
        windows,
    };
    Some((ring, promote_from))
}

fn rollout(node: &Node, reader: &Reader) -> Option<RingRollout> {
    let fields = reader.fields(node, "the rollout")?;
    let mut rollout = RingRollout::default();
    if let Some(observe) = fields.get("observe").and_then(|n| time(n, reader)) {
        rollout.observe_ms = observe.value;
    }
    rollout.deadline_ms = fields
        .get("deadline")
        .and_then(|n| time(n, reader))
        .map(|t| t.value);
    if let Some(node) = fields.get("canary") {
        rollout.canary = canary(node, reader);
    }
    if let Some(share) = fields.get("max_parallel").and_then(|n| share(n, reader)) {
        rollout.max_parallel = share;
    }
    fields.finish();
    Some(rollout)
}

fn canary(node: &Node, reader: &Reader) -> Vec<Spanned<Slug>> {
    let names = reader.strings(node).unwrap_or_default().into_iter();
    let slugs = names.filter_map(|name| match name.value.parse::<Slug>() {
        Ok(slug) => Some(Spanned::new(slug, name.at)),
        Err(error) => {
            let help = "name a tenant of the ring, such as `canary: [dev-lab]`";
            reader.error("bad-slug", &name.at, error.to_string(), help);
            None
        }
    });
    slugs.collect()
}

/// `3` or `25%`.
fn share(node: &Node, reader: &Reader) -> Option<Share> {
    let text = node.scalar().unwrap_or_default();
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0);
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).filter(|p| *p <= 100).map(Share::Percent),
        None => number(text).map(Share::Count),
    };
    if share.is_none() {
        reader.error(
            "bad-share",
            &node.at,
            format!("`{}` is no number of tenants", Safe::new(text)),
            "write a number such as `3`, or a share such as `25%`",
        );
    }
    share
}

/// A duration such as `90s`, `12h` or `1d`, in milliseconds.
fn time(node: &Node, reader: &Reader) -> Option<Spanned<u64>> {
    let text = reader.string(node)?;
    match duration_ms(&text.value) {
        Ok(ms) if ms <= MAX_TIME_MS => Some(Spanned::new(ms, text.at)),
        Ok(_) => {
            reader.error(
                "bad-duration",
                &text.at,
                "longer than a year",
                "write a duration of at most 366d",
            );
            None
        }
        Err(why) => {
            reader.error(
                "bad-duration",
                &text.at,
                why,
                "write a duration with its unit, such as `90s`, `12h` or `1d`",
            );
            None
        }
    }
}

/// Ids count 0, 1, 2 … without a gap, each once.
fn number(rings: &[(Ring, From)], reader: &Reader) {
    let mut expected = 0;
    let mut before: Option<&Ring> = None;
    for (ring, _) in rings {
        match before {
            Some(other) if other.id == ring.id => {
                // The later in the file is the one to change.
                let (first, second) = if other.at.span.start <= ring.at.span.start {
                    (other, ring)
                } else {
                    (ring, other)
                };
                reader.error(
                    "ring-id-repeats",
                    &second.at,
                    format!(
                        "the rings `{}` and `{}` both have id {}",
                        first.name, second.name, ring.id
                    ),
                    "number the rings 0, 1, 2 … in the order in which a release reaches them",
                );
            }
            _ if ring.id != expected => reader.error(
                "ring-id-skips",
                &ring.at,
                format!(
                    "the ring `{}` has id {}, but no ring has id {expected}",
                    ring.name, ring.id
                ),
                "number the rings 0, 1, 2 … without a gap",
            ),
            _ => {}
        }
        expected = ring.id + 1;
        before = Some(ring);
    }
}

/// Resolves `promote_from`: the ring before, unless it says another.
fn linked(mut ring: Ring, from: From, declared: &[(RingName, u32)], reader: &Reader) -> Ring {
    let Some(from) = from else {
        ring.promote_from = declared
            .iter()
            .rev()
            .find(|(_, id)| *id < ring.id)
            .map(|(name, _)| name.clone());
        return ring;
    };
    match declared.iter().find(|(name, _)| *name == from.value) {
        Some((_, id)) if *id < ring.id => ring.promote_from = Some(from.value),
        Some(_) => reader.error(
            "ring-order",
            &from.at,
            format!("`{}` does not come before `{}`", from.value, ring.name),
            "a release is promoted from a ring with a lower id",
        ),
        None => unknown_ring(
            &from.at,
            from.value.as_str(),
            declared.iter().map(|(n, _)| n.as_str()),
            reader,
        ),
    }
    ring
}

fn unknown_ring<'a>(at: &At, name: &str, known: impl Iterator<Item = &'a str>, reader: &Reader) {
    let known: Vec<&str> = known.collect();
    let help = did_you_mean(name, known.iter().copied()).map_or_else(
        || format!("the rings are {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    reader.error(
        "unknown-ring",
        at,
        format!("no ring is called `{}`", Safe::new(name)),
        help,
    );
}

/// Reads `rings/pins/*.yaml`. A pin with an error is absent.
pub fn pins(tree: &Tree, rings: &Rings, reader: &Reader) -> BTreeMap<RingName, Pin> {
    let mut pins = BTreeMap::new();
    for (path, entry) in tree.below("rings/pins/") {
        if document::is_for_people(path) {
            continue;
        }
        let ring = document::stem(path, "rings/pins/", ".yaml").and_then(|stem| rings.get(stem));
        let Some(ring) = ring else {
            let known: Vec<String> = rings
                .0
                .iter()
                .map(|r| format!("rings/pins/{}.yaml", r.name))
                .collect();
            document::unknown_file(path, known.iter().map(String::as_str), reader);
            continue;
        };
        let before = reader.errors();
        let pin = document::yaml(path, entry, reader).and_then(|node| pin(&node, rings, reader));
        if let Some(pin) = pin.filter(|_| reader.errors() == before) {
            pins.insert(ring.name.clone(), pin);
        }
    }
    pins
}

fn pin(node: &Node, rings: &Rings, reader: &Reader) -> Option<Pin> {
    let fields = reader.fields(node, "the pin")?;
    let release = fields.require("release").and_then(|n| {
        reader.parse::<CommitId>(n, "bad-commit", "write all 40 digits that `git rev-parse` prints")
    });
    let proven_in = fields.get("proven_in").and_then(|n| reader.string(n));
    if let Some(ring) = proven_in.as_ref().filter(|r| rings.get(&r.value).is_none()) {
        rings.unknown(&ring.at, &ring.value, reader);
    }
    let images = fields
        .get("images")
        .and_then(|n| reader.string_map(n))
        .unwrap_or_default();
    for image in images.values().filter(|i| !is_image_id(&i.value)) {
        reader.error(
            "bad-image-id",
            &image.at,
            format!("`{}` is no image id or digest", Safe::new(&image.value)),
            "write `id:sha256:` or `digest:sha256:` and 64 hexadecimal digits, or leave `images` out",
        );
    }
    let reason = fields
        .get("reason")
        .and_then(|n| reader.string(n))
        .map(|r| r.value);
    fields.finish();
    Some(Pin {
        release: release?,
        proven_in,
        images,
        reason,
    })
}

fn is_image_id(text: &str) -> bool {
    ["id:sha256:", "digest:sha256:"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .is_some_and(|hex| {
            hex.len() == 64
                && hex
                    .chars()
                    .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
        })
}

/// The other files of `rings/` are unknown.
pub fn other_files(tree: &Tree, reader: &Reader) {
    const KNOWN: [&str; 4] = [PINS, decisions::APPROVALS, decisions::WAIVERS, decisions::HOLDS];
    for (path, entry) in tree.below("rings/") {
        let known = [PATH, principals::PATH].contains(&path) || KNOWN.iter().any(|k| path.starts_with(k));
        if !known && !document::is_for_people(path) && document::plain(path, entry, reader) {
            document::unknown_file(path, [PATH, principals::PATH, "rings/pins/<ring>.yaml"], reader);
        }
    }
}

/// Whether the fields of a ring ask for anything at all under a key.
fn given<'n>(fields: &Fields<'n, '_>, key: &'static str) -> Option<(&'n Node, At)> {
    fields.get(key).map(|node| (node, fields.key_at(key)))
}
