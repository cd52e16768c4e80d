//! What a ring's tenants run, and what they would run: the `ten-` of a move.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claims;
use super::facts::TenantFacts;
use super::records::Behind;
use super::{Asks, RingInput, TenantAt, World, files_of_ring};
use crate::fleet::names::{CommitId, FilesId, ReleaseId, RingName, Slug};
use crate::fleet::tenants::TenantState;

type FilesOf = BTreeMap<Slug, FilesId>;

/// A change of a ring's tenant files.
#[derive(Debug, Clone, Default)]
pub(super) struct Change<'a> {
    from: FilesOf,
    to: FilesOf,
    /// Who asks for each difference.
    asks: BTreeMap<Slug, &'a Asks>,
}

/// Why the files on a branch are not taken, whatever its gates say: they count as what runs.
pub(super) fn refusal(
    world: &World<'_>,
    input: &RingInput,
    slug: &Slug,
    at: &TenantAt,
    release: Option<ReleaseId>,
) -> Option<String> {
    let facts = world.facts.tenants.get(slug);
    let Some(tenant) = &at.files.tenant else {
        return Some(
            "its file has an error: it keeps the files that it ran last (`ringfence check` shows it)"
                .to_owned(),
        );
    };
    let id = at.files.files;
    if let Some(q) = facts.and_then(|f| f.quarantine.get(&id)) {
        return Some(format!(
            "its files failed ({}): it keeps those that ran last",
            q.reason
        ));
    }
    if let Some(why) = release.and_then(|r| input.misfits.get(&(slug.clone(), id, r))) {
        return Some(format!("its files are not taken yet: {}", why.join("; ")));
    }
    if tenant.state != TenantState::Running && !input.is_readable() {
        return Some(
            "its stop waits: nothing is removed while tenant files of its ring have errors".to_owned(),
        );
    }
    None
}

/// The files that a tenant has: those asked for last, unless they failed.
pub(super) fn has(facts: &TenantFacts) -> Option<FilesId> {
    facts.last().map(|(_, files)| files.id)
}

impl<'a> Change<'a> {
    /// From what the ring's tenants have to what its branch says, as far as that fits a release.
    pub(super) fn of(
        world: &World<'a>,
        ring: &RingName,
        input: &'a RingInput,
        claims: &Claims<'a>,
        release: Option<ReleaseId>,
    ) -> Self {
        let mut change = Self::default();
        for (slug, facts) in world.facts.tenants.iter().filter(|(_, f)| f.ring == *ring) {
            if let Some(files) = has(facts) {
                change.from.insert(slug.clone(), files);
            }
        }
        change.to.clone_from(&change.from);
        let held = |slug: &Slug| world.is_held(ring, slug);
        for slug in claims.slugs().filter(|slug| !held(slug)) {
            let facts = world.facts.tenants.get(slug);
            let mine = claims.all(slug).iter().find(|(name, _)| *name == ring);
            let Some((_, at)) = mine.filter(|_| claims.chosen(slug, facts).is_some_and(|(c, _)| c == ring))
            else {
                continue;
            };
            let stopped = at
                .files
                .tenant
                .as_ref()
                .is_some_and(|t| t.state != TenantState::Running);
            let nothing_to_stop = stopped && facts.is_none();
            let new = change.from.get(slug) != Some(&at.files.files);
            if new && !nothing_to_stop && refusal(world, input, slug, at, release).is_none() {
                change.to.insert(slug.clone(), at.files.files);
                change.asks.insert(slug.clone(), &at.asks);
            }
        }
        if input.is_readable() {
            for (slug, asks) in input.gone.iter().filter(|(slug, _)| !held(slug)) {
                if change.to.remove(slug).is_some() {
                    change.asks.insert(slug.clone(), asks);
                }
            }
        }
        change
    }

    /// Only what differs for some tenants.
    pub(super) fn only(&self, slugs: &BTreeSet<Slug>) -> Self {
        let mut to = self.from.clone();
        for slug in slugs {
            match self.to.get(slug) {
                Some(files) => drop(to.insert(slug.clone(), *files)),
                None => drop(to.remove(slug)),
            }
        }
        let asks = self.asks.iter().filter(|(slug, _)| slugs.contains(*slug));
        Self {
            from: self.from.clone(),
            to,
            asks: asks.map(|(slug, asks)| (slug.clone(), *asks)).collect(),
        }
    }

    /// What each tenant runs (`ten-`).
    pub(super) fn from(&self) -> FilesId {
        files_of_ring(&self.from)
    }

    /// What each would run.
    pub(super) fn to(&self) -> FilesId {
        files_of_ring(&self.to)
    }

    /// The files that each tenant would have.
    pub(super) fn after(&self) -> &BTreeMap<Slug, FilesId> {
        &self.to
    }

    /// The files that each tenant has.
    pub(super) fn before(&self) -> &BTreeMap<Slug, FilesId> {
        &self.from
    }

    /// The tenants for which it is a change, and who asks for it.
    pub(super) fn asks(&self) -> &BTreeMap<Slug, &'a Asks> {
        &self.asks
    }

    /// What each of them shall have; none: it leaves.
    pub(super) fn takes(&self) -> BTreeMap<Slug, Option<FilesId>> {
        let changed = self.asks.keys();
        changed
            .map(|slug| (slug.clone(), self.to.get(slug).copied()))
            .collect()
    }

    /// The newest commit that changed a file that differs.
    pub(super) fn request(&self) -> Option<&'a CommitId> {
        let newest = self.asks.values().min_by_key(|asks| asks.age);
        newest.map(|asks| &asks.request)
    }

    /// Who stands behind all of it.
    pub(super) fn behind(&self) -> Behind {
        let mut all = Behind::default();
        for asks in self.asks.values() {
            all.join(&asks.behind);
        }
        all
    }
}
