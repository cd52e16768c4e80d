//! `ringfence plan`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::check::many;
use super::error::CliError;
use super::fleet::worktree_root;
use super::out::Out;
use super::{Global, complete};
use crate::controller::Request;
use crate::decide::{Decision, MoveState};
use crate::diagnostic::did_you_mean;
use crate::fleet::names::Slug;
use crate::git::worktree;
use crate::plan::Plan;
use crate::plan::show::Counts;

/// What would change now, and why. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence plan                    every ring
  ringfence plan prod --diff        one ring, with the specs' differences
  ringfence plan tenant/acme        one tenant
  ringfence plan --worktree         what is not committed yet
  ringfence plan --exit-code        for scripts: 2 if something would change

Next: `ringfence apply` does it; `ringfence check` says why something is missing in it.")]
pub(crate) struct PlanVerb {
    /// Rings or tenants (`tenant/NAME` where a ring has the same name) [default: all].
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    names: Vec<String>,
    /// Exit 2 if something would change now; moves that a gate holds do not count.
    #[arg(long)]
    exit_code: bool,
    /// Show unified diffs of what is replaced.
    #[arg(long)]
    diff: bool,
    /// Preview the work tree instead of the committed branches. A preview cannot be applied.
    #[arg(long)]
    worktree: bool,
}

/// What `plan -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Planned<'a> {
    /// Which release and files each ring and tenant shall run, and what holds the others back.
    decision: &'a Decision,
    /// What would be done.
    plan: &'a Plan,
    /// How many services of each kind of change.
    counts: Counts,
    /// Whether anything would be done now.
    changes: bool,
    /// What a person should know.
    conditions: &'a [String],
}

impl PlanVerb {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let request = request(&self.names, &fleet.policy)?;
        let (mut controller, _wakes) = fleet.looking().await?;
        if self.worktree {
            controller.preview(worktree(&worktree_root(global, None))?);
        } else if fleet.repo.dirty_desired().unwrap_or(false) {
            Out::say(
                "note: the work tree has edits that are not committed: this plan does not see them (`--worktree` does)",
            );
        }
        let look = controller.look(&request).await?;
        known(
            &bare(&self.names),
            look.decision.rings.iter().map(|r| r.name.as_str()),
            look.decision.tenants.keys().map(Slug::as_str),
        )?;
        let code = if self.exit_code && look.plan.changes() {
            2
        } else {
            0
        };
        if out.json() {
            Out::print_json(&Planned {
                decision: &look.decision,
                plan: &look.plan,
                counts: look.plan.counts(),
                changes: look.plan.changes(),
                conditions: &look.conditions,
            })?;
            return Ok(code);
        }
        Out::print(&rings(&look.decision));
        if !look.plan.is_empty() || !look.plan.unknown.is_empty() {
            Out::print("\n");
            Out::print(&look.shown(self.diff));
        }
        let counts = look.plan.counts();
        Out::print(&format!(
            "\nPlan: {} to create, {} to replace, {} to repair, {} to remove{}.\n",
            counts.create,
            counts.replace,
            counts.repair,
            counts.remove,
            besides(&look.plan)
        ));
        for condition in &look.conditions {
            Out::print(&format!("! {condition}\n"));
        }
        Ok(code)
    }
}

/// What is made or written besides services.
fn besides(plan: &Plan) -> String {
    let parts = [
        (plan.make_networks.len(), "network"),
        (plan.make_volumes.len(), "volume"),
        (plan.write_live.len(), "live folder"),
    ];
    parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("; {}", many(*n, word)))
        .collect()
}

/// Each ring with where it goes, and what holds it.
fn rings(decision: &Decision) -> String {
    let mut text = String::new();
    for ring in &decision.rings {
        let target = ring
            .target
            .map_or_else(|| "nothing".to_owned(), |r| r.to_string());
        text.push_str(&format!("ring {}: {target}\n", ring.name));
        for mv in &ring.moves {
            let from = mv.from.map_or_else(|| "nothing".to_owned(), |f| f.short());
            let to = mv.to.map_or_else(|| "?".to_owned(), |t| t.short());
            let state = match mv.state {
                MoveState::Open => "goes",
                MoveState::Waiting => "waits",
                MoveState::Quarantined => "failed here before",
            };
            let by = match mv.request.short() {
                "00000000" => "the work tree",
                commit => commit,
            };
            text.push_str(&format!("  {from} → {to} {state}, asked for by {by}\n"));
            for gate in mv
                .gates
                .iter()
                .filter(|g| mv.state != MoveState::Open && g.state != crate::decide::gate::Answer::Pass)
            {
                text.push_str(&format!(
                    "    {}: {}\n",
                    gate.name,
                    crate::text::Safe::lines(&gate.evidence)
                ));
            }
        }
        for condition in &ring.conditions {
            text.push_str(&format!("  ! {condition}\n"));
        }
        for tenant in decision.tenants.values().filter(|t| t.ring == ring.name) {
            for condition in &tenant.conditions {
                text.push_str(&format!(
                    "  ! {}: {}\n",
                    tenant.slug,
                    crate::text::Safe::lines(condition)
                ));
            }
        }
    }
    text
}

/// A name that is neither a ring nor a tenant is a slip of the pen, not nothing to do.
pub(super) fn known<'a>(
    names: &[String],
    rings: impl Iterator<Item = &'a str>,
    tenants: impl Iterator<Item = &'a str>,
) -> Result<(), CliError> {
    let all: Vec<&str> = rings.chain(tenants).collect();
    if let Some(name) = names.iter().find(|n| !all.contains(&n.as_str())) {
        let error = CliError::usage(format!(
            "`{name}` is neither a ring nor a tenant that runs or is asked for"
        ));
        return Err(match did_you_mean(name, all.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("there are {}", all.join(", "))),
        });
    }
    Ok(())
}

/// The names without what tells rings from tenants.
pub(super) fn bare(names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|n| {
            n.trim_start_matches("tenant/")
                .trim_start_matches("ring/")
                .to_owned()
        })
        .collect()
}

/// Names on the command line: a bare name that is both means the ring.
pub(super) fn request(names: &[String], policy: &crate::fleet::Policy) -> Result<Request, CliError> {
    let mut request = Request::default();
    for name in names {
        let bare = name
            .strip_prefix("tenant/")
            .or_else(|| name.strip_prefix("ring/"))
            .unwrap_or(name);
        let ring = policy.rings.get(bare).filter(|_| !name.starts_with("tenant/"));
        if let Some(ring) = ring {
            request.rings.insert(ring.name.clone());
            continue;
        }
        let known: Vec<&str> = policy.rings.0.iter().map(|r| r.name.as_str()).collect();
        match bare.parse() {
            Ok(slug) if !name.starts_with("ring/") => {
                request.tenants.insert(slug);
            }
            _ => {
                return Err(CliError::usage(format!(
                    "`{name}` is neither a ring ({}) nor a tenant",
                    known.join(", ")
                )));
            }
        }
    }
    Ok(request)
}
