//! `ringfence why`.

use std::fmt::Write as _;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::CliError;
use super::facts::{Named, Why, asked_by, name_of, of_ring, state, told};
use super::fleet::Fleet;
use super::out::Out;
use super::status::{short, tenant_table};
use super::table::{ago, ahead, table};
use super::{Global, complete};
use crate::controller::status::{
    MoveStatus, ReleaseStatus, RingStatus, Status, TenantStatus, TouchedService,
};
use crate::decide::MoveState;
use crate::decide::gate::{Answer, Gate};
use crate::fleet::names::{PrincipalName, RingName};
use crate::text::Safe;

/// What is declared, what runs, what holds the difference, who can change that, and how.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence why prod                what prod waits for
  ringfence why tenant/acme         what a tenant shall run, and why it does not
  ringfence why prod -o json        the facts, for programs and for `approve --facts`

Next: the commands that it names; `ringfence history prod` tells what came before.")]
pub(crate) struct WhyVerb {
    /// A ring or a tenant (`tenant/NAME` where a ring has the same name).
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    name: String,
}

/// Something that would go on with a ring or a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Way {
    /// The commit that asked for the move that it helps; none: it is about the ring.
    pub(super) request: Option<String>,
    /// The gate that it changes, or `hold`, `tenant`.
    pub(super) gate: String,
    /// Who can; empty: anybody who may commit, or who is on the holder's machine.
    pub(super) who: Vec<PrincipalName>,
    /// The command; none: time alone, or a change of what is declared.
    pub(super) command: Option<String>,
    /// What it does, or what has to happen.
    pub(super) what: String,
}

impl WhyVerb {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet_kept()?;
        let named = fleet.named(&self.name)?;
        let why = why(&fleet, &named, fleet.status().await?)?;
        if out.json() {
            Out::print_json(&why)?;
        } else {
            Out::print(&text(&why, Timestamp::now()));
        }
        Ok(0)
    }
}

/// The facts about a ring or a tenant.
fn why(fleet: &Fleet, named: &Named<'_>, status: Status) -> Result<Why, CliError> {
    let tenant = match named {
        Named::Ring(_) => None,
        Named::Tenant(slug) => Some(slug.as_str()),
    };
    let tenant = match tenant {
        None => None,
        Some(slug) => match status.tenants.iter().find(|t| t.slug == slug) {
            Some(found) => Some(found.clone()),
            None => Some(not_taken(fleet, slug, &status)?),
        },
    };
    let declared = match (named, &tenant) {
        (Named::Ring(ring), _) => ring,
        (Named::Tenant(slug), tenant) => {
            let ring = tenant.as_ref().map_or(slug.as_str(), |t| t.ring.as_str());
            fleet.ring(&format!("ring/{ring}"))?
        }
    };
    let ring = of_ring(&status, declared)?;
    // What cannot be read (another user's state directory) is not told.
    let proposed = fleet.kept().ok().flatten().and_then(|keep| {
        keep.proposed().ok()?.get(&ring.name)?;
        keep.taking(&fleet.repo, &ring.name, &fleet.control_branch).ok()
    });
    let mut ways = ways(&ring, declared.promote_from.as_ref());
    if let Some(tenant) = tenant
        .as_ref()
        .filter(|t| t.phase == "degraded" && !t.services.is_empty())
    {
        ways.push(Way {
            request: None,
            gate: "tenant".to_owned(),
            who: Vec::new(),
            command: Some(format!("ringfence logs {}", tenant.slug)),
            what: "shows what its services say".to_owned(),
        });
    }
    Ok(Why {
        fleet: status.fleet,
        instance: status.instance,
        daemon: status.daemon,
        mode: status.mode,
        control: status.control,
        at: status.at,
        tenants: status
            .tenants
            .into_iter()
            .filter(|t| t.ring == ring.name)
            .collect(),
        ring,
        tenant,
        conditions: status.conditions,
        proposed,
        ways,
    })
}

/// A tenant of which nothing runs or is asked for yet: declared, or unknown.
fn not_taken(fleet: &Fleet, slug: &str, status: &Status) -> Result<TenantStatus, CliError> {
    let begins = format!("tenant {slug}: ");
    let told = status.rings.iter().find_map(|ring| {
        let mut reasons = ring.conditions.iter().filter_map(|c| c.strip_prefix(&begins));
        Some((ring.name.clone(), reasons.next()?.to_owned()))
    });
    let (ring, reason) = match told {
        Some(told) => told,
        None => {
            let ring = fleet.declared_tenant(slug)?.0.ring.name.to_string();
            let reason = format!("nothing of it runs yet: it goes with what ring {ring} is asked for");
            (ring, reason)
        }
    };
    Ok(TenantStatus {
        slug: slug.to_owned(),
        ring,
        phase: "waiting".to_owned(),
        conditions: vec![reason],
        ..TenantStatus::default()
    })
}

/// All that would go on with a ring.
fn ways(ring: &RingStatus, before: Option<&RingName>) -> Vec<Way> {
    let mut ways = Vec::new();
    let all: Vec<&MoveStatus> = ring.moves.iter().collect();
    for mv in ring.moves.iter().filter(|m| m.state != MoveState::Open) {
        let blocked: Vec<&Gate> = mv.gates.iter().filter(|g| g.state != Answer::Pass).collect();
        // Only where it is needed to tell moves apart.
        let request = if all.len() > 1 {
            format!(" {}", name_of(mv, &all))
        } else {
            String::new()
        };
        ways.extend(blocked.iter().map(|gate| way(ring, before, mv, gate, &request)));
    }
    if ring.held && !ways.iter().any(|w| w.gate == "hold") {
        ways.push(resume(ring, None));
    }
    ways
}

fn resume(ring: &RingStatus, request: Option<String>) -> Way {
    Way {
        request,
        gate: "hold".to_owned(),
        who: Vec::new(),
        command: Some(format!("ringfence resume {}", ring.name)),
        what: "ends the hold".to_owned(),
    }
}

/// What would change one gate.
fn way(ring: &RingStatus, before: Option<&RingName>, mv: &MoveStatus, gate: &Gate, request: &str) -> Way {
    let name = &ring.name;
    let failed = gate.state == Answer::Fail;
    let (command, what) = match gate.name.as_str() {
        "approval" if gate.may.is_empty() => (
            None,
            "nobody is left who may approve: change `approvals` in rings/rings.yaml, or rings/principals.yaml".to_owned(),
        ),
        "approval" if failed => (
            Some(format!("ringfence approve {name}{request}")),
            "by whoever rejected it; or another release is asked for".to_owned(),
        ),
        "approval" => (
            Some(format!("ringfence approve {name}{request}")),
            "says yes (`reject` says no)".to_owned(),
        ),
        "soak" | "lineage" if !gate.may.is_empty() => (
            Some(format!("ringfence waive {name} {}{request} -m REASON", gate.name)),
            "lets an owner skip it, with a reason".to_owned(),
        ),
        "window" => (None, "it opens by itself".to_owned()),
        "hold" => return resume(ring, Some(mv.request.clone())),
        "quarantine" => (
            Some(format!("ringfence apply {name} --again")),
            "tries once more what failed (on the holder's machine); or another release is asked for".to_owned(),
        ),
        "rollout" => (
            Some("ringfence status --watch".to_owned()),
            "it goes by itself, next".to_owned(),
        ),
        "release" if gate.evidence.contains("has error") || gate.evidence.contains("does not fit") => (
            Some("ringfence check".to_owned()),
            "shows what is wrong; a commit without it is another release".to_owned(),
        ),
        "release" => (
            Some(format!("ringfence apply {name} --resolve")),
            "asks for its images again".to_owned(),
        ),
        "resources" => (
            Some("ringfence status".to_owned()),
            "shows what has the room; it goes once there is enough".to_owned(),
        ),
        _ => (
            before.map(|before| format!("ringfence why {before}")),
            "shows the ring before: it passes by itself once all is well there".to_owned(),
        ),
    };
    Way {
        request: Some(mv.request.clone()),
        gate: gate.name.clone(),
        who: gate.may.clone(),
        command,
        what,
    }
}

/// One screen for people.
fn text(why: &Why, now: Timestamp) -> String {
    let mut out = String::new();
    if !why.daemon {
        out.push_str("no daemon: nothing keeps this so\n");
    }
    if let Some(tenant) = &why.tenant {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        let _ = writeln!(
            out,
            "tenant {}: {}, in ring {}",
            tenant.slug, tenant.phase, tenant.ring
        );
        let _ = match (&tenant.release, &tenant.files) {
            (None, None) => writeln!(out, "  shall run  nothing yet"),
            _ => writeln!(
                out,
                "  shall run  {} with its files {}",
                dash(&tenant.release),
                dash(&tenant.files)
            ),
        };
        for condition in &tenant.conditions {
            let _ = writeln!(out, "  ! {}", Safe::lines(condition));
        }
        if !tenant.services.is_empty() {
            let _ = write!(out, "\n{}", tenant_table(tenant));
        }
        out.push('\n');
    }
    ring_text(&mut out, why);
    for mv in &why.ring.moves {
        move_text(&mut out, mv, now);
    }
    ways_text(&mut out, why, now);
    out
}

fn ring_text(out: &mut String, why: &Why) {
    let ring = &why.ring;
    let _ = writeln!(out, "ring {}: {}", ring.name, ring.phase);
    let commit = |release: &Option<ReleaseStatus>| {
        let commit = release.as_ref().and_then(|r| r.commit.get(..8));
        commit.map_or_else(String::new, |commit| format!(" (commit {commit})"))
    };
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    let _ = writeln!(out, "  declared   {}", dash(&ring.declared));
    let _ = writeln!(
        out,
        "  running    {}{}, {} tenant{}",
        dash(&ring.running),
        commit(&ring.release),
        ring.tenants,
        if ring.tenants == 1 { "" } else { "s" }
    );
    if ring.target != ring.running {
        let _ = writeln!(out, "  to come    {}", dash(&ring.target));
    }
    if ring.previous.is_some() {
        let _ = writeln!(
            out,
            "  before     {}{}",
            dash(&ring.previous),
            commit(&ring.before)
        );
    }
    for failed in &ring.quarantined {
        let _ = writeln!(out, "  failed     {failed}");
    }
    let whole = why.conditions.iter();
    let of_ring = ring.conditions.iter();
    for condition in of_ring.chain(whole) {
        let _ = writeln!(out, "  ! {}", Safe::lines(condition));
    }
    if why.tenant.is_none() {
        for tenant in &why.tenants {
            for condition in &tenant.conditions {
                let _ = writeln!(out, "  ! {}: {}", tenant.slug, Safe::lines(condition));
            }
        }
    }
}

fn move_text(out: &mut String, mv: &MoveStatus, now: Timestamp) {
    let _ = writeln!(out, "\n{} {}", told(mv), state(mv));
    let _ = writeln!(out, "  asked for by {}", asked_by(mv));
    if let Some(touches) = touches(mv) {
        let _ = writeln!(out, "  touches {touches}");
    }
    let mut rows = vec![
        ["  GATE", "STATE", "SINCE", "UNTIL", "EVIDENCE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for gate in &mv.gates {
        rows.push(vec![
            format!("  {}", gate.name),
            word(gate.state).to_owned(),
            gate.since.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            gate.until.map_or_else(|| "-".to_owned(), |at| ahead(at, now)),
            first_line(&gate.evidence),
        ]);
    }
    out.push_str(&table(&rows));
    // What a container said last.
    for line in mv.gates.iter().flat_map(|gate| gate.evidence.lines().skip(1)) {
        let _ = writeln!(out, "  {}", Safe::new(line));
    }
}

/// The evidence in a table's cell.
pub(super) fn first_line(evidence: &str) -> String {
    evidence.lines().next().unwrap_or_default().to_owned()
}

/// A gate's answer in a word.
pub(super) fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Pass => "pass",
        Answer::Fail => "fail",
        Answer::Unknown => "unknown",
    }
}

/// So many names are told, and how many more there are.
const TOLD: usize = 6;

/// Whom a move would touch, in a line or two.
pub(super) fn touches(mv: &MoveStatus) -> Option<String> {
    let touches = mv.touches.as_ref()?;
    if touches.containers.is_empty() {
        return Some(format!("no container; {}", tenants(&touches.tenants)));
    }
    let mut parts = vec![tenants(&touches.tenants)];
    for change in ["create", "replace", "remove"] {
        let of_change = |c: &&TouchedService| c.change == change;
        let names: Vec<&str> = touches
            .containers
            .iter()
            .filter(of_change)
            .map(|c| c.container.as_str())
            .collect();
        if !names.is_empty() {
            parts.push(format!("{change}s {}: {}", names.len(), some(&names)));
        }
    }
    Some(parts.join("; "))
}

fn tenants(names: &[String]) -> String {
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    match all.as_slice() {
        [] => "no tenant".to_owned(),
        [one] => format!("tenant {one}"),
        _ => format!("{} tenants ({})", all.len(), some(&all)),
    }
}

fn some(names: &[&str]) -> String {
    let told: Vec<&str> = names.iter().take(TOLD).copied().collect();
    let more = names.len() - told.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", told.join(", "))
}

fn ways_text(out: &mut String, why: &Why, now: Timestamp) {
    let mut lines = Vec::new();
    for way in &why.ways {
        let gate = why
            .ring
            .moves
            .iter()
            .find(|m| Some(&m.request) == way.request.as_ref());
        let until = gate.and_then(|m| m.gate(&way.gate)).and_then(|g| g.until);
        let until = until.map_or_else(String::new, |at| format!(" {}", ahead(at, now)));
        let solo = way.who.iter().all(|who| who.as_str() == PrincipalName::SOLO);
        let who: Vec<&str> = way.who.iter().map(PrincipalName::as_str).collect();
        let who = if solo {
            String::new()
        } else {
            format!(" ({})", who.join(", "))
        };
        lines.push(vec![
            format!("  {}", way.gate),
            match &way.command {
                Some(command) => format!("{command}{who}"),
                None => "-".to_owned(),
            },
            format!("{}{until}", way.what),
        ]);
    }
    if let Some(command) = &why.proposed {
        lines.push(vec![
            "  diverged".to_owned(),
            command.clone(),
            "takes what ringfence wrote back and could not put on the branch".to_owned(),
        ]);
    }
    if lines.is_empty() {
        let ring = &why.ring;
        let goes = ring.moves.iter().any(|m| m.state == MoveState::Open) || ring.target != ring.running;
        out.push_str(match ring.phase.as_str() {
            _ if goes => "\nNothing holds it: it is on its way (`ringfence status --watch` follows).\n",
            "synced" => "\nNothing waits: it runs what is declared.\n",
            "empty" => "\nNothing is asked for (`ringfence promote` asks).\n",
            _ => "\n",
        });
        return;
    }
    out.push_str("\nWhat goes on with it:\n");
    out.push_str(&table(&lines));
}

/// A release for people, with its commit.
pub(super) fn release_and_commit(id: &str, commit: &str) -> String {
    format!("{} (commit {})", short(id), commit.get(..8).unwrap_or(commit))
}
