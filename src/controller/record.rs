//! What a pass writes down: what was asked, what succeeded, what failed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::wanted::{Wanted, in_scope};
use super::{Controller, ControllerError, Request};
use crate::apply::Progress;
use crate::decide::facts::{Facts, FilesRef, MoveUnderWay, Quarantine};
use crate::decide::{Decision, RingDecision, Task, TenantDecision};
use crate::fleet::names::{Owner, ReleaseId, RingName, ServiceKey, Slug, SpecHash};
use crate::plan::services::{Action, Failed, ServicePlan};
use crate::plan::{Hold, Plan, seen::Observation};
use crate::render::object::ServiceObject;
use crate::store::{NewEvent, TenantRuns};

/// A container's last lines are waited for no longer: a pass must go on.
const LINES_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);
/// So many of its last lines stand in the error of a container that failed.
const LAST_LINES: usize = 20;

impl Controller {
    /// Before anything is done: which release each ring goes to, and what each tenant is asked to run.
    pub(super) fn remember_asked(
        &mut self,
        decision: &Decision,
        wanted: &Wanted,
        request: &Request,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let facts = self.parts.store.facts()?;
        for ring in decision
            .rings
            .iter()
            .filter(|r| in_scope(request, decision, &Owner::Ring(r.name.clone())))
        {
            let Some(target) = ring.target else { continue };
            if let Some(release) = decision.releases.get(&target)
                && !facts.releases.contains_key(&target)
            {
                self.parts.store.save_release(release, now)?;
            }
            let remembered = facts.rings.get(&ring.name);
            let running = remembered.and_then(|r| r.running);
            let moving = remembered.and_then(|r| r.moving.as_ref());
            if Some(target) == running {
                if moving.is_some() {
                    self.parts.store.ring_moving(&ring.name, None, now)?;
                }
                continue;
            }
            let open = ring.open(|to| to.release() == Some(target));
            let files = open.and_then(|m| m.to).and_then(|to| to.files());
            let release = decision.releases.get(&target);
            if moving.is_none_or(|m| m.to != target || (files.is_some() && m.files != files))
                && let (Some(request), Some(release)) = (&ring.request, release)
            {
                self.parts
                    .books
                    .keep(&format!("release/{}", target.0.short()), &release.commit)?;
                if remembered.is_some_and(|r| r.quarantine.contains_key(&target)) {
                    self.try_again(&ring.name, &target, &facts, now)?;
                }
                self.parts.store.ring_moving(
                    &ring.name,
                    Some(&MoveUnderWay {
                        to: target,
                        files,
                        request: request.clone(),
                        since: now,
                        spent: open.map(|m| m.words.clone()).unwrap_or_default(),
                    }),
                    now,
                )?;
            }
        }
        let mut all_asked = Vec::new();
        for tenant in decision
            .tenants
            .values()
            .filter(|t| in_scope(request, decision, &Owner::Tenant(t.slug.clone())))
        {
            let asked = facts.tenants.get(&tenant.slug);
            let owner = Owner::Tenant(tenant.slug.clone());
            if tenant.task != Task::Run || wanted.holds.get(&owner) == Some(&Hold::Untouched) {
                continue;
            }
            let (Some(release), Some(files)) = (tenant.release, &tenant.files) else {
                continue;
            };
            let same = asked.is_some_and(|f| {
                f.ring == tenant.ring
                    && f.asked
                        .as_ref()
                        .is_some_and(|(r, f)| *r == release && f.id == files.id)
            });
            if !same {
                all_asked.push(runs(tenant, release, files));
            }
        }
        self.keep_files("tenant", &all_asked)?;
        for ring in &decision.rings {
            // The words first: what was begun without having spent them could begin once more.
            if let Some(open) = ring.open(|to| to.release().is_none())
                && decision.tenants.values().any(|t| t.ring == ring.name)
            {
                self.parts.store.spend(&ring.name, &open.words, now)?;
            }
        }
        self.parts.store.tenants_asked(&all_asked, now)?;
        Ok(())
    }

    /// After the plan was made: failures first (they change what is wanted next), then successes and what is gone.
    pub(super) async fn record(
        &mut self,
        plan: &Plan,
        wanted: &Wanted,
        seen: &Observation,
        facts: &Facts,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let failed: Vec<(ServicePlan, Failed)> = plan
            .services
            .iter()
            .filter_map(|s| Some((s.clone(), s.failed.clone().or_else(|| self.refusal(s))?)))
            .collect();
        for (service, failed) in failed {
            self.service_failed(&service, &failed, facts, decision, now)
                .await?;
        }
        self.drifted(plan, facts)?;
        self.jobs_done(wanted, seen, facts, now)?;
        self.prove(wanted, seen, facts, decision, now)?;
        self.succeeded(plan, wanted, facts, decision, now)?;
        self.gone(plan, seen, facts, decision, now)
    }

    /// A container that shall take over has failed: its spec is not tried again, and who asked for it goes back.
    async fn service_failed(
        &mut self,
        service: &ServicePlan,
        failed: &Failed,
        facts: &Facts,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        if facts.good_specs.get(&service.key) == Some(&failed.spec) || self.told.contains(&failed.container) {
            return Ok(());
        }
        let lines = self.parts.engine.last_lines(&failed.container, LAST_LINES);
        let lines = tokio::time::timeout(LINES_WITHIN, lines).await;
        let lines = lines.ok().and_then(Result::ok).unwrap_or_default();
        let reason = with_lines(&format!("{}: {}", service.key, failed.reason), &lines);
        let Some((ring, blame)) = blame(service, facts, decision) else {
            return Ok(());
        };
        self.parts.progress.tell(Progress::Failed {
            service: service.key.to_string(),
            reason: reason.clone(),
        });
        self.parts.store.event(&NewEvent {
            kind: "failed".to_owned(),
            ring: Some(ring.to_string()),
            tenant: tenant_of(&service.key.owner),
            service: Some(service.key.service.clone()),
            message: reason.clone(),
            detail: serde_json::json!({ "container": failed.name, "spec": failed.spec, "lines": lines }),
        })?;
        self.look_again();
        self.take_back(&ring, blame, service, failed, reason, now)?;
        // Only what was written down has been told.
        self.told.insert(failed.container.clone());
        self.refused.remove(&service.key);
        Ok(())
    }

    /// Who asked for what failed goes back, and is not tried again by itself.
    fn take_back(
        &mut self,
        ring: &RingName,
        blame: Blame,
        service: &ServicePlan,
        failed: &Failed,
        reason: String,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        match blame {
            Blame::Release(release, request) => {
                let rollback = self.rollback.get(ring).copied().unwrap_or(true);
                let quarantine = Quarantine {
                    reason,
                    at: now,
                    request,
                };
                self.parts
                    .store
                    .ring_failed(ring, &release, &quarantine, rollback, now)?;
                if rollback {
                    self.parts.store.failed_spec(&service.key, &failed.spec, now)?;
                    self.note(format!("{release} failed and goes back"));
                }
            }
            Blame::Files(files, request) => {
                let Owner::Tenant(slug) = &service.key.owner else {
                    return Ok(());
                };
                let quarantine = Quarantine {
                    reason,
                    at: now,
                    request,
                };
                self.parts
                    .store
                    .tenant_files_failed(slug, &files, &quarantine, now)?;
                self.parts.store.failed_spec(&service.key, &failed.spec, now)?;
                self.note(format!("the files of {slug} failed and go back"));
            }
            Blame::Nothing => {}
        }
        Ok(())
    }

    /// A spec that the engine refused to make or start often enough has failed too, without a container.
    fn refusal(&self, service: &ServicePlan) -> Option<Failed> {
        let refusal = self.refused.get(&service.key)?;
        let proven = self
            .backoff
            .of(&service.key)
            .is_some_and(|f| f.attempts >= refusal.proven_by);
        (proven && service.aim.wanted == Some(refusal.spec)).then(|| Failed {
            container: format!("{} {}", service.key, refusal.spec),
            name: service.key.to_string(),
            spec: refusal.spec,
            reason: refusal.reason.clone(),
        })
    }

    /// What somebody did by hand is told once, when it is first seen.
    fn drifted(&mut self, plan: &Plan, facts: &Facts) -> Result<(), ControllerError> {
        let mut now_seen = BTreeSet::new();
        for service in &plan.services {
            let good = service.aim.wanted.is_some()
                && facts.good_specs.get(&service.key) == service.aim.wanted.as_ref();
            if !good
                || self.busy.contains(&service.key)
                || !matches!(service.action, Action::Create | Action::Repair)
            {
                continue;
            }
            let why = service
                .why
                .first()
                .map_or("it is not as it should be", |w| w.field.as_str())
                .to_owned();
            now_seen.insert(service.key.clone());
            if self.drift.contains(&service.key) {
                continue;
            }
            self.parts.store.event(&NewEvent {
                kind: "drift".to_owned(),
                ring: service.ring.clone(),
                tenant: tenant_of(&service.key.owner),
                service: Some(service.key.service.clone()),
                message: format!("{}: {why}; repaired", service.key),
                detail: serde_json::Value::Null,
            })?;
        }
        self.drift.retain(|k| plan.service(k).is_some());
        self.drift.extend(now_seen);
        Ok(())
    }

    fn jobs_done(
        &mut self,
        wanted: &Wanted,
        seen: &Observation,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let done = |o: &ServiceObject| facts.jobs_done.get(&o.key).is_some_and(|d| d.contains(&o.hash));
        let services = wanted.objects.services.values();
        let open: Vec<_> = services.filter(|o| o.job && !done(o)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let containers = seen.by_service();
        for object in open {
            let own = containers.get(&(&object.key.owner, object.key.service.as_str()));
            let ended = own.into_iter().flatten().any(|c| {
                c.spec == Some(object.hash)
                    && c.state == crate::plan::seen::State::Exited
                    && c.details.as_ref().and_then(|d| d.exit_code) == Some(0)
            });
            if ended {
                self.parts.store.job_done(&object.key, &object.hash, now)?;
            }
        }
        Ok(())
    }

    /// A ring whose every container is as it shall be, and was through `observe`, has succeeded; a tenant's change of files
    /// alone likewise.
    fn succeeded(
        &mut self,
        plan: &Plan,
        wanted: &Wanted,
        facts: &Facts,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let mut open: BTreeSet<&ServiceKey> = plan.services.iter().map(|s| &s.key).collect();
        let busy = self.busy.clone();
        open.extend(&busy);
        let proven = self.parts.store.facts()?;
        let mut good: Vec<(ServiceKey, SpecHash)> = Vec::new();
        for ring in &decision.rings {
            let own = Owner::Ring(ring.name.clone());
            let Some(target) = ring.target.filter(|_| in_scope(&self.acting, decision, &own)) else {
                continue;
            };
            let part = PartOf {
                ring,
                wanted,
                open: &open,
            };
            let observed = self.observed(&ring.name, proven.ring(&ring.name).proofs.get(&target));
            let is_done = |owner: &Owner| part.is_ready(owner) && observed.is_done(owner);
            let tenants: Vec<_> = decision
                .tenants
                .values()
                .filter(|t| t.ring == ring.name && t.task == Task::Run)
                .collect();
            let of_ring = facts.ring(&ring.name);
            let sick = |slug: &Slug| of_ring.was_sick(&Owner::Tenant(slug.clone()), &target);
            let mut counted = tenants.iter().filter(|t| !t.held && !sick(&t.slug)).peekable();
            let all = (tenants.is_empty() || counted.peek().is_some())
                && counted.all(|t| t.release == Some(target) && is_done(&Owner::Tenant(t.slug.clone())));
            let succeeded = all && is_done(&own) && is_done(&Owner::Fleet);
            let running = of_ring.running;
            if running != Some(target) && !succeeded {
                continue;
            }
            if running != Some(target) {
                self.parts.store.ring_succeeded(&ring.name, &target, now)?;
                self.note(format!("{target} runs healthy in all of ring {}", ring.name));
                self.look_again();
            }
            let mut healthy = Vec::new();
            for tenant in tenants {
                let owner = Owner::Tenant(tenant.slug.clone());
                if part.is_ready(&owner) && (!tenant.moves || observed.is_done(&owner)) {
                    good.extend(part.specs(&owner));
                    healthy.push(tenant);
                }
            }
            self.tenants_succeeded(&healthy, facts, now)?;
            for owner in [own, Owner::Fleet] {
                if part.is_ready(&owner) {
                    good.extend(part.specs(&owner));
                }
            }
        }
        good.retain(|(key, spec)| facts.good_specs.get(key) != Some(spec));
        if !good.is_empty() {
            self.parts.store.good_spec(&good, now)?;
            // Parked containers may go now: another pass sees them.
            self.look_again();
        }
        Ok(())
    }

    /// Tenants that run healthy as they were asked to: that is where they go back to from now on.
    fn tenants_succeeded(
        &mut self,
        tenants: &[&TenantDecision],
        facts: &Facts,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let mut new = Vec::new();
        for tenant in tenants {
            let (Some(release), Some(files)) = (tenant.release, &tenant.files) else {
                continue;
            };
            let before = facts.tenants.get(&tenant.slug).and_then(|f| f.good.as_ref());
            if before.is_none_or(|(r, f)| *r != release || f.id != files.id) {
                new.push(runs(tenant, release, files));
            }
        }
        if !new.is_empty() {
            self.parts.store.tenants_good(&new, now)?;
            self.keep_files("good", &new)?;
            self.look_again();
        }
        Ok(())
    }

    /// Keeps the commits that have the files which tenants run.
    fn keep_files(&self, folder: &str, tenants: &[TenantRuns]) -> Result<(), ControllerError> {
        let names = tenants
            .iter()
            .map(|t| (format!("{folder}/{}", t.slug), t.runs.1.commit.clone()));
        Ok(self.parts.books.keep_all(&names.collect::<Vec<_>>())?)
    }

    /// Tenants that were to stop and of which nothing is left are forgotten.
    fn gone(
        &mut self,
        plan: &Plan,
        seen: &Observation,
        facts: &Facts,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        let containers = seen.containers.iter().filter_map(|c| c.owner.as_ref());
        let networks = seen.networks.iter().filter_map(|n| n.owner.as_ref());
        let present: BTreeSet<&Owner> = containers.chain(networks).collect();
        for tenant in decision
            .tenants
            .values()
            .filter(|t| matches!(t.task, Task::Stop | Task::Erase))
        {
            let owner = Owner::Tenant(tenant.slug.clone());
            let left = present.contains(&owner) || !plan.services_of(&owner).is_empty();
            if !left && facts.tenants.contains_key(&tenant.slug) {
                self.parts.store.tenant_forgotten(&tenant.slug, now)?;
                let folder = owner.domain(&self.parts.instance);
                self.parts.files.remove_live(&folder);
                if let Some(read) = self.live.get_mut() {
                    read.remove(&folder);
                }
                self.look_again();
                let data = if tenant.task == Task::Erase {
                    "its data goes too"
                } else {
                    "its volumes stay"
                };
                self.note(format!("{} has stopped; {data}", tenant.slug));
            }
        }
        Ok(())
    }

    /// A person asks for what failed in a ring once more. True if anything was in quarantine.
    pub(super) fn again(
        &mut self,
        decision: &Decision,
        request: &Request,
        now: Timestamp,
    ) -> Result<bool, ControllerError> {
        let facts = self.parts.store.facts()?;
        let mut any = false;
        for ring in decision
            .rings
            .iter()
            .filter(|r| in_scope(request, decision, &Owner::Ring(r.name.clone())))
        {
            if let (Some(declared), Some(of_ring)) = (ring.declared, facts.rings.get(&ring.name))
                && of_ring.quarantine.contains_key(&declared)
            {
                self.try_again(&ring.name, &declared, &facts, now)?;
                self.note(format!(
                    "{declared} is tried again in ring {}, by your command",
                    ring.name
                ));
                any = true;
            }
            for (slug, tenant) in facts.tenants.iter().filter(|(_, t)| t.ring == ring.name) {
                for files in tenant.quarantine.keys() {
                    self.parts.store.end_files_quarantine(slug, files, now)?;
                    any = true;
                }
            }
            if any {
                self.unfail(&ring.name, &facts, now)?;
            }
        }
        Ok(any)
    }

    /// What failed in a ring may be tried once more there: a person, or a new pin, asks for it.
    fn try_again(
        &mut self,
        ring: &RingName,
        release: &ReleaseId,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        self.parts.store.end_quarantine(ring, release, now)?;
        self.unfail(ring, facts, now)
    }

    fn unfail(&mut self, ring: &RingName, facts: &Facts, now: Timestamp) -> Result<(), ControllerError> {
        let of_ring = |owner: &Owner| match owner {
            Owner::Tenant(slug) => facts.tenants.get(slug).is_some_and(|t| t.ring == *ring),
            Owner::Ring(name) => name == ring,
            Owner::Fleet => true,
        };
        for key in facts.failed_specs.keys().filter(|k| of_ring(&k.owner)) {
            self.parts.store.unfail_specs(key, now)?;
        }
        Ok(())
    }

    /// What was written down changes what the next pass decides: it comes at once, and nothing is settled before it.
    pub(super) fn look_again(&mut self) {
        if !std::mem::replace(&mut self.changed, true) {
            let _ = self.wake.send(super::run::Wake::Again);
        }
    }

    /// Tells whoever watches. What is remembered of it, the ledger's own decisions say.
    pub(super) fn note(&self, text: String) {
        self.parts.progress.tell(Progress::Note { text });
    }
}

enum Blame {
    Release(crate::fleet::names::ReleaseId, crate::fleet::names::CommitId),
    Files(crate::fleet::names::FilesId, crate::fleet::names::CommitId),
    /// There is nothing to go back to, or nothing was asked for: the ring keeps and heals what it has.
    Nothing,
}

/// Who asked for what failed: the ring's release while the ring moves, else the tenant's files.
fn blame(service: &ServicePlan, facts: &Facts, decision: &Decision) -> Option<(RingName, Blame)> {
    let ring: RingName = service.ring.as_ref()?.parse().ok()?;
    let ring_facts = facts.rings.get(&ring);
    let running = ring_facts.and_then(|r| r.running);
    if let (Some(running), Some(moving)) = (running, ring_facts.and_then(|r| r.moving.as_ref()))
        && moving.to != running
    {
        if ring_facts.is_some_and(|r| r.was_sick(&service.key.owner, &moving.to)) {
            return Some((ring, Blame::Nothing));
        }
        // A request that came before the failure asks for no second try.
        let asked = decision.ring(&ring).and_then(|r| r.request.as_ref());
        let request = asked.unwrap_or(&moving.request).clone();
        return Some((ring, Blame::Release(moving.to, request)));
    }
    if let Owner::Tenant(slug) = &service.key.owner
        && let Some(tenant) = decision.tenants.get(slug)
        && let (Some(files), Some((_, good))) = (
            &tenant.files,
            facts.tenants.get(slug).and_then(|f| f.good.as_ref()),
        )
        && files.id != good.id
    {
        return Some((ring, Blame::Files(files.id, files.commit.clone())));
    }
    Some((ring, Blame::Nothing))
}

/// What a ring provides of what is wanted, and what of it is still open.
struct PartOf<'a> {
    ring: &'a RingDecision,
    wanted: &'a Wanted,
    open: &'a BTreeSet<&'a ServiceKey>,
}

impl PartOf<'_> {
    /// The specs that the ring provides to an owner.
    fn specs<'o>(&'o self, owner: &'o Owner) -> impl Iterator<Item = (ServiceKey, SpecHash)> + 'o {
        let services = self.wanted.objects.services_of(owner);
        services
            .filter(|s| s.ring == self.ring.name.as_str())
            .map(|s| (s.key.clone(), s.hash))
    }

    /// Whether all of it is as it shall be.
    fn is_ready(&self, owner: &Owner) -> bool {
        self.wanted.holds.get(owner) != Some(&Hold::Untouched)
            && self.specs(owner).all(|(key, _)| !self.open.contains(&key))
    }
}

fn runs(tenant: &TenantDecision, release: ReleaseId, files: &FilesRef) -> TenantRuns {
    TenantRuns {
        slug: tenant.slug.clone(),
        ring: tenant.ring.clone(),
        runs: (release, files.clone()),
    }
}

fn tenant_of(owner: &Owner) -> Option<String> {
    match owner {
        Owner::Tenant(slug) => Some(slug.to_string()),
        _ => None,
    }
}

/// The reason with the container's last lines, cleaned for a terminal.
fn with_lines(reason: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return format!("{reason} (it logged nothing)");
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|l| format!("    {}", crate::text::Safe::new(l)))
        .collect();
    format!("{reason}; its last lines:\n{}", lines.join("\n"))
}

/// Services whose repair was told.
pub(super) type Drift = BTreeSet<ServiceKey>;
/// Whether each ring goes back by itself.
pub(super) type Rollbacks = BTreeMap<RingName, bool>;
