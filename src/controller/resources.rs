//! What the rings' services take of their engine and what that has, for the gate `resources`. Nobody is asked while
//! nothing moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Controller;
use super::books::Books;
use super::wanted::{base_of, files_of};
use crate::decide::RingInput;
use crate::decide::facts::{Facts, FilesRef};
use crate::decide::resources::{Capacity, HostPort, Needs, Part, PartNeeds, shared};
use crate::digest::Digest;
use crate::fleet::compose::service::Scope;
use crate::fleet::names::{CommitId, FilesId, Owner, ReleaseId, RingName, ServiceKey, Slug};
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::{TenantFiles, TenantState};
use crate::fleet::{Base, Policy};
use crate::render::object::{Objects, RolloutOrder, ServiceObject};
use crate::render::{self, From};

/// What parts take, by the digest of what they are made of.
pub(super) type Cache = BTreeMap<Digest, PartNeeds>;

/// A stack's estimate is in GB.
const GB: f64 = 1e9;

impl Controller {
    /// Says of each ring what its services take, where anything moves.
    pub(super) async fn weigh(
        &mut self,
        policy: &Policy,
        control: &CommitId,
        facts: &Facts,
        rings: &mut BTreeMap<RingName, RingInput>,
    ) {
        if !rings.iter().any(|(name, input)| moves(name, input, facts)) {
            return;
        }
        let mut scale = Scale {
            books: &mut self.parts.books,
            cache: std::mem::take(&mut self.weighed),
            used: BTreeSet::new(),
            policy,
            control,
            facts,
        };
        tokio::task::block_in_place(|| {
            for ring in &policy.rings.0 {
                if let Some(input) = rings.get_mut(&ring.name) {
                    scale.ring(ring, input);
                }
            }
        });
        let Scale { used, mut cache, .. } = scale;
        cache.retain(|key, _| used.contains(key));
        self.weighed = cache;
        let all = rings.values().flat_map(|input| input.needs.values());
        let asks = |needs: &Needs| needs.memory > 0 || needs.limit > 0;
        let mut capacity = Capacity::default();
        if all.flat_map(BTreeMap::values).any(asks) {
            (capacity.engine, capacity.memory) = self.memory().await;
        }
        for input in rings.values_mut().filter(|input| input.unknown_target.is_none()) {
            input.capacity = Some(capacity.clone());
        }
    }
}

/// Whether a ring is asked for anything, or has not come to the end of it.
fn moves(name: &RingName, input: &RingInput, facts: &Facts) -> bool {
    let of_ring = facts.ring(name);
    let candidate = input.candidate.as_ref().and_then(|c| c.release.as_ref().ok());
    let other = candidate.is_some_and(|c| of_ring.running != Some(c.id));
    let good = |slug: &Slug| facts.tenants.get(slug).and_then(|t| t.good.as_ref());
    let asked = input.tenants.iter().any(|(slug, at)| {
        let slug = slug.parse::<Slug>().ok();
        slug.is_none_or(|slug| good(&slug).is_none_or(|(_, files)| files.id != at.files.files))
    });
    let tenants = facts.tenants.values().filter(|t| t.ring == *name);
    let ids = |runs: &Option<(ReleaseId, FilesRef)>| runs.as_ref().map(|(r, f)| (*r, f.id));
    let mut tenants = tenants.map(|t| (ids(&t.asked), ids(&t.good)));
    of_ring.moving.is_some() || other || asked || tenants.any(|(asked, good)| asked != good)
}

/// Where a part's tenant files are.
enum Source {
    /// What tenants share has none.
    None,
    /// On the branch.
    Read(Arc<TenantFiles>),
    /// At a commit that is remembered.
    Kept(Slug, FilesRef),
}

struct Scale<'a> {
    books: &'a mut Books,
    cache: Cache,
    used: BTreeSet<Digest>,
    policy: &'a Policy,
    control: &'a CommitId,
    facts: &'a Facts,
}

impl Scale<'_> {
    /// All that a ring runs, may go back to, moves to and is asked for.
    fn ring(&mut self, ring: &Ring, input: &mut RingInput) {
        let facts = self.facts;
        let of_ring = facts.ring(&ring.name);
        let candidate = input.candidate.as_ref().and_then(|c| c.release.as_ref().ok());
        let moving = of_ring.moving.as_ref().map(|m| m.to);
        let known = [of_ring.running, moving].into_iter().flatten();
        let known = known.filter_map(|id| facts.releases.get(&id)).chain(candidate);
        let releases: BTreeMap<ReleaseId, &Release> = known.map(|r| (r.id, r)).collect();
        let mut parts: BTreeMap<Part, (&Release, Source)> = BTreeMap::new();
        for release in releases.values().copied() {
            for part in shared(&ring.name, release.id) {
                parts.insert(part, (release, Source::None));
            }
            for (slug, at) in &input.tenants {
                if let Ok(slug) = slug.parse::<Slug>() {
                    let part = part(slug, at.files.files, release.id);
                    parts.insert(part, (release, Source::Read(Arc::clone(&at.files))));
                }
            }
        }
        for (slug, tenant) in facts.tenants.iter().filter(|(_, t)| t.ring == ring.name) {
            for (own, files) in tenant.good.iter().chain(tenant.last()) {
                let own = facts.releases.get(own);
                for release in releases.values().copied().chain(own) {
                    let part = part(slug.clone(), files.id, release.id);
                    let kept = || (release, Source::Kept(slug.clone(), files.clone()));
                    parts.entry(part).or_insert_with(kept);
                }
            }
        }
        let mut needs = BTreeMap::new();
        for (part, (release, files)) in parts {
            if let Some(takes) = self.part(ring, &part, release, &files) {
                needs.insert(part, takes);
            }
        }
        input.needs = needs;
    }

    /// What a part takes; none: it cannot be rendered, and is not run either.
    fn part(&mut self, ring: &Ring, part: &Part, release: &Release, files: &Source) -> Option<PartNeeds> {
        let key = Digest::of("resources.part", &(self.control, &ring.name, part));
        self.used.insert(key);
        if !self.cache.contains_key(&key) {
            let base = base_of(self.books, release).ok()?;
            let files = match files {
                Source::None => None,
                Source::Read(files) => Some(Arc::clone(files)),
                Source::Kept(slug, files) => Some(Arc::new(files_of(self.books, slug, files).ok()?)),
            };
            let from = From {
                policy: self.policy,
                ring,
                base: &base.base,
                release,
            };
            self.cache.insert(key, weighed(from, &part.0, files.as_deref())?);
        }
        let mut needs = self.cache.get(&key)?.clone();
        // What ran once and is done takes nothing more.
        needs.retain(|service, needs| {
            let key = ServiceKey {
                owner: part.0.clone(),
                service: service.clone(),
            };
            let done = self.facts.jobs_done.get(&key);
            !needs
                .spec
                .is_some_and(|spec| done.is_some_and(|d| d.contains(&spec)))
        });
        Some(needs)
    }
}

fn part(slug: Slug, files: FilesId, release: ReleaseId) -> Part {
    (Owner::Tenant(slug), Some(files), release)
}

/// What the services of an owner take, as they are rendered.
fn weighed(from: From<'_>, owner: &Owner, files: Option<&TenantFiles>) -> Option<PartNeeds> {
    let rendered = match (owner, files) {
        (Owner::Tenant(_), Some(files)) => {
            let tenant = files.tenant.as_ref()?;
            if tenant.state != TenantState::Running {
                return Some(PartNeeds::new());
            }
            render::tenant(from, files, &BTreeSet::new())
        }
        (Owner::Tenant(_), None) => return None,
        (Owner::Ring(_), _) => shared_of(from, owner, Scope::Ring),
        (Owner::Fleet, _) => shared_of(from, owner, Scope::Fleet),
    };
    if rendered.findings.has_errors() {
        return None;
    }
    let mut vram = files.map_or(0, |files| vram(from.base, files));
    Some(needs(&rendered.objects, &mut vram))
}

fn shared_of(from: From<'_>, owner: &Owner, scope: Scope) -> render::Rendered {
    let names = render::scoped(from.base, from.ring, scope);
    render::shared(from, owner, &names, &[])
}

/// What a tenant's stack is said to need.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate, between 0 and a few TB
fn vram(base: &Base, files: &TenantFiles) -> u64 {
    let stack = files.tenant.as_ref().and_then(|t| base.stacks.stack_of(t));
    stack
        .and_then(|s| s.vram_estimate_gb)
        .map_or(0, |gb| (gb * GB) as u64)
}

/// The estimate counts once: for the first service that asks for GPUs.
fn needs(objects: &Objects, vram: &mut u64) -> PartNeeds {
    let of = |object: &ServiceObject, vram: &mut u64| {
        let spec = &object.spec;
        let ports = spec.ports.iter().filter_map(|port| {
            Some(HostPort {
                port: port.host?,
                protocol: port.protocol,
                ip: port.ip.clone(),
            })
        });
        Needs {
            spec: Some(object.hash),
            memory: spec.limits.memory_reservation.unwrap_or(0),
            limit: spec.limits.memory.unwrap_or(0),
            vram: if spec.options.devices.is_empty() {
                0
            } else {
                std::mem::take(vram)
            },
            ports: ports.collect(),
            overlaps: !object.job && matches!(object.order, RolloutOrder::StartFirst { .. }),
        }
    };
    let services = objects.services.values();
    services
        .map(|object| (object.key.service.clone(), of(object, vram)))
        .collect()
}
