//! What is remembered of long ago and needed by nobody goes: else each replacement would make the ledger larger, and every
//! start slower.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Controller, ControllerError};
use crate::decide::facts::Facts;
use crate::fleet::names::{ReleaseId, SpecHash};

/// So many passes from one tidying to the next; the first pass of a process is followed by one, if it changes anything.
const EVERY: u64 = 500;
/// So many steps stay in the ledger for a look.
const STEPS: u32 = 20_000;
/// So many of the newest releases can be gone back to, beside those that anything still speaks of.
const RELEASES: u32 = 100;
/// A name that was written down and is nowhere may be a call under way: it stays for so long.
const NAMES: SignedDuration = SignedDuration::from_hours(24);

impl Controller {
    /// Tidies up, now and then, after a pass that read everything.
    pub(super) fn tidy(&self, now: Timestamp) -> Result<(), ControllerError> {
        let idle = !self.parts.daemon && self.last.plan.is_empty();
        if self.pass % EVERY != 1 || idle {
            return Ok(());
        }
        let store = &self.parts.store;
        store.forget_old_steps(STEPS)?;
        let facts = store.facts()?;
        store.forget_containers(now - NAMES, &self.specs_in_use(&facts))?;
        for release in store.forget_releases(RELEASES, &releases_in_use(&facts))? {
            self.parts.books.let_go(&format!("release/{}", release.0.short()));
        }
        let facts = store.facts()?;
        store.forget_proofs(|release| !facts.releases.contains_key(release))?;
        Ok(())
    }

    fn specs_in_use(&self, facts: &Facts) -> BTreeSet<SpecHash> {
        let seen = self.last.seen.containers.iter().filter_map(|c| c.spec);
        let wanted = self.last.wanted.services.values().map(|o| o.hash);
        seen.chain(wanted)
            .chain(facts.good_specs.values().copied())
            .collect()
    }
}

fn releases_in_use(facts: &Facts) -> BTreeSet<ReleaseId> {
    let rings = facts.rings.values().flat_map(|ring| {
        let moving = ring.moving.as_ref().map(|m| m.to);
        let at = [ring.running, ring.previous, moving].into_iter().flatten();
        at.chain(ring.quarantine.keys().copied())
    });
    let tenants = facts.tenants.values().flat_map(|tenant| {
        [&tenant.good, &tenant.asked]
            .into_iter()
            .flatten()
            .map(|(release, _)| *release)
    });
    rings.chain(tenants).collect()
}
