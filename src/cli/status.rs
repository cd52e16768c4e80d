//! `ringfence status`.

use std::fmt::Write as _;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::daemon::Daemon;
use super::error::CliError;
use super::out::Out;
use super::plan::request;
use super::table::table;
use super::{Global, complete};
use crate::controller::Request;
use crate::controller::status::{RingStatus, ServiceStatus, Status, TenantStatus};
use crate::decide::MoveState;
use crate::decide::gate::Answer;
use crate::text::Safe;

/// Rings, tenants and services: what is declared, what runs, how it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence status                  all of it
  ringfence status prod acme        a ring and a tenant
  ringfence status --watch          follow it; q or Ctrl-C ends
  ringfence status -o json          for programs: `ringfence schema output-status`

Next: `ringfence plan` says what would change and why; `ringfence logs TENANT` what a service says.")]
pub(crate) struct StatusVerb {
    /// Rings or tenants [default: all].
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    names: Vec<String>,
    /// Follow it: on a terminal drawn over (q ends), else a snapshot at each change. Asks the daemon.
    #[arg(long)]
    watch: bool,
}

impl StatusVerb {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet_kept()?;
        request(&self.names, &fleet.policy)?;
        let scope: Vec<String> = self
            .names
            .iter()
            .map(|n| {
                n.trim_start_matches("tenant/")
                    .trim_start_matches("ring/")
                    .to_owned()
            })
            .collect();
        let daemon = Daemon::reach(&fleet.socket()).await;
        if self.watch {
            let daemon = daemon.ok_or_else(|| {
                CliError::new("no daemon runs, so nothing changes by itself")
                    .hint("`ringfence run` starts one")
            })?;
            let watch = daemon.watch().await?;
            return super::watch::follow(watch, *out, |status| text(status, &scope)).await;
        }
        let status = match daemon {
            Some(daemon) => daemon.status().await?,
            None => {
                let (mut controller, _wakes) = fleet.looking().await?;
                controller.look(&Request::default()).await?.status
            }
        };
        super::plan::known(
            &scope,
            status.rings.iter().map(|r| r.name.as_str()),
            status.tenants.iter().map(|t| t.slug.as_str()),
        )?;
        if out.json() {
            Out::print_json(&status)?;
        } else {
            Out::print(&text(&status, &scope));
        }
        Ok(0)
    }
}

/// A longer note is cut: `events` and `-o json` have the whole.
const LONGEST_NOTE: usize = 60;

/// The status for people; `scope` limits it to rings and tenants by name.
pub(super) fn text(status: &Status, scope: &[String]) -> String {
    let mut out = String::new();
    if !status.daemon {
        out.push_str("no daemon: nothing keeps this so\n");
    }
    let control = status
        .control
        .as_deref()
        .and_then(|c| c.get(..8))
        .unwrap_or("nothing accepted");
    let _ = writeln!(
        out,
        "fleet {} (instance {}), {} mode, policy of {control}\n",
        Safe::new(&status.fleet),
        status.instance,
        status.mode
    );
    let tenants: Vec<_> = status
        .tenants
        .iter()
        .filter(|t| scope.is_empty() || scope.contains(&t.slug) || scope.contains(&t.ring))
        .collect();
    let rings: Vec<_> = status
        .rings
        .iter()
        .filter(|r| scope.is_empty() || scope.contains(&r.name) || tenants.iter().any(|t| t.ring == r.name))
        .collect();
    out.push_str(&table(&ring_rows(&rings)));
    let shared = status.shared.iter().filter(|_| scope.is_empty());
    let rows = tenant_rows(&tenants, shared);
    if rows.len() > 1 {
        let _ = write!(out, "\n{}", table(&rows));
    }
    conditions(
        &mut out,
        status,
        &rings.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        &tenants.iter().map(|t| t.slug.as_str()).collect::<Vec<_>>(),
    );
    out
}

/// Ids for people: 8 digits of each.
pub(super) fn short(ids: &str) -> String {
    let parts = ids.split('+').map(|id| id.get(..12).unwrap_or(id));
    parts.collect::<Vec<_>>().join("+")
}

fn header(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn ring_rows(rings: &[&RingStatus]) -> Vec<Vec<String>> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut rows = vec![header(&[
        "RING", "PHASE", "DECLARED", "RUNNING", "COMMIT", "TENANTS",
    ])];
    for ring in rings {
        let commit = ring
            .commit
            .as_deref()
            .and_then(|c| c.get(..8))
            .unwrap_or("-")
            .to_owned();
        let (declared, running) = (dash(&ring.declared), dash(&ring.running));
        rows.push(vec![
            ring.name.clone(),
            ring.phase.clone(),
            declared,
            running,
            commit,
            ring.tenants.to_string(),
        ]);
    }
    rows
}

/// A row a service; the tenant stands in the first of its rows only.
fn tenant_rows<'a>(
    tenants: &[&TenantStatus],
    shared: impl Iterator<Item = &'a ServiceStatus>,
) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "TENANT", "RING", "PHASE", "SERVICE", "STATE", "HEALTH", "IMAGE", "NOTE",
    ])];
    for tenant in tenants {
        for (i, service) in tenant.services.iter().enumerate() {
            let first = |text: &String| if i == 0 { text.clone() } else { String::new() };
            rows.push(row(
                first(&tenant.slug),
                first(&tenant.ring),
                first(&tenant.phase),
                service,
            ));
        }
        if tenant.services.is_empty() {
            rows.push(vec![
                tenant.slug.clone(),
                tenant.ring.clone(),
                tenant.phase.clone(),
                "-".to_owned(),
            ]);
        }
    }
    for service in shared {
        rows.push(row(
            service.owner.clone().unwrap_or_default(),
            String::new(),
            String::new(),
            service,
        ));
    }
    rows
}

/// The services of one tenant.
pub(super) fn tenant_table(tenant: &TenantStatus) -> String {
    table(&tenant_rows(&[tenant], std::iter::empty()))
}

fn row(owner: String, ring: String, phase: String, service: &ServiceStatus) -> Vec<String> {
    let note = service
        .error
        .clone()
        .or_else(|| service.doing.clone())
        .unwrap_or_default();
    let first = note.lines().next().unwrap_or_default();
    let mut note: String = first.chars().take(LONGEST_NOTE).collect();
    if note.len() < first.len() {
        note.push('…');
    }
    vec![
        owner,
        ring,
        phase,
        service.name.clone(),
        service.state.clone(),
        service.health.clone(),
        service.image.clone(),
        note,
    ]
}

fn conditions(out: &mut String, status: &Status, rings: &[&str], tenants: &[&str]) {
    let mut lines: Vec<String> = status.conditions.clone();
    for ring in status.rings.iter().filter(|r| rings.contains(&r.name.as_str())) {
        lines.extend(ring.conditions.iter().map(|c| format!("{}: {c}", ring.name)));
        for mv in ring.moves.iter().filter(|m| m.state != MoveState::Open) {
            let end = |end: &Option<String>| end.as_deref().map_or_else(|| "nothing".to_owned(), short);
            for gate in mv.gates.iter().filter(|g| g.state != Answer::Pass) {
                lines.push(format!(
                    "{}: {} → {}: {}: {}",
                    ring.name,
                    end(&mv.from),
                    end(&mv.to),
                    gate.name,
                    gate.evidence
                ));
            }
        }
    }
    for tenant in status
        .tenants
        .iter()
        .filter(|t| tenants.contains(&t.slug.as_str()))
    {
        lines.extend(tenant.conditions.iter().map(|c| format!("{}: {c}", tenant.slug)));
    }
    if !lines.is_empty() {
        out.push('\n');
    }
    for line in lines {
        let _ = writeln!(out, "! {}", Safe::lines(&line));
    }
}
