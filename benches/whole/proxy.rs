//! A socket before the engine's that notes each call, and when it was made.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;

/// A call as it was seen.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: SystemTime,
    pub method: String,
    pub path: String,
}

impl Call {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        self.method == "POST" || self.method == "DELETE" || self.method == "PUT"
    }
}

/// The proxy; it goes on until the process ends.
pub struct Proxy {
    pub socket: PathBuf,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Proxy {
    pub fn open(socket: &Path, engine: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, engine) = (Arc::clone(&calls), engine.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&engine) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let calls = Arc::clone(&seen);
                thread::spawn(move || pass_on(from, to, |bytes| note(bytes, &calls)));
                thread::spawn(move || pass_on(server, client, |_| {}));
            }
        });
        Self {
            socket: socket.to_owned(),
            calls,
        }
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What was called since the last time this was asked.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The first call of a kind since the last `take`, if there was one yet.
    pub fn first(&self, is: impl Fn(&Call) -> bool) -> Option<Call> {
        self.calls.lock().unwrap().iter().find(|c| is(c)).cloned()
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            break;
        };
        seen(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A request's first line begins a write: no client sends the next one before it has the answer.
fn note(bytes: &[u8], calls: &Mutex<Vec<Call>>) {
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let mut words = line.split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1")) = (words.next(), words.next(), words.next()) else {
        return;
    };
    calls.lock().unwrap().push(Call {
        at: SystemTime::now(),
        method: method.to_owned(),
        path: path.to_owned(),
    });
}
