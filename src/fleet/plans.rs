//! `desired/plans.yaml` and `desired/packages.yaml`: what a plan tier allows. Defaults are built in.

use std::collections::BTreeMap;

use super::compose::service::Limits;
use super::document;
use super::read::Reader;
use super::tenants::PlanTier;
use super::tree::Tree;
use super::values::{nano_cpus, size_bytes};
use super::yaml::{Kind, Node};
use crate::diagnostic::At;
use crate::text::Safe;

/// Where the plan tiers stand.
pub const PLANS: &str = "desired/plans.yaml";
/// Where the packages stand.
pub const PACKAGES: &str = "desired/packages.yaml";

/// The least memory that the engine takes.
const MIN_MEMORY: u64 = 6 << 20;

/// What a plan tier allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The highest effort; -1: uncapped.
    pub effort_cap: i64,
    /// Limits of each container.
    pub limits: Limits,
}

/// The caps of the design's origin: explorer, builder and starter 6, growth 8, professional 10, enterprise and
/// platform uncapped.
pub fn default_effort_cap(tier: PlanTier) -> i64 {
    match tier {
        PlanTier::Explorer | PlanTier::Builder | PlanTier::Starter => 6,
        PlanTier::Growth => 8,
        PlanTier::Professional => 10,
        PlanTier::Enterprise | PlanTier::Platform => -1,
    }
}

/// All plan tiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plans(pub BTreeMap<PlanTier, Plan>);

impl Default for Plans {
    fn default() -> Self {
        let plan = |tier| Plan {
            effort_cap: default_effort_cap(tier),
            limits: Limits::default(),
        };
        Self(
            PlanTier::WORDS
                .iter()
                .map(|(_, tier)| (*tier, plan(*tier)))
                .collect(),
        )
    }
}

/// A package that a plan tier opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// For people.
    pub description: String,
    /// The smallest plan tier that may use it.
    pub from: PlanTier,
    /// Whether tenants that may use it have it without asking.
    pub default: bool,
    /// Where it is declared.
    pub at: At,
}

/// All packages, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages(pub BTreeMap<String, Package>);

/// Reads `desired/plans.yaml`; a tier that it does not name keeps its default.
pub fn read(tree: &Tree, reader: &Reader) -> Plans {
    let mut plans = Plans::default();
    let Some(node) = tree
        .get(PLANS)
        .and_then(|entry| document::yaml(PLANS, entry, reader))
    else {
        return plans;
    };
    let Some(fields) = reader.fields(&node, "plans.yaml") else {
        return plans;
    };
    for (key, value) in fields
        .require("plans")
        .and_then(|n| reader.map(n))
        .unwrap_or_default()
    {
        let word = Node {
            kind: Kind::Scalar {
                text: key.text.clone(),
                quoted: true,
            },
            at: key.at.clone(),
        };
        let tier = reader.one_of(&word, PlanTier::WORDS);
        let Some(fields) = reader.fields(value, "the plan tier") else {
            continue;
        };
        let cap = fields.get("effort_cap").and_then(|n| reader.integer(n, -1..=10));
        if cap == Some(0) {
            reader.error(
                "out-of-range",
                &fields.key_at("effort_cap"),
                "an effort cap of 0 lets nothing through",
                "choose 1 to 10, or -1 for no cap",
            );
        }
        let resources = fields.get("resources").map(|n| limits(n, reader));
        fields.finish();
        if let Some(plan) = tier.and_then(|t| plans.0.get_mut(&t)) {
            plan.effort_cap = cap.unwrap_or(plan.effort_cap);
            plan.limits = resources.unwrap_or(plan.limits);
        }
    }
    fields.finish();
    plans
}

/// Reads `{memory: 512m, cpus: 1.5, pids: 256}`.
pub(super) fn limits(node: &Node, reader: &Reader) -> Limits {
    let mut limits = Limits::default();
    let Some(fields) = reader.fields(node, "`resources`") else {
        return limits;
    };
    limits.memory = fields.get("memory").and_then(|n| memory(n, reader));
    limits.nano_cpus = fields.get("cpus").and_then(|n| cpus(n, reader));
    limits.pids = fields
        .get("pids")
        .and_then(|n| reader.integer(n, 1..=4_194_304))
        .and_then(|n| u64::try_from(n).ok());
    fields.finish();
    limits
}

fn memory(node: &Node, reader: &Reader) -> Option<u64> {
    const HELP: &str = "write a size with its unit, such as `512m` or `2g`";
    let text = reader.string(node)?;
    match size_bytes(&text.value) {
        Ok(bytes) if (MIN_MEMORY..=1 << 50).contains(&bytes) => Some(bytes),
        Ok(bytes) => {
            reader.error(
                "out-of-range",
                &text.at,
                format!("{bytes} bytes; memory takes from 6 MiB to 1 PiB"),
                HELP,
            );
            None
        }
        Err(why) => {
            reader.error("bad-size", &text.at, why, HELP);
            None
        }
    }
}

fn cpus(node: &Node, reader: &Reader) -> Option<u64> {
    let text = reader.string(node)?;
    match nano_cpus(&text.value) {
        Ok(nano) => Some(nano),
        Err(why) => {
            reader.error("bad-number", &text.at, why, "write a number such as `0.5` or `2`");
            None
        }
    }
}

/// Reads `desired/packages.yaml`.
pub fn packages(tree: &Tree, reader: &Reader) -> Packages {
    let mut all = Packages::default();
    let Some(node) = tree
        .get(PACKAGES)
        .and_then(|entry| document::yaml(PACKAGES, entry, reader))
    else {
        return all;
    };
    let Some(fields) = reader.fields(&node, "packages.yaml") else {
        return all;
    };
    for (key, value) in fields
        .require("packages")
        .and_then(|n| reader.map(n))
        .unwrap_or_default()
    {
        let good = key.text.starts_with(|c: char| c.is_ascii_lowercase())
            && key.text.len() <= 63
            && key
                .text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
        if !good {
            reader.error(
                "bad-name",
                &key.at,
                format!("`{}` cannot be the name of a package", Safe::new(&key.text)),
                "use lower-case letters, digits, `-`, `_` and `.`, a letter first",
            );
        }
        let Some(fields) = reader.fields(value, "the package") else {
            continue;
        };
        let description = fields.get("description").and_then(|n| reader.string(n));
        let from = fields
            .get("from")
            .map_or(Some(PlanTier::Explorer), |n| reader.one_of(n, PlanTier::WORDS));
        let default = fields.get("default").and_then(|n| reader.boolean(n));
        fields.finish();
        if let Some(from) = from {
            let package = Package {
                description: description.map(|d| d.value).unwrap_or_default(),
                from,
                default: default.unwrap_or(false),
                at: key.at.clone(),
            };
            all.0.insert(key.text.clone(), package);
        }
    }
    fields.finish();
    all
}
