//! A command to its end: how long it took, and what it cost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use wait4::Wait4 as _;

/// What a command took. CPU time is that of the process and of the children that it waited for.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub began: SystemTime,
    pub wall: Duration,
    pub cpu: Duration,
    /// Peak resident memory, in KiB.
    pub peak: u64,
}

/// Runs it; it must end with one of `codes`.
pub fn run(command: &mut Command) -> Cost {
    let errors = tempfile::tempfile().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(errors.try_clone().unwrap())
        .stderr(errors.try_clone().unwrap());
    let (began, since) = (SystemTime::now(), Instant::now());
    let mut child = command.spawn().unwrap();
    let ended = child.wait4().unwrap();
    let wall = since.elapsed();
    assert!(
        ended.status.success(),
        "{command:?}: {}\n{}",
        ended.status,
        text(errors)
    );
    Cost {
        began,
        wall,
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak: ended.rusage.maxrss / 1024,
    }
}

fn text(mut file: std::fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind().unwrap();
    let _ = file.read_to_string(&mut text);
    text
}

/// The middle one, and the range.
#[derive(Debug, Clone, Copy)]
pub struct Median {
    pub middle: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

impl Median {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let middle = if values.len().is_multiple_of(2) {
            f64::midpoint(at(half.wrapping_sub(1)), at(half))
        } else {
            at(half)
        };
        Self {
            middle,
            min: at(0),
            max: at(values.len().wrapping_sub(1)),
            count: values.len(),
        }
    }
}
