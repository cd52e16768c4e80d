//! Which volumes images declare.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{Engine, EngineError};

/// The paths by an image's exact reference, which never means another image: each is looked at once a process.
#[derive(Clone)]
pub struct Declared {
    engine: Engine,
    paths: Arc<Mutex<Paths>>,
}

/// Shared, since every pass takes a copy.
type Paths = Arc<BTreeMap<String, BTreeSet<String>>>;

impl Declared {
    /// Nothing was looked at yet.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            paths: Arc::default(),
        }
    }

    /// All that was found out so far.
    pub fn known(&self) -> Paths {
        Arc::clone(&self.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The paths for which an image declares a volume. None: the engine does not have it.
    pub async fn look_at(&self, reference: &str) -> Result<Option<BTreeSet<String>>, EngineError> {
        if let Some(known) = self.known().get(reference) {
            return Ok(Some(known.clone()));
        }
        let Some(image) = self.engine.image(reference).await? else {
            return Ok(None);
        };
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut paths).insert(reference.to_owned(), image.volumes.clone());
        Ok(Some(image.volumes))
    }
}
