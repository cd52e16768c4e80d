//! The server: one thread a connection, one request each.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The largest request head.
const LARGEST_HEAD: usize = 16 << 10;
/// How long a client may take to send its request or to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long accepted requests may go on after SIGTERM: below the engine's usual grace period of 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// How the agent pretends to be broken (`AGENT_FAIL`), so that health gates and rollbacks can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `/healthz` answers 503.
    Unhealthy,
    /// The process ends with 1 shortly after its start.
    Exit,
    /// Every answer comes late.
    Slow,
}

/// What the environment says.
struct Settings {
    port: u16,
    fault: Option<Fault>,
    /// How late a slow answer comes.
    slow: Duration,
    /// How long the agent takes before it listens.
    start: Duration,
    /// Where the live files are mounted.
    live: PathBuf,
    /// `AGENT_*` and `TENANT_*`.
    shown: BTreeMap<String, String>,
}

impl Settings {
    fn from_env() -> Result<Self, String> {
        let all: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let number = |key: &str, default: u64| match all.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| format!("{key}={text}: not a number")),
        };
        let fault = match all.get("AGENT_FAIL").map(String::as_str) {
            None | Some("") => None,
            Some("unhealthy") => Some(Fault::Unhealthy),
            Some("exit") => Some(Fault::Exit),
            Some("slow") => Some(Fault::Slow),
            Some(other) => return Err(format!("AGENT_FAIL={other}: unhealthy, exit or slow")),
        };
        let port = number("AGENT_PORT", 8080)?;
        Ok(Self {
            port: u16::try_from(port).map_err(|_| format!("AGENT_PORT={port}: not a port"))?,
            fault,
            slow: Duration::from_millis(number("AGENT_SLOW_MS", 5000)?),
            start: Duration::from_millis(number("AGENT_START_MS", 0)?),
            live: all
                .get("AGENT_LIVE_DIR")
                .map_or_else(|| PathBuf::from("/run/ringfence"), PathBuf::from),
            shown: all
                .into_iter()
                .filter(|(key, _)| key.starts_with("AGENT_") || key.starts_with("TENANT_"))
                .collect(),
        })
    }

    fn of(&self, key: &str) -> &str {
        self.shown.get(key).map_or("", String::as_str)
    }
}

/// An answer to a client.
struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            kind: "application/json",
            body: format!("{body}\n").into_bytes(),
        }
    }

    fn text(body: String) -> Self {
        Self {
            status: 200,
            kind: "text/plain; charset=utf-8",
            body: body.into_bytes(),
        }
    }

    fn send(&self, stream: &mut TcpStream, with_body: bool) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            503 => "Service Unavailable",
            _ => "Error",
        };
        let (status, kind, length) = (self.status, self.kind, self.body.len());
        let mut bytes = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)
    }
}

/// Serves until SIGTERM or SIGINT, then finishes what was accepted. Gives the exit code.
pub fn run() -> Result<u8, String> {
    let settings = Arc::new(Settings::from_env()?);
    // Before anything else: PID 1 of a container gets no signal that it has no handler for.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("signal handlers: {error}"))?;
    let stopping = Arc::new(AtomicBool::new(false));
    let address = Arc::new(RwLock::new(None::<SocketAddr>));
    {
        let (stopping, address) = (Arc::clone(&stopping), Arc::clone(&address));
        let listen = move || {
            for _ in signals.forever() {
                stopping.store(true, Ordering::SeqCst);
                // A connection of our own wakes the accepting thread.
                if let Some(address) = *address.read().unwrap_or_else(PoisonError::into_inner) {
                    drop(TcpStream::connect_timeout(&address, Duration::from_secs(1)));
                }
            }
        };
        thread::Builder::new()
            .spawn(listen)
            .map_err(|error| format!("a thread for signals: {error}"))?;
    }
    pause(settings.start, &stopping);
    if settings.fault == Some(Fault::Exit) {
        println!("agent: ends by itself, because AGENT_FAIL=exit");
        pause(Duration::from_millis(300), &stopping);
        return Ok(1);
    }
    let listener = TcpListener::bind(("0.0.0.0", settings.port))
        .map_err(|error| format!("port {}: {error}", settings.port))?;
    let local = listener.local_addr().map_err(|error| error.to_string())?;
    *address.write().unwrap_or_else(PoisonError::into_inner) = Some(([127, 0, 0, 1], local.port()).into());
    println!(
        "agent: version {} listens on port {}",
        settings.of("AGENT_VERSION"),
        local.port()
    );
    let busy = Arc::new(AtomicUsize::new(0));
    accept(&listener, &settings, &stopping, &busy);
    drop(listener);
    let until = Instant::now() + DRAIN;
    while busy.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    println!(
        "agent: stopped with {} requests left unanswered",
        busy.load(Ordering::SeqCst)
    );
    Ok(0)
}

/// Waits, but not past a signal.
fn pause(time: Duration, stopping: &AtomicBool) {
    let until = Instant::now() + time;
    while !stopping.load(Ordering::SeqCst) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Takes connections until told to stop, then those that the kernel had already taken for us.
fn accept(listener: &TcpListener, settings: &Arc<Settings>, stopping: &AtomicBool, busy: &Arc<AtomicUsize>) {
    let mut last_look = false;
    loop {
        if stopping.load(Ordering::SeqCst) && !last_look {
            last_look = true;
            if listener.set_nonblocking(true).is_err() {
                return;
            }
        }
        match listener.accept() {
            Ok((stream, _)) => start(stream, settings, busy),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                println!("agent: accept: {error}");
                // Out of file descriptors, most likely: let those in hand finish.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn start(stream: TcpStream, settings: &Arc<Settings>, busy: &Arc<AtomicUsize>) {
    let (settings, counter) = (Arc::clone(settings), Arc::clone(busy));
    busy.fetch_add(1, Ordering::SeqCst);
    let talk = move || {
        // A client that went away is its own affair.
        let _ = converse(stream, &settings);
        counter.fetch_sub(1, Ordering::SeqCst);
    };
    if let Err(error) = thread::Builder::new().stack_size(128 << 10).spawn(talk) {
        busy.fetch_sub(1, Ordering::SeqCst);
        println!("agent: no thread for a connection: {error}");
    }
}

fn converse(mut stream: TcpStream, settings: &Settings) -> io::Result<()> {
    // The listener may be non-blocking by now; its connections shall not be.
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(head) = read_head(&mut stream)? else {
        return Ok(());
    };
    if settings.fault == Some(Fault::Slow) {
        thread::sleep(settings.slow);
    }
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = match method {
        "GET" | "HEAD" if target.starts_with('/') => answer(target, settings),
        "GET" | "HEAD" => Answer::json(400, &json!({"error": "no path in the request"})),
        _ => Answer::json(405, &json!({"error": "only GET and HEAD are answered"})),
    };
    answer.send(&mut stream, method != "HEAD")
}

/// The request up to its empty line; nothing if the client left before.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut buffer = [0_u8; 2048];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let size = stream.read(&mut buffer)?;
        if size == 0 || head.len() > LARGEST_HEAD {
            return Ok(None);
        }
        head.extend_from_slice(buffer.get(..size).unwrap_or_default());
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn answer(target: &str, settings: &Settings) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/" => Answer::text(format!(
            "ringfence example agent {}\ntenant {}, ring {}\n\n/healthz  /context  /spirit  /env  /sleep?ms=N\n",
            settings.of("AGENT_VERSION"),
            settings.of("TENANT_SLUG"),
            settings.of("TENANT_RING"),
        )),
        "/healthz" => {
            let (status, word) = if settings.fault == Some(Fault::Unhealthy) {
                (503, "unhealthy")
            } else {
                (200, "ok")
            };
            let (version, tenant) = (settings.of("AGENT_VERSION"), settings.of("TENANT_SLUG"));
            Answer::json(
                status,
                &json!({"status": word, "version": version, "tenant": tenant, "ring": settings.of("TENANT_RING")}),
            )
        }
        // A tenant's own container has a context; a shared one has those of the tenants that it serves.
        "/context" => live(settings, &["context.json", "tenants.json"], "application/json"),
        "/spirit" => live(settings, &["spirit.md"], "text/markdown; charset=utf-8"),
        "/env" => Answer::json(200, &json!(settings.shown)),
        "/sleep" => {
            let ms = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("ms=")?.parse::<u64>().ok());
            let Some(ms) = ms.filter(|ms| *ms <= 60_000) else {
                return Answer::json(400, &json!({"error": "/sleep?ms=N, at most 60000"}));
            };
            thread::sleep(Duration::from_millis(ms));
            Answer::json(
                200,
                &json!({"slept_ms": ms, "version": settings.of("AGENT_VERSION")}),
            )
        }
        _ => Answer::json(404, &json!({"error": "no such page"})),
    }
}

/// The first of these files that is there, read now: they change while the agent runs.
fn live(settings: &Settings, names: &[&str], kind: &'static str) -> Answer {
    for name in names {
        match std::fs::read(settings.live.join(name)) {
            Ok(body) => {
                return Answer {
                    status: 200,
                    kind,
                    body,
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Answer::json(503, &json!({"error": format!("{name}: {error}")})),
        }
    }
    Answer::json(
        404,
        &json!({"error": format!("{} is not there", names.join(" or "))}),
    )
}
