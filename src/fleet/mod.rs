//! What the repository says, with positions.
//!
//! A [`tree::Tree`] (a commit's files, or a work tree's) is read in three parts, because they come from different
//! branches: [`Policy`] (who may do what, which ring shall run what), [`Base`] (what is promoted) and
//! [`tenants::TenantFiles`] (one tenant's own, never promoted).

pub mod check;
pub mod compose;
pub mod decisions;
pub mod document;
pub mod import;
pub mod names;
pub mod plans;
pub mod policy_id;
pub mod principals;
pub mod read;
pub mod release;
pub mod rings;
pub mod schema;
pub mod settings;
pub mod spirits;
pub mod stacks;
pub mod tenants;
pub mod tree;
pub mod values;
pub mod yaml;

use std::collections::BTreeMap;

use crate::diagnostic::{Finding, Findings, did_you_mean};
use crate::text::Safe;
use names::{ContentId, RingName};
use read::Reader;
use tenants::TenantFiles;
use tree::{Entry, Tree};

/// Policy and decisions: read only from the control branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `ringfence.yaml`.
    pub settings: settings::Settings,
    /// `rings/rings.yaml`.
    pub rings: rings::Rings,
    /// `rings/principals.yaml`; empty without it.
    pub principals: principals::Principals,
    /// `rings/pins/*.yaml`; a pin with an error is absent and has a finding.
    pub pins: BTreeMap<RingName, rings::Pin>,
    /// Approvals, waivers and holds; one with an error is absent and has a finding.
    pub decisions: decisions::Decisions,
}

/// What every tenant of a ring shares, and what is promoted.
#[derive(Debug, Clone)]
pub struct Base {
    /// Hash of its tree entries.
    pub content: names::ContentId,
    /// Services.
    pub services: compose::ComposeFiles,
    /// Stacks.
    pub stacks: stacks::Stacks,
    /// Spirits.
    pub spirits: spirits::Spirits,
    /// Plan tiers.
    pub plans: plans::Plans,
    /// Packages.
    pub packages: plans::Packages,
}

/// What [`policy`] found.
#[derive(Debug)]
pub struct PolicyRead {
    /// None when `ringfence.yaml`, `rings/rings.yaml` or `rings/principals.yaml` has an error.
    pub policy: Option<Policy>,
    /// All findings of `ringfence.yaml` and `rings/`.
    pub findings: Findings,
}

/// Reads `ringfence.yaml` and `rings/`. A fleet that names itself nowhere is called `default_name`.
pub fn policy(tree: &Tree, default_name: &str) -> PolicyRead {
    let reader = Reader::new();
    let settings = settings::read(tree, default_name, &reader);
    let rings = rings::read(tree, &reader);
    for (_, ring) in &settings.platform {
        if let Some(ring) = ring.as_ref().filter(|r| rings.get(r.value.as_str()).is_none()) {
            rings.unknown(&ring.at, ring.value.as_str(), &reader);
        }
    }
    let principals = principals::read(tree, &reader);
    principals::fits(&principals, &rings, &reader);
    let good = reader.errors() == 0;
    let pins = rings::pins(tree, &rings, &reader);
    let decisions = decisions::read(tree, &rings, &reader);
    rings::other_files(tree, &reader);
    let mut findings = reader.into_findings();
    findings.tidy();
    PolicyRead {
        policy: good.then_some(Policy {
            settings,
            rings,
            principals,
            pins,
            decisions,
        }),
        findings,
    }
}

/// What [`on_record`] found.
#[derive(Debug)]
pub struct OnRecord {
    /// `rings/pins/*.yaml`.
    pub pins: BTreeMap<RingName, rings::Pin>,
    /// Approvals, waivers and holds.
    pub decisions: decisions::Decisions,
    /// What is wrong with them: each such file is absent, and spoils no other.
    pub findings: Findings,
}

/// Reads what people decided, for the rings of a policy that may stand in another commit.
pub fn on_record(tree: &Tree, rings: &rings::Rings) -> OnRecord {
    let reader = Reader::new();
    let pins = rings::pins(tree, rings, &reader);
    let decisions = decisions::read(tree, rings, &reader);
    let mut findings = reader.into_findings();
    findings.tidy();
    OnRecord {
        pins,
        decisions,
        findings,
    }
}

/// What [`base`] found.
#[derive(Debug)]
pub struct BaseRead {
    /// The base; what has an error is absent in it.
    pub base: Base,
    /// With an error among them it is no release.
    pub findings: Findings,
}

/// Reads `stacks/` and `desired/` without the tenant files.
pub fn base(tree: &Tree) -> BaseRead {
    let reader = Reader::new();
    let base = Base {
        content: content_id(tree),
        services: compose::ComposeFiles::read(tree, &reader),
        stacks: stacks::read(tree, &reader),
        spirits: spirits::read(tree, &reader),
        plans: plans::read(tree, &reader),
        packages: plans::packages(tree, &reader),
    };
    unknown_files(tree, &reader);
    let mut findings = reader.into_findings();
    findings.tidy();
    BaseRead { base, findings }
}

/// The content id of a tree, without reading any document.
pub fn content_id(tree: &Tree) -> ContentId {
    ContentId(tenants::digest(
        "ringfence.content.1",
        base_entries(tree).collect(),
    ))
}

fn base_entries(tree: &Tree) -> impl Iterator<Item = (&str, &Entry)> {
    tree.below("desired/")
        .chain(tree.below("stacks/"))
        .filter(|(path, _)| !tenants::is_tenant_file(path))
}

/// What lies in `desired/`.
const IN_DESIRED: [&str; 6] = [
    "tenants",
    "services",
    "spirits",
    "secrets",
    "plans.yaml",
    "packages.yaml",
];

/// What is a link, a submodule or too large, and what lies where nothing reads it.
fn unknown_files(tree: &Tree, reader: &Reader) {
    let mut told: Vec<&str> = Vec::new();
    for (path, entry) in base_entries(tree) {
        if !document::plain(path, entry, reader) || document::is_for_people(path) {
            continue;
        }
        let Some(rest) = path.strip_prefix("desired/") else {
            continue;
        };
        let first = rest.split('/').next().unwrap_or_default();
        let folder = rest.contains('/');
        // A folder called `plans.yaml` is as unknown as a file called `tenants`.
        let known = IN_DESIRED.contains(&first) && folder != first.contains('.');
        if known || told.contains(&first) {
            continue;
        }
        told.push(first);
        let help = did_you_mean(first, IN_DESIRED).map_or_else(
            || format!("known here: {}", IN_DESIRED.join(", ")),
            |near| format!("did you mean `desired/{near}`?"),
        );
        reader.report(
            Finding::about_path(
                "unknown-file",
                path,
                format!("nothing reads `desired/{}`", Safe::new(first)),
            )
            .help(help),
        );
    }
}

/// What [`tenants()`] found.
#[derive(Debug)]
pub struct TenantsRead {
    /// By the name that the file has.
    pub tenants: BTreeMap<String, TenantFiles>,
    /// All findings of the tenant files.
    pub findings: Findings,
}

/// Reads the files of all tenants, whatever ring they say.
pub fn tenants(tree: &Tree) -> TenantsRead {
    let reader = Reader::new();
    let tenants = tenants::read(tree, &reader);
    let mut findings = reader.into_findings();
    findings.tidy();
    TenantsRead { tenants, findings }
}
