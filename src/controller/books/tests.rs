//! The control branch, and what stands on it, with real repositories and keys.

mod policy;
mod records;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::controller::accept::accept;
use crate::decide::facts::Facts;
use crate::decide::records::Records;
use crate::git::fixture::Fixture;
use crate::store::Store;

const RINGS: &str = "rings:\n  dev: {id: 0, auto_deploy: true}\n  prod: {id: 1, approvals: {required: 1, exclude: [authors]}}\n";
const RINGS_FILE: &str = "rings/rings.yaml";
const PEOPLE: &str = "rings/principals.yaml";

/// A fleet with keys, and the ledger that keeps it.
struct Desk {
    f: Fixture,
    store: Store,
    books: Books,
    ledgers: usize,
    now: Timestamp,
    people: BTreeMap<&'static str, String>,
}

impl Desk {
    /// Without keys, and with nothing accepted yet.
    fn solo() -> Self {
        let f = Fixture::new();
        f.write(RINGS_FILE, RINGS);
        f.write(
            "desired/tenants/acme.yaml",
            "slug: acme\nring: prod\nplan_tier: starter\n",
        );
        f.commit("ringfence.yaml", "fleet: aither\n");
        let books = books(&f);
        Self {
            store: ledger(&f, 0),
            f,
            books,
            ledgers: 0,
            now: "2026-11-22T10:00:00Z".parse().unwrap(),
            people: BTreeMap::new(),
        }
    }

    /// Ana and Ben own it, Cleo is a human too, Atlas an agent. Its first head is accepted.
    fn signed() -> Self {
        let mut desk = Self::solo();
        for name in ["ana", "ben", "cleo", "atlas"] {
            let line = desk.f.key(name, &["ed25519"]);
            desk.people.insert(name, line);
        }
        desk.f.commit(
            PEOPLE,
            desk.principals("owners: {members: [ana, ben], required: 1}\n"),
        );
        desk.pass();
        desk
    }

    fn principals(&self, more: &str) -> String {
        let mut text = "principals:\n".to_owned();
        for (name, line) in &self.people {
            let kind = if *name == "atlas" { "agent" } else { "human" };
            text +=
                &format!("  {name}: {{kind: {kind}, emails: [{name}@example.org], keys: [\"{line}\"]}}\n");
        }
        text + more
    }

    /// A commit that somebody signs.
    fn by(&self, name: &str, path: &str, text: &str) -> CommitId {
        self.f.write(path, text);
        self.commit_by(name, "a change")
    }

    /// What lies in the work tree, signed by somebody.
    fn commit_by(&self, name: &str, message: &str) -> CommitId {
        self.f.git(&["add", "--all"]);
        self.f
            .git_as(name, &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.f.head()
    }

    fn facts(&self) -> Facts {
        (*self.store.facts().unwrap()).clone()
    }

    /// What a pass that acts takes from the control branch.
    fn pass(&mut self) -> (Control, Records, Vec<String>) {
        self.asked(false, None, true)
    }

    /// A look writes nothing.
    fn look(&mut self) -> (Control, Records, Vec<String>) {
        self.asked(false, None, false)
    }

    fn asked(
        &mut self,
        person: bool,
        accepts: Option<&CommitId>,
        act: bool,
    ) -> (Control, Records, Vec<String>) {
        self.books.begin_pass();
        let facts = self.facts();
        let mut seen = Seen::new(&facts, self.now);
        let branches = self.books.branches().unwrap();
        let asked = Asked {
            facts: &facts,
            person,
            accept: accepts,
            trust: None,
        };
        let control = self.books.control(&branches, &asked, &mut seen).unwrap();
        let policy = control.policy.clone().expect("a policy without errors");
        if act {
            accept(&self.books, &self.store, &control, self.now).unwrap();
        }
        let (records, unread) = self.books.records(&control, &policy, &mut seen);
        if act {
            self.store.saw(&seen.new_ones()).unwrap();
        }
        (control, records, unread)
    }

    /// The ledger is lost, and with it the process.
    fn lose_ledger(&mut self) {
        self.ledgers += 1;
        self.store = ledger(&self.f, self.ledgers);
        self.books = books(&self.f);
    }

    /// Whether an approval was asked for in prod: by the policy in force.
    fn quorum(control: &Control) -> u32 {
        let policy = control.policy.as_ref().unwrap();
        policy
            .rings
            .get("prod")
            .unwrap()
            .approvals
            .as_ref()
            .map_or(0, |a| a.required)
    }

    fn later(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
    }
}

fn ledger(f: &Fixture, n: usize) -> Store {
    Store::open(&f.path(&format!("ledger-{n}.sqlite"))).unwrap()
}

fn books(f: &Fixture) -> Books {
    Books::new(f.repo(), None, "main".to_owned(), "aither".parse().unwrap())
}

fn has(conditions: &[String], text: &str) -> bool {
    conditions.iter().any(|c| c.contains(text))
}

#[test]
fn only_an_error_in_policy_spoils_the_policy() {
    let errors_with = |path: &str| {
        let rings = ("rings/rings.yaml", "rings: {dev: {id: 0}}\n");
        let read = fleet::policy(&Tree::of_files([rings, (path, "verdict: {")]), "x");
        assert!(read.findings.has_errors(), "{path}");
        has_policy_errors(&read)
    };
    assert!(!errors_with("rings/approvals/dev/4b1d00aa.rel.ana.yaml"));
    assert!(!errors_with("rings/waivers/dev/4b1d00aa.rel.soak.ana.yaml"));
    assert!(!errors_with("rings/holds/dev.yaml"));
    assert!(errors_with("rings/principals.yaml"));
}
