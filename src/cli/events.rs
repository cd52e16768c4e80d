//! `ringfence events` and `ringfence history`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;

use super::error::CliError;
use super::out::Out;
use super::table::{ago, table};
use super::{Global, complete};
use crate::store::{Event, EventQuery};
use crate::text::Safe;

/// The ledger's events, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence events                  the last 50
  ringfence events --tenant acme -n 200
  ringfence events -o json          with all details")]
pub(crate) struct Events {
    /// Only of this tenant.
    #[arg(long, add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<String>,
    /// Only of this ring.
    #[arg(long, add = ArgValueCandidates::new(complete::rings))]
    ring: Option<String>,
    /// How many, counted from the newest.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: u32,
}

/// What was decided and done, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence history                 all rings
  ringfence history prod -n 5       the last five of one

Next: `ringfence events` has every step.")]
pub(crate) struct History {
    /// Only of this ring.
    #[arg(add = ArgValueCandidates::new(complete::rings))]
    ring: Option<String>,
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u32,
}

impl Events {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let mut events = read(global, self.ring.as_deref(), self.tenant.as_deref(), self.lines)?;
        events.reverse();
        show(*out, &events)
    }
}

impl History {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        show(*out, &read(global, self.ring.as_deref(), None, self.lines)?)
    }
}

fn read(
    global: &Global,
    ring: Option<&str>,
    tenant: Option<&str>,
    limit: u32,
) -> Result<Vec<Event>, CliError> {
    let fleet = global.fleet()?;
    let query = EventQuery {
        after: None,
        ring: ring.map(str::to_owned),
        tenant: tenant.map(str::to_owned),
        limit,
        newest_first: true,
    };
    Ok(fleet.ledger()?.events(&query)?)
}

fn show(out: Out, events: &[Event]) -> Result<u8, CliError> {
    if out.json() {
        Out::print_json(&events)?;
        return Ok(0);
    }
    if events.is_empty() {
        Out::say("nothing has happened yet");
        return Ok(0);
    }
    let now = Timestamp::now();
    let mut rows = vec![
        ["WHEN", "RING", "TENANT", "KIND", "WHAT"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for event in events {
        let dash = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
        let first = event.event.message.lines().next().unwrap_or_default().to_owned();
        rows.push(vec![
            ago(event.at, now),
            dash(&event.event.ring),
            dash(&event.event.tenant),
            event.event.kind.clone(),
            first,
        ]);
    }
    // A message of several lines (a failed container's last words) goes on below its row.
    let mut text = String::new();
    let shown = table(&rows);
    let mut shown = shown.lines();
    text.extend(shown.next().map(|header| format!("{header}\n")));
    for (row, event) in shown.zip(events) {
        text.push_str(&format!("{row}\n"));
        for line in event.event.message.lines().skip(1) {
            text.push_str(&format!("    {}\n", Safe::new(line.trim())));
        }
    }
    Out::print(&text);
    Ok(0)
}
