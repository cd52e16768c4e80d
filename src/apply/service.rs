//! One service's calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Applier, ApplyError, Progress};
use crate::engine::{Engine, EngineError};
use crate::fleet::compose::service::Restart;
use crate::fleet::names::{ServiceKey, SpecHash};
use crate::plan::foresee::effect;
use crate::plan::replace::{Call, Next, Seat, Wait, next};
use crate::plan::services::{ServicePlan, extra_networks};
use crate::render::object::{MountFrom, MountSpec, ServiceObject};
use crate::store::StepOutcome;

/// A service never makes more calls in one go: a table that went round in a circle would end here.
const MOST_CALLS: usize = 64;

/// How long a stop may take before its answer counts as lost: longer than any grace period that a file should ask for.
const LONGEST_GRACE_MS: u64 = 3_600_000;

/// How a service's list ended.
#[derive(Debug)]
pub enum Ended {
    /// It is as it shall be.
    Done,
    /// It waits.
    Waits(Wait),
    /// What was found out changes its plan: the next one goes on.
    Again,
    /// A call failed.
    Failed(ApplyError),
}

/// What came of a service's calls.
#[derive(Debug)]
pub struct Outcome {
    /// Which service.
    pub key: ServiceKey,
    /// How it ended.
    pub ended: Ended,
    /// How many calls were acknowledged.
    pub calls: usize,
    /// Containers that gave their name up, and when.
    pub gave_up: BTreeMap<String, Timestamp>,
    /// Containers whose inspection is out of date.
    pub touched: Vec<String>,
    /// The spec that was to serve.
    pub wanted: Option<SpecHash>,
    /// Whether what failed was to make or to start a container: only that can say something about its spec.
    pub making: bool,
}

impl Outcome {
    /// The outcome of calls that nobody saw the end of.
    pub fn lost(key: ServiceKey) -> Self {
        let error = EngineError::Lost {
            what: format!("carry out the calls of {key}"),
            reason: "the task ended by itself".to_owned(),
        };
        Self {
            key,
            ended: Ended::Failed(ApplyError::Engine(error)),
            calls: 0,
            gave_up: BTreeMap::new(),
            touched: Vec::new(),
            wanted: None,
            making: false,
        }
    }
}

pub(super) struct Run<'a> {
    applier: &'a Applier,
    pass: u64,
    plan: ServicePlan,
    seats: Vec<Seat>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    pub(super) fn new(applier: &'a Applier, pass: u64, plan: ServicePlan) -> Self {
        let outcome = Outcome {
            key: plan.key.clone(),
            ended: Ended::Done,
            calls: 0,
            gave_up: BTreeMap::new(),
            touched: Vec::new(),
            wanted: plan.aim.wanted,
            making: false,
        };
        Self {
            applier,
            pass,
            seats: plan.seats.clone(),
            plan,
            outcome,
        }
    }

    pub(super) async fn finish(mut self) -> Outcome {
        self.outcome.ended = match self.run().await {
            Ok(ended) => ended,
            Err(error) => {
                self.tell(Progress::Failed {
                    service: self.plan.key.to_string(),
                    reason: error.to_string(),
                });
                Ended::Failed(error)
            }
        };
        self.outcome
    }

    async fn run(&mut self) -> Result<Ended, ApplyError> {
        for id in std::mem::take(&mut self.plan.thaw) {
            self.by_hand(id, "thaws the paused container", async |engine, id| {
                engine.unpause(id).await
            })
            .await?;
        }
        let mut stuck = None;
        for id in std::mem::take(&mut self.plan.dead) {
            let removed = self.by_hand(
                id,
                "removes what the engine has half removed",
                async |engine, id| engine.remove_dead(id).await,
            );
            // It may stand in nobody's way.
            stuck = removed.await.err().or(stuck);
        }
        let ended = self.calls().await?;
        stuck.map_or(Ok(ended), |error| Err(error.into()))
    }

    /// A call that is no part of a replacement.
    async fn by_hand(
        &mut self,
        id: String,
        what: &str,
        call: impl AsyncFnOnce(&Engine, &str) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let _permit = self.applier.calls.acquire().await;
        self.tell(Progress::Call {
            service: self.plan.key.to_string(),
            what: what.to_owned(),
        });
        call(&self.applier.engine, &id).await?;
        self.outcome.touched.push(id);
        self.outcome.calls += 1;
        Ok(())
    }

    async fn calls(&mut self) -> Result<Ended, ApplyError> {
        for _ in 0..MOST_CALLS {
            let now = Applier::now();
            let call = match next(&self.plan.aim, &self.seats, now) {
                Next::Done => return Ok(Ended::Done),
                Next::Wait(wait) => return Ok(Ended::Waits(wait)),
                Next::Call(call) => call,
            };
            let made = match self.one(&call).await {
                Ok(Some(made)) => made,
                Ok(None) => return Ok(Ended::Again),
                Err(error) => {
                    self.outcome.making = matches!(
                        call,
                        Call::Create { .. } | Call::Connect { .. } | Call::Start { .. }
                    );
                    self.silence(&call).await;
                    return Err(error);
                }
            };
            let extra = self
                .plan
                .object
                .as_deref()
                .map(extra_networks)
                .unwrap_or_default();
            let now = Applier::now();
            effect(&self.plan.aim, &mut self.seats, &call, &made, &extra, now);
            self.remember(&call, now);
            self.outcome.calls += 1;
        }
        Ok(Ended::Done)
    }

    /// One call, and what it made. None: its image declares volumes that the plan could not know of.
    async fn one(&mut self, call: &Call) -> Result<Option<String>, ApplyError> {
        if matches!(call, Call::Create { .. }) && !self.knows_volumes().await? {
            return Ok(None);
        }
        self.journalled(call).await.map(Some)
    }

    /// Whether the plan knows what a new container mounts. Where its image was not there yet, it is fetched now.
    async fn knows_volumes(&mut self) -> Result<bool, EngineError> {
        let Some(object) = self.plan.object.clone().filter(|_| self.plan.volumes.is_none()) else {
            return Ok(true);
        };
        let declared = match self.applier.declared.look_at(&object.spec.image).await? {
            Some(declared) => declared,
            None => {
                self.pull(&object).await?;
                let declared = self.applier.declared.look_at(&object.spec.image).await?;
                declared.ok_or_else(|| missing(&object))?
            }
        };
        let mounted = declared.iter().all(|path| object.spec.mounts.contains_key(path));
        if mounted {
            self.plan.volumes = Some(BTreeMap::new());
        }
        Ok(mounted)
    }

    async fn pull(&self, object: &ServiceObject) -> Result<(), EngineError> {
        if !object.spec.image.contains('@') {
            // What no registry has proved cannot be asked of one.
            return Err(missing(object));
        }
        let platform = object.spec.options.platform.as_deref();
        let pull = self.applier.engine.pull(&object.spec.image, platform, |p| {
            self.tell(Progress::Pull {
                image: object.image_name.clone(),
                current: p.current.unwrap_or(0),
                total: p.total.unwrap_or(0),
            });
        });
        pull.await
    }

    /// The engine refuses to rename a container that is between two restarts. One that is not wanted any more is told not
    /// to restart, so that the next try finds it at rest.
    async fn silence(&self, call: &Call) {
        let Call::Rename { id, .. } = call else { return };
        if self
            .seats
            .iter()
            .any(|s| s.id == *id && s.spec != self.plan.aim.wanted)
        {
            let _ = self.applier.engine.set_restart(id, Restart::No).await;
        }
    }

    fn remember(&mut self, call: &Call, now: Timestamp) {
        match call {
            Call::Rename { id, .. } => {
                if self
                    .seats
                    .iter()
                    .any(|s| s.id == *id && s.gave_up_at == Some(now))
                {
                    self.outcome.gave_up.insert(id.clone(), now);
                }
            }
            Call::Create { .. } => {}
            Call::Connect { id, .. }
            | Call::Disconnect { id, .. }
            | Call::Start { id }
            | Call::SetRestart { id, .. }
            | Call::SetLimits { id, .. }
            | Call::Stop { id }
            | Call::Remove { id } => {
                self.outcome.touched.push(id.clone());
            }
        }
    }

    /// The call between its two lines in the ledger. A lost reply is written as such: the next look at the engine tells.
    async fn journalled(&mut self, call: &Call) -> Result<String, ApplyError> {
        let json = serde_json::to_value(call).unwrap_or_default();
        self.tell(Progress::Call {
            service: self.plan.key.to_string(),
            what: self.words(call),
        });
        let step =
            self.applier
                .store
                .step_begin(self.pass, &self.plan.key.to_string(), &json, Applier::now())?;
        let result = self.make(call).await;
        let outcome = match &result {
            Ok(_) => StepOutcome::Done,
            Err(error @ EngineError::Lost { .. }) => StepOutcome::Lost(error.to_string()),
            Err(error) => StepOutcome::Failed(error.to_string()),
        };
        self.applier.store.step_end(step, &outcome, Applier::now())?;
        Ok(result?)
    }

    /// Makes the call; a new container's id for a create, else nothing.
    async fn make(&self, call: &Call) -> Result<String, EngineError> {
        let engine = &self.applier.engine;
        // A stop takes as long as the container likes, and a pull as long as the registry does: neither holds others up.
        let _permit = match call {
            Call::Stop { .. } | Call::Create { .. } => None,
            _ => Some(self.applier.calls.acquire().await),
        };
        match call {
            Call::Create { name } => return self.create(name).await,
            Call::Connect { id, network } => {
                let attachment = self
                    .plan
                    .object
                    .as_ref()
                    .and_then(|o| o.networks.get(network))
                    .cloned()
                    .unwrap_or_default();
                engine.connect(network, id, &attachment).await?;
            }
            Call::Disconnect { id, network } => engine.disconnect(network, id).await?,
            Call::Start { id } => engine.start(id).await?,
            Call::Rename { id, to, .. } => engine.rename(id, to).await?,
            Call::SetRestart { id, restart } => engine.set_restart(id, *restart).await?,
            Call::SetLimits { id, limits } => engine.set_limits(id, limits).await?,
            Call::Stop { id } => {
                // The container's own grace period stands in its configuration; this is how long its answer is waited for.
                engine.stop(id, LONGEST_GRACE_MS).await?;
            }
            Call::Remove { id } => engine.remove(id).await?,
        }
        Ok(String::new())
    }

    /// A missing image is pulled and the create tried once more: the old container still runs.
    async fn create(&self, name: &str) -> Result<String, EngineError> {
        let Some(mut object) = self.plan.object.clone() else {
            return Ok(String::new());
        };
        self.complete(&mut object);
        let object = &object;
        let engine = &self.applier.engine;
        let first = {
            let _permit = self.applier.calls.acquire().await;
            engine.create_container(name, object).await
        };
        match first {
            Err(EngineError::ImageMissing { .. }) => {
                self.pull(object).await?;
                engine.create_container(name, object).await
            }
            other => other,
        }
    }

    /// What a new container has beside what its hash speaks of.
    fn complete(&self, object: &mut Arc<ServiceObject>) {
        let volumes = self.plan.volumes.iter().flatten();
        if !self.plan.aim.stop_first && volumes.clone().next().is_none() {
            return;
        }
        let spec = Arc::make_mut(&mut Arc::make_mut(object).spec);
        if self.plan.aim.stop_first {
            // An engine that restarts in between must not start it beside the old one; the table sets the policy later.
            spec.restart = Restart::No;
        }
        let mounts = volumes.map(|(path, volume)| {
            let mount = MountSpec {
                from: MountFrom::Volume(volume.clone()),
                read_only: false,
                no_copy: false,
            };
            (path.clone(), mount)
        });
        spec.mounts.extend(mounts);
    }

    fn words(&self, call: &Call) -> String {
        let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        // A leaving container's name ends in its full id: twelve digits of it say as much.
        let shown = |name: &str| match name.split_once(".gone-") {
            Some((base, id)) => format!("{base}.gone-{}", short(id)),
            None => name.to_owned(),
        };
        let name = |id: &str| {
            self.seats
                .iter()
                .find(|s| s.id == *id)
                .map_or_else(|| short(id), |s| shown(&s.name))
        };
        match call {
            Call::Create { name } => format!("creates {name}"),
            Call::Connect { id, network } => format!("connects {} to {network}", name(id)),
            Call::Disconnect { id, network } => format!("disconnects {} from {network}", name(id)),
            Call::Start { id } => format!("starts {}", name(id)),
            Call::Rename { from, to, .. } => format!("renames {} to {}", shown(from), shown(to)),
            Call::SetRestart { id, .. } => format!("sets the restart policy of {}", name(id)),
            Call::SetLimits { id, .. } => format!("sets the limits of {}", name(id)),
            Call::Stop { id } => format!("stops {}", name(id)),
            Call::Remove { id } => format!("removes {}", name(id)),
        }
    }

    fn tell(&self, progress: Progress) {
        self.applier.progress.tell(progress);
    }
}

/// The engine does not have an image, and nobody can give it.
fn missing(object: &ServiceObject) -> EngineError {
    EngineError::ImageMissing {
        what: format!("make a container of {}", object.key),
        message: format!(
            "the engine has no image {} ({})",
            object.image_name, object.spec.image
        ),
    }
}
