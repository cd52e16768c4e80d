//! `ringfence approve` and `reject`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::{SignedDuration, Timestamp};

use super::commit::{Committing, Decision, look, reason};
use super::error::CliError;
use super::facts::{asked_by, name_of, of_ring, pick, state, told};
use super::fleet::Fleet;
use super::out::Out;
use super::signer::Signer;
use super::table::{ahead, table};
use super::why::{first_line, touches, word};
use super::{Global, complete};
use crate::controller::status::{MoveStatus, RingStatus};
use crate::decide::MoveState;
use crate::decide::gate::{Answer, Gate};
use crate::fleet::decisions::{Approval, Binding, Verdict};
use crate::fleet::names::{CommitId, PrincipalName};
use crate::fleet::principals::PrincipalKind;
use crate::fleet::rings::{Approvals, Ring};
use crate::git::Signature;
use crate::text::Safe;

/// Says yes to a move of a ring: one file, committed and signed in your name. It starts nothing, and lets no other gate pass.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence approve prod                       shows what it is about, and asks
  ringfence approve prod 4b1d1234 -m \"looked at the diff with Ben\"
  ringfence approve prod --yes --expires 2h    for scripts
  ssh server ringfence why prod -o json | ringfence approve prod --facts - --yes --push

It counts for exactly this move (request, from, to, policy) and ends by itself.
Next: `ringfence why RING` says what is still missing.")]
pub(crate) struct Approve {
    #[command(flatten)]
    word: Word,
}

/// Says no to a move of a ring: one file, committed and signed in your name. It waits until another is asked for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence reject prod -m \"breaks the import of last week\"
  ringfence reject prod 4b1d1234 --yes

Next: `ringfence why RING` shows how it stands; `ringfence approve RING` takes a no of your own back.")]
pub(crate) struct Reject {
    #[command(flatten)]
    word: Word,
}

#[derive(Debug, Args)]
struct Word {
    /// The ring.
    #[arg(value_name = "RING", add = ArgValueCandidates::new(complete::rings))]
    ring: String,
    /// The beginning of the commit that asks, where more than one move is open.
    #[arg(value_name = "REQUEST")]
    request: Option<String>,
    /// Why.
    #[arg(short = 'm', long = "reason", value_name = "REASON")]
    reason: Option<String>,
    /// How long it counts [default: as long as the ring's policy lets it].
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    /// What `ringfence why RING -o json` said on the server, in a file or on standard input: on a clone without the engine.
    #[arg(long, value_name = "FILE|-")]
    facts: Option<PathBuf>,
    /// As whom, where that cannot be told by the key that git signs with.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Write it though it would not count.
    #[arg(long)]
    anyway: bool,
    #[command(flatten)]
    committing: Committing,
}

impl Approve {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        self.word.run(global, *out, Verdict::Approve).await
    }
}

impl Reject {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        self.word.run(global, *out, Verdict::Reject).await
    }
}

fn verb(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve => "approve",
        Verdict::Reject => "reject",
    }
}

impl Word {
    async fn run(&self, global: &Global, out: Out, verdict: Verdict) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let ring = fleet.ring(&self.ring)?;
        let why = self.reason.as_deref().map(reason).transpose()?;
        let Some(asked) = &ring.approvals else {
            return Err(
                CliError::new(format!("ring {} asks for nobody's approval", ring.name)).hint(format!(
                    "`ringfence why {}` shows what it waits for; `ringfence hold {} -m REASON` keeps it as it is",
                    ring.name, ring.name
                )),
            );
        };
        let expires = expires(self.expires.as_deref(), asked.expires_ms)?;
        let signer = fleet.signer(self.name.as_deref())?;
        let here = self.facts(global, &fleet, ring).await?;
        let approvable =
            |m: &MoveStatus| m.to.is_some() && m.state != MoveState::Open && m.gate("approval").is_some();
        let mv = pick(&here, self.request.as_deref(), verb(verdict), approvable)?;
        let approval = Approval {
            binding: binding(ring, mv)?,
            principal: signer.name.clone().unwrap_or_else(PrincipalName::solo),
            verdict,
            reason: why,
            expires: Some(expires),
        };
        if self.facts.is_some() && fleet.repo.commit(&approval.binding.request).is_err() {
            return Err(CliError::new(format!(
                "this clone does not have {}, the commit that asks for it",
                approval.binding.request.short()
            ))
            .hint("`git fetch`, look at it, and repeat this"));
        }
        if let Some(said) = given(&fleet, &approval, mv) {
            return fleet.nothing_to_do(&approval.path(), &said, &[look(ring.name.as_str())], out);
        }
        if let Some(why) = would_not_count(&fleet, ring, asked, &approval, mv).filter(|_| !self.anyway) {
            return Err(CliError::new(format!("it would not count: {why}"))
                .hint(format!("`ringfence why {}` says who may", ring.name))
                .hint("`--anyway` writes it all the same"));
        }
        if !out.json() {
            Out::print(&shown(&here, mv, &signer, expires));
        }
        let decision = self.decision(&fleet, &approval, &here, mv);
        let question = format!("{} it?", verb(verdict));
        fleet.put(&decision, &signer, &self.committing, (&question, true), out)
    }

    async fn facts(&self, global: &Global, fleet: &Fleet, ring: &Ring) -> Result<RingStatus, CliError> {
        match &self.facts {
            Some(file) => super::facts::read(file, &global.directory(), fleet, ring),
            None => of_ring(&fleet.status().await?, ring),
        }
    }

    fn decision(&self, fleet: &Fleet, approval: &Approval, here: &RingStatus, mv: &MoveStatus) -> Decision {
        let ring = &approval.binding.ring;
        let all: Vec<&MoveStatus> = here.moves.iter().collect();
        let mut next = vec![look(ring.as_str())];
        if self.facts.is_some() && !self.committing.push && !fleet.repo.is_mirror() {
            next.push("`git push` brings it to where ringfence runs".to_owned());
        }
        Decision {
            path: approval.path(),
            text: Some(approval.to_yaml()),
            subject: format!(
                "{} {ring} {}: {}",
                verb(approval.verdict),
                name_of(mv, &all),
                told(mv)
            ),
            reason: approval.reason.clone(),
            next,
        }
    }
}

/// When a word ends: as asked, or as policy says.
pub(super) fn expires(asked: Option<&str>, most_ms: u64) -> Result<Timestamp, CliError> {
    let ms = match asked {
        None => most_ms,
        Some(text) => crate::fleet::values::duration_ms(text).map_err(CliError::usage)?,
    };
    if ms == 0 {
        return Err(CliError::usage("`--expires 0` counts for nothing"));
    }
    let span = SignedDuration::from_millis(i64::try_from(ms.min(most_ms)).unwrap_or(i64::MAX));
    let at = Timestamp::now().checked_add(span)?;
    // A record is read by people: no fractions.
    Ok(Timestamp::from_second(at.as_second())?)
}

/// What a word about a move is bound to.
pub(super) fn binding(ring: &Ring, mv: &MoveStatus) -> Result<Binding, CliError> {
    let unclear = |why: String| {
        CliError::new(format!(
            "the facts about ring {} cannot be read: {why}",
            ring.name
        ))
        .hint(format!("`ringfence why {} -o json` prints them", ring.name))
    };
    let missing = |what: &str| unclear(format!("no {what} is named"));
    Ok(Binding {
        ring: ring.name.clone(),
        request: mv.request.parse().map_err(unclear)?,
        from: mv
            .from
            .as_ref()
            .map(|from| from.parse())
            .transpose()
            .map_err(unclear)?,
        to: mv
            .to
            .as_ref()
            .ok_or_else(|| missing("release"))?
            .parse()
            .map_err(unclear)?,
        policy: mv
            .policy
            .as_ref()
            .ok_or_else(|| missing("policy"))?
            .parse()
            .map_err(unclear)?,
    })
}

/// Whether the same word is on record already and counts.
fn given(fleet: &Fleet, approval: &Approval, mv: &MoveStatus) -> Option<String> {
    let old = &fleet.policy.decisions.approvals.get(&approval.path())?.value;
    let same = old.binding == approval.binding && old.verdict == approval.verdict;
    let gate = mv.gate("approval")?;
    let counts = match approval.verdict {
        Verdict::Reject => gate.state == Answer::Fail,
        Verdict::Approve => gate.state == Answer::Pass || !gate.may.contains(&approval.principal),
    };
    let until = old.expires.filter(|until| *until > Timestamp::now())?;
    (same && counts).then(|| {
        format!(
            "{} said so already ({}), good until {until}",
            approval.principal,
            approval.path()
        )
    })
}

/// Why nobody would count a word.
fn would_not_count(
    fleet: &Fleet,
    ring: &Ring,
    asked: &Approvals,
    approval: &Approval,
    mv: &MoveStatus,
) -> Option<String> {
    let (name, principals) = (&approval.principal, &fleet.policy.principals);
    if principals.is_solo() {
        return None;
    }
    let kind = principals.all.get(name).map(|p| p.kind);
    if kind != Some(PrincipalKind::Human) {
        return Some(format!("{name} is no human, and only a human's word counts"));
    }
    let approvers = principals.approvers(&asked.from);
    if !approvers.contains(name) {
        let names: Vec<&str> = approvers.iter().map(PrincipalName::as_str).collect();
        return Some(format!(
            "{name} is not among those whom ring {} asks ({})",
            ring.name,
            names.join(", ")
        ));
    }
    let gate: &Gate = mv.gate("approval")?;
    // Anybody who is asked may say no, and a no is taken back by whoever said it.
    if approval.verdict == Verdict::Reject || gate.state == Answer::Fail || gate.may.contains(name) {
        return None;
    }
    Some(if asked_for(fleet, &approval.binding.request, name) {
        format!("{name} asked for it, and another has to say yes")
    } else {
        format!("{name} asked for it or wrote some of it, and another has to say yes")
    })
}

fn asked_for(fleet: &Fleet, request: &CommitId, name: &PrincipalName) -> bool {
    let Ok(Signature::Good { fingerprint, .. }) = fleet.repo.signature(request) else {
        return false;
    };
    let signer = fleet.policy.principals.signer(&fingerprint, Timestamp::now());
    signer.is_ok_and(|signer| signer.name == *name)
}

/// What a person says yes or no to.
fn shown(ring: &RingStatus, mv: &MoveStatus, signer: &Signer, expires: Timestamp) -> String {
    let mut text = format!("ring {}: {}, {}\n", ring.name, told(mv), state(mv));
    text += &format!("  asked for by  {}\n", asked_by(mv));
    if let Some(touches) = touches(mv) {
        text += &format!("  touches       {}\n", Safe::new(&touches));
    }
    if let (Some(from), Some(to)) = (&mv.from_commit, &mv.to_commit) {
        let short = |commit: &str| commit.get(..8).unwrap_or(commit).to_owned();
        text += &format!(
            "  look at it    git diff {} {} -- desired stacks\n",
            short(from),
            short(to)
        );
    }
    let solo = match signer.told() {
        PrincipalName::SOLO => " (self-approved: this fleet has no keys, so it has one person)",
        _ => "",
    };
    text += &format!(
        "  said by       {}{solo}, ends {}\n",
        signer.told(),
        ahead(expires, Timestamp::now())
    );
    let mut rows = vec![["  GATE", "STATE", "EVIDENCE"].map(str::to_owned).to_vec()];
    let gates = mv.gates.iter();
    rows.extend(gates.map(|g| {
        vec![
            format!("  {}", g.name),
            word(g.state).to_owned(),
            first_line(&g.evidence),
        ]
    }));
    text + &table(&rows)
}
