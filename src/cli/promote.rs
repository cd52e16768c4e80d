//! `ringfence promote`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::commit::{Committing, look, reason};
use super::error::CliError;
use super::facts::of_ring;
use super::fleet::Fleet;
use super::out::Out;
use super::pin::{Chosen, decision};
use super::{Global, complete};
use crate::controller::status::{RingStatus, Status};
use crate::fleet::rings::{NewPin, Ring};

/// Asks a ring to take the release that runs in the ring before: writes its pin and commits it. Its gates decide the rest.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence promote staging                   what runs healthy in the ring before
  ringfence promote prod -m \"web 1.8.4\"       with a reason
  ringfence promote prod --release v1.8.3     another commit
  ringfence promote prod --yes --push         for scripts

The pin is rings/pins/RING.yaml on the control branch; writing it by hand is the same.
Next: `ringfence why RING` says what it waits for.")]
pub(crate) struct Promote {
    /// The ring.
    #[arg(value_name = "RING", add = ArgValueCandidates::new(complete::rings))]
    ring: String,
    /// Another commit than what runs in the ring before: a branch, a tag, an id.
    #[arg(long, value_name = "REV")]
    release: Option<String>,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "MSG")]
    reason: Option<String>,
    #[command(flatten)]
    committing: Committing,
}

impl Promote {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let ring = fleet.ring(&self.ring)?;
        let why = self.reason.as_deref().map(reason).transpose()?;
        self.refuse_first(ring)?;
        let status = fleet.status().await?;
        let here = of_ring(&status, ring)?;
        let chosen = self.chosen(&fleet, ring, &status)?;
        let failed = chosen.id().filter(|id| here.quarantined.contains(id));
        let pin = chosen.pin(why.as_ref());
        if fleet.is_pinned(ring, &pin) {
            match failed {
                None => return said_already(&fleet, ring, &here, &chosen, *out),
                Some(id) if why.is_none() => {
                    return Err(CliError::new(format!(
                        "ring {} is asked for {id} already, and it failed there",
                        ring.name
                    ))
                    .hint(format!(
                        "`ringfence apply {} --again` tries it once more",
                        ring.name
                    ))
                    .hint("`-m REASON` writes that into its pin, which asks for it anew"));
                }
                Some(_) => {}
            }
        }
        if !out.json() {
            let runs = here.running.as_deref().unwrap_or("nothing");
            Out::print(&format!("ring {}: {runs} → {}\n", ring.name, chosen.told()));
            if let Some(from) = &chosen.proven_in {
                Out::print(&format!("  it runs, or ran, healthy in ring {from}\n"));
            }
        }
        let decision = decision(ring, &pin, "promote", &chosen, &status);
        let question = format!("{}?", decision.subject);
        let signer = fleet.anybody();
        fleet.put(&decision, &signer, &self.committing, (&question, false), *out)
    }

    fn refuse_first(&self, ring: &Ring) -> Result<(), CliError> {
        if ring.promote_from.is_some() || self.release.is_some() {
            return Ok(());
        }
        let name = &ring.name;
        if !ring.auto_deploy {
            return Err(CliError::usage(format!(
                "ring {name} is the first: there is no ring before it to take a release from"
            ))
            .hint(format!("`ringfence promote {name} --release REV` names a commit")));
        }
        let branch = ring
            .branch
            .as_ref()
            .map_or("the control branch", |b| b.value.as_str());
        Err(CliError::usage(format!(
            "ring {name} follows {}: what is committed there goes by itself",
            crate::text::Safe::new(branch)
        ))
        .hint(format!(
            "`ringfence promote {name} --release REV` pins it to one commit; it stays there until that pin is deleted"
        )))
    }

    fn chosen(&self, fleet: &Fleet, ring: &Ring, status: &Status) -> Result<Chosen, CliError> {
        if let Some(rev) = &self.release {
            return fleet.chosen(rev, ring, status);
        }
        let Some(from) = &ring.promote_from else {
            return Err(CliError::usage(format!(
                "ring {} needs `--release REV`",
                ring.name
            )));
        };
        let before = status.rings.iter().find(|r| r.name == from.as_str());
        let release = before.and_then(|r| r.release.as_ref()).ok_or_else(|| {
            CliError::new(format!("nothing has run healthy in ring {from} yet"))
                .hint(format!("`ringfence why {from}` says what it waits for"))
        })?;
        Chosen::of(release, Some(from.clone()))
    }
}

fn said_already(
    fleet: &Fleet,
    ring: &Ring,
    here: &RingStatus,
    chosen: &Chosen,
    out: Out,
) -> Result<u8, CliError> {
    let what = if here.running == chosen.id() {
        "runs"
    } else {
        "is asked for"
    };
    let said = format!("ring {} {what} {} already", ring.name, chosen.told());
    fleet.nothing_to_do(&NewPin::path(&ring.name), &said, &[look(ring.name.as_str())], out)
}
