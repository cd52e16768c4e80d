//! What people are told of a ring's moves: who asks for each, and whom it would touch.

use std::collections::BTreeMap;

use super::Controller;
use super::books::branch_of;
use super::gather::Gathered;
use super::status::{MoveStatus, ReleaseStatus, TouchedService, Touches};
use super::wanted::{Asked, Cache, Wanted};
use crate::decide::facts::FilesRef;
use crate::decide::{Decision, Move, MoveState, RingDecision, Task, TenantDecision};
use crate::fleet::names::{Owner, ReleaseId, RingName, ServiceKey, Slug};
use crate::fleet::release::Release;
use crate::fleet::tenants::TenantState;
use crate::render::object::ServiceObject;

/// What each waiting move would touch, by ring and ends. It is worked out once.
pub(super) type Touching = BTreeMap<(RingName, String), Touches>;

/// A move, named so that any other has another name.
fn key(ring: &RingName, mv: &Move) -> Option<(RingName, String)> {
    let to = mv.to?;
    let from = mv.from.map(|from| from.to_string()).unwrap_or_default();
    let policy = mv.policy.map(|policy| policy.full()).unwrap_or_default();
    Some((ring.clone(), format!("{from} {to} {} {policy}", mv.request)))
}

impl Controller {
    /// Whom the moves that wait would touch. Only what is new is rendered.
    pub(super) fn touching(&mut self, gathered: &Gathered, wanted: &Wanted) -> Touching {
        let mut all = Touching::new();
        for ring in &gathered.decision.rings {
            for mv in ring.moves.iter().filter(|m| m.state == MoveState::Waiting) {
                let Some(key) = key(&ring.name, mv) else { continue };
                let known = self.last.touching.get(&key).cloned();
                let touches = known.or_else(|| self.touches(gathered, wanted, ring, mv));
                all.extend(touches.map(|touches| (key, touches)));
            }
        }
        all
    }

    /// Renders the ring as it would be, and compares. None where it cannot be rendered: its gates say why.
    fn touches(
        &mut self,
        gathered: &Gathered,
        wanted: &Wanted,
        ring: &RingDecision,
        mv: &Move,
    ) -> Option<Touches> {
        let (decision, mut tenants) = self.moved(gathered, ring, mv)?;
        let asked = Asked {
            policy: &gathered.policy,
            policy_digest: gathered.policy_digest,
            decision: &decision,
        };
        let books = &mut self.parts.books;
        let then = tokio::task::block_in_place(|| Cache::default().render(books, &asked));
        if !then.conditions.is_empty() {
            return None;
        }
        let of_ring = |owner: &Owner| match owner {
            Owner::Fleet => false,
            Owner::Ring(name) => *name == ring.name,
            Owner::Tenant(slug) => tenants.contains(slug),
        };
        let (now, then) = (&wanted.objects.services, &then.objects.services);
        let mut containers: Vec<TouchedService> = Vec::new();
        for (key, object) in then {
            let change = match now.get(key) {
                None => "create",
                Some(old) if old.hash != object.hash => "replace",
                Some(_) => continue,
            };
            containers.push(touched(key, object, change));
        }
        let gone = now
            .iter()
            .filter(|(key, _)| of_ring(&key.owner) && !then.contains_key(*key));
        containers.extend(gone.map(|(key, object)| touched(key, object, "remove")));
        tenants.sort();
        Some(Touches {
            tenants: tenants.iter().map(ToString::to_string).collect(),
            containers,
        })
    }

    /// The decision as if the move were done, with this ring's tenants only, and the tenants that it is about.
    fn moved(
        &mut self,
        gathered: &Gathered,
        ring: &RingDecision,
        mv: &Move,
    ) -> Option<(Decision, Vec<Slug>)> {
        let release = mv.to?.release();
        let mut decision = gathered.decision.clone();
        decision.tenants.retain(|_, t| t.ring == ring.name);
        let mut about: Vec<Slug> = mv.takes.keys().cloned().collect();
        if let Some(release) = release {
            let of_ring = decision.rings.iter_mut().find(|r| r.name == ring.name);
            of_ring?.target = Some(release);
            let moving = decision
                .tenants
                .values_mut()
                .filter(|t| !t.held && t.task == Task::Run);
            for tenant in moving {
                tenant.release = Some(release);
                if !about.contains(&tenant.slug) {
                    about.push(tenant.slug.clone());
                }
            }
        }
        let on = release.or(ring.target);
        for (slug, files) in &mv.takes {
            let taken = files
                .is_some()
                .then(|| self.taken(gathered, ring, slug))
                .flatten();
            match (taken, on) {
                (Some((files, Task::Run)), Some(on)) => {
                    decision
                        .tenants
                        .insert(slug.clone(), tenant(slug, ring, on, files));
                }
                _ => drop(decision.tenants.remove(slug)),
            }
        }
        Some((decision, about))
    }

    /// A tenant's files at the head of its ring's branch, and what they ask for.
    fn taken(&mut self, gathered: &Gathered, ring: &RingDecision, slug: &Slug) -> Option<(FilesRef, Task)> {
        let declared = gathered.policy.rings.get(ring.name.as_str())?;
        let books = &mut self.parts.books;
        let branch = branch_of(declared, books.control_branch()).to_owned();
        let tip = if branch == books.control_branch() {
            gathered.control.clone()
        } else {
            books.head(&branch)?.clone()
        };
        let read = books.tenants(&tip).ok()?;
        let found = read.tenants.get(slug.as_str())?;
        let runs = found.tenant.as_ref()?.state == TenantState::Running;
        let files = FilesRef {
            id: found.files,
            commit: tip,
        };
        Some((files, if runs { Task::Run } else { Task::Stop }))
    }

    /// What people see of a move.
    pub(super) fn move_status(&self, ring: &RingName, mv: &Move) -> MoveStatus {
        let asked = self.parts.books.repo().commit(&mv.request).ok();
        let touches = key(ring, mv).and_then(|key| self.last.touching.get(&key).cloned());
        let commit = |end: Option<crate::fleet::decisions::Moved>| {
            let release = self.last.decision.releases.get(&end?.release()?)?;
            Some(release.commit.to_string())
        };
        MoveStatus {
            kind: mv.kind,
            request: mv.request.to_string(),
            author: asked.as_ref().map(|c| c.author.clone()),
            subject: asked.map(|c| c.subject),
            from: mv.from.map(|m| m.to_string()),
            to: mv.to.map(|m| m.to_string()),
            from_commit: commit(mv.from),
            to_commit: commit(mv.to),
            policy: mv.policy.map(|p| p.full()),
            state: mv.state,
            gates: mv.gates.clone(),
            touches,
        }
    }

    /// A release in full.
    pub(super) fn release_status(&self, release: ReleaseId) -> Option<ReleaseStatus> {
        self.last.decision.releases.get(&release).map(ReleaseStatus::of)
    }
}

impl ReleaseStatus {
    fn of(release: &Release) -> Self {
        Self {
            id: release.id.full(),
            content: release.content.full(),
            commit: release.commit.to_string(),
            images: release.images.clone(),
        }
    }
}

fn tenant(slug: &Slug, ring: &RingDecision, release: ReleaseId, files: FilesRef) -> TenantDecision {
    TenantDecision {
        slug: slug.clone(),
        ring: ring.name.clone(),
        task: Task::Run,
        release: Some(release),
        files: Some(files),
        moves: true,
        gone_back: false,
        held: false,
        conditions: Vec::new(),
    }
}

fn touched(key: &ServiceKey, object: &ServiceObject, change: &str) -> TouchedService {
    TouchedService {
        container: object.base_name.clone(),
        owner: key.owner.to_string(),
        service: key.service.clone(),
        change: change.to_owned(),
    }
}
