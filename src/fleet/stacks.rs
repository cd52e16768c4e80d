//! `stacks/*.yaml`: model stacks, from effort to tier to backend and model.

use std::collections::BTreeMap;

use super::document;
use super::read::Reader;
use super::tenants::Tenant;
use super::tree::Tree;
use super::yaml::{Key, Kind, Node, Over};
use crate::diagnostic::{At, Spanned, did_you_mean};
use crate::text::Safe;

const FOLDER: &str = "stacks/";

/// A tier of effort.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Quick answers.
    Fast,
    /// The middle.
    Balanced,
    /// Careful work.
    Deep,
    /// Many steps with tools.
    Agentic,
    /// All there is.
    Ultra,
}

impl Tier {
    /// Words and tiers, from the lowest.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("fast", Self::Fast),
        ("balanced", Self::Balanced),
        ("deep", Self::Deep),
        ("agentic", Self::Agentic),
        ("ultra", Self::Ultra),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("", |(w, _)| w)
    }
}

/// The effort table of a stack without one of its own: 1–3 fast, 4–6 balanced, 7–8 deep, 9 agentic, 10 ultra.
pub const EFFORT_TO_TIER: [Tier; 10] = [
    Tier::Fast,
    Tier::Fast,
    Tier::Fast,
    Tier::Balanced,
    Tier::Balanced,
    Tier::Balanced,
    Tier::Deep,
    Tier::Deep,
    Tier::Agentic,
    Tier::Ultra,
];

/// A backend and the model asked of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Backend {
    /// `vllm`, `ollama`, `anthropic` …
    pub backend: String,
    /// The model's name there.
    pub model: String,
}

/// A stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Where it is declared.
    pub at: At,
    /// When to choose it.
    pub description: String,
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// GPU memory it needs, in GB, as written.
    pub vram_estimate_gb: Option<f64>,
    /// Environment of the backends that run here, by key (`vllm_tq_env`).
    pub backend_env: BTreeMap<String, BTreeMap<String, String>>,
    /// Effort 1–10 → tier, as index 0–9.
    pub effort_to_tier: [Tier; 10],
    /// Tier → backend and model.
    pub tier_backends: BTreeMap<Tier, Backend>,
    /// Overflow, in order.
    pub cloud_pool: Vec<Backend>,
}

/// One line of a preview.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Route {
    /// 1–10.
    pub effort: u8,
    /// The tier asked for.
    pub tier: Tier,
    /// The tier that answers: another one where the first has no backend.
    pub served_by: Tier,
    /// Who answers.
    #[serde(flatten)]
    pub backend: Backend,
}

impl Stack {
    /// Who answers a tier: its own backend, else the nearest lower one's, else the nearest higher one's.
    pub fn route(&self, tier: Tier) -> Option<(Tier, &Backend)> {
        let lower = self.tier_backends.range(..=tier).next_back();
        lower
            .or_else(|| self.tier_backends.range(tier..).next())
            .map(|(t, b)| (*t, b))
    }

    /// Effort 1–10 → tier → backend.
    pub fn preview(&self) -> Vec<Route> {
        (1u8..=10)
            .zip(self.effort_to_tier)
            .filter_map(|(effort, tier)| {
                let (served_by, backend) = self.route(tier)?;
                Some(Route {
                    effort,
                    tier,
                    served_by,
                    backend: backend.clone(),
                })
            })
            .collect()
    }
}

/// All stacks of a base.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stacks {
    /// By name.
    pub stacks: BTreeMap<String, Stack>,
    /// The stack of tenants that name none.
    pub active: Option<Spanned<String>>,
}

impl Stacks {
    /// The stack that a tenant uses: its own, else the active one.
    pub fn stack_of<'a>(&'a self, tenant: &Tenant) -> Option<&'a Stack> {
        let name = tenant.stack.as_ref().or(self.active.as_ref())?;
        self.stacks.get(&name.value)
    }
}

/// Reads `stacks/*.yaml`: a file with `stacks:` holds several, any other is the stack that it is named after.
pub fn read(tree: &Tree, reader: &Reader) -> Stacks {
    let mut all = Stacks::default();
    for (path, entry) in tree.below(FOLDER) {
        if document::is_for_people(path) {
            continue;
        }
        let Some(name) = document::stem(path, FOLDER, ".yaml") else {
            document::unknown_file(path, ["stacks/model-stacks.yaml", "stacks/<name>.yaml"], reader);
            continue;
        };
        let Some(node) = document::yaml(path, entry, reader) else {
            continue;
        };
        if name == "model-stacks" || node.get("stacks").is_some() {
            several(&node, &mut all, reader);
        } else {
            let start = At::new(&node.at.source, node.at.span.start..node.at.span.start);
            let key = Key {
                text: name.to_owned(),
                at: start,
                over: Over::Merge,
            };
            add(&key, &node, &mut all, reader);
        }
    }
    if let Some(active) = all.active.as_ref().filter(|a| !all.stacks.contains_key(&a.value)) {
        unknown(active, &all, reader);
    }
    all
}

/// Reports a name that no stack has.
pub(super) fn unknown(name: &Spanned<String>, all: &Stacks, reader: &Reader) {
    let known = all.stacks.keys().map(String::as_str);
    let help = did_you_mean(&name.value, known.clone()).map_or_else(
        || {
            let list: Vec<_> = known.collect();
            format!("the stacks are {}", list.join(", "))
        },
        |near| format!("did you mean `{near}`?"),
    );
    reader.error(
        "unknown-stack",
        &name.at,
        format!("no stack is called `{}`", Safe::new(&name.value)),
        help,
    );
}

fn several(node: &Node, all: &mut Stacks, reader: &Reader) {
    let Some(fields) = reader.fields(node, "the file of stacks") else {
        return;
    };
    if let Some(stacks) = fields.require("stacks") {
        for (key, value) in reader.map(stacks).unwrap_or_default() {
            add(key, value, all, reader);
        }
    }
    if let Some(active) = fields.get("active").and_then(|n| reader.string(n)) {
        if let Some(first) = &all.active {
            reader.error(
                "duplicate",
                &active.at,
                "`active` is written in two files",
                format!("the first stands in {}: keep one of them", first.at),
            );
        } else {
            all.active = Some(active);
        }
    }
    fields.finish();
}

fn add(key: &Key, node: &Node, all: &mut Stacks, reader: &Reader) {
    let good = key.text.len() <= 63
        && key
            .text
            .starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && key
            .text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if !good {
        reader.error(
            "bad-name",
            &key.at,
            format!("`{}` cannot be the name of a stack", Safe::new(&key.text)),
            "use lower-case letters, digits, `-`, `_` and `.`",
        );
    }
    if let Some(first) = all.stacks.get(&key.text) {
        reader.error(
            "duplicate",
            &key.at,
            format!("two stacks are called `{}`", Safe::new(&key.text)),
            format!("the first stands in {}: rename one of them", first.at),
        );
        return;
    }
    if let Some(stack) = stack(key, node, reader) {
        all.stacks.insert(key.text.clone(), stack);
    }
}

fn stack(key: &Key, node: &Node, reader: &Reader) -> Option<Stack> {
    let entries = reader.map(node)?;
    // Each backend that runs here may have an environment: `vllm_tq_env`, `ollama_env` …
    let (envs, rest): (Vec<_>, Vec<_>) = entries
        .iter()
        .cloned()
        .partition(|(k, _)| k.text.ends_with("_env"));
    let rest = Node {
        kind: Kind::Map(rest),
        at: node.at.clone(),
    };
    let fields = reader.fields(&rest, "the stack")?;
    let description = fields
        .get("description")
        .and_then(|n| reader.string(n))
        .map(|s| s.value)
        .unwrap_or_default();
    let requires_gpu = fields
        .get("requires_gpu")
        .and_then(|n| reader.boolean(n))
        .unwrap_or(false);
    let vram_estimate_gb = fields.get("vram_estimate_gb").and_then(|n| reader.number(n));
    let effort_to_tier = match fields.get("effort_to_tier") {
        Some(node) => efforts(node, reader),
        None => Some(EFFORT_TO_TIER),
    };
    let tier_backends = fields.require("tier_backends").map(|n| backends(n, reader));
    let cloud_pool = fields
        .get("cloud_pool")
        .and_then(|n| reader.list(n))
        .unwrap_or_default()
        .iter()
        .filter_map(|n| backend(n, reader))
        .collect();
    fields.finish();
    let backend_env = envs
        .into_iter()
        .filter_map(|(k, v)| {
            let env = reader.string_map(&v)?;
            Some((k.text, env.into_iter().map(|(k, v)| (k, v.value)).collect()))
        })
        .collect();
    Some(Stack {
        name: key.text.clone(),
        at: key.at.clone(),
        description,
        requires_gpu,
        vram_estimate_gb,
        backend_env,
        effort_to_tier: effort_to_tier?,
        tier_backends: tier_backends?,
        cloud_pool,
    })
}

/// All ten efforts must have their tier: a gap would be a guess.
fn efforts(node: &Node, reader: &Reader) -> Option<[Tier; 10]> {
    let mut found: [Option<Tier>; 10] = [None; 10];
    for (key, value) in reader.map(node)? {
        let tier = reader.one_of(value, Tier::WORDS);
        let slot = key
            .text
            .parse::<usize>()
            .ok()
            .filter(|e| key.text == e.to_string())
            .and_then(|effort| found.get_mut(effort.checked_sub(1)?));
        match slot {
            Some(slot) => *slot = tier,
            None => reader.error(
                "effort-table",
                &key.at,
                format!("`{}` is no effort", Safe::new(&key.text)),
                "an effort is a number from 1 to 10",
            ),
        }
    }
    let missing: Vec<String> = (1..=10)
        .zip(found)
        .filter(|(e, tier)| tier.is_none() && node.get(&e.to_string()).is_none())
        .map(|(e, _)| e.to_string())
        .collect();
    if !missing.is_empty() {
        reader.error(
            "effort-table",
            &node.at,
            format!("no tier for effort {}", missing.join(", ")),
            "give each effort from 1 to 10 its tier, or leave `effort_to_tier` out",
        );
    }
    let tiers: Vec<Tier> = found.into_iter().flatten().collect();
    tiers.try_into().ok()
}

fn backends(node: &Node, reader: &Reader) -> BTreeMap<Tier, Backend> {
    let mut all = BTreeMap::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        let name = Node {
            kind: Kind::Scalar {
                text: key.text.clone(),
                quoted: true,
            },
            at: key.at.clone(),
        };
        let tier = reader.one_of(&name, Tier::WORDS);
        if let (Some(tier), Some(backend)) = (tier, backend(value, reader)) {
            all.insert(tier, backend);
        }
    }
    if node.entries().is_some_and(<[_]>::is_empty) {
        reader.error(
            "no-backend",
            &node.at,
            "no tier has a backend",
            "name at least one: `fast: {backend: ollama, model: qwen3}`",
        );
    }
    all
}

fn backend(node: &Node, reader: &Reader) -> Option<Backend> {
    let fields = reader.fields(node, "the backend")?;
    let part = |key| {
        let text = fields.require(key).and_then(|n| reader.string(n))?;
        if text.value.trim().is_empty() {
            reader.error("empty", &text.at, format!("`{key}` is empty"), "write its name");
            return None;
        }
        Some(text.value)
    };
    let (backend, model) = (part("backend"), part("model"));
    fields.finish();
    Some(Backend {
        backend: backend?,
        model: model?,
    })
}
