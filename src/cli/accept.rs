//! `ringfence accept`.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::Global;
use super::apply::Lines;
use super::daemon::Daemon;
use super::error::CliError;
use super::fleet::Fleet;
use super::out::Out;
use crate::apply::ProgressSink;
use crate::controller::Request;
use crate::decide::facts::Facts;
use crate::fleet::names::CommitId;

/// Takes a control branch that was rewritten or set back, as it is at a commit: judging goes on from there. For whoever
/// keeps the fleet, on the machine that does; it is recorded.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence accept main             what the branch is now
  ringfence accept 1a2b3c4d         an earlier commit of it: what came after is judged as ever

A change of policy that waits for its owners is not accepted by this: one of them signs it.
Next: `ringfence status` shows what is in force.")]
pub(crate) struct Accept {
    /// A commit of the control branch.
    #[arg(value_name = "COMMIT")]
    commit: String,
}

/// What `accept -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Accepted {
    /// The commit that was accepted as it is.
    commit: String,
    /// The head whose decisions are read.
    control: Option<String>,
    /// The commit whose policy is in force.
    policy: Option<String>,
}

impl Accept {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet_kept()?;
        let commit = fleet.repo.resolve(&self.commit)?;
        let before = fleet.ledger()?.facts()?;
        needed(&fleet, &before)?;
        let request = Request {
            accept: Some(commit.clone()),
            ..Request::default()
        };
        let lines = Lines::new();
        let conditions = if let Some(daemon) = Daemon::reach(&fleet.socket()).await {
            let status = daemon.pass(&request, |p| lines.tell(&p)).await?;
            status.conditions.clone()
        } else {
            let shown = lines.clone();
            let sink = ProgressSink::to(move |p| shown.tell(&p));
            let lock = fleet.lock(global.takeover)?;
            let (mut controller, ..) = fleet.acting(&lock, global.takeover, false, sink).await?;
            tokio::task::block_in_place(|| controller.accept_commit(&request))?
        };
        lines.finish();
        let after = fleet.ledger()?.facts()?;
        if after.accepted == before.accepted {
            let mut error = CliError::new(format!("commit {} was not accepted", commit.short()));
            error.hints.extend(conditions);
            return Err(error);
        }
        if out.json() {
            Out::print_json(&Accepted {
                commit: commit.to_string(),
                control: after.accepted.as_ref().map(ToString::to_string),
                policy: after.accepted_policy.as_ref().map(ToString::to_string),
            })?;
            return Ok(0);
        }
        Out::print(&format!(
            "Accepted {}: judging goes on from there.\n",
            commit.short()
        ));
        Ok(0)
    }
}

/// A branch that goes on from what was accepted needs nobody's word.
fn needed(fleet: &Fleet, facts: &Facts) -> Result<(), CliError> {
    let Some(accepted) = &facts.accepted else {
        return Err(CliError::new(
            "nothing was accepted yet: the first start takes the control branch as it is",
        )
        .hint("`ringfence apply --trust COMMIT` and `ringfence run --trust COMMIT` name an earlier commit"));
    };
    let branches = fleet.repo.branches()?;
    let head: Option<&CommitId> = branches.get(&fleet.control_branch);
    if head.is_some_and(|head| fleet.repo.is_ancestor(accepted, head).unwrap_or(false)) {
        return Err(CliError::new(format!(
            "control branch `{}` was not rewritten: it goes on from the accepted {}",
            fleet.control_branch,
            accepted.short()
        ))
        .hint("a change of policy that waits is accepted by its owners: `ringfence status` says how"));
    }
    Ok(())
}
