//! Calls, and what may go wrong with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// A call that reached the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `GET`, `POST`, `DELETE`.
    pub method: String,
    /// Without the version and the query, e.g. `/containers/json`.
    pub path: String,
    /// The API version that the call asked for.
    pub version: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// The body, where it is JSON.
    pub body: Value,
    /// The name of the container or network that the path is about, as it was when the call came.
    pub name: String,
    /// What was answered. None: no answer (yet).
    pub status: Option<u16>,
}

impl Call {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether it is of this kind: a method and a path in which `*` stands for one part, e.g.
    /// `POST /containers/*/start`.
    pub fn is(&self, pattern: &str) -> bool {
        let Some((method, path)) = pattern.split_once(' ') else {
            return false;
        };
        let (mut wanted, mut given) = (path.split('/'), self.path.split('/'));
        self.method == method
            && loop {
                match (wanted.next(), given.next()) {
                    (None, None) => break true,
                    (Some("*"), Some(_)) => {}
                    (Some(a), Some(b)) if a == b => {}
                    _ => break false,
                }
            }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if let Some(name) = self.query.get("name") {
            write!(f, " as {name}")?;
        }
        if !self.name.is_empty() && !self.path.contains(&self.name) {
            write!(f, " ({})", self.name)?;
        }
        match self.status {
            Some(status) => write!(f, " → {status}"),
            None => write!(f, " → no answer"),
        }
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is refused with this status and message; nothing is done.
    Refuse(u16, String),
    /// The connection ends before anything is done.
    LoseRequest,
    /// It is carried out, and the connection ends without an answer.
    LoseReply,
    /// It is carried out after this time.
    Delay(Duration),
    /// It is carried out at once and answered after this time.
    DelayReply(Duration),
    /// It is carried out, and half of the answer is sent.
    Truncate,
    /// It is carried out and answered with 200 and this body.
    Garble(String),
    /// A list is answered as it was before the last change of what it tells (see
    /// [`World::remember`](crate::World::remember)).
    Stale,
    /// It waits at a moment until the client is gone or the hold is released, and is then dropped.
    Hold(Hold),
}

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it is carried out.
    Before,
    /// After it was carried out, before it is answered.
    Done,
    /// After it was answered: the answer is not held, only told.
    Answered,
}

/// A place where a call waits, so that a test can do something at exactly that moment.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Where.
    pub at: Moment,
    reached: Arc<(Mutex<bool>, Condvar)>,
    release: Arc<watch::Sender<bool>>,
}

impl Hold {
    /// A hold that nobody has reached.
    pub fn new(at: Moment) -> Self {
        Self {
            at,
            reached: Arc::default(),
            release: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Waits until a call is held here; false if none came within `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let (lock, told) = &*self.reached;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) = told
            .wait_timeout_while(guard, limit, |reached| !*reached)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }

    /// Whether a call is (or was) held here.
    pub fn is_reached(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Lets the call go: it ends without an answer.
    pub fn release(&self) {
        self.release.send_replace(true);
    }

    pub(crate) fn reach(&self) {
        let (lock, told) = &*self.reached;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_all();
    }

    pub(crate) async fn released(&self) {
        let _ = self.release.subscribe().wait_for(|released| *released).await;
    }
}
