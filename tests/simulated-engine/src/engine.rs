//! The handle that a test holds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::images::Image;
use crate::script::{Call, Fault};
use crate::server::{Shared, listen};
use crate::world::World;

/// A simulated engine. It runs in threads of its own until it is dropped.
///
/// For a bench: [`start`](Self::start) in a folder of its own, [`add_image`](Self::add_image) for what the fleet uses, and
/// point `DOCKER_HOST` of the measured process at [`address`](Self::address). Thousands of containers are set up without
/// calls: build a fleet up once (or [`World::create`] and [`World::run`] by hand), keep [`snapshot`](Self::snapshot), and
/// [`restore`](Self::restore) it before each measurement. [`calls`](Self::calls) counts what was asked for.
pub struct SimulatedEngine {
    socket: PathBuf,
    shared: Arc<Shared>,
    listening: Mutex<Option<AbortHandle>>,
    handle: Handle,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl SimulatedEngine {
    /// Starts one that listens on `engine.sock` in a folder, and has nothing but the three networks of every engine.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn start(folder: &Path) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new()),
            log: Mutex::default(),
            script: Mutex::new(Box::new(|_| None)),
            cut: watch::Sender::new(0),
            stalled: watch::Sender::new(false),
        });
        let runtime = Runtime::new().expect("threads for the simulated engine");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        let engine = Self {
            socket: folder.join("engine.sock"),
            shared,
            listening: Mutex::default(),
            handle,
            thread: Some((stop, thread)),
        };
        engine.up();
        engine
    }

    /// `unix:///…/engine.sock`
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The socket ends, and every connection; containers go on.
    pub fn down(&self) {
        if let Some(task) = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
        let _ = std::fs::remove_file(&self.socket);
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// The socket is there (again).
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn up(&self) {
        self.down();
        let _guard = self.handle.enter();
        let listener =
            tokio::net::UnixListener::bind(&self.socket).expect("a socket for the simulated engine");
        let task = self.handle.spawn(listen(Arc::clone(&self.shared), listener));
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// The engine restarts: connections end, events are forgotten, policies decide what runs again.
    pub fn restart(&self) {
        self.down();
        self.with(World::restart);
        self.up();
    }

    /// Looks at, or changes, what the engine has. No call is logged; events are told where the world's methods tell them.
    pub fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let _guard = self.handle.enter();
        self.shared.with(work)
    }

    /// All that the engine has now.
    pub fn snapshot(&self) -> World {
        self.shared.world().clone()
    }

    /// Has all of that again.
    pub fn restore(&self, world: &World) {
        *self.shared.world() = world.clone();
    }

    /// Takes an image of this name that runs for ever, with or without a healthcheck of its own, and gives its id.
    pub fn add_image(&self, name: &str, checked: bool) -> String {
        let check = if checked {
            json!({"Test": ["CMD", "check"]})
        } else {
            Value::Null
        };
        let config = json!({"Cmd": ["serve"], "Labels": {"title": name}, "Healthcheck": check});
        self.with(|world| world.add_image(name, Image::new(config)))
    }

    /// What goes wrong with each call from now on.
    pub fn script(&self, script: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    /// Nothing goes wrong any more.
    pub fn no_faults(&self) {
        self.script(|_| None);
    }

    /// Streams of events stay open and say nothing. What they did not say is not made good for.
    pub fn stall_events(&self, yes: bool) {
        self.shared.stalled.send_replace(yes);
    }

    /// Every connection ends, streams of events among them; new ones are taken.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Every call since the start or the last [`forget_calls`](Self::forget_calls).
    pub fn calls(&self) -> Vec<Call> {
        self.shared.log().clone()
    }

    /// Those that change something.
    pub fn changes(&self) -> Vec<Call> {
        self.shared
            .log()
            .iter()
            .filter(|call| call.changes())
            .cloned()
            .collect()
    }

    /// The log begins anew.
    pub fn forget_calls(&self) {
        self.shared.log().clear();
    }
}

impl Drop for SimulatedEngine {
    fn drop(&mut self) {
        self.down();
        if let Some((stop, thread)) = self.thread.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}
