//! Every step crashes once: the binary is killed at each call that changes something on the engine, before the call is
//! carried out, when it is done but not acknowledged, and when it is acknowledged but not recorded; and at each call that
//! reads. The next start comes to the end that it would have come to without. The same with lists that are out of date
//! and with events that nobody hears; a promotion sees the engine as every change does, and only crashes.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use simulated_engine::{Fault, Hold, Moment};

use super::flows::{FLOWS, Flow, PROMOTIONS, Stage, each, tell};

const PHASES: [(Moment, &str); 3] = [
    (Moment::Before, "before"),
    (Moment::Done, "done, not acknowledged"),
    (Moment::Answered, "acknowledged, not recorded"),
];
/// A run that takes longer hangs.
const LONGEST_RUN: Duration = Duration::from_secs(60);

impl Stage {
    /// Kills the binary at the `n`th call that changes something (or that reads); false if there is none. Then starts it
    /// again.
    fn crash(&mut self, n: usize, changes: bool, moment: Moment, phase: &str) -> bool {
        self.reset();
        let hold = Hold::new(moment);
        let ledger: Arc<Mutex<Option<Connection>>> = Arc::default();
        let (mut met, there, lock) = (0, hold.clone(), Arc::clone(&ledger));
        let path = self.fleet.state().join("ledger.sqlite");
        self.fleet.engine.script(move |call| {
            let hit = call.changes() == changes && met == n;
            met += usize::from(call.changes() == changes);
            if hit && moment == Moment::Answered {
                // Whoever holds the ledger lets nobody record that the call was acknowledged.
                *lock.lock().unwrap() = Some(locked(&path));
            }
            hit.then(|| Fault::Hold(there.clone()))
        });
        let mut child = self
            .fleet
            .command(self.flow.verb)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let limit = Instant::now() + LONGEST_RUN;
        let reached = loop {
            if hold.wait(Duration::from_millis(10)) {
                break true;
            }
            if child.try_wait().unwrap().is_some() {
                break hold.is_reached();
            }
            assert!(Instant::now() < limit, "{}: a run hangs at {n}", self.flow.name);
        };
        child.kill().unwrap();
        child.wait().unwrap();
        ledger.lock().unwrap().take();
        hold.release();
        let calls = self.fleet.engine.calls();
        let at = calls.iter().filter(|call| call.changes() == changes).nth(n);
        let at = at.map(ToString::to_string).unwrap_or_default();
        if reached {
            self.fleet.engine.no_faults();
            let codes = [self.flow.code, self.flow.after];
            self.check(&format!("killed at {n} ({at}), {phase}"), &codes);
        }
        reached
    }

    /// The `n`th list of containers is as it was before the last change; false if there is none.
    fn stale(&mut self, n: usize) -> bool {
        self.reset();
        self.fleet.engine.with(|world| world.remember(true));
        let met = Arc::new(Mutex::new(0));
        let counts = Arc::clone(&met);
        self.fleet.engine.script(move |call| {
            let list = call.is("GET /containers/json");
            let mut met = counts.lock().unwrap();
            *met += usize::from(list);
            (list && *met == n + 1).then_some(Fault::Stale)
        });
        self.check(&format!("list {n} is out of date"), &[self.flow.code]);
        *met.lock().unwrap() > n
    }

    /// The `n`th event is not told; false if there is none.
    fn missed(&mut self, n: usize) -> bool {
        self.reset();
        let met = Arc::new(Mutex::new(0));
        let counts = Arc::clone(&met);
        self.fleet.engine.with(|world| {
            world.drop_events(move |_| {
                let mut met = counts.lock().unwrap();
                *met += 1;
                *met == n + 1
            });
        });
        self.check(&format!("event {n} is not told"), &[self.flow.code]);
        *met.lock().unwrap() > n
    }
}

/// A connection that holds the ledger for writing.
fn locked(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

/// Counts, and what failed.
fn all_of(flow: &'static Flow) -> (String, usize, Vec<String>) {
    let begin = Instant::now();
    let mut stage = Stage::new(flow, "cr");
    let mut counts = Vec::new();
    for (moment, phase) in PHASES {
        counts.push(each(|n| stage.crash(n, true, moment, phase)));
    }
    counts.push(each(|n| stage.crash(n, false, Moment::Before, "at a read")));
    let (mut stales, mut missed) = (0, 0);
    if !PROMOTIONS.iter().any(|other| other.name == flow.name) {
        stales = each(|n| stage.stale(n));
        missed = each(|n| stage.missed(n));
    }
    let crashes: usize = counts.iter().sum();
    let line = format!(
        "  {:<22} {} changes × {} phases + {} reads = {crashes} crashes, {stales} stale lists, {missed} missed events, {:.1} s",
        flow.name,
        counts[0],
        PHASES.len(),
        counts[PHASES.len()],
        begin.elapsed().as_secs_f32()
    );
    (line, crashes + stales + missed, stage.failures)
}

#[test]
fn every_step_crashes_once_and_the_end_is_the_same() {
    let results: Vec<_> = std::thread::scope(|scope| {
        let flows: Vec<_> = FLOWS
            .iter()
            .chain(&PROMOTIONS)
            .map(|flow| scope.spawn(move || all_of(flow)))
            .collect();
        flows.into_iter().map(|flow| flow.join().unwrap()).collect()
    });
    let lines: Vec<_> = results.iter().map(|(line, ..)| line.as_str()).collect();
    let total: usize = results.iter().map(|(_, count, _)| count).sum();
    let failures: Vec<_> = results
        .iter()
        .flat_map(|(.., failures)| failures.clone())
        .collect();
    let text = format!(
        "every step crashes once: {} flows, {total} disturbances\n{}\n",
        lines.len(),
        lines.join("\n")
    );
    tell(&text);
    assert!(
        failures.is_empty(),
        "{} of {total} failed\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}
