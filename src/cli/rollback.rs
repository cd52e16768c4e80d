//! `ringfence rollback`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::commit::{Committing, look, reason};
use super::error::CliError;
use super::facts::of_ring;
use super::out::Out;
use super::pin::{Chosen, decision};
use super::{Global, complete};
use crate::controller::status::RingStatus;
use crate::fleet::rings::{NewPin, Ring};

/// Asks a ring to go back: writes a pin that names the last healthy release before the one that runs, with its images.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence rollback prod                     to what ran healthy before
  ringfence rollback prod -m \"web is slow\"    with a reason
  ringfence rollback prod --to v1.8.2 --yes   to an older commit

While a rollout is under way, it goes back to what ran healthy before that. The last healthy release passes every gate but
`release` and `resources`; an older one passes all of them.
Next: `ringfence why RING` says what it waits for.")]
pub(crate) struct Rollback {
    /// The ring.
    #[arg(value_name = "RING", add = ArgValueCandidates::new(complete::rings))]
    ring: String,
    /// Another commit than that of the last healthy release.
    #[arg(long, value_name = "REV")]
    to: Option<String>,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    committing: Committing,
}

impl Rollback {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let ring = fleet.ring(&self.ring)?;
        let why = self.reason.as_deref().map(reason).transpose()?;
        let status = fleet.status().await?;
        let here = of_ring(&status, ring)?;
        let chosen = match &self.to {
            Some(rev) => fleet.chosen(rev, ring, &status)?,
            None => last_healthy(ring, &here)?,
        };
        let pin = chosen.pin(why.as_ref());
        if fleet.is_pinned(ring, &pin) {
            let said = format!("the pin of ring {} names {} already", ring.name, chosen.told());
            return fleet.nothing_to_do(
                &NewPin::path(&ring.name),
                &said,
                &[look(ring.name.as_str())],
                *out,
            );
        }
        if !out.json() {
            Out::print(&shown(ring, &here, &chosen));
        }
        let decision = decision(ring, &pin, "rollback", &chosen, &status);
        let question = format!("{}?", decision.subject);
        let signer = fleet.anybody();
        fleet.put(&decision, &signer, &self.committing, (&question, true), *out)
    }
}

/// What a rollback without a name means.
fn last_healthy(ring: &Ring, here: &RingStatus) -> Result<Chosen, CliError> {
    // A rollout under way, or one that went back by itself, has not changed what ran healthy last.
    let is_back = here.target != here.running || here.phase == "rolled_back";
    let release = if is_back {
        here.release.as_ref()
    } else {
        here.before.as_ref()
    };
    let release = release.ok_or_else(|| {
        let runs = here.running.as_deref().unwrap_or("nothing");
        CliError::new(format!(
            "ring {} runs {runs}, and nothing is known to have run healthy before that",
            ring.name
        ))
        .hint(format!(
            "`ringfence rollback {} --to REV` names a commit",
            ring.name
        ))
        .hint(format!("`ringfence history {}` tells what ran", ring.name))
    })?;
    Chosen::of(release, None)
}

fn shown(ring: &Ring, here: &RingStatus, chosen: &Chosen) -> String {
    let now = here
        .target
        .as_deref()
        .or(here.running.as_deref())
        .unwrap_or("nothing");
    let tenants = match here.tenants {
        1 => "1 tenant".to_owned(),
        n => format!("{n} tenants"),
    };
    let mut text = format!(
        "ring {}: {now} → back to {}; {tenants}\n",
        ring.name,
        chosen.told()
    );
    let last = here.before.as_ref().or(here.release.as_ref()).map(|r| &r.id);
    let is_known = chosen.release.as_ref().map(|r| &r.id);
    if is_known == here.release.as_ref().map(|r| &r.id) {
        text += "  it ran healthy last, and takes back what is on its way\n";
    } else if is_known.is_none() || is_known != last {
        text += "  it is not the last healthy release: it passes all of the ring's gates\n";
    }
    text
}
