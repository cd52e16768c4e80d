//! The whole on a real engine: ringfence beside `docker compose` and beside the engine's own floor.
//!
//! `cargo bench --bench whole -- [--sizes 10,50,200] [--rounds N] [--idle-minutes N] [--latency N] [--simulated N] [--write]`
//!
//! All figures come from one run on one machine, so that their ratios mean something. Results go to standard output, with
//! `--write` to `docs/performance.md` too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../report/mod.rs"]
mod report;

mod compose;
mod daemon;
mod engine;
mod fleet;
mod proxy;
mod run;
mod shape;
mod simulated;
mod table;
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use compose::Compose;
use engine::Engine;
use proxy::Proxy;
use report::load;
use run::Median;
use shape::Shape;

/// The bench's surroundings.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) host: String,
    pub(crate) proxy: Proxy,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: Options,
    pub(crate) results: Results,
}

pub(crate) struct Options {
    pub(crate) sizes: Vec<usize>,
    rounds: usize,
    pub(crate) idle_minutes: f64,
    pub(crate) latency: usize,
    /// Containers on the simulated engine.
    pub(crate) simulated: usize,
    write: bool,
}

/// `row → figure`, as it was measured; a row is `<containers> <tool> <work>`.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<String, Vec<f64>>);

impl Results {
    pub(crate) fn add(&mut self, size: usize, tool: &str, work: &str, value: f64) {
        println!("{size:>4} {tool:<10} {work:<34} {value:.4}");
        self.0
            .entry(format!("{size} {tool} {work}"))
            .or_default()
            .push(value);
    }

    pub(crate) fn median(&self, size: usize, tool: &str, work: &str) -> Option<Median> {
        let values = self.0.get(&format!("{size} {tool} {work}"))?;
        Some(Median::of(values.iter().copied()))
    }
}

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(options));
}

async fn measure(options: Options) {
    let host = std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty());
    let host = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let socket = host
        .strip_prefix("unix://")
        .expect("DOCKER_HOST is a unix socket")
        .to_owned();
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench {
        engine: Engine::new(&socket),
        proxy: Proxy::open(&dir.path().join("proxy.sock"), Path::new(&socket)),
        host,
        dir,
        options,
        results: Results::default(),
    };
    load_image(&bench.host);
    bench.clear().await;
    let began = load();
    let compose = Compose::find(bench.dir.path());
    println!(
        "engine {}, compose {}, load {}",
        bench.engine.version().await,
        compose.as_ref().map_or(
            "not found (install docker compose, or name it in RINGFENCE_BENCH_COMPOSE)",
            |c| &c.version
        ),
        load()
    );
    let sizes = bench.options.sizes.clone();
    let at_once = tools::best_concurrency(&mut bench).await;
    for size in sizes {
        let shape = Shape::of(size);
        for round in 0..bench.options.rounds {
            println!("--- {size} containers, round {}, load {}", round + 1, load());
            tools::floor(&mut bench, shape, at_once).await;
            tools::ringfence(&mut bench, shape).await;
            if let Some(compose) = &compose {
                tools::compose(&mut bench, compose, shape).await;
            }
        }
    }
    if let Some(last) = bench.options.sizes.iter().copied().max() {
        daemon::measure(&mut bench, Shape::of(last)).await;
    }
    if bench.options.simulated > 0 {
        simulated::measure(&mut bench).await;
    }
    bench.clear().await;
    let tools = table::Tools {
        engine: bench.engine.version().await,
        compose: compose.map(|c| c.version),
        loads: (began, load()),
    };
    let text = table::of(&bench.results, &bench.options, &tools);
    println!("\n{text}");
    if bench.options.write {
        report::write_section("whole", &text);
    }
}

impl Bench {
    /// Whatever an earlier run has left goes, and what this one made.
    async fn clear(&self) {
        for label in [compose::LABEL, fleet::LABEL] {
            self.engine.clear(label, 4).await;
        }
        self.engine.release(&fleet::instance()).await;
        self.engine.clear_floor(4).await;
    }
}

/// The example agent without a healthcheck: `make agent` builds it.
fn load_image(host: &str) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let output = Command::new(target.join("agent/agent"))
        .args(["load", shape::IMAGE, "--no-healthcheck"])
        .env("DOCKER_HOST", host)
        .output()
        .expect("`make agent` builds target/agent/agent");
    assert!(output.status.success(), "{output:?}");
}

impl Options {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str, default: &str| {
            let at = arguments.iter().position(|a| a == name);
            at.and_then(|at| arguments.get(at + 1))
                .map_or_else(|| default.to_owned(), String::clone)
        };
        Self {
            sizes: value("--sizes", "10,50,200")
                .split(',')
                .map(|n| n.parse().unwrap())
                .collect(),
            rounds: value("--rounds", "2").parse().unwrap(),
            idle_minutes: value("--idle-minutes", "5").parse().unwrap(),
            latency: value("--latency", "20").parse().unwrap(),
            simulated: value("--simulated", "10000").parse().unwrap(),
            write: arguments.iter().any(|a| a == "--write"),
        }
    }
}
