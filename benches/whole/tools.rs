//! The same work by each tool.

use std::time::{Duration, SystemTime};

use crate::Bench;
use crate::compose::{self, Compose, Project};
use crate::engine::Events;
use crate::fleet::{self, Fleet};
use crate::run::Cost;
use crate::shape::Shape;

/// Work with nothing to do, as often as one likes.
pub const NOTHING: &str = "nothing to do";
/// The same where nothing was left by the `apply` before.
pub const WHOLE: &str = "whole pass";
/// So many passes with nothing to do.
const IDLE_PASSES: usize = 5;
/// Engine calls at once that the floor is tried with.
const AT_ONCE: [usize; 4] = [2, 4, 8, 16];

/// The concurrency at which the engine is fastest, tried on at most 50 containers.
pub async fn best_concurrency(bench: &mut Bench) -> usize {
    let largest = bench.options.sizes.iter().copied().max().unwrap_or(10);
    let small = Shape::of(largest.min(50));
    let mut best = (Duration::MAX, 4);
    for at_once in AT_ONCE {
        let took = bench.engine.floor(small, at_once).await;
        bench.engine.clear_floor(at_once).await;
        bench.results.add(
            small.containers(),
            "floor",
            &format!("nothing to all, {at_once} at once"),
            took.as_secs_f64(),
        );
        best = best.min((took, at_once));
    }
    best.1
}

pub async fn floor(bench: &mut Bench, shape: Shape, at_once: usize) {
    let size = shape.containers();
    let took = bench.engine.floor(shape, at_once).await;
    bench
        .results
        .add(size, "floor", "nothing to all", took.as_secs_f64());
    let took = bench.engine.clear_floor(at_once).await;
    bench.results.add(size, "floor", "teardown", took.as_secs_f64());
}

pub async fn ringfence(bench: &mut Bench, shape: Shape) {
    let size = shape.containers();
    let fleet = Fleet::new(bench.dir.path(), shape);
    let host = bench.host.clone();
    let tool = "ringfence";
    let events = bench.engine.events(fleet::LABEL);
    let cost = fleet.apply(&host, &[]);
    started(bench, &events, (tool, "nothing to all", size), cost, size).await;
    for _ in 0..IDLE_PASSES {
        fleet.forget_quiet();
        no_op(bench, tool, size, WHOLE, fleet.apply(&host, &[]));
    }
    fleet.at_rest(&host);
    for _ in 0..IDLE_PASSES {
        no_op(bench, tool, size, NOTHING, fleet.apply(&host, &[]));
    }
    bench.proxy.take();
    fleet.apply(&bench.proxy.address(), &[]);
    calls(bench, tool, size);
    fleet.change(0, 2);
    let events = bench.engine.events(fleet::LABEL);
    let cost = fleet.apply(&host, &[]);
    started(bench, &events, (tool, "one variable", size), cost, 1).await;
    let name = format!("s0.t0-x.{}", fleet::instance());
    remove_one(bench, fleet::LABEL, &name).await;
    let events = bench.engine.events(fleet::LABEL);
    let cost = fleet.apply(&host, &[]);
    started(bench, &events, (tool, "one removed by hand", size), cost, 1).await;
    fleet.drop_service();
    let cost = fleet.apply(&host, &["--prune"]);
    bench
        .results
        .add(size, tool, "a tenth goes", cost.wall.as_secs_f64());
    fleet.erase();
    let cost = fleet.apply(&host, &["--prune"]);
    bench.results.add(size, tool, "teardown", cost.wall.as_secs_f64());
    bench.engine.clear(fleet::LABEL, 4).await;
    bench.engine.release(&fleet::instance()).await;
}

pub async fn compose(bench: &mut Bench, compose: &Compose, shape: Shape) {
    let size = shape.containers();
    let host = bench.host.clone();
    let tool = "compose";
    let mut project = Project {
        shape,
        version: 1,
        pruned: false,
    };
    compose.write(project);
    let events = bench.engine.events(compose::LABEL);
    let cost = compose.up(&host);
    started(bench, &events, (tool, "nothing to all", size), cost, size).await;
    for _ in 0..IDLE_PASSES {
        let cost = compose.up(&host);
        // It leaves nothing to the next one.
        no_op(bench, tool, size, WHOLE, cost);
        no_op(bench, tool, size, NOTHING, cost);
    }
    bench.proxy.take();
    compose.up(&bench.proxy.address());
    calls(bench, tool, size);
    project.version = 2;
    compose.write(project);
    let events = bench.engine.events(compose::LABEL);
    let cost = compose.up(&host);
    started(bench, &events, (tool, "one variable", size), cost, 1).await;
    remove_one(bench, compose::LABEL, &format!("{}-t0-s0-1", compose::PROJECT)).await;
    let events = bench.engine.events(compose::LABEL);
    let cost = compose.up(&host);
    started(bench, &events, (tool, "one removed by hand", size), cost, 1).await;
    project.pruned = true;
    compose.write(project);
    let cost = compose.up(&host);
    bench
        .results
        .add(size, tool, "a tenth goes", cost.wall.as_secs_f64());
    let cost = compose.down(&host);
    bench.results.add(size, tool, "teardown", cost.wall.as_secs_f64());
}

/// From the command's start to the last of `starts` containers'.
async fn started(bench: &mut Bench, events: &Events, work: (&str, &str, usize), cost: Cost, starts: usize) {
    let (tool, work, size) = work;
    let last = events.nth("start", starts).await;
    bench.results.add(size, tool, work, since(cost.began, last));
    bench
        .results
        .add(size, tool, &format!("{work}, command"), cost.wall.as_secs_f64());
    bench
        .results
        .add(size, tool, &format!("{work}, CPU"), cost.cpu.as_secs_f64());
}

fn no_op(bench: &mut Bench, tool: &str, size: usize, work: &str, cost: Cost) {
    bench.results.add(size, tool, work, cost.wall.as_secs_f64());
    bench
        .results
        .add(size, tool, &format!("{work}, CPU"), cost.cpu.as_secs_f64());
    let mib = f64::from(u32::try_from(cost.peak).unwrap_or(u32::MAX)) / 1024.0;
    bench.results.add(size, tool, &format!("{work}, peak MiB"), mib);
}

fn calls(bench: &mut Bench, tool: &str, size: usize) {
    let calls = bench.proxy.take();
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    for call in calls.iter().take(12) {
        println!(
            "       {} {}",
            call.method,
            call.path.split('?').next().unwrap_or_default()
        );
    }
    let changing = calls.iter().filter(|c| c.changes()).count();
    bench
        .results
        .add(size, tool, "nothing to do, calls", count(calls.len()));
    bench
        .results
        .add(size, tool, "nothing to do, changing calls", count(changing));
}

async fn remove_one(bench: &Bench, label: &str, name: &str) {
    let containers = bench.engine.containers(label).await;
    let found = containers.iter().find(|(_, n)| n.eq_ignore_ascii_case(name));
    let (id, _) = found.unwrap_or_else(|| panic!("no container {name}"));
    bench.engine.remove(id).await;
}

pub fn since(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
