//! The pure rooms at 1 000, 10 000 and 100 000 containers: how time and memory grow.
//!
//! `cargo bench --bench rooms` measures with criterion; each size's memory is the peak of a process of its own. With
//! `-- --write` the figures go into `docs/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

#[path = "../report/mod.rs"]
mod report;

mod picture;
mod world;

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use picture::Line;
use world::{Decided, Scene};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const ROOMS: [&str; 7] = [
    "read",
    "check",
    "decide",
    "render",
    "plan, nothing to do",
    "plan, one in a hundred changed",
    "plan, nothing there yet",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [once, size] = &arguments[..]
        && once == "--once"
    {
        return once_through(size.parse().unwrap());
    }
    let load = report::load();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .output_directory(&results());
    for size in SIZES {
        rooms(&mut criterion, size);
    }
    criterion.final_summary();
    if arguments.iter().any(|a| a == "--write") {
        write(&load);
    }
}

fn results() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("criterion")
}

/// The median of a room at a size, in seconds, as criterion wrote it down.
fn median(room: &str, size: usize) -> f64 {
    let file = results()
        .join(room)
        .join(size.to_string())
        .join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    estimates["median"]["point_estimate"].as_f64().unwrap() / 1e9
}

fn write(load: &str) {
    let mut table = format!("{}; load {load} at the start.\n\n| room |", report::machine());
    for size in SIZES {
        let _ = write!(table, " {size} |");
    }
    table += " one container at the last |\n|---|---|---|---|---|\n";
    for room in ROOMS {
        let _ = write!(table, "| {room} |");
        for size in SIZES {
            let _ = write!(table, " {} |", picture::time(median(room, size)));
        }
        let each = median(room, SIZES[2]) * 1e6 / 100_000.0;
        let _ = writeln!(table, " {each:.1} µs |");
    }
    table += "| peak memory of all of them, one after another |";
    for size in SIZES {
        let _ = write!(table, " {} MiB |", peak_of(size) / 1024);
    }
    let each = peak_of(SIZES[2]) / 100;
    let _ = writeln!(
        table,
        " {:.1} KiB |",
        f64::from(u32::try_from(each).unwrap()) / 1000.0
    );
    report::write_section("rooms", &table);
    let as_f64 = |n: usize| f64::from(u32::try_from(n).unwrap());
    let lines: Vec<Line> = ROOMS
        .iter()
        .map(|room| Line {
            name: (*room).to_owned(),
            points: SIZES
                .iter()
                .map(|size| (as_f64(*size), median(room, *size)))
                .collect(),
        })
        .collect();
    let file = report::docs("performance/growth.svg");
    std::fs::create_dir_all(report::docs("performance")).unwrap();
    std::fs::write(file, picture::draw(&lines)).unwrap();
}

/// The peak of a process that goes through all rooms once, in KiB.
fn peak_of(size: usize) -> u64 {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own)
        .args(["--once", &size.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|l| l.rsplit_once("peak ")?.1.strip_suffix(" KiB")?.parse().ok())
        .max()
        .unwrap()
}

fn rooms(criterion: &mut Criterion, size: usize) {
    let tree = world::tree(size);
    let read = world::read(&tree);
    let release = read.release();
    let decided = Decided::new(&read);
    let wanted = world::render(&read, &release);
    assert_eq!(wanted.services.len(), size);
    let mut group = |room: &str, run: &mut dyn FnMut()| {
        let mut group = criterion.benchmark_group(room);
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter_batched(|| (), |()| run(), BatchSize::PerIteration);
        });
        group.finish();
    };
    group("read", &mut || drop(black_box(world::read(&tree))));
    group("check", &mut || {
        drop(black_box(ringfence::fleet::check::check(&tree, "bench")));
    });
    group("decide", &mut || drop(black_box(decided.decide())));
    group("render", &mut || drop(black_box(world::render(&read, &release))));
    let same = Scene::running(wanted.clone(), decided.facts(), None);
    assert!(same.plan().is_empty());
    group("plan, nothing to do", &mut || drop(black_box(same.plan())));
    drop(same);
    let changed = Scene::running(wanted.clone(), decided.facts(), Some(100));
    assert_eq!(changed.plan().services.len(), size / 100);
    group("plan, one in a hundred changed", &mut || {
        drop(black_box(changed.plan()));
    });
    drop(changed);
    let none = Scene::nothing(wanted);
    assert_eq!(none.plan().services.len(), size);
    group("plan, nothing there yet", &mut || drop(black_box(none.plan())));
}

/// One pass through all rooms, told step by step: for a profiler, and for the peak of memory.
fn once_through(size: usize) {
    let tree = world::tree(size);
    let tell =
        |what: &str, since: Instant| println!("{what:<32} {:>10.1?} peak {} KiB", since.elapsed(), peak());
    let since = Instant::now();
    let read = world::read(&tree);
    tell("read", since);
    let decided = Decided::new(&read);
    let since = Instant::now();
    black_box(decided.decide());
    tell("decide", since);
    let since = Instant::now();
    let wanted = world::render(&read, &read.release());
    tell("render", since);
    let scene = Scene::running(wanted, decided.facts(), None);
    let since = Instant::now();
    black_box(scene.plan());
    tell("plan", since);
    let scene = Scene::nothing(scene.wanted);
    let since = Instant::now();
    black_box(scene.plan());
    tell("plan all", since);
    let since = Instant::now();
    black_box(ringfence::fleet::check::check(&tree, "bench"));
    tell("check", since);
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
