//! The local socket: HTTP/1.1 with JSON; streams are JSON lines. Mode 0600: who can open it is who runs the daemon. With a
//! group, 0660: others of that group read, and ask for passes that allow nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::run::Wake;
use super::status::Status;
use super::{ControllerError, Request};
use crate::apply::Progress;
use crate::store::{EventQuery, Store};

/// What the socket serves from.
#[derive(Clone)]
pub struct Served {
    /// The status after each pass.
    pub status: watch::Receiver<Arc<Status>>,
    /// The ledger.
    pub store: Arc<Store>,
    /// The loop.
    pub wake: mpsc::UnboundedSender<Wake>,
    /// What is being done.
    pub progress: broadcast::Sender<Progress>,
}

/// A line of the answer to `POST /v1/pass`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassLine {
    /// Something that happened.
    Progress(Progress),
    /// The end: all is settled.
    Status(Box<Status>),
}

/// Where the socket of a state directory is.
pub fn path(state: &Path) -> PathBuf {
    state.join("ringfence.sock")
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Whether it is who runs the daemon, or root.
    is_ours: bool,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let uid = stream.io().peer_cred().map(|peer| peer.uid());
        let me = rustix::process::geteuid().as_raw();
        Self {
            is_ours: uid.is_ok_and(|uid| uid == me || uid == 0),
        }
    }
}

/// Binds the socket, replacing one that a killed daemon left (the state directory's lock is held). `group` may use it too,
/// and then go through the state directory to it; all else there stays closed.
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, ControllerError> {
    let failed = |source| ControllerError::Socket {
        path: path.display().to_string(),
        source,
    };
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let open_to = |path: &Path, mode| {
        std::os::unix::fs::chown(path, None, group)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    if group.is_none() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        return Ok(listener);
    }
    open_to(path, 0o660).map_err(failed)?;
    if let Some(dir) = path.parent() {
        open_to(dir, 0o710).map_err(failed)?;
    }
    Ok(listener)
}

/// Serves until `stop`.
pub async fn serve(listener: UnixListener, served: Served, stop: CancellationToken) {
    let app = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/watch", get(watch_status))
        .route("/v1/events", get(events))
        .route("/v1/pass", post(pass))
        .with_state(served);
    let app = app.into_make_service_with_connect_info::<Peer>();
    let _ = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await;
}

async fn status(State(served): State<Served>) -> Json<Status> {
    Json(served.status.borrow().as_ref().clone())
}

fn lines(stream: impl stream::Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(stream.map(|line| Ok::<_, std::convert::Infallible>(line + "\n")));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn watch_status(State(served): State<Served>) -> Response {
    let first = served.status.clone();
    lines(stream::unfold((first, true), |(mut status, first)| async move {
        if !first {
            status.changed().await.ok()?;
        }
        let line = serde_json::to_string(status.borrow_and_update().as_ref()).ok()?;
        Some((line, (status, false)))
    }))
}

#[derive(Deserialize)]
struct EventsAsked {
    after: Option<i64>,
    ring: Option<String>,
    tenant: Option<String>,
    limit: Option<u32>,
}

async fn events(State(served): State<Served>, Query(asked): Query<EventsAsked>) -> Response {
    let query = EventQuery {
        after: asked.after,
        ring: asked.ring,
        tenant: asked.tenant,
        limit: asked.limit.unwrap_or(100),
        newest_first: asked.after.is_none(),
    };
    match served.store.events(&query) {
        Ok(events) => Json(events).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Asks for a pass; what happens comes line by line, the status last.
async fn pass(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<Request>,
) -> Response {
    let allows = request.allows();
    if !peer.is_ours && !allows.is_empty() {
        let text = format!(
            "only who runs the daemon, or root, may ask for {}; `ringfence apply` without it asks for a pass",
            allows.join(", ")
        );
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let (answer, answered) = oneshot::channel();
    let progress = served.progress.subscribe();
    if served.wake.send(Wake::Person(request, answer)).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping").into_response();
    }
    lines(stream::unfold(Some((progress, answered)), |state| async move {
        let (mut progress, mut answered) = state?;
        loop {
            tokio::select! {
                biased;
                line = progress.recv() => match line {
                    Ok(line) => return Some((json(&PassLine::Progress(line)), Some((progress, answered)))),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                status = &mut answered => {
                    return status.ok().map(|s| (json(&PassLine::Status(Box::new(s.as_ref().clone()))), None));
                }
            }
        }
    }))
}

fn json(line: &PassLine) -> String {
    serde_json::to_string(line).unwrap_or_default()
}
