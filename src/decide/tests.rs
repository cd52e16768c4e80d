//! Decisions from small worlds, one rule a test.

mod gates;
mod moves;
mod random;
mod releases;
mod resources;
mod search;
mod tenants;
mod waves;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::facts::{Facts, FilesRef, MoveUnderWay, Quarantine, RingFacts, TenantFacts};
use super::*;
use crate::digest::Digest;
use crate::fleet::names::{ContentId, RingName, Slug};
use crate::fleet::tenants::TenantFiles;
use crate::fleet::tree::Tree;

/// A world that tests change key by key. All rings have their branch; nothing is asked for and nothing runs.
#[derive(Clone)]
struct Room {
    policy: Policy,
    rings: BTreeMap<RingName, RingInput>,
    facts: Facts,
    records: Records,
    now: Timestamp,
    prune: BTreeSet<RingName>,
}

fn ring(name: &str) -> RingName {
    name.parse().unwrap()
}

fn slug(name: &str) -> Slug {
    name.parse().unwrap()
}

fn commit(n: u8) -> CommitId {
    format!("{n:040x}").parse().unwrap()
}

fn release(n: u8) -> Release {
    Release::new(ContentId(Digest::of("content", &n)), commit(n), BTreeMap::new())
}

fn rel(n: u8) -> ReleaseId {
    release(n).id
}

/// When the worlds are looked at.
const SATURDAY: &str = "2026-11-21T12:00:00Z";

fn policy_id(n: u8) -> PolicyId {
    PolicyId(Digest::of("policy", &n))
}

fn asks(n: u8) -> Asks {
    Asks {
        request: commit(n),
        age: 0,
        behind: Behind::default(),
        with: None,
    }
}

fn quarantine() -> Quarantine {
    Quarantine {
        reason: "web is unhealthy".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        request: commit(99),
    }
}

/// A tenant's files; `more` are further keys, or something that is no tenant at all.
fn files(name: &str, ring: &str, more: &str) -> Arc<TenantFiles> {
    let text = format!("slug: {name}\nring: {ring}\nplan_tier: starter\n{more}\n");
    let tree = Tree::of_files([(format!("desired/tenants/{name}.yaml"), text)]);
    let read = crate::fleet::tenants(&tree);
    Arc::new(read.tenants[name].clone())
}

fn files_ref(name: &str, ring: &str, more: &str) -> FilesRef {
    FilesRef {
        id: files(name, ring, more).files,
        commit: commit(1),
    }
}

impl Room {
    /// Rings in their order: name and further keys.
    fn new(rings: &[(&str, &str)]) -> Self {
        let mut text = "rings:\n".to_owned();
        for (id, (name, more)) in rings.iter().enumerate() {
            let comma = if more.is_empty() { "" } else { ", " };
            text += &format!("  {name}: {{id: {id}, branch: b-{name}{comma}{more}}}\n");
        }
        let tree = Tree::of_files([
            ("ringfence.yaml", "fleet: aither\n".to_owned()),
            ("rings/rings.yaml", text),
        ]);
        let read = crate::fleet::policy(&tree, "aither");
        let policy = read.policy.unwrap_or_else(|| panic!("{:?}", read.findings));
        let inputs = policy.rings.0.iter().map(|r| {
            let input = RingInput {
                branch: format!("b-{}", r.name),
                tip: Some(commit(50)),
                policy: Some(policy_id(1)),
                ..RingInput::default()
            };
            (r.name.clone(), input)
        });
        Self {
            rings: inputs.collect(),
            policy,
            facts: Facts::default(),
            records: Records::default(),
            now: SATURDAY.parse().unwrap(),
            prune: BTreeSet::new(),
        }
    }

    fn input(&mut self, name: &str) -> &mut RingInput {
        self.rings.get_mut(name).unwrap()
    }

    fn ring_facts(&mut self, name: &str) -> &mut RingFacts {
        self.facts.rings.entry(ring(name)).or_default()
    }

    /// A release is asked for; its request is its commit.
    fn asked(&mut self, name: &str, n: u8) -> &mut Self {
        self.facts.releases.insert(rel(n), release(n));
        self.input(name).candidate = Some(Candidate {
            commit: commit(n),
            request: commit(n),
            pinned: false,
            behind: Behind::default(),
            release: Ok(release(n)),
        });
        self
    }

    /// The files that stand on a ring's branch fit no release.
    fn misfit(&mut self, of: &str, name: &str) -> &mut Self {
        let id = self.input(of).tenants[name].files.files;
        for n in 0..10 {
            let why = vec!["no stack is called `x`".to_owned()];
            self.input(of).misfits.insert((slug(name), id, rel(n)), why);
        }
        self
    }

    fn runs(&mut self, name: &str, n: u8) -> &mut Self {
        self.facts.releases.insert(rel(n), release(n));
        self.ring_facts(name).running = Some(rel(n));
        self
    }

    fn moves(&mut self, name: &str, n: u8) -> &mut Self {
        self.facts.releases.insert(rel(n), release(n));
        self.ring_facts(name).moving = Some(MoveUnderWay {
            to: rel(n),
            files: None,
            request: commit(n),
            since: Timestamp::UNIX_EPOCH,
            spent: BTreeSet::new(),
        });
        self
    }

    /// A tenant's file stands on a ring's branch.
    fn file(&mut self, of: &str, name: &str, more: &str) -> &mut Self {
        let at = TenantAt {
            files: files(name, of, more),
            commit: commit(50),
            asks: asks(49),
        };
        self.input(of).tenants.insert(name.to_owned(), at);
        self
    }

    /// A tenant was asked for a release with files, and ran healthy with them.
    fn has(&mut self, of: &str, name: &str, n: u8, more: &str) -> &mut Self {
        self.facts.releases.insert(rel(n), release(n));
        let pair = (rel(n), files_ref(name, of, more));
        let facts = TenantFacts {
            ring: ring(of),
            good: Some(pair.clone()),
            asked: Some(pair),
            quarantine: BTreeMap::new(),
        };
        self.facts.tenants.insert(slug(name), facts);
        self
    }

    fn decide(&self) -> Decision {
        let mut rings = self.rings.clone();
        for (slug, facts) in &self.facts.tenants {
            if let Some(input) = rings.get_mut(&facts.ring)
                && !input.tenants.contains_key(slug.as_str())
            {
                input.gone.insert(slug.clone(), asks(50));
            }
        }
        decide(&World {
            policy: &self.policy,
            rings: &rings,
            facts: &self.facts,
            records: &self.records,
            now: self.now,
            prune: &self.prune,
        })
    }
}

/// Task, ring, release and files of a tenant, in words that a test can compare.
fn tenant(decision: &Decision, name: &str) -> Option<(Task, String, Option<ReleaseId>, Option<FilesId>)> {
    let t = decision.tenants.get(name)?;
    Some((
        t.task,
        t.ring.to_string(),
        t.release,
        t.files.as_ref().map(|f| f.id),
    ))
}
