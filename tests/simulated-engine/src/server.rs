//! The server: one task for each connection, one more for each call, so that a call that was begun is carried out though
//! the client is gone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use crate::events::{Event, Filter};
use crate::lifecycle::Stopping;
use crate::routes::Done;
use crate::script::{Call, Fault, Hold, Moment};
use crate::world::{Refusal, Tick, World};

type Body = BoxBody<Bytes, Cut>;
type Script = dyn FnMut(&Call) -> Option<Fault> + Send;

/// A connection ends here, whatever was promised.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

/// What all connections share.
pub(crate) struct Shared {
    pub world: Mutex<World>,
    pub log: Mutex<Vec<Call>>,
    pub script: Mutex<Box<Script>>,
    /// Counts up: all connections end.
    pub cut: watch::Sender<u64>,
    /// Streams of events say nothing.
    pub stalled: watch::Sender<bool>,
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log(&self) -> MutexGuard<'_, Vec<Call>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the world, and sees to what comes of it later.
    pub fn with<T>(self: &Arc<Self>, work: impl FnOnce(&mut World) -> T) -> T {
        let (answer, ticks) = {
            let mut world = self.world();
            let answer = work(&mut world);
            (answer, std::mem::take(&mut world.ticks))
        };
        self.schedule(ticks);
        answer
    }

    fn schedule(self: &Arc<Self>, ticks: Vec<(Duration, Tick)>) {
        for (after, tick) in ticks {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                shared.with(|world| world.tick(&tick));
            });
        }
    }
}

pub(crate) async fn listen(shared: Arc<Shared>, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(Arc::clone(&shared), stream));
    }
}

async fn connection(shared: Arc<Shared>, stream: UnixStream) {
    let mut cut = shared.cut.subscribe();
    // What is held until the answer is on its way.
    let answered: Arc<Mutex<Option<Hold>>> = Arc::default();
    let service = service_fn(|request| {
        let (shared, answered) = (Arc::clone(&shared), Arc::clone(&answered));
        async move {
            // A task of its own: hyper forgets a call whose client has hung up, an engine does not.
            match tokio::spawn(answer(shared, request, answered)).await {
                Ok(answer) => answer,
                Err(_) => Err(Cut),
            }
        }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        _ = cut.changed() => {}
    }
    if let Some(hold) = answered.lock().unwrap_or_else(PoisonError::into_inner).take() {
        hold.reach();
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    answered: Arc<Mutex<Option<Hold>>>,
) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let (version, path) = split_version(head.uri.path());
    let mut call = Call {
        method: head.method.to_string(),
        path: unescaped(path),
        version,
        query: query(head.uri.query().unwrap_or_default()),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        name: String::new(),
        status: None,
    };
    call.name = shared.world().name_of(&call.path, &call.body);
    let number = {
        let mut log = shared.log();
        log.push(call.clone());
        log.len() - 1
    };
    let fault = {
        let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script(&call)
    };
    match &fault {
        Some(Fault::Refuse(status, message)) => {
            note(&shared, number, *status);
            return Ok(refusal(&Refusal(*status, message.clone())));
        }
        Some(Fault::LoseRequest) => return Err(Cut),
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Hold(hold)) if hold.at == Moment::Before => {
            hold.reach();
            hold.released().await;
            return Err(Cut);
        }
        _ => {}
    }
    let stale = matches!(fault, Some(Fault::Stale));
    let done = shared.with(|world| world.carry_out(&call, &bytes, stale));
    let (status, body) = match done {
        Ok(Done::Now(status, body)) => (status, body),
        Ok(Done::Stops(stopping)) => {
            stop(&shared, &stopping).await;
            (204, Value::Null)
        }
        Ok(Done::Events) => {
            note(&shared, number, 200);
            return Ok(events(&shared, &call));
        }
        Err(Refusal(status, message)) => (status, serde_json::json!({"message": message})),
    };
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    match fault {
        Some(Fault::LoseReply) => return Err(Cut),
        Some(Fault::DelayReply(time)) => tokio::time::sleep(time).await,
        Some(Fault::Hold(hold)) if hold.at == Moment::Done => {
            hold.reach();
            hold.released().await;
            return Err(Cut);
        }
        Some(Fault::Hold(hold)) => *answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold),
        Some(Fault::Truncate) => return Ok(truncated(status, &text)),
        Some(Fault::Garble(body)) => {
            note(&shared, number, 200);
            return Ok(response(200, body));
        }
        _ => {}
    }
    note(&shared, number, status);
    Ok(response(status, text))
}

fn note(shared: &Shared, number: usize, status: u16) {
    if let Some(call) = shared.log().get_mut(number) {
        call.status = Some(status);
    }
}

async fn stop(shared: &Arc<Shared>, stopping: &Stopping) {
    if stopping.takes > Duration::ZERO {
        tokio::time::sleep(stopping.takes).await;
    }
    shared.with(|world| world.stop_ends(stopping));
}

fn response(status: u16, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    built(status, body.boxed())
}

fn refusal(Refusal(status, message): &Refusal) -> Response<Body> {
    response(*status, serde_json::json!({"message": message}).to_string())
}

fn built(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The length of all of it, and half of it.
fn truncated(status: u16, text: &str) -> Response<Body> {
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let mut response = built(status, streamed(vec![Ok(Frame::data(half)), Err(Cut)]));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, (text.len().max(1)).into());
    response
}

fn streamed(frames: Vec<Result<Frame<Bytes>, Cut>>) -> Body {
    let (sender, receiver) = mpsc::unbounded_channel();
    for frame in frames {
        let _ = sender.send(frame);
    }
    BodyExt::boxed(Frames(receiver))
}

/// A channel as a body.
struct Frames(mpsc::UnboundedReceiver<Result<Frame<Bytes>, Cut>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(context)
    }
}

/// The events since the asked time, then those that come, until they are cut.
fn events(shared: &Arc<Shared>, call: &Call) -> Response<Body> {
    let filter = Filter::new(call.query.get("filters").map_or("{}", String::as_str));
    let since = call.query.get("since").and_then(|since| moment(since));
    let (old, mut live) = {
        let world = shared.world();
        let old = since.map(|since| world.events.since(since)).unwrap_or_default();
        (old, world.events.sender.subscribe())
    };
    let (lines, body) = mpsc::unbounded_channel();
    let tell = move |event: &Event| {
        let text = filter.lets(event).then(|| Bytes::from(event.line()));
        text.is_none_or(|text| lines.send(Ok(Frame::data(text))).is_ok())
    };
    let stalled = shared.stalled.subscribe();
    tokio::spawn(async move {
        let silent = || *stalled.borrow();
        for event in old {
            if !silent() && !tell(&event) {
                return;
            }
        }
        loop {
            match live.recv().await {
                Ok(event) if silent() => drop(event),
                Ok(event) if tell(&event) => {}
                // A slow reader loses some, as with an engine.
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                _ => return,
            }
        }
    });
    built(200, BodyExt::boxed(Frames(body)))
}

/// Seconds, or seconds and nanoseconds: `1700000000.000000001`.
fn moment(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    let nanos = format!("{nanos:0<9}");
    Timestamp::new(seconds.parse().ok()?, nanos.get(..9)?.parse().ok()?).ok()
}

/// `/v1.41/containers/json` → `1.41` and `/containers/json`.
fn split_version(path: &str) -> (String, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let (version, rest) = rest.split_at(end);
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| (version.to_owned(), rest))
    });
    versioned.unwrap_or_else(|| (String::new(), path))
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (unescaped(key), unescaped(&value.replace('+', " "))))
        .collect()
}

/// `%41` → `A`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
