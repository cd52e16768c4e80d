//! Carries out a plan: engine calls, written to the ledger before and after. Nothing here waits for health or time; a
//! service's list of calls ends where one of them cannot be made yet.

mod declared;
mod progress;
mod service;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;

pub use declared::Declared;
pub use progress::{Progress, ProgressSink};
pub use service::{Ended, Outcome};

use crate::engine::{Engine, EngineError};
use crate::plan::services::ServicePlan;
use crate::store::{Store, StoreError};

/// What can go wrong while a plan is carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The ledger: nothing is done that cannot be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries out service plans, a bounded number of engine calls at once.
#[derive(Clone)]
pub struct Applier {
    engine: Engine,
    store: Arc<Store>,
    declared: Declared,
    calls: Arc<Semaphore>,
    progress: ProgressSink,
}

impl Applier {
    /// `at_once` engine calls run at a time: starting costs kernel and shim work, and more only makes each wait longer
    /// (peers: two cores are full at 2 to 4).
    pub fn new(engine: Engine, store: Arc<Store>, at_once: usize, progress: ProgressSink) -> Self {
        Self {
            declared: Declared::new(engine.clone()),
            engine,
            store,
            calls: Arc::new(Semaphore::new(at_once)),
            progress,
        }
    }

    /// Which volumes images declare.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Makes a service's calls until it must wait or is done.
    pub async fn service(&self, pass: u64, plan: ServicePlan) -> Outcome {
        service::Run::new(self, pass, plan).finish().await
    }

    fn now() -> Timestamp {
        Timestamp::now()
    }
}
