//! What the verbs of promotion are told: by the running daemon, by one look without it, or by a file of `why -o json`.

use std::io::Read as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::declared::Declared;
use super::error::CliError;
use super::fleet::Fleet;
use super::why::Way;
use crate::controller::Request;
use crate::controller::status::{MoveStatus, RingStatus, Status, TenantStatus};
use crate::decide::MoveState;
use crate::diagnostic::did_you_mean;
use crate::fleet::names::Slug;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::TenantFiles;

/// What `why -o json` prints, and what `--facts` reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Why {
    /// The fleet.
    pub(super) fleet: String,
    /// The instance.
    pub(super) instance: String,
    /// Whether a daemon keeps it so.
    pub(super) daemon: bool,
    /// Whether commits are signed: `solo` where no keys are declared.
    pub(super) mode: String,
    /// The commit of the control branch that is in force.
    pub(super) control: Option<String>,
    /// When this was seen (UTC, RFC 3339).
    pub(super) at: String,
    /// The ring that was asked about, or the tenant's.
    pub(super) ring: RingStatus,
    /// The tenant that was asked about.
    pub(super) tenant: Option<TenantStatus>,
    /// The tenants of the ring.
    pub(super) tenants: Vec<TenantStatus>,
    /// What a person should know about the whole.
    pub(super) conditions: Vec<String>,
    /// The command that takes what the daemon wrote back and could not put on the control branch.
    pub(super) proposed: Option<String>,
    /// What would go on with it, and who can do that.
    pub(super) ways: Vec<Way>,
}

impl Fleet {
    /// The status: the daemon's, or without one that of a look.
    pub(super) async fn status(&self) -> Result<Status, CliError> {
        if let Some(daemon) = Daemon::reach(&self.socket()).await {
            return daemon.status().await;
        }
        let (mut controller, _wakes) = self.looking().await?;
        Ok(controller.look(&Request::default()).await?.status)
    }

    /// A ring by its name on the command line.
    pub(super) fn ring(&self, name: &str) -> Result<&Ring, CliError> {
        match self.named(name)? {
            Named::Ring(ring) => Ok(ring),
            Named::Tenant(slug) => {
                let rings = self.policy.rings.0.iter().map(|r| r.name.as_str());
                let error = CliError::usage(format!("`{slug}` is no ring"));
                Err(match did_you_mean(slug.as_str(), rings.clone()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("the rings are {}", rings.collect::<Vec<_>>().join(", "))),
                })
            }
        }
    }

    /// A tenant that some ring's branch declares; what looks like a ring's name is told.
    pub(super) fn declared_tenant(&self, slug: &str) -> Result<(Declared, TenantFiles), CliError> {
        let rings = self.policy.rings.0.iter().map(|r| r.name.as_str());
        self.tenant(slug)
            .map_err(|error| match did_you_mean(slug, rings) {
                Some(near) => error.hint(format!("or did you mean the ring `{near}`?")),
                None => error,
            })
    }

    /// A ring or a tenant: a bare name that is both means the ring, `tenant/NAME` the tenant.
    pub(super) fn named(&self, name: &str) -> Result<Named<'_>, CliError> {
        let asked = super::plan::request(std::slice::from_ref(&name.to_owned()), &self.policy)?;
        let ring = asked
            .rings
            .first()
            .and_then(|ring| self.policy.rings.get(ring.as_str()));
        match (ring, asked.tenants.first()) {
            (Some(ring), _) => Ok(Named::Ring(ring)),
            (None, Some(slug)) => Ok(Named::Tenant(slug.clone())),
            (None, None) => Err(CliError::usage(format!(
                "`{name}` is neither a ring nor a tenant"
            ))),
        }
    }
}

/// What a name on the command line means.
pub(super) enum Named<'a> {
    /// A ring.
    Ring(&'a Ring),
    /// A tenant, declared or not.
    Tenant(Slug),
}

/// A ring's part of the status.
pub(super) fn of_ring(status: &Status, ring: &Ring) -> Result<RingStatus, CliError> {
    let found = status.rings.iter().find(|r| r.name == ring.name.as_str());
    found.cloned().ok_or_else(|| {
        let conditions = status.conditions.first().cloned().unwrap_or_default();
        CliError::new(format!(
            "nothing is known of ring {} now: {conditions}",
            ring.name
        ))
        .hint("`ringfence status` shows more")
    })
}

/// A ring as a file of `why -o json` has it; `-` is standard input.
pub(super) fn read(
    file: &Path,
    directory: &Path,
    fleet: &Fleet,
    ring: &Ring,
) -> Result<RingStatus, CliError> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        let path = directory.join(file);
        std::fs::read_to_string(&path).map_err(|e| CliError::new(format!("{}: {e}", path.display())))?
    };
    let again = format!("`ringfence why {} -o json` on the server prints them", ring.name);
    let facts: Why = serde_json::from_str(&text)
        .map_err(|e| CliError::new(format!("{} holds no facts: {e}", file.display())).hint(again.clone()))?;
    let settings = &fleet.policy.settings;
    if facts.instance != settings.instance.as_str() || facts.fleet != settings.fleet {
        return Err(CliError::new(format!(
            "the facts are of the fleet {} (instance {}), and this repository's is {} ({})",
            facts.fleet, facts.instance, settings.fleet, settings.instance
        )));
    }
    if facts.ring.name != ring.name.as_str() {
        return Err(CliError::new(format!(
            "the facts are of ring {}, not of {}",
            facts.ring.name, ring.name
        ))
        .hint(again));
    }
    Ok(facts.ring)
}

/// Which of a ring's moves a person means: the only one, or the one that the beginning of its request names, with
/// `.rel`, `.ten` or `.both` behind it where one commit asks for two.
pub(super) fn pick<'a>(
    ring: &'a RingStatus,
    request: Option<&str>,
    verb: &str,
    fits: impl Fn(&MoveStatus) -> bool,
) -> Result<&'a MoveStatus, CliError> {
    let all: Vec<&MoveStatus> = ring.moves.iter().filter(|m| fits(m)).collect();
    let named: Vec<&MoveStatus> = match request {
        None => all.clone(),
        Some(request) => {
            let (commit, word) = request.split_once('.').unwrap_or((request, ""));
            let is =
                |m: &&&MoveStatus| m.request.starts_with(commit) && (word.is_empty() || m.word() == word);
            all.iter().filter(is).copied().collect()
        }
    };
    let why = format!("`ringfence why {}` shows what is open", ring.name);
    match (named.as_slice(), request) {
        ([one], _) => Ok(one),
        ([], None) => {
            let error = CliError::new(format!("ring {} has no open move to {verb}", ring.name));
            Err(ring
                .moves
                .first()
                .map_or_else(|| error_of_nothing(ring, verb), |_| error.hint(why.clone())))
        }
        ([], Some(request)) => {
            let error = CliError::new(format!(
                "no open move of ring {} is asked for by `{}`",
                ring.name,
                crate::text::Safe::new(request)
            ));
            Err(all
                .iter()
                .fold(error, |error, m| error.hint(choice(ring, m, &all, verb))))
        }
        _ => {
            let error = CliError::new(format!(
                "ring {} has {} open moves: name one",
                ring.name,
                named.len()
            ));
            Err(named
                .iter()
                .fold(error, |error, m| error.hint(choice(ring, m, &all, verb))))
        }
    }
}

fn error_of_nothing(ring: &RingStatus, verb: &str) -> CliError {
    let runs = ring.running.as_deref().unwrap_or("nothing");
    CliError::new(format!(
        "there is nothing to {verb}: ring {} runs {runs}, and nothing else is asked for",
        ring.name
    ))
    .hint(format!("`ringfence promote {}` asks for a release", ring.name))
}

/// A line of what can be picked.
fn choice(ring: &RingStatus, mv: &MoveStatus, all: &[&MoveStatus], verb: &str) -> String {
    format!(
        "`ringfence {verb} {} {}`: {}",
        ring.name,
        name_of(mv, all),
        told(mv)
    )
}

/// How a person names a move among others.
pub(super) fn name_of(mv: &MoveStatus, all: &[&MoveStatus]) -> String {
    let twice = all.iter().filter(|m| m.request == mv.request).count() > 1;
    let short = mv.request.get(..8).unwrap_or(&mv.request);
    if twice {
        format!("{short}.{}", mv.word())
    } else {
        short.to_owned()
    }
}

/// A move in a few words: `release rel-… → rel-…`.
pub(super) fn told(mv: &MoveStatus) -> String {
    let end = |end: &Option<String>, none: &str| {
        end.as_deref()
            .map_or_else(|| none.to_owned(), super::status::short)
    };
    let what = match mv.word() {
        "rel" => "release",
        "ten" => "tenant files",
        _ => "release and tenant files",
    };
    format!("{what} {} → {}", end(&mv.from, "nothing"), end(&mv.to, "?"))
}

/// Who asked for a move, for people.
pub(super) fn asked_by(mv: &MoveStatus) -> String {
    let short = mv.request.get(..8).unwrap_or(&mv.request);
    let more = match (&mv.author, &mv.subject) {
        (Some(author), Some(subject)) => format!(": {author}, \"{subject}\""),
        _ => String::new(),
    };
    crate::text::Safe::new(&format!("{short}{more}")).to_string()
}

/// How far a move is, in a word.
pub(super) fn state(mv: &MoveStatus) -> &'static str {
    match mv.state {
        MoveState::Waiting => "waits",
        MoveState::Open => "goes",
        MoveState::Quarantined => "failed here before",
    }
}
