//! The results as tables.

use std::fmt::Write as _;

use crate::report::machine;
use crate::run::Median;
use crate::{Options, Results};

/// What was measured with.
pub struct Tools {
    pub engine: String,
    pub compose: Option<String>,
    /// The machine's load before and after.
    pub loads: (String, String),
}

/// A row: its title, its figure's name, and how many decimals it has.
const ROWS: [(&str, &str, usize); 11] = [
    ("nothing → all started, s", "nothing to all", 1),
    ("nothing to do, s", "nothing to do", 3),
    ("– its CPU, s", "nothing to do, CPU", 4),
    ("– its peak memory, MiB", "nothing to do, peak MiB", 0),
    ("– its engine calls", "nothing to do, calls", 0),
    ("nothing to do, a whole pass, s", "whole pass", 3),
    ("– its CPU, s", "whole pass, CPU", 4),
    ("one variable → the new one started, s", "one variable", 2),
    ("one removed by hand → started again, s", "one removed by hand", 2),
    ("a tenth of the services goes, s", "a tenth goes", 1),
    ("teardown, s", "teardown", 1),
];

/// The daemon's rows with their bars.
const DAEMON: [(&str, &str, &str); 6] = [
    (
        "removed by hand → first repairing call, ms",
        "removed to first call, ms",
        "< 100",
    ),
    (
        "commit → first changing call, ms",
        "commit to first call, ms",
        "< 150",
    ),
    ("idle: CPU, % of one core", "idle, CPU %", "≤ 0.1"),
    ("idle: resident memory, MiB", "idle, resident MiB", "≤ 30"),
    ("– its peak since the start, MiB", "idle, peak MiB", ""),
    ("– engine calls in that time", "idle, calls", ""),
];

pub fn of(results: &Results, options: &Options, tools: &Tools) -> String {
    let sizes = &options.sizes;
    let compose = tools.compose.as_deref().unwrap_or("not found");
    let mut text = format!(
        "{}; Docker Engine {}, compose {compose}; load {} at the start, {} at the end. Medians (lowest–highest).\n\n\
         | containers | work | ringfence | compose | engine's floor | ringfence ÷ compose | ringfence ÷ floor |\n|---|---|---|---|---|---|---|\n",
        machine(),
        tools.engine,
        tools.loads.0,
        tools.loads.1,
    );
    for size in sizes {
        for (title, work, decimals) in ROWS {
            let of = |tool: &str| results.median(*size, tool, work);
            let (own, compose, floor) = (of("ringfence"), of("compose"), of("floor"));
            let shown = |m: Option<Median>| m.map_or_else(|| "–".to_owned(), |m| range(m, decimals));
            let ratio = |m: Option<Median>| match (own, m) {
                (Some(own), Some(other)) => format!("{:.2}", own.middle / other.middle),
                _ => "–".to_owned(),
            };
            let _ = writeln!(
                text,
                "| {size} | {title} | {} | {} | {} | {} | {} |",
                shown(own),
                shown(compose),
                shown(floor),
                ratio(compose),
                ratio(floor),
            );
        }
    }
    if let Some(size) = sizes.iter().max() {
        let _ = write!(
            text,
            "\n| the daemon, {size} containers | measured | of | bar |\n|---|---|---|---|\n"
        );
        for (title, work, bar) in DAEMON {
            if let Some(m) = results.median(*size, "daemon", work) {
                let _ = writeln!(text, "| {title} | {} | {} | {bar} |", range(m, 2), m.count);
            }
        }
    }
    let size = options.simulated;
    if results.median(size, "simulated", "nothing to do").is_none() {
        return text;
    }
    let _ = write!(
        text,
        "\n| `apply`, {size} containers, simulated engine | s | CPU, s |\n|---|---|---|\n"
    );
    for work in [
        "nothing to all",
        "nothing to do",
        "whole pass",
        "one variable",
        "one lost tenant",
    ] {
        let shown = |what: &str, decimals| {
            let found = results.median(size, "simulated", &format!("{work}{what}"));
            found.map_or_else(|| "–".to_owned(), |m| range(m, decimals))
        };
        let _ = writeln!(text, "| {work} | {} | {} |", shown("", 2), shown(", CPU", 2));
    }
    if let Some(calls) = results.median(size, "simulated", "nothing to do, calls") {
        let _ = writeln!(
            text,
            "\nNothing to do there took {:.0} engine calls.",
            calls.middle
        );
    }
    text
}

fn range(m: Median, decimals: usize) -> String {
    if m.count == 1 {
        return format!("{:.decimals$}", m.middle);
    }
    format!(
        "{:.decimals$} ({:.decimals$}–{:.decimals$})",
        m.middle, m.min, m.max
    )
}
