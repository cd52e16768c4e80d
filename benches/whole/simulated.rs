//! Ten thousand containers, on an engine that only keeps state: what a pass costs where the engine costs nothing.

use std::path::Path;

use simulated_engine::SimulatedEngine;

use crate::Bench;
use crate::engine::Engine;
use crate::fleet::{self, Fleet};
use crate::proxy::Proxy;
use crate::report::load;
use crate::run::Cost;
use crate::shape::{self, Shape};
use crate::tools::{NOTHING, WHOLE};

const TOOL: &str = "simulated";
const PASSES: usize = 3;

pub async fn measure(bench: &mut Bench) {
    let size = bench.options.simulated;
    println!("--- {size} containers on a simulated engine, load {}", load());
    let folder = tempfile::tempdir().unwrap();
    let engine = SimulatedEngine::start(folder.path());
    engine.add_image(shape::IMAGE, false);
    let host = engine.address();
    let socket = host.trim_start_matches("unix://").to_owned();
    let proxy = Proxy::open(&folder.path().join("proxy.sock"), Path::new(&socket));
    let fleet = Fleet::new(bench.dir.path(), Shape::of(size));
    add(bench, size, "nothing to all", fleet.apply(&host, &[]));
    for _ in 0..PASSES {
        fleet.forget_quiet();
        add(bench, size, WHOLE, fleet.apply(&host, &[]));
    }
    fleet.at_rest(&host);
    for _ in 0..PASSES {
        add(bench, size, NOTHING, fleet.apply(&host, &[]));
    }
    proxy.take();
    fleet.apply(&proxy.address(), &[]);
    let calls = u32::try_from(proxy.take().len()).unwrap_or(u32::MAX);
    bench
        .results
        .add(size, TOOL, "nothing to do, calls", f64::from(calls));
    for n in 0..PASSES {
        fleet.change(n, 2);
        add(bench, size, "one variable", fleet.apply(&host, &[]));
    }
    let hand = Engine::new(&socket);
    for tenant in 0..PASSES {
        let label = format!("dev.ringfence.tenant=t{tenant}-x");
        for (id, _) in hand.containers(&label).await {
            hand.remove(&id).await;
        }
        add(bench, size, "one lost tenant", fleet.apply(&host, &[]));
    }
    assert_eq!(hand.containers(fleet::LABEL).await.len(), size);
}

fn add(bench: &mut Bench, size: usize, work: &str, cost: Cost) {
    bench.results.add(size, TOOL, work, cost.wall.as_secs_f64());
    bench
        .results
        .add(size, TOOL, &format!("{work}, CPU"), cost.cpu.as_secs_f64());
}
