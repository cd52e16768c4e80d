//! `ringfence check`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::Global;
use super::error::CliError;
use super::findings::Told;
use super::fleet::worktree_root;
use super::out::Out;
use crate::diagnostic::Severity;
use crate::fleet::check::{Report, check};
use crate::fleet::tree::Tree;
use crate::git::{Repo, worktree};
use crate::text::Safe;

/// Reads the work tree and prints every finding as file:line:col with the excerpt.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence check                   the fleet around the directory
  ringfence check ../other --notes  another one, with what means less here
  ringfence check -o json           for a hook or an editor: `ringfence schema output-check`

It reads the work tree; what is deployed is what is committed.
Next: `ringfence plan --worktree` shows what these files would change.")]
pub(crate) struct Check {
    /// A fleet's folder [default: the repository around the directory].
    path: Option<PathBuf>,
    /// Print notes too: keys that are read and mean less here than elsewhere.
    #[arg(long)]
    notes: bool,
}

/// What `check -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Checked<'a> {
    /// In the order of files and lines.
    findings: Vec<Told<'a>>,
    /// How many errors: with one, nothing of what they are about is deployed.
    errors: usize,
    /// How many warnings.
    warnings: usize,
    /// How many notes.
    notes: usize,
}

impl Check {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let root = worktree_root(global, self.path.as_deref());
        let tree = worktree(&root)?;
        if tree.is_empty() {
            return Err(CliError::new(format!(
                "{} declares no fleet: there is no ringfence.yaml, rings/, stacks/ or desired/",
                root.display()
            ))
            .hint("`ringfence init DIR` makes one"));
        }
        let name = Repo::open(&root).map_or_else(|_| folder_name(&root), |r| r.name());
        let report = check(&tree, &name);
        let errors = report.findings.count(Severity::Error);
        let code = u8::from(errors > 0);
        if out.json() {
            Out::print_json(&Checked {
                findings: super::findings::json(&report.findings),
                errors,
                warnings: report.findings.count(Severity::Warning),
                notes: report.findings.count(Severity::Note),
            })?;
            return Ok(code);
        }
        let shown = report
            .findings
            .iter()
            .filter(|f| self.notes || f.severity != Severity::Note)
            .cloned()
            .collect();
        Out::print(&super::findings::render(&shown, Out::color()));
        Out::print(&summary(&report, self.notes));
        for path in uncommitted_policy(&root, &tree, &report) {
            Out::say(&format!(
                "warning: {path} differs from the control branch: what is committed there is in force"
            ));
        }
        Ok(code)
    }
}

/// Policy and decisions of the work tree that the control branch does not have: they are read only from there.
fn uncommitted_policy(root: &std::path::Path, tree: &Tree, report: &Report) -> Vec<String> {
    let named = report
        .policy
        .as_ref()
        .and_then(|p| p.settings.control_branch.as_ref())
        .map(|b| b.value.clone());
    let committed = Repo::open(root).ok().and_then(|repo| {
        let branch = named.or_else(|| repo.default_branch().ok())?;
        repo.tree(repo.branches().ok()?.get(&branch)?).ok()
    });
    let Some(committed) = committed else {
        return Vec::new();
    };
    let of_policy = |path: &str| path == "ringfence.yaml" || path.starts_with("rings/");
    let paths: BTreeSet<&str> = tree
        .iter()
        .chain(committed.iter())
        .map(|(p, _)| p)
        .filter(|p| of_policy(p))
        .collect();
    let differs = |path: &&str| tree.get(path).map(|e| &e.oid) != committed.get(path).map(|e| &e.oid);
    paths
        .into_iter()
        .filter(differs)
        .map(|p| Safe::new(p).to_string())
        .collect()
}

fn folder_name(root: &std::path::Path) -> String {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    absolute
        .file_name()
        .map_or_else(|| "fleet".to_owned(), |n| n.to_string_lossy().into_owned())
}

fn summary(report: &Report, notes: bool) -> String {
    let rings = report.policy.as_ref().map_or(0, |p| p.rings.0.len());
    let fleet = report.policy.as_ref().map_or("?", |p| p.settings.fleet.as_str());
    let count = |severity| report.findings.count(severity);
    let mut text = format!(
        "fleet {fleet}: read {}, {}, {}, {}, {}\n",
        many(rings, "ring"),
        many(report.tenants.len(), "tenant"),
        many(report.base.services.declared().len(), "service"),
        many(report.base.stacks.stacks.len(), "stack"),
        many(report.base.spirits.0.len(), "spirit"),
    );
    text.push_str(&format!(
        "{}, {}, {}{}\n",
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning"),
        many(count(Severity::Note), "note"),
        if count(Severity::Note) > 0 && !notes {
            " (`--notes` prints them)"
        } else {
            ""
        },
    ));
    text
}

pub(super) fn many(n: usize, word: &str) -> String {
    if n == 1 {
        format!("1 {word}")
    } else {
        format!("{n} {word}s")
    }
}
