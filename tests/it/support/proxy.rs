//! The engine behind another socket, which counts its calls, can be cut, and can be made to hang.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::engine::address;

/// A socket before the engine's.
pub struct Proxy {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    calls: Arc<Mutex<Vec<String>>>,
    gate: Arc<Gate>,
}

/// Holds back what clients say.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.moved.wait_while(closed, |closed| *closed).unwrap());
    }
}

impl Proxy {
    /// Listens at `socket`, which must not exist.
    pub fn open(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let proxy = Self {
            socket: socket.to_owned(),
            stop: Arc::default(),
            open: Arc::default(),
            calls: Arc::default(),
            gate: Arc::default(),
        };
        let (ended, streams) = (Arc::clone(&proxy.stop), Arc::clone(&proxy.open));
        let (calls, gate) = (Arc::clone(&proxy.calls), Arc::clone(&proxy.gate));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let address = address();
                let engine = UnixStream::connect(address.trim_start_matches("unix://")).unwrap();
                let client = client.unwrap();
                let both = || (client.try_clone().unwrap(), engine.try_clone().unwrap());
                let ((from, to), (back, answer)) = (both(), both());
                let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
                std::thread::spawn(move || {
                    copy(from, to, |bytes| {
                        calls.lock().unwrap().extend(request_line(bytes));
                        gate.pass();
                    });
                });
                std::thread::spawn(move || copy(answer, back, |_| ()));
                streams.lock().unwrap().extend([client, engine]);
            }
        });
        proxy
    }

    /// `DOCKER_HOST` for who shall come this way.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The calls since the last time, `GET /v1.41/networks`.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// From now on, or no more, the engine hangs for who comes this way: it is reached, and says nothing.
    pub fn hang(&self, hangs: bool) {
        self.gate.set(hangs);
    }

    /// The engine is away for who comes this way.
    pub fn cut(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.gate.set(false);
        // Wakes the listener, which then ends.
        let _ = UnixStream::connect(&self.socket);
        std::fs::remove_file(&self.socket).unwrap();
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(mut from: UnixStream, mut to: UnixStream, seen: impl Fn(&[u8])) {
    let mut buffer = [0; 16384];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A client writes the head of a request at once and waits for the answer before the next one.
fn request_line(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(2).position(|w| w == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let call = line.strip_suffix(" HTTP/1.1")?;
    Some(call.split('?').next()?.to_owned())
}
