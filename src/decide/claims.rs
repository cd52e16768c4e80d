//! Which rings' branches have a file of which tenant.

use std::collections::BTreeMap;

use super::facts::TenantFacts;
use super::{RingInput, TenantAt, World};
use crate::fleet::names::{RingName, Slug};

/// A ring, and the files that its branch has of a tenant.
pub(super) type Claim<'a> = (&'a RingName, &'a TenantAt);

/// Slug → rings whose branch has a file for it, in the order of the rings.
pub(super) struct Claims<'a>(BTreeMap<Slug, Vec<Claim<'a>>>);

impl<'a> Claims<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let mut claims = Self(BTreeMap::new());
        for ring in &world.policy.rings.0 {
            for (name, at) in world.rings.get(&ring.name).into_iter().flat_map(|i| &i.tenants) {
                if let Ok(slug) = name.parse::<Slug>() {
                    claims.0.entry(slug).or_default().push((&ring.name, at));
                }
            }
        }
        claims
    }

    pub(super) fn slugs(&self) -> impl Iterator<Item = &Slug> {
        self.0.keys()
    }

    /// All who claim a slug.
    pub(super) fn all(&self, slug: &Slug) -> &[Claim<'a>] {
        self.0.get(slug).map_or(&[][..], Vec::as_slice)
    }

    /// If two rings claim one slug, the one that runs it keeps it.
    pub(super) fn chosen(&self, slug: &Slug, facts: Option<&TenantFacts>) -> Option<Claim<'a>> {
        let all = self.all(slug);
        let keeps = all
            .iter()
            .find(|(ring, _)| facts.is_some_and(|f| f.ring == **ring));
        keeps.or_else(|| all.first()).copied()
    }
}

impl RingInput {
    /// Whether the branch says all that it has to say about the ring's tenants.
    pub(super) fn is_readable(&self) -> bool {
        self.tip.is_some() && !self.unread && self.tenant_errors.is_empty()
    }
}
