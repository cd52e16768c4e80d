//! The loop: what wakes it, a pass, and the time of the next one.
//!
//! Level-triggered: a pass looks at the world and computes what is missing; what woke it never changes the outcome.

mod abilities;
mod accept;
mod adopt;
pub mod backoff;
mod behind;
pub mod books;
mod checks;
pub mod clock;
pub mod files;
mod fit;
mod gather;
pub mod holder;
pub mod images;
mod looks;
mod moves;
mod pass;
mod prepare;
pub mod probes;
mod proofs;
pub mod quiet;
mod record;
mod records;
mod recover;
mod removals;
mod report;
mod resources;
pub mod run;
pub mod socket;
pub mod status;
mod tidy;
mod wanted;
mod write_back;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::apply::{Applier, Outcome, ProgressSink};
use crate::decide::Decision;
use crate::decide::health::Mark;
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::fleet::names::{CommitId, Instance, RingName, ServiceKey, Slug, SpecHash};
use crate::git::{GitError, KeptOpen};
use crate::plan::seen::Observation;
use crate::plan::{Plan, Stale};
use crate::render::object::{ContainerSpec, Objects};
use crate::store::{Store, StoreError};
use backoff::Backoff;
use books::Books;
use clock::{Clock, moved};
use files::{Files, FilesError, Live};
use holder::{Holder, HolderError};
use images::Images;
use looks::Looks;
use probes::Probes;
use quiet::{FirstLook, Quiet};
use status::Status;

/// Where the store has the version of the API that was last spoken.
pub const API: &str = "engine.api";

/// What ends a pass, or the whole.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The ledger.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files of ours.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The instance is another's.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The policy has errors, and none was accepted before.
    #[error("the policy at {commit} has errors: {first}")]
    Policy {
        /// The commit.
        commit: String,
        /// The first error.
        first: String,
    },
    /// The instance was changed in the policy.
    #[error(
        "the policy calls this fleet's instance `{now}`, and this ringfence keeps `{was}`: stop it, remove what `{was}` owns, and start it again"
    )]
    Instance {
        /// In the policy.
        now: String,
        /// Kept here.
        was: String,
    },
    /// The socket.
    #[error("cannot serve on {path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ControllerError {
    /// Whether waiting can help; otherwise the loop ends with it.
    pub fn passes_by(&self) -> bool {
        !matches!(
            self,
            Self::Holder(HolderError::Other { .. }) | Self::Socket { .. }
        )
    }
}

/// What a person asks of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Request {
    /// Rings to act on; with `tenants` empty too: all.
    pub rings: BTreeSet<RingName>,
    /// Tenants to heal.
    pub tenants: BTreeSet<Slug>,
    /// A failed release may be tried again.
    pub again: bool,
    /// Images are resolved again.
    pub resolve: bool,
    /// Any number of removals is allowed.
    pub prune: bool,
    /// What carries our labels and is unknown is taken as ours; an empty volume may take the place of one that is gone.
    pub adopt: bool,
    /// Everything is looked at anew, not only what may have changed.
    pub refresh: bool,
    /// A person stands behind it (in a fleet without keys a rewritten control branch is accepted).
    pub person: bool,
    /// A commit of a rewritten control branch that a person accepts.
    pub accept: Option<CommitId>,
}

impl Request {
    /// Whether it names some and not all.
    pub fn is_scoped(&self) -> bool {
        !self.rings.is_empty() || !self.tenants.is_empty()
    }

    /// What it allows beyond a plain pass, as the command line calls it: that needs who runs the daemon.
    pub fn allows(&self) -> Vec<&'static str> {
        let powers = [
            (self.again, "--again"),
            (self.resolve, "--resolve"),
            (self.prune, "--prune"),
            (self.adopt, "--adopt"),
            (self.refresh, "--refresh"),
            (self.person, "what a person accepts"),
            (self.accept.is_some(), "`ringfence accept`"),
        ];
        powers
            .into_iter()
            .filter(|(asked, _)| *asked)
            .map(|(_, name)| name)
            .collect()
    }
}

/// What the loop is made of.
pub struct Parts {
    /// The repository.
    pub books: Books,
    /// The engine.
    pub engine: Engine,
    /// The ledger.
    pub store: Arc<Store>,
    /// Files that containers see.
    pub files: Files,
    /// Who we are.
    pub holder: Holder,
    /// The instance.
    pub instance: Instance,
    /// Where progress goes.
    pub progress: ProgressSink,
    /// Whether this is the daemon (`run`), or one `apply`.
    pub daemon: bool,
    /// Where judging starts if nothing was accepted before; none: at the control branch's head.
    pub trust: Option<CommitId>,
    /// Keeps the repository open until the first pass or look has read it: it was opened to find the fleet.
    pub opened: Option<KeptOpen>,
    /// The look at the engine that the first pass goes on with, if one was made already.
    pub first_look: Option<Box<FirstLook>>,
    /// What is left to the next process if there was nothing to do; none: this one leaves nothing.
    pub quiet: Option<Box<Quiet>>,
}

/// The controller: the world as last seen, and what is under way.
pub struct Controller {
    parts: Parts,
    applier: Applier,
    images: Images,
    backoff: Backoff,
    probes: Probes,
    checks: checks::Checks,
    busy: BTreeSet<ServiceKey>,
    looks: Looks,
    gave_up: BTreeMap<String, Timestamp>,
    specs: BTreeMap<SpecHash, Arc<ContainerSpec>>,
    /// The paths for which images declare volumes, as far as they were looked at.
    declared: Arc<BTreeMap<String, BTreeSet<String>>>,
    /// Live files as they are; none yet: they are read when they are needed.
    live: OnceLock<Live>,
    /// Live directories that are to be and are not there.
    lost_live: BTreeSet<String>,
    /// Runs of containers that see one that was lost, as the ledger has them.
    stale: Stale,
    /// Failures that there is nothing to go back from: container ids, told once.
    told: BTreeSet<String>,
    /// Services whose repair was told.
    drift: record::Drift,
    /// Whether this pass wrote something down that changes the next one.
    changed: bool,
    /// What the last pass was asked for: what is waited for.
    scope: Request,
    /// What the last pass acted on: a daemon's acts on everything, whoever asks.
    acting: Request,
    /// Networks that cannot be made now.
    stuck_networks: BTreeSet<String>,
    /// Volumes that are wanted and could not be made.
    missing_volumes: BTreeSet<String>,
    /// Ends that were counted: container → the start that it ended after.
    ends: BTreeMap<String, Timestamp>,
    /// Since when the engine has been watched without a gap: what happened before says nothing about a release.
    watched_since: Timestamp,
    /// What services take of it, as far as they were rendered for that.
    weighed: resources::Cache,
    /// Whether the last pass could not reach the engine.
    engine_was_away: bool,
    /// What the engine cannot do; none: not asked yet.
    abilities: Option<abilities::Abilities>,
    /// Whether somebody set the clock.
    clock: Clock,
    /// Why the URL could not be fetched, while it cannot be.
    fetch_trouble: Option<String>,
    /// Rings that run and are neither remembered nor found in history, with what was asked of it.
    unmatched: BTreeMap<RingName, Digest>,
    /// Specs that the engine refused to make or start, with its words.
    refused: BTreeMap<ServiceKey, Refusal>,
    /// Our networks that are there.
    networks: BTreeSet<String>,
    /// Whether each ring goes back by itself.
    rollback: record::Rollbacks,
    /// What was written back to git, or could not be.
    written_back: write_back::Tried,
    /// How long what moves must stay healthy in each ring, in milliseconds.
    observe: BTreeMap<RingName, u64>,
    /// When the first part that is being observed has been for long enough.
    observed_at: Option<Timestamp>,
    /// When the first soak may be over.
    soaked_at: Option<Timestamp>,
    /// The soaks that rings ask for: in which ring, and how long, in milliseconds.
    soaks: Vec<(RingName, u64)>,
    /// Since when the engine has been watched without a gap, by a clock that nobody sets.
    watched_from: Mark,
    /// When proofs were written last, by the same clock.
    proved_at: u64,
    rendered: wanted::Cache,
    fits: fit::Cache,
    pass: u64,
    /// The last pass, for `status` and for deciding whether all is settled.
    last: Last,
    status: tokio::sync::watch::Sender<Arc<Status>>,
    wake: mpsc::UnboundedSender<run::Wake>,
}

/// The engine does not make or start a spec.
struct Refusal {
    spec: SpecHash,
    /// Its words.
    reason: String,
    /// After so many tries in a row it is held against the release.
    proven_by: u32,
}

/// What the last pass saw and wanted.
#[derive(Default)]
struct Last {
    decision: Decision,
    wanted: Objects,
    seen: Observation,
    plan: Plan,
    conditions: Vec<String>,
    control: Option<String>,
    fleet: String,
    /// Whether the fleet has keys.
    signed: bool,
    /// What stopped the pass, if anything did.
    error: Option<String>,
    look_at: Option<Timestamp>,
    /// Whom the moves that wait would touch.
    touching: moves::Touching,
}

impl Controller {
    /// Puts the parts together. `wake` is where finished services and probes report. One that is no daemon goes on with
    /// what the last process saw.
    pub fn new(parts: Parts, wake: mpsc::UnboundedSender<run::Wake>) -> Self {
        // More engine calls at once only make each wait longer (peers.md): at least 4, so that network waits overlap.
        let at_once = std::thread::available_parallelism().map_or(4, |n| n.get().max(4));
        let applier = Applier::new(
            parts.engine.clone(),
            Arc::clone(&parts.store),
            at_once,
            parts.progress.clone(),
        );
        let mut images = Images::new(wake.clone());
        let mut looks = Looks::default();
        if !parts.daemon {
            looks = Looks::kept(&parts.store).unwrap_or_default();
            images.resume(&parts.store);
        }
        let (status, _) = tokio::sync::watch::channel(Arc::new(Status::default()));
        Self {
            applier,
            images,
            backoff: Backoff::default(),
            probes: Probes::new(wake.clone()),
            checks: checks::Checks::kept(&parts.store, wake.clone()),
            busy: BTreeSet::new(),
            looks,
            gave_up: BTreeMap::new(),
            specs: BTreeMap::new(),
            declared: Arc::default(),
            live: OnceLock::new(),
            lost_live: BTreeSet::new(),
            stale: Stale::new(),
            told: BTreeSet::new(),
            drift: BTreeSet::new(),
            changed: false,
            scope: Request::default(),
            acting: Request::default(),
            stuck_networks: BTreeSet::new(),
            missing_volumes: BTreeSet::new(),
            ends: BTreeMap::new(),
            watched_since: Timestamp::now(),
            weighed: resources::Cache::new(),
            engine_was_away: false,
            abilities: None,
            clock: Clock::new(Timestamp::now(), Instant::now()),
            fetch_trouble: None,
            unmatched: BTreeMap::new(),
            refused: BTreeMap::new(),
            networks: BTreeSet::new(),
            rollback: BTreeMap::new(),
            written_back: write_back::Tried::new(),
            observe: BTreeMap::new(),
            observed_at: None,
            soaked_at: None,
            soaks: Vec::new(),
            watched_from: proofs::mark(),
            proved_at: 0,
            rendered: wanted::Cache::default(),
            fits: fit::Cache::default(),
            pass: 0,
            last: Last::default(),
            status,
            wake,
            parts,
        }
    }

    /// The status after each pass.
    pub fn status(&self) -> tokio::sync::watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    /// A service's calls ended.
    pub fn service_ended(&mut self, outcome: Outcome, now: Timestamp) {
        use crate::apply::{ApplyError, Ended};
        use crate::plan::replace::Wait;
        self.busy.remove(&outcome.key);
        // The clock may have been set back while the calls were made.
        let gave_up = outcome.gave_up.into_iter();
        self.gave_up.extend(gave_up.map(|(id, at)| (id, at.min(now))));
        for id in &outcome.touched {
            self.looks.drop_one(id);
        }
        match outcome.ended {
            Ended::Done => self.backoff.worked(&outcome.key),
            Ended::Again => {}
            Ended::Waits(wait) => {
                if let Wait::Drain { id, .. } = wait {
                    self.gave_up.entry(id).or_insert(now);
                }
            }
            // The outcome of a lost reply is found by looking again at once.
            Ended::Failed(ApplyError::Engine(EngineError::Lost { .. }))
                if self.backoff.of(&outcome.key).is_none() =>
            {
                self.backoff
                    .failed(&outcome.key, "the engine's reply was lost".to_owned(), now);
            }
            Ended::Failed(error @ ApplyError::Engine(EngineError::NameTaken { .. })) => {
                self.backoff.name_taken(&outcome.key, error.to_string(), now);
            }
            Ended::Failed(error) => {
                if let (ApplyError::Engine(engine), Some(spec)) = (&error, outcome.wanted)
                    && outcome.making
                    && !engine.says_nothing_about_the_release()
                {
                    let refusal = Refusal {
                        spec,
                        reason: error.to_string(),
                        proven_by: engine.tries_that_prove_it(),
                    };
                    self.refused.insert(outcome.key.clone(), refusal);
                }
                self.backoff.failed(&outcome.key, error.to_string(), now);
            }
        }
    }

    /// The stream of events broke: inspections may be out of date, and ends may have come from outside.
    pub fn missed_events(&mut self, now: Timestamp) {
        self.looks.clear();
        self.watch_from(now);
        // Another engine may have come in its place.
        self.abilities = None;
    }

    /// The watching begins anew: what happened before says nothing about a release.
    fn watch_from(&mut self, now: Timestamp) {
        self.watched_since = now;
        self.watched_from = proofs::mark();
    }

    /// What was remembered as a time of day moves along when somebody set the clock, and nothing that ran before counts
    /// as watched.
    fn follow_clock(&mut self) {
        let now = Timestamp::now();
        let Some(step) = self.clock.step(now, Instant::now()) else {
            return;
        };
        tracing::warn!("the clock was set by {step:#}: what is waited for goes on as before");
        for at in self.gave_up.values_mut() {
            *at = moved(*at, step);
        }
        self.backoff.moved(step);
        self.images.moved(step);
        self.watched_since = now;
    }

    /// A look that nothing woke: what no event told is found in turn.
    pub fn look_round(&mut self) {
        self.looks.drop_some();
        self.forget_live();
    }

    /// Live files are looked at on the disk again: somebody may have edited them.
    pub fn forget_live(&mut self) {
        self.live = OnceLock::new();
    }

    fn live(&self) -> &Live {
        self.live.get_or_init(|| self.parts.files.read_live())
    }

    /// What this process leaves to the next one, so that it need not ask the engine again. No more than a cache: a failure
    /// costs calls. The rest is left to the system, which takes it back at once; to free all of it one by one would take a
    /// twentieth of an `apply` with nothing to do.
    pub async fn leave(mut self) {
        let left = self.looks.keep(&self.parts.store);
        let left = left.and_then(|()| self.images.leave(&self.parts.store));
        let left = if self.parts.daemon {
            left.and_then(|()| self.parts.store.keep_proofs())
        } else {
            left
        };
        if let Some(api) = self.parts.engine.api().await
            && left.and_then(|()| self.parts.store.set_meta(API, &api)).is_err()
        {
            tracing::warn!("what was seen cannot be kept for the next process");
        }
        Box::pin(self.leave_quiet()).await;
        std::mem::forget((self.last, self.rendered, self.specs, self.looks));
    }

    /// An event says that what was known of a container by inspection is out of date.
    pub fn container_changed(&mut self, id: &str) {
        self.looks.drop_one(id);
    }
}
