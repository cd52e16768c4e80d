//! A client that counts: a new look-up and a new connection for every request, none tried again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::http::{self, Url};

/// How many failures are told one by one.
const TOLD: usize = 100;
/// How many requests may be open; more would measure this client.
const OPEN: usize = 512;

/// What to do.
pub struct Order {
    /// What to ask for.
    pub url: Url,
    /// Time between two requests.
    pub every: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// When to end; without an end, at SIGTERM.
    pub lasting: Option<Duration>,
    /// End when this file is there.
    pub until: Option<PathBuf>,
}

#[derive(Default)]
struct Count {
    sent: u64,
    failed: u64,
    open: usize,
    errors: BTreeMap<String, u64>,
    versions: BTreeMap<String, u64>,
    failures: Vec<Value>,
}

impl Count {
    fn finished(&mut self, at: Duration, outcome: Result<String, String>) {
        match outcome {
            Ok(version) => *self.versions.entry(version).or_default() += 1,
            Err(what) => {
                let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
                self.failed += 1;
                if self.failures.len() < TOLD {
                    eprintln!("agent: failed at {ms} ms: {what}");
                    self.failures.push(json!({"at_ms": ms, "what": what}));
                }
                *self.errors.entry(what).or_default() += 1;
            }
        }
    }
}

/// Sends requests until the end and prints one JSON line. Gives the exit code: 1 if any request failed.
pub fn run(order: &Order) -> Result<u8, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("signal handlers: {error}"))?;
    }
    let count = Arc::new(Mutex::new(Count::default()));
    let begin = Instant::now();
    let mut next = begin;
    let mut told = begin;
    while !ended(order, begin, &stop) {
        send(order, begin, &count);
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            let count = lock(&count);
            eprintln!("agent: {} sent, {} failed", count.sent, count.failed);
        }
        // Behind schedule the missed ones are left out: a burst would measure something else.
        next = (next + order.every).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let patience = Instant::now() + order.timeout + Duration::from_secs(6);
    while lock(&count).open > 0 && Instant::now() < patience {
        thread::sleep(Duration::from_millis(5));
    }
    let count = lock(&count);
    println!(
        "{}",
        json!({
            "sent": count.sent, "failed": count.failed, "unanswered": count.open, "errors": count.errors,
            "versions": count.versions, "failures": count.failures,
        })
    );
    Ok(u8::from(count.failed > 0 || count.open > 0 || count.sent == 0))
}

fn ended(order: &Order, begin: Instant, stop: &AtomicBool) -> bool {
    stop.load(Ordering::SeqCst)
        || order.lasting.is_some_and(|lasting| begin.elapsed() >= lasting)
        || order.until.as_ref().is_some_and(|file| file.exists())
}

fn send(order: &Order, begin: Instant, count: &Arc<Mutex<Count>>) {
    {
        let mut count = lock(count);
        count.sent += 1;
        if count.open >= OPEN {
            count.finished(
                begin.elapsed(),
                Err("client: too many requests without an answer".to_owned()),
            );
            return;
        }
        count.open += 1;
    }
    let (url, timeout, shared) = (order.url.clone(), order.timeout, Arc::clone(count));
    let at = begin.elapsed();
    let ask = move || {
        let outcome = match http::get(&url, timeout) {
            Ok(reply) if reply.is_success() => Ok(version(&reply.body)),
            Ok(reply) => Err(format!("status: {}", reply.status)),
            Err(failure) => Err(failure.to_string()),
        };
        let mut count = lock(&shared);
        count.open -= 1;
        count.finished(at, outcome);
    };
    if let Err(error) = thread::Builder::new().stack_size(256 << 10).spawn(ask) {
        let mut count = lock(count);
        count.open -= 1;
        count.finished(at, Err(format!("client: {error}")));
    }
}

/// Which version answered, where the answer says so.
fn version(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    body.and_then(|body| body.get("version")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| "?".to_owned())
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}
