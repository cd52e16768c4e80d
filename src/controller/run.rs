//! The loop, and one run of it to the end (`apply`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::status::Status;
use super::{Controller, ControllerError, Request};
use crate::apply::Outcome;
use crate::engine::{Engine, EngineError, EngineEvent, EventKind};

/// What wakes the loop. Only that something happened matters, never what.
#[derive(Debug)]
pub enum Wake {
    /// A branch moved, or may have.
    Git,
    /// A URL was fetched, or why it could not be.
    Fetched(Option<String>),
    /// Something happened to one of our containers.
    Container(String),
    /// An image, or a name of one, was removed.
    ImageGone,
    /// Something else happened on the engine.
    Engine,
    /// Events may have been missed.
    Gap,
    /// A service's calls ended.
    Service(Box<Outcome>),
    /// A person asks for a pass; the answer is the status once all is settled.
    Person(Request, oneshot::Sender<Arc<Status>>),
    /// Another look is due.
    Again,
}

/// Wakes that come together are answered together. Short, because it is paid before the first call of a repair.
const GATHER: Duration = Duration::from_millis(5);
/// While calls are under way each of them wakes the loop several times, and a look at the engine takes from it what it
/// starts containers with: then passes rest so many times as long as the last one took …
const REST: u32 = 4;
/// … and at most so long.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// After an error that passes by, the first wait; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// A person's pass ends after this time, settled or not.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// A clean end lets the pass under way go on for so long: one that hangs in the engine is cut short.
const LAST_PASS: Duration = Duration::from_secs(2);
/// A clean end waits so long for calls that are under way; what they did is found by the next look.
const LAST_CALLS: Duration = Duration::from_secs(6);

struct Asking {
    request: Request,
    answer: oneshot::Sender<Arc<Status>>,
    until: tokio::time::Instant,
    passed: bool,
}

/// Runs until `stop`. A daemon's loop has no `once`; `apply` runs until its request is settled and returns the status.
pub async fn run(
    mut controller: Controller,
    mut wakes: mpsc::UnboundedReceiver<Wake>,
    stop: CancellationToken,
    once: bool,
) -> Result<Arc<Status>, ControllerError> {
    let status = controller.status();
    // From the first look on; followed only if the first pass leaves something to wait for.
    let looked_at = controller.parts.first_look.as_ref().map(|look| look.at);
    let since = looked_at.unwrap_or_else(Timestamp::now);
    let mut unfollowed = Some(controller.parts.engine.events_since(since).boxed());
    let mut follower = None;
    let mut retry = FIRST_RETRY;
    let mut asking: Vec<Asking> = Vec::new();
    let mut due = !once;
    let mut took = Duration::ZERO;
    let result = loop {
        if due {
            let request = asking.first().map(|a| a.request.clone()).unwrap_or_default();
            let began = tokio::time::Instant::now();
            let result = tokio::select! {
                result = controller.pass(&request) => result,
                () = overdue(&stop) => break Ok(status.borrow().clone()),
            };
            took = began.elapsed();
            match &result {
                Ok(()) => retry = FIRST_RETRY,
                Err(error) if !error.passes_by() || once => break result.map(|()| status.borrow().clone()),
                Err(error) => tracing::warn!("{error}; trying again"),
            }
            if let Some(first) = asking.first_mut().filter(|_| result.is_ok()) {
                // What a person allows holds for the pass that they asked for, not for what comes meanwhile.
                first.request.again = false;
                first.request.resolve = false;
                first.request.person = false;
                first.request.accept = None;
                first.request.refresh = false;
            }
            if let Some(first) = asking.first_mut() {
                first.passed = true;
            }
            answer(&mut asking, &status);
            if once && asking.is_empty() {
                break Ok(status.borrow().clone());
            }
            if result.is_err() {
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
        if let Some(events) = unfollowed.take_if(|_| due) {
            let (engine, wake) = (controller.parts.engine.clone(), controller.wake.clone());
            follower = Some(tokio::spawn(follow_events(engine, events, wake)));
        }
        let now = Timestamp::now();
        let until_look = if controller.last.error.is_some() {
            retry
        } else {
            duration_until(controller.next_look(now), now)
        };
        tokio::select! {
            () = stop.cancelled() => break Ok(status.borrow().clone()),
            wake = wakes.recv() => {
                let Some(wake) = wake else { break Ok(status.borrow().clone()) };
                take(&mut controller, &mut asking, wake);
                rest(&mut controller, &mut asking, &mut wakes, took * REST).await;
                tokio::time::sleep(GATHER).await;
                while let Ok(wake) = wakes.try_recv() {
                    take(&mut controller, &mut asking, wake);
                }
            }
            () = tokio::time::sleep(until_look) => controller.look_round(),
        }
        due = true;
    };
    if let Some(follower) = follower {
        follower.abort();
    }
    finish(&mut controller, &mut wakes).await;
    controller.leave().await;
    result
}

/// The end was asked for, and the time of the pass that was under way then is over.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_PASS).await;
}

/// Lets wakes come in while calls are under way.
async fn rest(
    controller: &mut Controller,
    asking: &mut Vec<Asking>,
    wakes: &mut mpsc::UnboundedReceiver<Wake>,
    long: Duration,
) {
    let end = tokio::time::Instant::now() + long.min(LONGEST_REST);
    while !controller.busy.is_empty() {
        let Ok(Some(wake)) = tokio::time::timeout_at(end, wakes.recv()).await else {
            return;
        };
        take(controller, asking, wake);
    }
}

/// Calls under way are let to their end, so that the ledger knows how they ended.
async fn finish(controller: &mut Controller, wakes: &mut mpsc::UnboundedReceiver<Wake>) {
    let deadline = tokio::time::Instant::now() + LAST_CALLS;
    while !controller.busy.is_empty() {
        match tokio::time::timeout_at(deadline, wakes.recv()).await {
            Ok(Some(Wake::Service(outcome))) => controller.service_ended(*outcome, Timestamp::now()),
            Ok(Some(_)) => {}
            _ => return,
        }
    }
}

fn take(controller: &mut Controller, asking: &mut Vec<Asking>, wake: Wake) {
    match wake {
        Wake::Container(id) => controller.container_changed(&id),
        Wake::Service(outcome) => controller.service_ended(*outcome, Timestamp::now()),
        Wake::Person(request, answer) => {
            // A person asks: what waits for its next try need not wait longer.
            controller.backoff.clear();
            controller.forget_live();
            asking.push(Asking {
                request,
                answer,
                until: tokio::time::Instant::now() + PATIENCE,
                passed: false,
            });
        }
        Wake::ImageGone => controller.images.look_again(),
        Wake::Gap => controller.missed_events(Timestamp::now()),
        Wake::Fetched(trouble) => controller.fetch_trouble = trouble,
        Wake::Git | Wake::Engine | Wake::Again => {}
    }
}

/// Tells who asked, once all is settled or a pass failed.
fn answer(asking: &mut Vec<Asking>, status: &tokio::sync::watch::Receiver<Arc<Status>>) {
    let Some(first) = asking.first() else { return };
    let late = first.until <= tokio::time::Instant::now();
    let settled = first.passed && (status.borrow().settled || status.borrow().failed);
    if settled || late || first.answer.is_closed() {
        let first = asking.remove(0);
        let _ = first.answer.send(status.borrow().clone());
    }
}

fn duration_until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(1))
}

/// Follows the engine's events for ever. They are a hint: every break is a wake, because something may have been missed.
async fn follow_events(
    engine: Engine,
    mut events: BoxStream<'static, Result<EngineEvent, EngineError>>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    let mut pause = FIRST_RETRY;
    loop {
        while let Some(event) = events.next().await {
            let Ok(event) = event else { break };
            pause = FIRST_RETRY;
            let wake_with = match (event.kind, event.container) {
                (EventKind::Container, _) => Wake::Container(event.id),
                (_, Some(container)) => Wake::Container(container),
                (EventKind::Image, _) if matches!(event.action.as_str(), "untag" | "delete") => {
                    Wake::ImageGone
                }
                _ => Wake::Engine,
            };
            if wake.send(wake_with).is_err() {
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
        events = engine.events().boxed();
        if wake.send(Wake::Gap).is_err() {
            return;
        }
    }
}
