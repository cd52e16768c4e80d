//! A ring of which the ledger knows nothing, and whose containers run: which release and which files they are is read
//! back from history, and what matches is taken as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::books::{Books, branch_of};
use super::gather::Gathered;
use super::wanted::in_scope;
use super::{Controller, ControllerError};
use crate::decide::facts::{Facts, FilesRef, TenantFacts};
use crate::digest::Digest;
use crate::fleet::Base;
use crate::fleet::compose::service::{Restart, Scope};
use crate::fleet::names::{CommitId, Owner, RingName, ServiceKey, Slug, SpecHash};
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::plan::seen::{Observation, SeenContainer, State};
use crate::render::object::{Objects, ServiceObject};
use crate::render::{self, From, Rendered, SharedName};
use crate::store::{NewEvent, TenantRuns};

/// So many changes are looked back, on each branch.
pub(super) const LOOK_BACK: usize = 50;

/// What a ring's containers were found to be.
struct Found {
    release: Release,
    tenants: BTreeMap<Slug, FilesRef>,
    objects: Objects,
}

/// Containers that have their service's name, by owner and service.
type Serving<'a> = BTreeMap<&'a Owner, BTreeMap<&'a str, &'a SeenContainer>>;

impl Controller {
    /// Looks for every ring that runs and is not remembered. What matches is remembered from now on, in the ledger if this
    /// is a pass that acts; rings of which nothing matches are unknown until a person adopts them. True if that changes
    /// what is to be decided.
    pub(super) async fn recover(
        &mut self,
        gathered: &Gathered,
        seen: &Observation,
        facts: &mut Arc<Facts>,
        act: bool,
    ) -> Result<bool, ControllerError> {
        // While the repository is away nothing can be asked of it.
        let Ok(branches) = self.parts.books.branches() else {
            return Ok(false);
        };
        let before = std::mem::take(&mut self.unmatched);
        let mut changed = false;
        for ring in &gathered.policy.rings.0 {
            if is_remembered(facts, &ring.name) {
                continue;
            }
            let serving = self.serving(seen, |c| c.ring.as_deref() == Some(ring.name.as_str()));
            let owner = Owner::Ring(ring.name.clone());
            let adopted = self.scope.adopt && in_scope(&self.scope, &gathered.decision, &owner);
            if adopted || serving.is_empty() {
                continue;
            }
            let question = question(gathered, &branches, &serving);
            if before.get(&ring.name) == Some(&question) {
                self.unmatched.insert(ring.name.clone(), question);
                continue;
            }
            changed = true;
            let shared = self.serving(seen, |c| c.owner == Some(Owner::Fleet));
            let found = tokio::task::block_in_place(|| self.search(gathered, ring, &serving, &shared));
            let Some(mut found) = found else {
                self.unmatched.insert(ring.name.clone(), question);
                continue;
            };
            let base = self.parts.books.base(&found.release.commit)?;
            self.images
                .complete(&self.parts.engine, &base.base, &mut found.release)
                .await;
            if act {
                self.take(&ring.name, &found, &serving, seen)?;
            }
            remember(Arc::make_mut(facts), &ring.name, &found);
        }
        Ok(changed || before.keys().any(|ring| !self.unmatched.contains_key(ring)))
    }

    fn serving<'a>(&self, seen: &'a Observation, of: impl Fn(&SeenContainer) -> bool) -> Serving<'a> {
        let mut serving = Serving::new();
        for container in seen.containers.iter().filter(|c| of(c)) {
            let (Some(owner), Some(service)) = (&container.owner, &container.service) else {
                continue;
            };
            let name = format!("{service}.{}", owner.domain(&self.parts.instance));
            if container.name.eq_ignore_ascii_case(&name) {
                serving.entry(owner).or_default().insert(service, container);
            }
        }
        serving
    }

    /// The newest release of the ring's history, with the newest files of each tenant, whose containers are those that run.
    fn search(
        &mut self,
        gathered: &Gathered,
        ring: &Ring,
        serving: &Serving<'_>,
        shared: &Serving<'_>,
    ) -> Option<Found> {
        let books = &mut self.parts.books;
        let branch = branch_of(ring, books.control_branch()).to_owned();
        // A ring's branch that is also the control branch obeys the control branch's rule.
        let tip = if branch == books.control_branch() {
            Some(gathered.control.clone())
        } else {
            books.branches().ok()?.remove(&branch)
        };
        let mut tried = BTreeSet::new();
        for (commit, images) in books.asked_before(&ring.name, &gathered.control, tip.as_ref(), LOOK_BACK) {
            let (Ok(content), Ok(base)) = (books.content(&commit), books.base(&commit)) else {
                continue;
            };
            if base.findings.has_errors() || !tried.insert((content, images.clone())) {
                continue;
            }
            let images = if images.is_empty() {
                read_back(&base.base, [serving, shared])
            } else {
                images
            };
            let release = Release::new(content, commit, images);
            let from = From {
                policy: &gathered.policy,
                ring,
                base: &base.base,
                release: &release,
            };
            let found = matching(books, from, tip.as_ref(), serving);
            if let Some((tenants, objects)) = found {
                return Some(Found {
                    release,
                    tenants,
                    objects,
                });
            }
        }
        None
    }

    /// Writes down what was found, as if it had been made by us.
    fn take(
        &self,
        ring: &RingName,
        found: &Found,
        serving: &Serving<'_>,
        seen: &Observation,
    ) -> Result<(), ControllerError> {
        let now = Timestamp::now();
        let (store, books) = (&self.parts.store, &self.parts.books);
        let release = &found.release;
        let text = format!(
            "the ledger knew nothing of ring {ring}: its containers are {} (commit {}), and are taken as they are",
            release.id,
            release.commit.short()
        );
        let objects = &found.objects;
        let names = objects.networks.keys().chain(objects.volumes.keys());
        let mut known: Vec<(String, Option<SpecHash>)> = names.map(|name| (name.clone(), None)).collect();
        let containers = || serving.values().flat_map(BTreeMap::values);
        known.extend(containers().map(|c| (c.name.clone(), c.spec)));
        // Those that their images declare: what carries our labels is ours.
        let mounted = containers().flat_map(|c| c.volumes.values().map(|m| &m.volume));
        let ours: BTreeSet<&String> = seen.volumes.iter().map(|v| &v.name).collect();
        let ours = mounted.filter(|name| ours.contains(name));
        known.extend(ours.map(|name| (name.clone(), None)));
        store.know(&known, now)?;
        let specs: Vec<_> = objects
            .services
            .values()
            .map(|o| (o.hash, o.spec.as_ref()))
            .collect();
        store.keep_specs(&specs)?;
        store.save_release(release, now)?;
        books.keep(&format!("release/{}", release.id.0.short()), &release.commit)?;
        let mut good = Vec::new();
        for (slug, files) in &found.tenants {
            books.keep(&format!("good/{slug}"), &files.commit)?;
            good.push(TenantRuns {
                slug: slug.clone(),
                ring: ring.clone(),
                runs: (release.id, files.clone()),
            });
        }
        store.tenants_good(&good, now)?;
        // What waits for a job runs, so that the job has ended.
        for job in objects.services.values().filter(|o| o.job) {
            store.job_done(&job.key, &job.hash, now)?;
        }
        store.good_spec(&good_specs(objects), now)?;
        // The last, so that a crash before it asks the same question again.
        store.ring_succeeded(ring, &release.id, now)?;
        store.event(&NewEvent {
            kind: "recovered".to_owned(),
            ring: Some(ring.to_string()),
            tenant: None,
            service: None,
            message: text.clone(),
            detail: serde_json::Value::Null,
        })?;
        self.note(text);
        Ok(())
    }

    /// What is unknown is started where it stopped, and not changed. What was stopped to stay so has not its service's name,
    /// or no restart policy and a successor; what ended with 0 may be a job.
    pub(super) async fn start_unmatched(&mut self) {
        if self.unmatched.is_empty() {
            return;
        }
        let unmatched = &self.unmatched;
        let of = |c: &SeenContainer| c.ring.as_deref().is_some_and(|ring| unmatched.contains_key(ring));
        let seen = &self.last.seen;
        let alone = |one: &SeenContainer| {
            let same = |c: &&SeenContainer| c.owner == one.owner && c.service == one.service;
            seen.containers
                .iter()
                .filter(same)
                .all(|c| c.state != State::Running)
        };
        let stopped: Vec<String> = self
            .serving(seen, of)
            .values()
            .flat_map(BTreeMap::values)
            .filter(|c| matches!(c.state, State::Exited | State::Created))
            .filter(|c| {
                let details = c.details.as_ref();
                details.is_some_and(|d| d.restart != Restart::No || d.exit_code != Some(0) && alone(c))
            })
            .map(|c| c.id.clone())
            .collect();
        for id in stopped {
            if let Err(error) = self.parts.engine.start(&id).await {
                self.last.conditions.push(error.to_string());
            }
            self.looks.drop_one(&id);
        }
    }
}

/// What the answer depends on: where there was none, the same question is not asked again.
fn question(gathered: &Gathered, branches: &BTreeMap<String, CommitId>, serving: &Serving<'_>) -> Digest {
    let specs: Vec<_> = serving
        .values()
        .flat_map(|of| of.iter().map(|(service, c)| (service, &c.name, c.spec)))
        .collect();
    Digest::of(
        "controller.recover",
        &(&gathered.control, gathered.policy_digest, branches, specs),
    )
}

/// Whether the ledger has anything to say about a ring.
fn is_remembered(facts: &Facts, ring: &RingName) -> bool {
    facts
        .rings
        .get(ring)
        .is_some_and(|r| r.running.is_some() || r.moving.is_some() || !r.quarantine.is_empty())
}

/// What the ledger would say.
fn remember(facts: &mut Facts, ring: &RingName, found: &Found) {
    let release = &found.release;
    facts.releases.insert(release.id, release.clone());
    facts.rings.entry(ring.clone()).or_default().running = Some(release.id);
    for (slug, files) in &found.tenants {
        let tenant = TenantFacts {
            ring: ring.clone(),
            good: Some((release.id, files.clone())),
            asked: None,
            quarantine: BTreeMap::new(),
        };
        facts.tenants.insert(slug.clone(), tenant);
    }
    facts.good_specs.extend(good_specs(&found.objects));
}

fn good_specs(objects: &Objects) -> Vec<(ServiceKey, SpecHash)> {
    let services = objects.services.values();
    services.map(|o| (o.key.clone(), o.hash)).collect()
}

/// The images of a content, as its services run them.
fn read_back(base: &Base, serving: [&Serving<'_>; 2]) -> BTreeMap<String, String> {
    let mut images = BTreeMap::new();
    for declared in base.services.declared().values() {
        let mut running = serving.iter().flat_map(|all| all.values());
        let container = running.find_map(|of| of.get(declared.name.as_str()));
        let Some(image) = container.map(|c| c.image.as_str()) else {
            continue;
        };
        let resolved = match image.split_once('@') {
            Some((_, digest)) => format!("digest:{digest}"),
            None if image.starts_with("sha256:") => format!("id:{image}"),
            None => continue,
        };
        images.insert(declared.image.value.clone(), resolved);
    }
    images
}

/// The files with which each owner's containers are what this release renders; none if they are not for any of them.
fn matching(
    books: &mut Books,
    from: From<'_>,
    tip: Option<&CommitId>,
    serving: &Serving<'_>,
) -> Option<(BTreeMap<Slug, FilesRef>, Objects)> {
    let shared: BTreeSet<SharedName> = [
        (Scope::Fleet, Owner::Fleet),
        (Scope::Ring, Owner::Ring(from.ring.name.clone())),
    ]
    .into_iter()
    .flat_map(|(scope, owner)| {
        render::scoped(from.base, from.ring, scope)
            .into_iter()
            .map(move |service| SharedName {
                owner: owner.clone(),
                service,
            })
    })
    .collect();
    let mut tenants = BTreeMap::new();
    let mut objects = Objects::default();
    for (owner, containers) in serving {
        let rendered = match owner {
            Owner::Fleet => continue,
            Owner::Ring(_) => {
                let own = render::scoped(from.base, from.ring, Scope::Ring);
                let rendered = render::shared(from, owner, &own, &[]);
                is_same(&rendered, containers).then_some(rendered.objects)?
            }
            Owner::Tenant(slug) => {
                let (files, rendered) = books
                    .files_before(tip?, slug, LOOK_BACK)
                    .into_iter()
                    .filter(|(_, files)| files.ring.as_ref() == Some(&from.ring.name))
                    .find_map(|(commit, files)| {
                        let rendered = render::tenant(from, &files, &shared);
                        let id = files.files;
                        is_same(&rendered, containers).then_some((FilesRef { id, commit }, rendered.objects))
                    })?;
                tenants.insert(slug.clone(), files);
                rendered
            }
        };
        objects.extend(rendered);
    }
    Some((tenants, objects))
}

/// Whether an owner's containers are those that were rendered: all of them, and no others. A job's may be gone.
fn is_same(rendered: &Rendered, containers: &BTreeMap<&str, &SeenContainer>) -> bool {
    let services: BTreeMap<&str, &ServiceObject> = rendered
        .objects
        .services
        .values()
        .map(|o| (o.key.service.as_str(), o.as_ref()))
        .collect();
    !rendered.findings.has_errors()
        && containers.keys().all(|service| services.contains_key(service))
        && services
            .iter()
            .all(|(service, object)| match containers.get(service) {
                Some(container) => container.spec == Some(object.hash),
                None => object.job,
            })
}
