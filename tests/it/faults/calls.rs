//! Every call fails once, in each way that a call can fail: refused, lost before it was carried out, lost after, cut short,
//! answered with what is no answer. It comes to the end that it would have come to without, by itself where a change
//! failed, and with the next run where a look did.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use simulated_engine::Fault;

use super::flows::{FLOWS, Flow, PROMOTIONS, Stage, conclude, each};

const WAYS: [&str; 6] = [
    "refused",
    "lost",
    "its reply is lost",
    "cut short",
    "a page",
    "another type",
];

fn fault(way: &str) -> Fault {
    match way {
        "refused" => Fault::Refuse(500, "chaos".to_owned()),
        "lost" => Fault::LoseRequest,
        "its reply is lost" => Fault::LoseReply,
        "cut short" => Fault::Truncate,
        "a page" => Fault::Garble("<html>a proxy's page</html>".to_owned()),
        _ => Fault::Garble("null".to_owned()),
    }
}

impl Stage {
    /// The `n`th change (or read) fails in this way, once; false if there is none.
    fn fails(&mut self, n: usize, changes: bool, way: &'static str) -> bool {
        self.reset();
        let met = Arc::new(Mutex::new((0, String::new())));
        let counts = Arc::clone(&met);
        self.fleet.engine.script(move |call| {
            if call.changes() != changes {
                return None;
            }
            let mut met = counts.lock().unwrap();
            met.0 += 1;
            (met.0 == n + 1).then(|| {
                met.1 = call.to_string();
                fault(way)
            })
        });
        // A look that fails ends `apply`, or leaves the ring waiting; and so does the question who holds the instance.
        let ends = !changes || self.flow.name == "create" && n == 0;
        let codes = if ends {
            vec![self.flow.code, 1, 4]
        } else {
            vec![self.flow.code]
        };
        self.check(
            &format!("{} {n}, {way}", if changes { "change" } else { "read" }),
            &codes,
        );
        let (met, what) = met.lock().unwrap().clone();
        for failure in self
            .failures
            .iter_mut()
            .filter(|f| f.contains(&format!(" {n}, {way}:")))
        {
            failure.push_str(&format!("\n({what})"));
        }
        met > n
    }
}

/// Every change of each flow in the two ways that say the most, of a replacement in all; and every read of that.
fn rounds() -> Vec<(&'static Flow, bool, &'static str)> {
    let mut rounds = Vec::new();
    for flow in FLOWS.iter().chain(&PROMOTIONS) {
        let ways = if flow.name == "replace" {
            &WAYS[..]
        } else {
            &["refused", "its reply is lost"]
        };
        rounds.extend(ways.iter().map(|way| (flow, true, *way)));
        if flow.name == "replace" {
            rounds.extend(["refused", "cut short", "another type"].map(|way| (flow, false, way)));
        }
    }
    rounds
}

#[test]
fn every_call_fails_once_and_the_end_is_the_same() {
    let begin = Instant::now();
    let results: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let rounds: Vec<_> = rounds()
            .into_iter()
            .enumerate()
            .map(|(at, (flow, changes, way))| {
                scope.spawn(move || {
                    let mut stage = Stage::new(flow, &format!("ca{at}"));
                    (each(|n| stage.fails(n, changes, way)), stage.failures)
                })
            })
            .collect();
        rounds.into_iter().map(|round| round.join().unwrap()).collect()
    });
    conclude("every call fails once", "failures", results, begin);
}
