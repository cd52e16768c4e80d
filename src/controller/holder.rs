//! One holder for an engine and instance: a volume `ringfence.<instance>` says who it is. Creating a volume is idempotent
//! and answers with the first one's labels, and the volume is in the list that every pass makes anyway.

use std::collections::BTreeMap;

use crate::engine::{Engine, EngineError, labels};
use crate::fleet::names::Instance;
use crate::plan::seen::Observation;
use crate::text::Safe;

/// Who holds an instance on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Random, kept in the state directory.
    pub id: String,
    /// The repository's root commit.
    pub repository: String,
    /// Where its socket is.
    pub socket: String,
}

/// Why the instance is not ours.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// Somebody else holds it.
    #[error(
        "instance `{instance}` on this engine is held by another ringfence (holder {holder}, repository {repository}, socket {socket}); stop that one and use `--takeover`, or give this fleet an `instance:` of its own"
    )]
    Other {
        /// The instance.
        instance: String,
        /// The holder's id.
        holder: Safe,
        /// Its repository's root commit.
        repository: Safe,
        /// Its socket.
        socket: Safe,
    },
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// So often a takeover takes the volume from one that makes it again.
const TAKEOVERS: u32 = 5;
const HOLDER: &str = "dev.ringfence.holder";
const REPOSITORY: &str = "dev.ringfence.repository";
const SOCKET: &str = "dev.ringfence.socket";

/// The name of the holder's volume.
pub fn volume(instance: &Instance) -> String {
    format!("ringfence.{instance}")
}

impl Holder {
    fn labels(&self, instance: &Instance) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::INSTANCE.to_owned(), instance.to_string()),
            (HOLDER.to_owned(), self.id.clone()),
            (REPOSITORY.to_owned(), self.repository.clone()),
            (SOCKET.to_owned(), self.socket.clone()),
        ])
    }

    /// Takes the instance, or finds that it is ours already.
    pub async fn take(
        &self,
        engine: &Engine,
        instance: &Instance,
        takeover: bool,
    ) -> Result<(), HolderError> {
        let name = volume(instance);
        let mut tries = if takeover { TAKEOVERS } else { 0 };
        loop {
            let found = engine.create_volume(&name, &self.labels(instance)).await?;
            match self.judge(instance, &found) {
                // A holder that still runs may see it gone in between, and make it again.
                Err(HolderError::Other { .. }) if tries > 0 => engine.remove_volume(&name).await?,
                judged => return judged,
            }
            tries -= 1;
        }
    }

    /// Whether the instance is still ours, by a look that was made anyway. `Ok(false)`: the volume is gone and must be
    /// made again.
    pub fn still(&self, instance: &Instance, seen: &Observation) -> Result<bool, HolderError> {
        let name = volume(instance);
        match seen.volumes.iter().find(|v| v.name == name) {
            Some(volume) => self.judge(instance, &volume.labels).map(|()| true),
            None => Ok(false),
        }
    }

    fn judge(&self, instance: &Instance, found: &BTreeMap<String, String>) -> Result<(), HolderError> {
        let get = |key: &str| {
            found
                .get(key)
                .map_or_else(|| Safe::new("unknown"), |v| Safe::new(v))
        };
        if found.get(HOLDER) == Some(&self.id) {
            return Ok(());
        }
        Err(HolderError::Other {
            instance: instance.to_string(),
            holder: get(HOLDER),
            repository: get(REPOSITORY),
            socket: get(SOCKET),
        })
    }
}
