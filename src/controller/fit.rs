//! Which tenant files do not fit which release, and which release cannot be rendered at all: before anything moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Controller;
use super::books::{Books, first_error};
use super::wanted::{base_of, files_of};
use crate::decide::RingInput;
use crate::decide::facts::Facts;
use crate::diagnostic::Severity;
use crate::digest::Digest;
use crate::fleet::compose::service::Scope;
use crate::fleet::names::{FilesId, Owner, ReleaseId, RingName, Slug};
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::{TenantFiles, TenantState};
use crate::fleet::{Base, Policy, check};
use crate::render::{self, From};

/// What was found wrong, by what was asked. What the last pass did not ask for is forgotten.
#[derive(Default)]
pub(super) struct Cache {
    last: BTreeMap<Key, Arc<[String]>>,
    now: BTreeMap<Key, Arc<[String]>>,
}

/// Policy, ring and release; of a tenant also its files, and whether they run there already.
type Key = (Digest, RingName, ReleaseId, Option<(Slug, FilesId, bool)>);

impl Cache {
    fn get(&mut self, key: Key, find: impl FnOnce() -> Vec<String>) -> Arc<[String]> {
        let found = self.last.remove(&key).unwrap_or_else(|| find().into());
        Arc::clone(self.now.entry(key).or_insert(found))
    }

    fn end_pass(&mut self) {
        self.last = std::mem::take(&mut self.now);
    }
}

impl Controller {
    /// Tenant files on the branch and those that run, against what the ring runs, moves to and is asked for; what of the
    /// fleet's services another ring provides; and whether what is asked for can be made at all.
    pub(super) fn fit(&mut self, policy: &Policy, facts: &Facts, rings: &mut BTreeMap<RingName, RingInput>) {
        let books = &mut self.parts.books;
        let digest = policy.rendering();
        let providers = providers(books, policy, facts);
        for (name, input) in rings.iter_mut() {
            let Some(ring) = policy.rings.get(name.as_str()) else {
                continue;
            };
            let running = facts.ring(name).running;
            let files = files_at_hand(books, facts, name, input);
            for release in releases_at_hand(facts, name, input) {
                let Ok(base) = base_of(books, &release) else {
                    continue;
                };
                let base = &base.base;
                provided_elsewhere(base, ring, &providers, release.id, running, input);
                let from = From {
                    policy,
                    ring,
                    base,
                    release: &release,
                };
                for ((slug, id), files) in &files {
                    // What runs was rendered, and is in this pass.
                    let runs = Some(release.id) == running && is_last(facts, slug, *id, release.id);
                    let tenant = Some((slug.clone(), *id, runs));
                    let key = (digest, name.clone(), release.id, tenant);
                    let why = self.fits.get(key, || misfits(from, files, !runs));
                    if !why.is_empty() {
                        input
                            .misfits
                            .insert((slug.clone(), *id, release.id), why.to_vec());
                    }
                }
                if Some(release.id) == running {
                    continue;
                }
                let key = (digest, name.clone(), release.id, None);
                let why = self.fits.get(key, || shared(from));
                if let (Some(why), Some(asked)) = (why.first(), &mut input.candidate)
                    && asked.release.as_ref().is_ok_and(|asked| asked.id == release.id)
                {
                    let commit = asked.commit.short();
                    asked.release = Err(format!("commit {commit} cannot be rendered: {why}"));
                }
            }
        }
        self.fits.end_pass();
    }
}

/// What the ring runs, moves to and is asked for.
fn releases_at_hand(facts: &Facts, ring: &RingName, input: &RingInput) -> Vec<Release> {
    let of_ring = facts.ring(ring);
    let moving = of_ring.moving.as_ref().map(|m| m.to);
    let candidate = input.candidate.as_ref().and_then(|c| c.release.as_ref().ok());
    let known = [of_ring.running, moving].into_iter().flatten();
    let known = known.filter_map(|id| facts.releases.get(&id));
    let releases: BTreeMap<ReleaseId, &Release> = known.chain(candidate).map(|r| (r.id, r)).collect();
    releases.into_values().cloned().collect()
}

/// The ring's tenant files: those on its branch, and those that its tenants go on with.
fn files_at_hand(
    books: &mut Books,
    facts: &Facts,
    ring: &RingName,
    input: &RingInput,
) -> BTreeMap<(Slug, FilesId), Arc<TenantFiles>> {
    let mut files = BTreeMap::new();
    for (slug, at) in &input.tenants {
        if let (Ok(slug), Some(_)) = (slug.parse::<Slug>(), &at.files.tenant) {
            files.insert((slug, at.files.files), Arc::clone(&at.files));
        }
    }
    for (slug, tenant) in facts.tenants.iter().filter(|(_, t)| t.ring == *ring) {
        let Some((_, last)) = tenant.last() else { continue };
        let key = (slug.clone(), last.id);
        if !files.contains_key(&key)
            && let Ok(read) = files_of(books, slug, last)
        {
            files.insert(key, Arc::new(read));
        }
    }
    files
}

fn is_last(facts: &Facts, slug: &Slug, files: FilesId, release: ReleaseId) -> bool {
    let last = facts.tenants.get(slug).and_then(|tenant| tenant.last());
    last.is_some_and(|(of, last)| *of == release && last.id == files)
}

/// What of a tenant stands against a release: what it names that is not there, and, if `rendered`, what its values do to it.
fn misfits(from: From<'_>, files: &TenantFiles, rendered: bool) -> Vec<String> {
    let mut findings = check::tenant_fits(from.policy, from.base, files);
    let runs = files
        .tenant
        .as_ref()
        .is_some_and(|t| t.state == TenantState::Running);
    if rendered && runs && !findings.has_errors() {
        findings = render::tenant(from, files, &BTreeSet::new()).findings;
    }
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    errors.map(|f| f.message.clone()).collect()
}

/// What stands in the way of the services that the release shares.
fn shared(from: From<'_>) -> Vec<String> {
    let owners = [
        (Owner::Ring(from.ring.name.clone()), Scope::Ring),
        (Owner::Fleet, Scope::Fleet),
    ];
    let findings = owners.map(|(owner, scope)| {
        let services = render::scoped(from.base, from.ring, scope);
        render::shared(from, &owner, &services, &[]).findings
    });
    let broken = findings.iter().filter(|f| f.has_errors());
    broken.map(|f| first_error(f.iter())).collect()
}

/// Which of the release's fleet-scoped services a later ring provides, and whether some are left that this one shares.
fn provided_elsewhere(
    base: &Base,
    ring: &Ring,
    providers: &BTreeMap<String, (u32, RingName)>,
    release: ReleaseId,
    running: Option<ReleaseId>,
    input: &mut RingInput,
) {
    let fleets = render::scoped(base, ring, Scope::Fleet);
    let elsewhere: BTreeMap<String, RingName> = fleets
        .iter()
        .filter_map(|service| Some((service, providers.get(service)?)))
        .filter(|(_, (id, _))| *id > ring.id)
        .map(|(service, (_, by))| (service.clone(), by.clone()))
        .collect();
    let shares_own = !render::scoped(base, ring, Scope::Ring).is_empty();
    if Some(release) != running && (shares_own || elsewhere.len() < fleets.len()) {
        input.sharing.insert(release);
    }
    input.elsewhere.insert(release, elsewhere);
}

/// The last ring whose release declares it provides each of the fleet's services (DESIGN 3, Backbone), with its number.
fn providers(books: &mut Books, policy: &Policy, facts: &Facts) -> BTreeMap<String, (u32, RingName)> {
    let mut providers = BTreeMap::new();
    for ring in &policy.rings.0 {
        let of_ring = facts.ring(&ring.name);
        let has = of_ring.moving.as_ref().map(|m| m.to).or(of_ring.running);
        let release = has.and_then(|id| facts.releases.get(&id));
        if let Some(base) = release.and_then(|release| base_of(books, release).ok()) {
            let services = render::scoped(&base.base, ring, Scope::Fleet).into_iter();
            providers.extend(services.map(|service| (service, (ring.id, ring.name.clone()))));
        }
    }
    providers
}
