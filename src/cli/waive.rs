//! `ringfence waive`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::approve::{binding, expires};
use super::commit::{Committing, Decision, look, reason};
use super::error::CliError;
use super::facts::{name_of, of_ring, pick, told};
use super::fleet::Fleet;
use super::out::Out;
use super::{Global, complete};
use crate::controller::status::{MoveStatus, RingStatus};
use crate::decide::gate::Answer;
use crate::fleet::decisions::{WaivableGate, Waiver};
use crate::fleet::names::PrincipalName;
use crate::fleet::rings::Ring;
use crate::text::Safe;

/// A waiver in a ring that asks for no approval counts for a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Lets one gate of one move be skipped, with a reason: an owner's word, committed and signed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence waive prod soak -m \"the fix for the outage\"
  ringfence waive prod lineage -m \"built anew after the fire\"     only for a ring without history

It counts for exactly this move and ends by itself. No other gate can be waived.
Next: `ringfence why RING` says what is still missing.")]
pub(crate) struct Waive {
    /// The ring.
    #[arg(value_name = "RING", add = ArgValueCandidates::new(complete::rings))]
    ring: String,
    /// The gate.
    #[arg(value_enum)]
    gate: Gate,
    /// The beginning of the commit that asks, where more than one move is open.
    #[arg(value_name = "REQUEST")]
    request: Option<String>,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "REASON")]
    reason: String,
    /// How long it counts [default: as long as an approval in this ring].
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    /// What `ringfence why RING -o json` said on the server, in a file or on standard input: on a clone without the engine.
    #[arg(long, value_name = "FILE|-")]
    facts: Option<PathBuf>,
    /// As whom, where that cannot be told by the key that git signs with.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    committing: Committing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Gate {
    // Plain comments: documented values would make the help twice as long.
    // Healthy time in the ring before.
    Soak,
    // Whether it was healthy there: only for a ring without history.
    Lineage,
}

impl Waive {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let ring = fleet.ring(&self.ring)?;
        let why = reason(&self.reason)?;
        let gate = match self.gate {
            Gate::Soak => WaivableGate::Soak,
            Gate::Lineage => WaivableGate::Lineage,
        };
        let most = ring.approvals.as_ref().map_or(DAY_MS, |a| a.expires_ms);
        let expires = expires(self.expires.as_deref(), most)?;
        let signer = fleet.signer(self.name.as_deref())?;
        let here = match &self.facts {
            Some(file) => super::facts::read(file, &global.directory(), &fleet, ring)?,
            None => of_ring(&fleet.status().await?, ring)?,
        };
        let waits =
            |m: &MoveStatus| m.to.is_some() && m.gate(gate.word()).is_some_and(|g| g.state != Answer::Pass);
        let mv = pick(
            &here,
            self.request.as_deref(),
            &format!("waive {} of", gate.word()),
            waits,
        )?;
        let principal = signer.name.clone().unwrap_or_else(PrincipalName::solo);
        refuse(&fleet, ring, mv, gate, &principal)?;
        let waiver = Waiver {
            binding: binding(ring, mv)?,
            principal,
            gate,
            reason: why.clone(),
            expires: Some(expires),
        };
        let all: Vec<&MoveStatus> = here.moves.iter().collect();
        let decision = Decision {
            path: waiver.path(),
            text: Some(waiver.to_yaml()),
            subject: format!(
                "waive {} of {} {}: {}",
                gate.word(),
                ring.name,
                name_of(mv, &all),
                told(mv)
            ),
            reason: Some(why),
            next: vec![look(ring.name.as_str())],
        };
        if !out.json() {
            Out::print(&shown(&here, mv, gate));
        }
        let question = format!("waive {}?", gate.word());
        fleet.put(&decision, &signer, &self.committing, (&question, true), *out)
    }
}

/// Refuses what would not count.
fn refuse(
    fleet: &Fleet,
    ring: &Ring,
    mv: &MoveStatus,
    gate: WaivableGate,
    name: &PrincipalName,
) -> Result<(), CliError> {
    let principals = &fleet.policy.principals;
    if !principals.is_solo() && !principals.is_owner(name) {
        let owners: Vec<&str> = principals
            .all
            .keys()
            .filter(|n| principals.is_owner(n))
            .map(PrincipalName::as_str)
            .collect();
        return Err(CliError::new(format!(
            "it would not count: {name} is no owner, and only owners waive a gate"
        ))
        .hint(format!("the owners are {}", owners.join(", "))));
    }
    let open = mv.gate(gate.word()).is_some_and(|g| !g.may.is_empty());
    if gate == WaivableGate::Lineage && !open {
        return Err(CliError::new(format!(
            "it would not count: ring {} has a history, and `lineage` is waived only for a ring without one",
            ring.name
        ))
        .hint(match &ring.promote_from {
            Some(from) => format!("the release goes to ring {from} first: `ringfence why {from}`"),
            None => format!("`ringfence why {}` shows what it waits for", ring.name),
        }));
    }
    Ok(())
}

fn shown(ring: &RingStatus, mv: &MoveStatus, gate: WaivableGate) -> String {
    let evidence = mv
        .gate(gate.word())
        .map(|g| g.evidence.as_str())
        .unwrap_or_default();
    format!(
        "ring {}: {}\n  {} says: {}\n",
        ring.name,
        told(mv),
        gate.word(),
        Safe::new(evidence)
    )
}
