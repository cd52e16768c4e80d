//! `apply --adopt` is killed at each call, and what comes next is not `--adopt` again but a plain `apply`, or the daemon.
//! What was adopted stays so and is gone on with; where nothing was yet, nothing is changed and all of it is told. Neither
//! makes anything twice, touches what is not ours or loses a container that is to stay; `--adopt` again comes to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rusqlite::Connection;
use simulated_engine::{Container, Moment, State};

use super::flows::{FLOWS, Stage, conclude, each};

/// What follows the kill.
#[derive(Clone, Copy)]
enum Next {
    Apply,
    Run,
}

impl Stage {
    /// Kills `apply --adopt` at the `n`th call that changes something (or that reads); false if there is none.
    fn adopt_cut_short(&mut self, n: usize, changes: bool, next: Next) -> bool {
        self.reset();
        let moment = if changes { Moment::Done } else { Moment::Before };
        let Some(at) = self.kill(n, changes, moment) else {
            return false;
        };
        let (known, there, others) = (self.known(), self.fleet.all(), self.strangers());
        self.fleet.engine.forget_calls();
        let said = match next {
            Next::Apply => self.fleet.ringfence(&["apply"]).to_string(),
            Next::Run => self.looked_after(),
        };
        let what = match next {
            Next::Apply => format!("killed at {n} ({at}), then a plain apply"),
            Next::Run => format!("killed at {n} ({at}), then the daemon"),
        };
        for why in self.wrong_after(&known, &there) {
            self.failures.push(format!("adopt, {what}: {why}\n{said}"));
        }
        if others != self.strangers() {
            self.failures
                .push(format!("adopt, {what}: strangers were touched\n{said}"));
        }
        self.check(&format!("{what}, then --adopt"), &[self.flow.code]);
        true
    }

    /// The daemon, until it has nothing more to do or waits for a person; what it said.
    fn looked_after(&self) -> String {
        let daemon = self.fleet.daemon();
        self.fleet
            .eventually("all is done, or left to a person", |fleet| {
                fleet.synced("dev") || left_to_a_person(&fleet.status().to_string())
            });
        let said = self.fleet.status().to_string();
        assert_eq!(daemon.stop(), 0);
        said
    }

    /// Names that the ledger has as ours.
    fn known(&self) -> BTreeSet<String> {
        let Ok(db) = Connection::open(self.fleet.state().join("ledger.sqlite")) else {
            return BTreeSet::new();
        };
        // A ledger that was not made yet knows nothing.
        let Ok(mut rows) = db.prepare("SELECT name FROM objects") else {
            return BTreeSet::new();
        };
        let rows = rows.query_map((), |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn strangers(&self) -> Vec<Container> {
        let world = self.fleet.engine.snapshot();
        let ours = |c: &&Container| c.labels.get("dev.ringfence.instance") == Some(&self.fleet.instance);
        world.containers.values().filter(|c| !ours(c)).cloned().collect()
    }

    /// What should not be, after what followed the kill. `known`: what was adopted by then; `there`: what ran.
    fn wrong_after(&self, known: &BTreeSet<String>, there: &BTreeMap<String, Container>) -> Vec<String> {
        let mut wrong = Vec::new();
        let forgotten: Vec<_> = known.difference(&self.known()).cloned().collect();
        if !forgotten.is_empty() {
            wrong.push(format!("adopted no more: {forgotten:?}"));
        }
        let now = self.fleet.all();
        // Of a service that is not replaced the very container stays; of each one runs.
        for service in ["db", "bus"] {
            let ids = |all: &BTreeMap<String, Container>| -> Vec<_> {
                let of = all
                    .values()
                    .filter(|c| c.name.starts_with(&format!("{service}.")));
                of.map(|c| (c.id.clone(), c.started)).collect()
            };
            if ids(there) != ids(&now) {
                wrong.push(format!("{service} is another: {:?}", now.keys()));
            }
        }
        let agents = now
            .values()
            .filter(|c| c.name.starts_with("agent.") && c.state == State::Running);
        let agents: Vec<_> = agents.map(|c| c.name.as_str()).collect();
        if agents.len() != 1 {
            wrong.push(format!("not one agent runs: {agents:?}"));
        }
        // Adoption comes at once or not at all: what was not taken as ours is not changed, and told.
        let adopted = known.iter().any(|name| name.starts_with("agent."));
        let told = left_to_a_person(&self.fleet.status().to_string());
        let changed = self.fleet.changed();
        if !adopted && !changed.is_empty() {
            wrong.push(format!("what nobody adopted is changed: {changed:?}"));
        }
        if adopted == told {
            wrong.push(format!("adopted: {adopted}, left to a person: {told}"));
        }
        wrong
    }
}

/// Whether a status says that the agent is left alone until a person adopts it.
fn left_to_a_person(status: &str) -> bool {
    let mut sentences = status.split('"');
    sentences.any(|said| said.contains("`ringfence apply") && said.contains("--adopt`"))
}

#[test]
fn an_adoption_that_is_cut_short_is_gone_on_with_or_told() {
    let begin = Instant::now();
    let flow = FLOWS.iter().find(|flow| flow.name == "adopt").unwrap();
    let results: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let rounds = [Next::Apply, Next::Run].map(|next| {
            scope.spawn(move || {
                let mut stage = Stage::new(flow, &format!("ad{}", next as u8));
                let changes = each(|n| stage.adopt_cut_short(n, true, next));
                let reads = each(|n| stage.adopt_cut_short(n, false, next));
                (changes + reads, stage.failures)
            })
        });
        rounds.map(|round| round.join().unwrap()).into()
    });
    conclude("an adoption is cut short", "crashes", results, begin);
}
