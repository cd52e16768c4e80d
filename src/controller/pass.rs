//! One pass: observe, decide, render, plan, start what can be started. It never waits for health or time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::gather::Gathered;
use super::removals::{hold_removals, nobodys, scope_plan};
use super::wanted::{Asked, Wanted};
use super::{Controller, ControllerError, Last, Request, run};
use crate::apply::Outcome;
use crate::decide::Decision;
use crate::decide::facts::Facts;
use crate::engine::EngineError;
use crate::fleet::names::{Owner, SpecHash};
use crate::plan::replace::Health;
use crate::plan::seen::{Details, Observation, SeenContainer, State};
use crate::plan::{Input, Plan, ServicePlan, plan};
use crate::render::object::MountFrom;

/// So often the world is looked at, though nothing woke us.
pub const RESYNC: SignedDuration = SignedDuration::from_secs(60);
/// The same while something is under way: an event that was missed must not hold a rollout up.
const WHILE_OPEN: SignedDuration = SignedDuration::from_secs(2);
/// A container that ran for less than this ended too soon to be simply started again.
const SHORT_LIFE: SignedDuration = SignedDuration::from_secs(10);
/// So many reads of the engine at once.
const READS_AT_ONCE: usize = 8;

impl Controller {
    /// A pass. An error is remembered for `status`; the next pass tries again.
    pub async fn pass(&mut self, request: &Request) -> Result<(), ControllerError> {
        self.pass += 1;
        self.changed = false;
        self.scope = request.clone();
        self.acting = request.clone();
        if self.parts.daemon {
            self.acting.rings.clear();
            self.acting.tenants.clear();
        }
        if request.resolve {
            self.images.forget();
        }
        if request.refresh {
            self.refresh();
        }
        self.follow_clock();
        let mut result = self.try_pass(request).await;
        if result.is_ok() {
            result = self.tidy(Timestamp::now());
        }
        self.engine_was_away |= matches!(result, Err(ControllerError::Engine(_)));
        self.last.error = result.as_ref().err().map(ToString::to_string);
        self.publish();
        result
    }

    /// Lets a work tree stand for the branches.
    pub fn preview(&mut self, tree: crate::fleet::tree::Tree) {
        self.parts.books.preview(tree);
    }

    /// A look: what a pass would do, without doing or writing any of it.
    pub async fn look(&mut self, request: &Request) -> Result<Look, ControllerError> {
        let now = Timestamp::now();
        let _open = (self.parts.opened.take(), self.parts.books.keep_open());
        // It says how things stand, whoever watched: nothing follows from it.
        self.watched_since = Timestamp::MIN;
        if request.refresh {
            self.refresh();
        }
        self.scope = request.clone();
        let mut facts = self.parts.store.facts()?;
        // First the engine: a connection that is resumed proves itself with a look.
        let (seen, unread) = self.observe(false).await?;
        let mut gathered = self.gather(&facts, request, now, false).await?;
        if self.recover(&gathered, &seen, &mut facts, false).await? {
            gathered = self.gather(&facts, request, now, false).await?;
        }
        let mut wanted = self.render(&gathered);
        nobodys(&mut wanted, &mut gathered, &seen, request);
        gathered
            .conditions
            .extend(self.learn(&wanted.objects, &seen, request.refresh).await);
        self.probes.ask_once(&wanted.objects, &seen, true).await;
        let mut plan = self.plan(&wanted, &seen, &facts, now).await?;
        gathered.conditions.extend(unread);
        hold_removals(&mut plan, &mut gathered, request);
        self.tell_proposed(&mut gathered, &facts);
        scope_plan(&mut plan, request, &gathered.decision);
        self.note_last(gathered, &wanted, seen, plan);
        self.publish();
        let known = self.parts.store.known()?;
        let probed = self.probes.answers();
        let input = self.input(&wanted, &self.last.seen, &facts, &known, &probed, now);
        let shown = |diffs| self.last.plan.show(&input, diffs);
        Ok(Look {
            texts: [shown(false), shown(true)],
            decision: self.last.decision.clone(),
            plan: self.last.plan.clone(),
            conditions: self.last.conditions.clone(),
            status: self.status.borrow().as_ref().clone(),
        })
    }

    /// A person trusts nothing that was remembered of the engine.
    fn refresh(&mut self) {
        self.looks.clear();
        self.images.look_again();
        self.forget_live();
    }

    fn render(&mut self, gathered: &Gathered) -> Wanted {
        let asked = Asked {
            policy: &gathered.policy,
            policy_digest: gathered.policy_digest,
            decision: &gathered.decision,
        };
        let books = &mut self.parts.books;
        tokio::task::block_in_place(|| self.rendered.render(books, &asked))
    }

    fn note_last(&mut self, gathered: Gathered, wanted: &Wanted, seen: Observation, plan: Plan) {
        let touching = self.touching(&gathered, wanted);
        let mut decision = gathered.decision;
        let mut conditions = gathered.conditions;
        for (owner, reasons) in &wanted.conditions {
            match owner {
                Owner::Tenant(slug) => {
                    if let Some(tenant) = decision.tenants.get_mut(slug) {
                        tenant.conditions.extend(reasons.iter().cloned());
                    }
                }
                _ => conditions.extend(reasons.iter().cloned()),
            }
        }
        self.last = Last {
            decision,
            conditions,
            control: Some(gathered.control.to_string()),
            fleet: gathered.policy.settings.fleet.clone(),
            signed: !gathered.policy.principals.is_solo(),
            look_at: plan.services.iter().filter_map(|s| s.look_at).min(),
            wanted: wanted.objects.clone(),
            seen,
            plan,
            error: None,
            touching,
        };
    }

    async fn try_pass(&mut self, request: &Request) -> Result<(), ControllerError> {
        let now = Timestamp::now();
        let _opened = self.parts.opened.take();
        let acting = self.acting.clone();
        // First the engine: whose instance it is decides whether anything may be done at all.
        let (seen, unread) = self.observe(true).await?;
        if std::mem::take(&mut self.engine_was_away) {
            // Whatever happened meanwhile, nobody watched: the events' own gap may be told later.
            self.watch_from(Timestamp::now());
        }
        let mut facts = self.parts.store.facts()?;
        let _open = self.parts.books.keep_open();
        let mut gathered = self.gather(&facts, request, now, true).await?;
        if self.recover(&gathered, &seen, &mut facts, true).await? {
            facts = self.parts.store.facts()?;
            gathered = self.gather(&facts, request, now, true).await?;
        }
        if request.again && self.again(&gathered.decision, request, now)? {
            let facts = self.parts.store.facts()?;
            gathered = self.gather(&facts, request, now, true).await?;
        }
        let mut wanted = self.render(&gathered);
        gathered
            .conditions
            .extend(self.learn(&wanted.objects, &seen, request.refresh).await);
        gathered.conditions.extend(unread);
        nobodys(&mut wanted, &mut gathered, &seen, request);
        self.remember_volumes(&seen, &facts)?;
        if !self.parts.daemon {
            // What is healthy is known at once, so that there is nothing to wait for where there is nothing to do.
            self.probes.ask_once(&wanted.objects, &seen, false).await;
        }
        self.remember_asked(&gathered.decision, &wanted, &acting, now)?;
        let facts = self.parts.store.facts()?;
        let mut plan = self.plan(&wanted, &seen, &facts, now).await?;
        if request.adopt && self.adopt(&mut plan, &gathered.decision, now)? {
            let facts = self.parts.store.facts()?;
            plan = self.plan(&wanted, &seen, &facts, now).await?;
        }
        self.count_ends(&plan, &seen, now);
        hold_removals(&mut plan, &mut gathered, request);
        self.record(&plan, &wanted, &seen, &facts, &gathered.decision, now)
            .await?;
        self.write_back(&mut gathered, &facts);
        let policy = Arc::clone(&gathered.policy);
        scope_plan(&mut plan, &acting, &gathered.decision);
        self.note_last(gathered, &wanted, seen, plan);
        self.ask_checks(&policy)?;
        self.prepare(&wanted, &acting, &policy, now).await?;
        self.start_unmatched().await;
        self.start_services(now, None);
        let facts = self.parts.store.facts()?;
        let all_known = self.unmatched.is_empty() && self.last.plan.unknown.is_empty();
        if let Err(error) = self.images.keep(&self.parts.engine, &facts, all_known).await {
            self.last
                .conditions
                .push(format!("images that may be needed again cannot be kept: {error}"));
        }
        Ok(())
    }

    /// One look at the engine, with the inspections that are missing.
    async fn observe(&mut self, act: bool) -> Result<(Observation, Vec<String>), ControllerError> {
        let mut seen = match self.parts.first_look.take() {
            Some(look) => look.seen,
            None => self.parts.engine.observe().await?,
        };
        if act && !self.parts.holder.still(&self.parts.instance, &seen)? {
            self.parts
                .holder
                .take(&self.parts.engine, &self.parts.instance, false)
                .await?;
        }
        let ids: BTreeSet<&String> = seen.containers.iter().map(|c| &c.id).collect();
        self.gave_up.retain(|id, _| ids.contains(id));
        // A refusal is told under its service and spec, since it has no container.
        self.told.retain(|id| id.contains(' ') || ids.contains(id));
        self.ends.retain(|id, _| ids.contains(id));
        let engine = &self.parts.engine;
        let inspected: Vec<_> = stream::iter(self.looks.missing(&seen))
            .map(|(id, stamp)| async move { (engine.inspect(&id).await, id, stamp) })
            .buffer_unordered(READS_AT_ONCE)
            .collect()
            .await;
        let mut unread = Vec::new();
        for (details, id, stamp) in inspected {
            match details {
                Ok(Some(details)) => self.looks.note(id, stamp, details),
                Ok(None) => {}
                // One that cannot be read must not keep the others from being healed.
                Err(error @ EngineError::Unreachable { .. }) => return Err(error.into()),
                Err(error) => unread.push(error.to_string()),
            }
        }
        let ours = || seen.networks.iter().filter(|n| n.ours).map(|n| &n.name);
        // A name that two of them have is no name: the engine calls it ambiguous.
        self.networks = ours()
            .filter(|name| ours().filter(|n| n == name).count() == 1)
            .cloned()
            .collect();
        for container in &mut seen.containers {
            container.details = self.looks.of(&container.id).cloned();
            if let Some(details) = &mut container.details {
                not_in_future(details, self.watched_since);
            }
        }
        Ok((seen, unread))
    }

    /// Where a volume was seen, data was: an empty one is never made in its place unasked.
    fn remember_volumes(&self, seen: &Observation, facts: &Facts) -> Result<(), ControllerError> {
        let seen = seen.volumes.iter().map(|v| v.name.clone());
        let new: Vec<String> = seen.filter(|name| !facts.volumes.contains(name)).collect();
        Ok(self.parts.store.volumes(&new, true)?)
    }

    /// The plan of this moment. Which volumes a new container mounts its image says: one that the engine has is looked at
    /// now, any other once it was fetched.
    async fn plan(
        &mut self,
        wanted: &Wanted,
        seen: &Observation,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Plan, ControllerError> {
        let plan = self.plan_so_far(wanted, seen, facts, now)?;
        let free = plan.services.iter().filter(|s| !self.busy.contains(&s.key));
        let images: BTreeSet<&str> = free.filter_map(ServicePlan::unknown_image).collect();
        let declared = self.applier.declared();
        let looked: Vec<bool> = stream::iter(images)
            // Where that fails, the service's own calls ask once more and tell.
            .map(async |image| declared.look_at(image).await.is_ok_and(|found| found.is_some()))
            .buffer_unordered(READS_AT_ONCE)
            .collect()
            .await;
        if looked.contains(&true) {
            return self.plan_so_far(wanted, seen, facts, now);
        }
        Ok(plan)
    }

    fn plan_so_far(
        &mut self,
        wanted: &Wanted,
        seen: &Observation,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Plan, ControllerError> {
        self.declared = self.applier.declared().known();
        self.probes.follow(&wanted.objects, seen);
        self.stale = self.parts.store.stale()?;
        let live = self.live();
        let absent = wanted.objects.live.keys().filter(|f| !live.contains_key(*f));
        self.lost_live = absent.filter(|f| self.parts.files.is_lost(f)).cloned().collect();
        for object in wanted.objects.services.values() {
            self.specs
                .entry(object.hash)
                .or_insert_with(|| object.spec.clone());
        }
        let unknown: Vec<_> = seen
            .containers
            .iter()
            .filter_map(|c| c.spec)
            .filter(|s| !self.specs.contains_key(s))
            .collect();
        self.specs.extend(self.parts.store.specs(&unknown)?);
        let used: BTreeSet<SpecHash> = wanted
            .objects
            .services
            .values()
            .map(|o| o.hash)
            .chain(seen.containers.iter().filter_map(|c| c.spec))
            .collect();
        self.specs.retain(|hash, _| used.contains(hash));
        let known = self.parts.store.known()?;
        let probed = self.probes.answers();
        let mut plan = plan(&self.input(wanted, seen, facts, &known, &probed, now));
        plan.notes.extend(wanted.blanks.iter().cloned());
        Ok(plan)
    }

    fn input<'a>(
        &'a self,
        wanted: &'a Wanted,
        seen: &'a Observation,
        facts: &'a Facts,
        known: &'a BTreeMap<String, Option<SpecHash>>,
        probed: &'a BTreeMap<String, Health>,
        now: Timestamp,
    ) -> Input<'a> {
        Input {
            wanted: &wanted.objects,
            holds: &wanted.holds,
            erased: &wanted.erased,
            seen,
            facts,
            known,
            specs: &self.specs,
            declared: &self.declared,
            probed,
            gave_up: &self.gave_up,
            live: self.live(),
            lost_live: &self.lost_live,
            stale: &self.stale,
            cgroups: self.cgroups(),
            watched_since: self.watched_since,
            now,
        }
    }

    /// A container that ended soon after its start, or a job that failed, is started again later each time: the table
    /// itself would start it at once, for ever.
    fn count_ends(&mut self, plan: &Plan, seen: &Observation, now: Timestamp) {
        self.backoff.retain(|key| plan.service(key).is_some());
        let by_service = seen.by_service();
        for service in plan.services.iter().filter(|s| !self.busy.contains(&s.key)) {
            let Some(wanted) = service.aim.wanted else {
                continue;
            };
            let own = by_service.get(&(&service.key.owner, service.key.service.as_str()));
            for container in own
                .into_iter()
                .flatten()
                .filter(|c| c.spec == Some(wanted) && service.seats.iter().any(|s| s.id == c.id))
            {
                let Some((started, reason)) = ended_badly(container, service.aim.job) else {
                    continue;
                };
                if self.ends.insert(container.id.clone(), started) != Some(started) {
                    self.backoff.failed(&service.key, reason, now);
                }
            }
        }
    }

    /// Starts the calls of every service that can go on, beside those that are under way. `network`: only of those whose
    /// own it is.
    pub(super) fn start_services(&mut self, now: Timestamp, network: Option<&str>) {
        let pass = self.pass;
        let mut ready: Vec<_> = self
            .last
            .plan
            .services
            .iter()
            .filter(|s| network.is_none_or(|n| s.object.as_ref().is_some_and(|o| o.home_network == n)))
            // Without its own network a container would hang on a stranger's of the same name.
            .filter(|s| {
                s.object
                    .as_ref()
                    .is_none_or(|o| self.networks.contains(&o.home_network))
            })
            // The engine would make a volume that is not there by itself, without our labels.
            .filter(|s| {
                let mounts = s.object.iter().flat_map(|o| o.spec.mounts.values());
                let volumes = mounts.filter_map(|mount| match &mount.from {
                    MountFrom::Volume(name) => Some(name),
                    _ => None,
                });
                let mut volumes = volumes.chain(s.volumes.iter().flat_map(BTreeMap::values));
                !volumes.any(|name| self.missing_volumes.contains(name))
            })
            .filter(|s| s.blocked.is_none())
            .filter(|s| !self.busy.contains(&s.key) && !self.backoff.holds(&s.key, now))
            .filter(|s| s.wants_calls(now))
            .cloned()
            .collect();
        // The same for the further networks of a shared service: one tenant's trouble does not hold it up.
        for object in ready.iter_mut().filter_map(|s| s.object.as_mut()) {
            let (home, ours) = (object.home_network.clone(), &self.networks);
            let stays = |n: &String| *n == home || ours.contains(n);
            if !object.networks.keys().all(stays) {
                Arc::make_mut(object).networks.retain(|n, _| stays(n));
            }
        }
        for service in ready {
            self.busy.insert(service.key.clone());
            let (applier, wake) = (self.applier.clone(), self.wake.clone());
            tokio::spawn(async move {
                let lost = Outcome::lost(service.key.clone());
                // A panic ends that one task; the service must not stay busy for ever.
                let calls = async move { Box::pin(applier.service(pass, service)).await };
                let outcome = tokio::spawn(calls).await;
                let _ = wake.send(run::Wake::Service(Box::new(outcome.unwrap_or(lost))));
            });
        }
        let unknown: Vec<_> = self
            .last
            .plan
            .services
            .iter()
            .filter_map(|s| match &s.waits {
                Some(crate::plan::replace::Wait::Drain { id, .. }) => Some(id.clone()),
                _ => None,
            })
            .collect();
        for id in unknown {
            self.gave_up.entry(id).or_insert(now);
        }
    }

    /// When to look again, though nothing wakes us.
    pub fn next_look(&self, now: Timestamp) -> Timestamp {
        let drains = self.last.plan.services.iter().filter_map(|s| match &s.waits {
            Some(crate::plan::replace::Wait::Drain { until, .. }) => Some(*until),
            _ => None,
        });
        let often = if self.last.plan.services.is_empty() {
            RESYNC
        } else {
            WHILE_OPEN
        };
        let resync = now.checked_add(often).unwrap_or(now);
        drains
            .chain(self.last.look_at)
            .chain(self.observed_at)
            .chain(self.soaked_at)
            .chain(self.last.decision.next_turn(now))
            .chain(self.backoff.next(now))
            .chain(self.images.retry_at(now))
            .chain([resync])
            .min()
            .unwrap_or(resync)
            .max(now)
    }
}

/// A start that lies in the future was before the clock was set back: it counts from when that was seen.
fn not_in_future(details: &mut Arc<Details>, watched_since: Timestamp) {
    let now = Timestamp::now();
    let latest = if watched_since == Timestamp::MIN {
        now
    } else {
        watched_since
    };
    if details.started_at.is_some_and(|at| at > now) {
        let details = Arc::make_mut(details);
        details.started_at = Some(latest);
        details.finished_at = details.finished_at.map(|at| at.max(latest));
    }
}

/// When it was started and how it ended, if that was too soon or a failed job.
fn ended_badly(container: &SeenContainer, job: bool) -> Option<(Timestamp, String)> {
    let details = container
        .details
        .as_ref()
        .filter(|_| container.state == State::Exited)?;
    let (started, code) = (details.started_at?, details.exit_code?);
    let ran = details.finished_at?.duration_since(started);
    let bad = if job { code != 0 } else { ran < SHORT_LIFE };
    bad.then(|| {
        (
            started,
            format!("it ended with exit code {code} after {} s", ran.as_secs()),
        )
    })
}

/// What a look found.
pub struct Look {
    texts: [String; 2],
    /// The decision.
    pub decision: Decision,
    /// The plan.
    pub plan: Plan,
    /// What a person should know about the whole.
    pub conditions: Vec<String>,
    /// The status of this moment.
    pub status: super::status::Status,
}

impl Look {
    /// The plan as text; `diffs` adds unified diffs of what is replaced.
    pub fn shown(&self, diffs: bool) -> String {
        let [plain, with_diffs] = &self.texts;
        if diffs { with_diffs.clone() } else { plain.clone() }
    }
}
