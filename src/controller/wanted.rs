//! From a decision to the objects of all owners. What was rendered from equal input is not rendered again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Request;
use super::books::{Books, first_error};
use crate::decide::facts::FilesRef;
use crate::decide::{Decision, Phase, Task, TenantDecision};
use crate::diagnostic::Findings;
use crate::digest::Digest;
use crate::fleet::compose::MISSING;
use crate::fleet::compose::service::Scope;
use crate::fleet::names::{Owner, ReleaseId, RingName, Slug};
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::TenantFiles;
use crate::fleet::{BaseRead, Policy};
use crate::plan::Hold;
use crate::render::object::{Objects, RolloutOrder};
use crate::render::{self, From, Rendered, Served, SharedName};

/// Rendered owners by the digest of their input.
#[derive(Default)]
pub(super) struct Cache {
    rendered: HashMap<Digest, Arc<Rendered>>,
    used: BTreeSet<Digest>,
    /// The last context of each tenant.
    contexts: BTreeMap<Slug, Arc<Rendered>>,
}

/// What was last rendered of each tenant, and its ring: its context is in it.
type Contexts = BTreeMap<Slug, (RingName, Option<Arc<Rendered>>)>;

/// All that shall exist, and what may be done to whom.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) objects: Objects,
    pub(super) holds: BTreeMap<Owner, Hold>,
    pub(super) erased: BTreeSet<Owner>,
    /// What a person should know, by owner.
    pub(super) conditions: BTreeMap<Owner, Vec<String>>,
    /// Variables without a value, which are left out of what is asked for.
    pub(super) blanks: BTreeSet<String>,
    /// Which ring provides each fleet-scoped service.
    pub(super) backbone: BTreeMap<String, RingName>,
}

/// What the rooms below are asked with.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) policy_digest: Digest,
    pub(super) decision: &'a Decision,
}

impl Cache {
    /// Renders all owners of a decision.
    pub(super) fn render(&mut self, books: &mut Books, asked: &Asked<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        let shared = shared_services(books, asked, &mut wanted);
        let mut contexts = Contexts::new();
        for tenant in asked.decision.tenants.values() {
            let owner = Owner::Tenant(tenant.slug.clone());
            match tenant.task {
                Task::Stop => {
                    wanted.holds.insert(owner, Hold::Free);
                }
                Task::Erase => {
                    wanted.holds.insert(owner.clone(), Hold::Free);
                    wanted.erased.insert(owner);
                }
                Task::Run => match self.tenant(books, asked, tenant, &shared) {
                    Ok(rendered) => {
                        wanted.objects.extend(rendered.objects.clone());
                        wanted.blanks.extend(blanks(&owner, &rendered.findings));
                        // What a move drops stays until it has succeeded, and nothing goes while files have errors.
                        let no_prune = asked.decision.ring(&tenant.ring).is_some_and(|r| r.no_prune);
                        if tenant.held {
                            wanted.holds.insert(owner, Hold::Untouched);
                        } else if tenant.moves || no_prune {
                            wanted.holds.insert(owner, Hold::NoPrune);
                        }
                        self.contexts.insert(tenant.slug.clone(), Arc::clone(&rendered));
                        contexts.insert(tenant.slug.clone(), (tenant.ring.clone(), Some(rendered)));
                    }
                    Err(reason) => {
                        wanted.conditions.entry(owner.clone()).or_default().push(reason);
                        wanted.holds.insert(owner, Hold::Untouched);
                        // Its neighbours go on with what they were told of it last.
                        let last = self.contexts.get(&tenant.slug).cloned();
                        contexts.insert(tenant.slug.clone(), (tenant.ring.clone(), last));
                    }
                },
            }
        }
        render_shared(books, asked, &shared, &contexts, &mut wanted);
        stop_first(asked.decision, &mut wanted.objects);
        let used = std::mem::take(&mut self.used);
        self.rendered.retain(|k, _| used.contains(k));
        wanted
    }

    /// One tenant's objects, or why they cannot be made.
    fn tenant(
        &mut self,
        books: &mut Books,
        asked: &Asked<'_>,
        tenant: &TenantDecision,
        shared: &BTreeMap<Owner, (RingName, BTreeSet<String>)>,
    ) -> Result<Arc<Rendered>, String> {
        let (Some(release), Some(files)) = (tenant.release, &tenant.files) else {
            return Err("no release is known for it".to_owned());
        };
        let Some(release) = asked.decision.releases.get(&release) else {
            return Err(format!("{release} is not in the ledger"));
        };
        let Some(ring) = asked.policy.rings.get(tenant.ring.as_str()) else {
            return Err(format!("ring {} is declared no more", tenant.ring));
        };
        let names: BTreeSet<SharedName> = shared
            .iter()
            .filter(|(owner, _)| **owner == Owner::Fleet || **owner == Owner::Ring(ring.name.clone()))
            .flat_map(|(owner, (_, services))| {
                services.iter().map(|s| SharedName {
                    owner: owner.clone(),
                    service: s.clone(),
                })
            })
            .collect();
        let shared_key: Vec<String> = names
            .iter()
            .map(|n| format!("{}/{}", n.owner, n.service))
            .collect();
        let key = Digest::of(
            "render.tenant",
            &(
                asked.policy_digest,
                release.id,
                files.id,
                &tenant.slug,
                &tenant.ring,
                shared_key,
            ),
        );
        self.used.insert(key);
        if let Some(rendered) = self.rendered.get(&key) {
            return Ok(Arc::clone(rendered));
        }
        let base = base_of(books, release)?;
        let files = files_of(books, &tenant.slug, files)?;
        let from = From {
            policy: asked.policy,
            ring,
            base: &base.base,
            release,
        };
        let rendered = render::tenant(from, &files, &names);
        if rendered.findings.has_errors() {
            return Err(format!(
                "it cannot be rendered: {}",
                first_error(rendered.findings.iter())
            ));
        }
        let rendered = Arc::new(rendered);
        self.rendered.insert(key, Arc::clone(&rendered));
        Ok(rendered)
    }
}

/// Services that do not fit beside their successors.
fn stop_first(decision: &Decision, objects: &mut Objects) {
    for (key, why) in &decision.stop_first {
        if let Some(object) = objects.services.get_mut(key)
            && matches!(object.order, RolloutOrder::StartFirst { .. })
        {
            Arc::make_mut(object).order = RolloutOrder::StopFirst(why.clone());
        }
    }
}

/// What to say of variables that are left out for want of a value.
fn blanks(owner: &Owner, findings: &Findings) -> Option<String> {
    let mut of = findings.iter().filter(|f| f.code == MISSING);
    let first = of.next()?;
    let at = first.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    let more = match of.count() {
        0 => String::new(),
        more => format!(", and {more} more: see `ringfence check`"),
    };
    Some(format!("{owner}: {}{at}{more}", first.message))
}

/// Renders the shared services, each from the ring that provides it.
fn render_shared(
    books: &mut Books,
    asked: &Asked<'_>,
    shared: &BTreeMap<Owner, (RingName, BTreeSet<String>)>,
    contexts: &Contexts,
    wanted: &mut Wanted,
) {
    let mut by_ring: BTreeMap<(&Owner, &RingName), BTreeSet<String>> = BTreeMap::new();
    for (owner, (ring, services)) in shared {
        match owner {
            // Each of the fleet's services may come from another ring.
            Owner::Fleet => {
                for service in services {
                    let ring = wanted.backbone.get(service).unwrap_or(ring);
                    let ring = asked.policy.rings.get(ring.as_str()).map_or(ring, |r| &r.name);
                    by_ring.entry((owner, ring)).or_default().insert(service.clone());
                }
            }
            _ => {
                by_ring
                    .entry((owner, ring))
                    .or_default()
                    .extend(services.iter().cloned());
            }
        }
    }
    let mut objects = Objects::default();
    for ((owner, ring), services) in by_ring {
        let Some((ring, release)) = ring_release(asked, ring) else {
            continue;
        };
        let serves: Vec<Served<'_>> = contexts
            .iter()
            .filter(|(_, (r, _))| *owner == Owner::Fleet || *r == ring.name)
            .map(|(slug, (_, rendered))| Served {
                slug,
                context: rendered.as_ref().map(|r| r.context.clone()).unwrap_or_default(),
            })
            .collect();
        let base = match base_of(books, release) {
            Ok(base) => base,
            Err(reason) => {
                wanted.conditions.entry(owner.clone()).or_default().push(reason);
                wanted.holds.insert(owner.clone(), Hold::Untouched);
                continue;
            }
        };
        let from = From {
            policy: asked.policy,
            ring,
            base: &base.base,
            release,
        };
        let rendered = render::shared(from, owner, &services, &serves);
        if rendered.findings.has_errors() {
            let reason = format!(
                "shared services cannot be rendered: {}",
                first_error(rendered.findings.iter())
            );
            wanted.conditions.entry(owner.clone()).or_default().push(reason);
            wanted.holds.insert(owner.clone(), Hold::Untouched);
            continue;
        }
        wanted.blanks.extend(blanks(owner, &rendered.findings));
        objects.extend(rendered.objects);
    }
    wanted.objects.extend(objects);
    hold_shared(asked, wanted);
    // What no running release declares any more goes, but only if every ring's release could be read.
    if wanted.conditions.is_empty() {
        for owner in owners_without_services(asked, shared) {
            wanted.holds.entry(owner).or_insert(Hold::Free);
        }
    }
}

/// While tenants move, what their rings shared before stays.
fn hold_shared(asked: &Asked<'_>, wanted: &mut Wanted) {
    for ring in &asked.decision.rings {
        let moves = asked
            .decision
            .tenants
            .values()
            .any(|t| t.ring == ring.name && t.moves);
        if ring.held {
            wanted
                .holds
                .insert(Owner::Ring(ring.name.clone()), Hold::Untouched);
        }
        if moves || ring.no_prune {
            for owner in [Owner::Fleet, Owner::Ring(ring.name.clone())] {
                wanted.holds.entry(owner).or_insert(Hold::NoPrune);
            }
        }
    }
}

/// The fleet and the rings, as far as they have no shared services now: what they left behind may go.
fn owners_without_services(
    asked: &Asked<'_>,
    shared: &BTreeMap<Owner, (RingName, BTreeSet<String>)>,
) -> Vec<Owner> {
    let mut owners = vec![Owner::Fleet];
    owners.extend(asked.policy.rings.0.iter().map(|r| Owner::Ring(r.name.clone())));
    let rings = &asked.decision.rings;
    // What an unknown ring provides is not known.
    let known = rings.iter().all(|r| r.phase != Phase::Unknown);
    let anything_runs = known && rings.iter().any(|r| r.target.is_some());
    owners
        .into_iter()
        .filter(|o| anything_runs && !shared.contains_key(o))
        .collect()
}

/// The services that rings and fleet share, with the ring that provides them. Each fleet-scoped service comes from the
/// last ring whose release declares it.
fn shared_services(
    books: &mut Books,
    asked: &Asked<'_>,
    wanted: &mut Wanted,
) -> BTreeMap<Owner, (RingName, BTreeSet<String>)> {
    let mut shared: BTreeMap<Owner, (RingName, BTreeSet<String>)> = BTreeMap::new();
    for ring in &asked.policy.rings.0 {
        let target = asked.decision.ring(&ring.name).and_then(|r| r.target);
        let Some(target) = target else { continue };
        let base = match asked
            .decision
            .releases
            .get(&target)
            .ok_or_else(|| format!("{target} of ring {} is not in the ledger", ring.name))
            .and_then(|r| base_of(books, r))
        {
            Ok(base) => base,
            Err(reason) => {
                // What this ring would provide is not known: nothing shared is removed, nor taken over by another ring.
                for owner in [Owner::Fleet, Owner::Ring(ring.name.clone())] {
                    wanted.holds.insert(owner.clone(), Hold::Untouched);
                    wanted.conditions.entry(owner).or_default().push(reason.clone());
                }
                continue;
            }
        };
        let own = render::scoped(&base.base, ring, Scope::Ring);
        if !own.is_empty() {
            shared.insert(Owner::Ring(ring.name.clone()), (ring.name.clone(), own));
        }
        for service in render::scoped(&base.base, ring, Scope::Fleet) {
            wanted.backbone.insert(service.clone(), ring.name.clone());
            let entry = shared
                .entry(Owner::Fleet)
                .or_insert_with(|| (ring.name.clone(), BTreeSet::new()));
            entry.1.insert(service);
        }
    }
    shared
}

fn ring_release<'a>(asked: &'a Asked<'_>, ring: &RingName) -> Option<(&'a Ring, &'a Release)> {
    let target: ReleaseId = asked.decision.ring(ring)?.target?;
    Some((
        asked.policy.rings.get(ring.as_str())?,
        asked.decision.releases.get(&target)?,
    ))
}

/// The base of a release, or why it cannot be read.
pub(super) fn base_of(books: &mut Books, release: &Release) -> Result<Arc<BaseRead>, String> {
    match books.base(&release.commit) {
        Ok(base) if base.findings.has_errors() => Err(format!(
            "{} has errors: {}",
            release.id,
            first_error(base.findings.iter())
        )),
        Ok(base) => Ok(base),
        Err(error) => Err(format!(
            "{} (commit {}) cannot be read: {error}",
            release.id,
            release.commit.short()
        )),
    }
}

/// A tenant's files at the commit that is remembered, or why they cannot be read.
pub(super) fn files_of(books: &mut Books, slug: &Slug, files: &FilesRef) -> Result<TenantFiles, String> {
    let read = match books.tenants(&files.commit) {
        Ok(read) => read,
        Err(error) => {
            return Err(format!(
                "its files at {} cannot be read: {error}",
                files.commit.short()
            ));
        }
    };
    match read.tenants.get(slug.as_str()) {
        Some(found) if found.files == files.id => Ok(found.clone()),
        _ => Err(format!("its files are not at {} any more", files.commit.short())),
    }
}

/// The owners that a request names; none: all of them.
pub(super) fn in_scope(request: &Request, decision: &Decision, owner: &Owner) -> bool {
    if !request.is_scoped() {
        return true;
    }
    match owner {
        Owner::Fleet => request.tenants.is_empty(),
        Owner::Ring(ring) => request.rings.contains(ring),
        Owner::Tenant(slug) => {
            request.tenants.contains(slug)
                || decision
                    .tenants
                    .get(slug)
                    .is_some_and(|t| request.rings.contains(&t.ring))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{At, Finding, Source};

    #[test]
    fn an_owners_variables_without_a_value_are_told_in_one_line() {
        let at = At::new(&Source::new("desired/services/web.yaml", "web"), 0..3);
        let missing =
            |name: &str| Finding::warning(MISSING, at.clone(), format!("the variable `{name}` is left out"));
        let mut findings = Findings::new();
        findings.push(Finding::warning("plain-secret", at.clone(), "another thing"));
        assert_eq!(blanks(&Owner::Fleet, &findings), None);
        findings.push(missing("A"));
        assert_eq!(
            blanks(&Owner::Fleet, &findings).as_deref(),
            Some("fleet: the variable `A` is left out (desired/services/web.yaml:1:1)")
        );
        findings.push(missing("B"));
        findings.push(missing("C"));
        assert_eq!(
            blanks(&Owner::Fleet, &findings).as_deref(),
            Some(
                "fleet: the variable `A` is left out (desired/services/web.yaml:1:1), and 2 more: see `ringfence check`"
            )
        );
    }
}
