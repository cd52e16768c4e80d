//! The daemon: how soon it acts, and what it costs while there is nothing to do.

use std::time::{Duration, Instant};

use crate::fleet::{self, Daemon, Fleet};
use crate::proxy::Call;
use crate::shape::Shape;
use crate::tools::since;
use crate::{Bench, report::load};

const TOOL: &str = "daemon";

pub async fn measure(bench: &mut Bench, shape: Shape) {
    println!(
        "--- the daemon on {} containers, load {}",
        shape.containers(),
        load()
    );
    let fleet = Fleet::new(bench.dir.path(), shape);
    fleet.apply(&bench.host, &[]);
    let daemon = fleet.daemon(&bench.proxy.address());
    daemon.settled();
    removals(bench, &daemon, shape).await;
    commits(bench, &fleet, &daemon);
    idle(bench, &daemon, shape.containers());
    drop(daemon);
    bench.engine.clear(fleet::LABEL, 4).await;
    bench.engine.release(&fleet::instance()).await;
}

/// From the engine's word that a container is gone to the first call that brings it back.
async fn removals(bench: &mut Bench, daemon: &Daemon<'_>, shape: Shape) {
    for n in 0..bench.options.latency {
        let name = format!(
            "s{}.t{}-x.{}",
            n % shape.services,
            n % shape.tenants,
            fleet::instance()
        );
        let containers = bench.engine.containers(fleet::LABEL).await;
        let found = containers.iter().find(|(_, n)| n.eq_ignore_ascii_case(&name));
        let (id, _) = found.unwrap_or_else(|| panic!("no container {name}"));
        let events = bench.engine.events(fleet::LABEL);
        bench.proxy.take();
        bench.engine.remove(id).await;
        let gone = events.nth("destroy", 1).await;
        let ms = 1000.0 * since(gone, first(bench, |c| c.path.contains("/containers/create")));
        bench
            .results
            .add(shape.containers(), TOOL, "removed to first call, ms", ms);
        events.nth("start", 1).await;
        daemon.settled();
    }
}

/// From the moment at which a branch moved to the first call that changes something.
fn commits(bench: &mut Bench, fleet: &Fleet, daemon: &Daemon<'_>) {
    for n in 0..bench.options.latency {
        bench.proxy.take();
        let version = 100 + u32::try_from(n).unwrap_or_default();
        let moved = fleet.change(n % fleet.shape.tenants, version);
        let ms = 1000.0 * since(moved, first(bench, Call::changes));
        bench
            .results
            .add(fleet.shape.containers(), TOOL, "commit to first call, ms", ms);
        // The change is through when its old container is gone; until then the daemon is not settled.
        std::thread::sleep(Duration::from_millis(300));
        daemon.settled();
    }
}

fn first(bench: &Bench, is: impl Fn(&Call) -> bool) -> std::time::SystemTime {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(call) = bench.proxy.first(&is) {
            return call.at;
        }
        assert!(Instant::now() < end, "the daemon did nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn idle(bench: &mut Bench, daemon: &Daemon<'_>, size: usize) {
    daemon.settled();
    bench.proxy.take();
    let (cpu, since) = (daemon.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs_f64(bench.options.idle_minutes * 60.0));
    let share = daemon.cpu().saturating_sub(cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
    bench.results.add(size, TOOL, "idle, CPU %", 100.0 * share);
    bench
        .results
        .add(size, TOOL, "idle, resident MiB", mib(daemon.memory("VmRSS")));
    bench
        .results
        .add(size, TOOL, "idle, peak MiB", mib(daemon.memory("VmHWM")));
    let calls = bench.proxy.take().len();
    bench.results.add(
        size,
        TOOL,
        "idle, calls",
        f64::from(u32::try_from(calls).unwrap_or(u32::MAX)),
    );
}
