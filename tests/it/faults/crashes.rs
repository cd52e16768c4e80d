//! Every step crashes once: the binary is killed at each call that changes something on the engine, before the call is
//! carried out, when it is done but not acknowledged, and when it is acknowledged but not recorded; and at each call that
//! reads. The next start comes to the end that it would have come to without, also where its first list is out of date
//! ([`AFTER_A_STALE_LIST`]). The same without a crash with lists that are out of date and with events that nobody hears; a
//! promotion sees the engine as every change does, and only crashes.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use simulated_engine::{Fault, Hold, Moment};

use super::flows::{FLOWS, Flow, PROMOTIONS, Stage, each, each_that, tell};
use super::stale::LISTS;

/// The flows after whose kills (before a change, and when it is done) the next process also begins with a list from before
/// the last change: the killed one's call may still be on its way. One such case for each kill, with the one list that tells
/// that change, in the flows in which containers and networks come, change and go.
const AFTER_A_STALE_LIST: [&str; 3] = ["create", "replace", "remove"];
const PHASES: [(Moment, &str); 3] = [
    (Moment::Before, "before"),
    (Moment::Done, "done, not acknowledged"),
    (Moment::Answered, "acknowledged, not recorded"),
];
/// A run that takes longer hangs.
const LONGEST_RUN: Duration = Duration::from_secs(60);

impl Stage {
    /// Kills the binary at the `n`th call that changes something (or that reads), and says which call that was; none if there
    /// is no such.
    pub fn kill(&self, n: usize, changes: bool, moment: Moment) -> Option<String> {
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
        self.fleet.engine.no_faults();
        let calls = self.fleet.engine.calls();
        let at = calls.iter().filter(|call| call.changes() == changes).nth(n);
        reached.then(|| at.map(ToString::to_string).unwrap_or_default())
    }

    /// A crash, and the next start; false if there is no such call.
    fn crash(&mut self, n: usize, changes: bool, moment: Moment, phase: &str) -> bool {
        self.reset();
        let Some(at) = self.kill(n, changes, moment) else {
            return false;
        };
        let codes = [self.flow.code, self.flow.after];
        self.check(&format!("killed at {n} ({at}), {phase}"), &codes);
        true
    }

    /// A crash at the `n`th change, after which the first list that tells the last change is as it was before that one. None
    /// if there is no such call; false if nothing was changed before, so that no list is out of date.
    fn crash_then_stale(&mut self, n: usize, moment: Moment, phase: &str) -> Option<bool> {
        self.reset();
        self.fleet.engine.with(|world| world.remember(true));
        let at = self.kill(n, true, moment)?;
        let Some(list) = self.fleet.engine.with(|world| world.last_changed()) else {
            return Some(false);
        };
        self.stale_at(list, 0);
        let codes = [self.flow.code, self.flow.after];
        let what = format!("killed at {n} ({at}), {phase}, then the first list of {list} is out of date");
        self.check(&what, &codes);
        Some(true)
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
    let mut after = 0;
    if AFTER_A_STALE_LIST.contains(&flow.name) {
        for (moment, phase) in &PHASES[..2] {
            after += each_that(|n| stage.crash_then_stale(n, *moment, phase));
        }
    }
    let (mut stales, mut missed) = ([0; LISTS.len()], 0);
    if !PROMOTIONS.iter().any(|other| other.name == flow.name) {
        stales = LISTS.map(|list| each_that(|n| stage.stale(list, n)));
        missed = each(|n| stage.missed(n));
    }
    let crashes: usize = counts.iter().sum();
    let [containers, networks, volumes] = stales;
    let line = format!(
        "  {:<22} {} changes × {} phases + {} reads = {crashes} crashes, {after} with a stale list after, stale lists: \
         {containers} of containers, {networks} of networks, {volumes} of volumes, {missed} missed events, {:.1} s",
        flow.name,
        counts[0],
        PHASES.len(),
        counts[PHASES.len()],
        begin.elapsed().as_secs_f32()
    );
    let total = crashes + after + stales.iter().sum::<usize>() + missed;
    (line, total, stage.failures)
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
