//! `ringfence spirit`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::CliError;
use super::out::Out;
use super::table::table;
use super::{Global, complete};
use crate::fleet::spirits::Candidate;

/// Spirits: list them, render the one that a tenant gets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence spirit list
  ringfence spirit render acme                 what its agents wear
  ringfence spirit render acme --agent web     one agent, and why this overlay")]
pub(crate) struct SpiritVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every spirit of the first ring's base.
    List,
    /// The overlay that a tenant gets, and every place that was looked at, in order.
    Render {
        /// The tenant.
        #[arg(add = ArgValueCandidates::new(complete::tenants))]
        tenant: String,
        /// For this agent.
        #[arg(long)]
        agent: Option<String>,
    },
}

/// One of `spirit list -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SpiritLine<'a> {
    /// Its name.
    name: &'a str,
    /// For people.
    description: &'a str,
    /// Caps the effort of those who wear it.
    effort_cap: Option<i64>,
    /// Agents it is for; empty: all.
    agents: &'a [String],
}

/// What `spirit render -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rendered<'a> {
    /// Whose.
    tenant: &'a str,
    /// For which of its agents.
    agent: Option<&'a str>,
    /// Every place that was looked at, in order.
    candidates: Vec<Candidate>,
    /// The overlay; null where there is none.
    text: Option<String>,
}

impl SpiritVerb {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        match &self.verb {
            Verb::List => {
                let declared = fleet.declared()?;
                let spirits = declared
                    .first()
                    .map(|d| &d.base.base.spirits.0)
                    .ok_or_else(|| CliError::new("no ring's branch exists"))?;
                if out.json() {
                    let all: Vec<_> = spirits
                        .iter()
                        .map(|(name, s)| SpiritLine {
                            name,
                            description: &s.description,
                            effort_cap: s.effort_cap,
                            agents: &s.agents,
                        })
                        .collect();
                    Out::print_json(&all)?;
                    return Ok(0);
                }
                let mut rows = vec![
                    ["SPIRIT", "EFFORT CAP", "DESCRIPTION"]
                        .map(str::to_owned)
                        .to_vec(),
                ];
                for (name, spirit) in spirits {
                    let cap = spirit
                        .effort_cap
                        .map_or_else(|| "-".to_owned(), |c| c.to_string());
                    rows.push(vec![name.clone(), cap, spirit.description.clone()]);
                }
                Out::print(&table(&rows));
            }
            Verb::Render { tenant, agent } => {
                let (declared, files) = fleet.tenant(tenant)?;
                let (chosen, candidates) = declared.base.base.spirits.choose(&files, agent.as_deref());
                if out.json() {
                    Out::print_json(&Rendered {
                        tenant,
                        agent: agent.as_deref(),
                        candidates,
                        text: chosen.map(|s| s.text),
                    })?;
                    return Ok(0);
                }
                let mut rows = Vec::new();
                for candidate in &candidates {
                    let mark = match (candidate.chosen, candidate.exists) {
                        (true, _) => "→",
                        (false, true) => "·",
                        (false, false) => " ",
                    };
                    let found = if candidate.exists { "" } else { "(not there)" };
                    rows.push(vec![
                        mark.to_owned(),
                        candidate.path.clone(),
                        candidate.why.to_owned(),
                        found.to_owned(),
                    ]);
                }
                Out::say(&table(&rows));
                Out::say("Only what git says is looked at: home directories are not.\n");
                match chosen {
                    Some(spirit) => Out::print(&crate::text::Safe::lines(&spirit.text).to_string()),
                    None => Out::say("no overlay: the tenant's agents wear none"),
                }
            }
        }
        Ok(0)
    }
}
