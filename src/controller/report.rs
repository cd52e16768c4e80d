//! From the last pass to the status that people and programs read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use super::status::{RingStatus, ServiceStatus, Status, TenantStatus, quarantined};
use super::wanted::in_scope;
use crate::decide::facts::Facts;
use crate::decide::{MoveState, Phase, RingDecision, Task, TenantDecision};
use crate::fleet::names::{Owner, ServiceKey};
use crate::plan::health::judge;
use crate::plan::replace::{Health, Part, Seat, Wait, part};
use crate::plan::seen::ByService;
use crate::plan::services::{Action, ServicePlan};
use crate::render::object::{HealthSource, ServiceObject};

/// What the status of each service is read from.
struct View<'a> {
    containers: ByService<'a>,
    probed: BTreeMap<String, Health>,
    now: Timestamp,
}

impl Controller {
    /// Makes the status of this moment and shows it to whoever looks.
    pub(super) fn publish(&mut self) {
        let facts = self.parts.store.facts().unwrap_or_default();
        let now = Timestamp::now();
        let mut status = Status {
            fleet: self.last.fleet.clone(),
            instance: self.parts.instance.to_string(),
            daemon: self.parts.daemon,
            mode: if self.last.signed { "signed" } else { "solo" }.to_owned(),
            control: self.last.control.clone(),
            at: now.to_string(),
            conditions: self.last.conditions.clone(),
            settled: self.settled(),
            failed: self.last.error.is_some(),
            ..Status::default()
        };
        status.conditions.extend(self.fetch_trouble.iter().cloned());
        status.conditions.extend(self.last.error.iter().cloned());
        status.conditions.extend(self.last.plan.notes.iter().cloned());
        let lost = self.last.plan.lost_volumes.iter();
        status
            .conditions
            .extend(lost.map(|v| format!("volume {}", v.lost())));
        status
            .conditions
            .extend(self.last.plan.unknown.iter().map(|name| {
                format!("{name} carries our labels, but no pass of ours wrote it down: it is left alone, until `ringfence apply --adopt` takes it")
            }));
        let view = View {
            containers: self.last.seen.by_service(),
            probed: self.probes.answers(),
            now,
        };
        status.tenants = self
            .last
            .decision
            .tenants
            .values()
            .map(|t| self.tenant_status(t, &view))
            .collect();
        status.shared = self
            .last
            .wanted
            .services
            .values()
            .filter(|s| !matches!(s.key.owner, Owner::Tenant(_)))
            .map(|s| ServiceStatus {
                owner: Some(s.key.owner.to_string()),
                ..self.service_status(s, &view)
            })
            .collect();
        let rings: Vec<RingStatus> = self
            .last
            .decision
            .rings
            .iter()
            .map(|r| self.ring_status(r, &facts, &status))
            .collect();
        status.rings = rings;
        self.status.send_replace(Arc::new(status));
    }

    fn ring_status(&self, ring: &RingDecision, facts: &Facts, status: &Status) -> RingStatus {
        let remembered = facts.rings.get(&ring.name);
        let running = remembered.and_then(|r| r.running);
        let tenants: Vec<&TenantStatus> = status
            .tenants
            .iter()
            .filter(|t| t.ring == ring.name.as_str())
            .collect();
        let shared_bad = status
            .shared
            .iter()
            .any(|s| s.error.is_some() && self.provides(ring, s));
        let degraded = shared_bad || tenants.iter().any(|t| t.phase == "degraded");
        let rolling =
            (ring.target.is_some() && ring.target != running) || tenants.iter().any(|t| t.phase == "rolling");
        let phase = if self.last.error.is_some() && ring.target.is_some() {
            Phase::Unknown
        } else if degraded {
            Phase::Degraded
        } else if rolling && self.is_observing(ring) {
            Phase::Observing
        } else if rolling {
            Phase::Rolling
        } else if ring.phase == Phase::Synced
            && remembered.is_some_and(|r| r.rolled_back)
            && ring.moves.iter().any(|m| m.state == MoveState::Quarantined)
        {
            Phase::RolledBack
        } else {
            ring.phase
        };
        let files = self
            .last
            .decision
            .tenants
            .values()
            .filter(|t| t.ring == ring.name)
            .filter_map(|t| Some((t.slug.clone(), t.files.as_ref()?.id)))
            .collect();
        RingStatus {
            name: ring.name.to_string(),
            id: ring.id,
            declared: ring.declared.map(|r| r.to_string()),
            running: running.map(|r| r.to_string()),
            commit: running
                .and_then(|r| facts.releases.get(&r))
                .map(|r| r.commit.to_string()),
            quarantined: quarantined(facts, &ring.name),
            previous: remembered.and_then(|r| r.previous).map(|r| r.to_string()),
            tenant_files: (!tenants.is_empty()).then(|| crate::decide::files_of_ring(&files).to_string()),
            phase: word(phase),
            target: ring.target.map(|r| r.to_string()),
            release: running.and_then(|r| self.release_status(r)),
            before: remembered
                .and_then(|r| r.previous)
                .and_then(|r| self.release_status(r)),
            held: ring.held,
            moves: ring
                .moves
                .iter()
                .map(|m| self.move_status(&ring.name, m))
                .collect(),
            tenants: tenants.len(),
            conditions: ring.conditions.clone(),
        }
    }

    /// Whether all of a ring's move is done, and only time is left.
    fn is_observing(&self, ring: &RingDecision) -> bool {
        let is_open = |s: &ServicePlan| s.ring.as_deref() == Some(ring.name.as_str());
        let mut tenants = self.last.decision.tenants.values();
        self.observed_at.is_some()
            && !self.last.plan.services.iter().any(is_open)
            && tenants.all(|t| t.ring != ring.name || t.task != Task::Run || t.release == ring.target)
    }

    fn provides(&self, ring: &RingDecision, shared: &ServiceStatus) -> bool {
        self.last.wanted.services.values().any(|s| {
            s.key.service == shared.name
                && s.ring == ring.name.as_str()
                && Some(s.key.owner.to_string()) == shared.owner
        })
    }

    fn tenant_status(&self, tenant: &TenantDecision, view: &View<'_>) -> TenantStatus {
        let owner = Owner::Tenant(tenant.slug.clone());
        let services: Vec<ServiceStatus> = self
            .last
            .wanted
            .services_of(&owner)
            .map(|s| self.service_status(s, view))
            .collect();
        let open = self.last.plan.services_of(&owner);
        let failing = services.iter().any(|s| s.error.is_some()) || open.iter().any(|s| s.failed.is_some());
        let sick = services
            .iter()
            .any(|s| s.health == "unhealthy" && s.doing.is_none());
        let phase = match tenant.task {
            Task::Stop | Task::Erase if open.is_empty() => Phase::Empty,
            _ if failing || (sick && !tenant.moves) => Phase::Degraded,
            _ if !open.is_empty() || tenant.moves => Phase::Rolling,
            _ if services.is_empty() && !tenant.conditions.is_empty() => Phase::Unknown,
            _ if tenant.gone_back => Phase::RolledBack,
            _ => Phase::Synced,
        };
        TenantStatus {
            slug: tenant.slug.to_string(),
            ring: tenant.ring.to_string(),
            release: tenant.release.map(|r| r.to_string()),
            files: tenant.files.as_ref().map(|f| f.id.to_string()),
            phase: word(phase),
            conditions: tenant.conditions.clone(),
            services,
        }
    }

    fn service_status(&self, object: &ServiceObject, view: &View<'_>) -> ServiceStatus {
        let open = self.last.plan.service(&object.key);
        let key = (&object.key.owner, object.key.service.as_str());
        let own = view.containers.get(&key).map_or(&[][..], Vec::as_slice);
        let serving = own
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(&object.base_name))
            .or_else(|| own.iter().find(|c| c.spec == Some(object.hash)));
        let health = serving.map_or(Health::Unknown, |c| {
            judge(object, c, view.probed.get(&c.id).copied(), view.now)
        });
        let error = self.backoff.of(&object.key).map(|f| f.error.clone());
        let failed = open.and_then(|s| s.failed.as_ref()).map(|f| f.reason.clone());
        ServiceStatus {
            name: object.key.service.clone(),
            owner: None,
            container: serving.map(|c| c.name.clone()),
            image: object.image_name.clone(),
            state: serving.map_or_else(|| "missing".to_owned(), |c| word(c.state)),
            health: if serving.is_some() {
                word(health)
            } else {
                "unknown".to_owned()
            },
            restarts: serving
                .and_then(|c| c.details.as_ref())
                .map_or(0, |d| d.restart_count),
            doing: open.map(doing),
            error: error.or(failed).or_else(|| open?.blocked.clone()),
        }
    }

    /// Whether nothing is under way and nothing that is left can be done without a change from outside.
    pub(super) fn settled(&self) -> bool {
        let asks = self.images.is_asking() || self.checks.is_asking();
        let waits = self.changed || asks || self.observed_at.is_some();
        if !self.busy.is_empty() || waits || self.last.error.is_some() {
            return false;
        }
        let scope = |owner: &Owner| in_scope(&self.scope, &self.last.decision, owner);
        let open: Vec<&ServicePlan> = self
            .last
            .plan
            .services
            .iter()
            .filter(|s| scope(&s.key.owner))
            .collect();
        let stuck: BTreeSet<&ServiceKey> = open.iter().filter(|s| self.is_stuck(s)).map(|s| &s.key).collect();
        let moving = open
            .iter()
            .any(|s| !stuck.contains(&s.key) && !self.waits_for(s, &stuck));
        let networks = self
            .last
            .plan
            .make_networks
            .iter()
            .any(|n| scope(&n.owner) && !self.stuck_networks.contains(&n.name));
        !moving && !networks
    }

    /// It failed with nothing to go back to, keeps failing, or is sick without anything being wrong with its spec.
    fn is_stuck(&self, service: &ServicePlan) -> bool {
        let gave_up = self.backoff.of(&service.key).is_some_and(|f| f.attempts >= 4);
        let told = service
            .failed
            .as_ref()
            .is_some_and(|f| self.told.contains(&f.container));
        let sick = matches!(&service.waits, Some(Wait::Health { id }) if service.seats.iter().any(|s| is_sick(service, s, id)));
        // Nothing from this host can tell how it is.
        let unseen = self.probes.blind
            && matches!(service.waits, Some(Wait::Health { .. }))
            && service
                .object
                .as_ref()
                .is_some_and(|o| matches!(o.health, HealthSource::Probe(_)));
        gave_up
            || unseen
            || service.blocked.is_some()
            || (service.action == Action::Wait && (told || sick))
            || (told && service.steps.is_empty())
            || (told && matches!(service.waits, Some(Wait::Health { .. })))
    }

    fn waits_for(&self, service: &ServicePlan, stuck: &BTreeSet<&ServiceKey>) -> bool {
        matches!(service.waits, Some(Wait::Dependencies))
            && service.object.as_ref().is_some_and(|o| {
                o.depends_on
                    .keys()
                    .any(|d| stuck.contains(d) || !self.last.wanted.services.contains_key(d))
            })
    }
}

/// The good spec serves and is unhealthy: nothing that a pass can do.
fn is_sick(service: &ServicePlan, seat: &Seat, id: &str) -> bool {
    seat.id == id
        && seat.health == Health::Unhealthy
        && seat.spec == service.aim.good
        && part(&service.aim, seat) == Part::Serving
}

fn doing(service: &ServicePlan) -> String {
    match (&service.action, &service.waits) {
        (_, Some(Wait::Health { .. })) => "waits for its health".to_owned(),
        (_, Some(Wait::Drain { .. })) => "drains the old one".to_owned(),
        (_, Some(Wait::Ending { .. })) => "stops the old one".to_owned(),
        (_, Some(Wait::Dependencies)) => "waits for what it depends on".to_owned(),
        (Action::Finish, _) => "clears the move away".to_owned(),
        (action, _) => word(*action),
    }
}

/// A value's serialised word.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
