//! `ringfence hold` and `resume`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::commit::{Committing, Decision, look, reason};
use super::error::CliError;
use super::facts::Named;
use super::fleet::Fleet;
use super::out::Out;
use super::table::ahead;
use super::{Global, complete};
use crate::fleet::decisions::Hold as Held;
use crate::fleet::values::duration_ms;

/// A hold that says nothing else ends after this time.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Pauses a ring or a tenant: nothing of it is moved or repaired, until the hold ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence hold prod -m \"the fair\"                       for a day
  ringfence hold prod --for 4h -m \"looking for the leak\"
  ringfence hold tenant/acme --until 2026-11-24T10:00:00Z -m \"their migration\"

Next: `ringfence resume RING|TENANT` ends it before its time.")]
pub(crate) struct HoldVerb {
    /// A ring or a tenant (`tenant/NAME` where a ring has the same name).
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    name: String,
    /// For how long [default: 24h].
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until")]
    span: Option<String>,
    /// Until when: `2026-11-24T10:00:00Z`, or a local time such as `2026-11-24 11:00`.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "REASON")]
    reason: String,
    #[command(flatten)]
    committing: Committing,
}

/// Ends the hold of a ring or a tenant.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence resume prod
  ringfence resume tenant/acme -m \"their migration is done\"

Next: `ringfence why RING|TENANT` says what it waits for, if for anything.")]
pub(crate) struct Resume {
    /// A ring or a tenant (`tenant/NAME` where a ring has the same name).
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    name: String,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    committing: Committing,
}

/// What is paused: how messages call it, how the command line does, and where its hold stands.
struct Paused {
    told: String,
    name: String,
    path: String,
}

impl Fleet {
    fn paused(&self, name: &str) -> Result<Paused, CliError> {
        Ok(match self.named(name)? {
            Named::Ring(ring) => Paused {
                told: format!("ring {}", ring.name),
                name: ring.name.to_string(),
                path: Held::path_of_ring(&ring.name),
            },
            Named::Tenant(slug) => Paused {
                told: format!("tenant {slug}"),
                name: match self.policy.rings.get(slug.as_str()) {
                    Some(_) => format!("tenant/{slug}"),
                    None => slug.to_string(),
                },
                path: Held::path_of_tenant(&slug),
            },
        })
    }
}

impl HoldVerb {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let paused = fleet.paused(&self.name)?;
        if let Named::Tenant(slug) = fleet.named(&self.name)? {
            fleet.declared_tenant(slug.as_str())?;
        }
        let why = reason(&self.reason)?;
        let now = Timestamp::now();
        let until = self.until(now)?;
        let signer = fleet.anybody();
        let hold = Held {
            reason: why.clone(),
            until,
        };
        let decision = Decision {
            path: paused.path,
            text: Some(hold.to_yaml()),
            subject: format!("hold {} until {until}", paused.told),
            reason: Some(why),
            next: vec![format!(
                "it ends {}; `ringfence resume {}` ends it before",
                ahead(until, now),
                paused.name
            )],
        };
        let question = format!("hold {}?", paused.told);
        fleet.put(&decision, &signer, &self.committing, (&question, false), *out)
    }

    fn until(&self, now: Timestamp) -> Result<Timestamp, CliError> {
        let until = match &self.until {
            Some(text) => moment(text)?,
            None => {
                let ms = self.span.as_deref().map_or(Ok(DAY_MS), duration_ms);
                let ms = i64::try_from(ms.map_err(CliError::usage)?).unwrap_or(i64::MAX);
                now.checked_add(SignedDuration::from_millis(ms))?
            }
        };
        if until <= now {
            return Err(
                CliError::usage(format!("a hold until {until} is over before it begins"))
                    .hint("`--for 4h` holds it from now on"),
            );
        }
        // A record is read by people: no fractions.
        Ok(Timestamp::from_second(until.as_second())?)
    }
}

/// A moment with its offset, or a time of the clock on the wall here.
fn moment(text: &str) -> Result<Timestamp, CliError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local = text.parse::<DateTime>().ok();
    let at = local.and_then(|local| TimeZone::system().to_timestamp(local).ok());
    at.ok_or_else(|| {
        CliError::usage(format!("`{}` is no time", crate::text::Safe::new(text)))
            .hint("write it like `2026-11-24T10:00:00Z` or `2026-11-24 11:00`, or say `--for 4h`")
    })
}

impl Resume {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let paused = fleet.paused(&self.name)?;
        let why = self.reason.as_deref().map(reason).transpose()?;
        if fleet.at_head(&paused.path)?.is_none() {
            return nothing_held(&fleet, &paused, &self.name, *out);
        }
        let signer = fleet.anybody();
        let decision = Decision {
            path: paused.path,
            text: None,
            subject: format!("resume {}", paused.told),
            reason: why,
            next: vec![look(&paused.name)],
        };
        let question = format!("resume {}?", paused.told);
        fleet.put(&decision, &signer, &self.committing, (&question, false), *out)
    }
}

fn nothing_held(fleet: &Fleet, paused: &Paused, name: &str, out: Out) -> Result<u8, CliError> {
    if let Named::Tenant(slug) = fleet.named(name)? {
        let ring = fleet.tenant(slug.as_str())?.0.ring.name;
        if fleet.policy.decisions.held_rings.contains_key(&ring) {
            return Err(CliError::new(format!(
                "{} is not held by itself, but with its ring {ring}",
                paused.told
            ))
            .hint(format!("`ringfence resume {ring}` ends that")));
        }
    }
    let said = format!("{} is not held", paused.told);
    fleet.nothing_to_do(&paused.path, &said, &[], out)
}
