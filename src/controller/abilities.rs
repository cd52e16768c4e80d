//! What the engine cannot do of what the fleet asks for. A rootless one keeps its containers in a network namespace of its
//! own, where no probe from this host comes; without cgroups it takes limits and enforces none.

use serde::{Deserialize, Serialize};

use super::Controller;
use crate::fleet::compose::service::Limits;
use crate::plan::seen::{Cgroups, Observation, SeenLimits};
use crate::render::object::{HealthSource, Objects, ServiceObject};

/// Where the store has them.
const KEPT: &str = "engine.abilities";

/// What an engine said of itself, as far as a fleet may depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Abilities {
    rootless: bool,
    unenforced: Vec<String>,
    #[serde(default)]
    engine: String,
    /// Bytes; 0: what was kept before this was asked.
    #[serde(default)]
    memory: u64,
    /// Without a default: what was kept before this was asked is asked again.
    cgroups: Cgroups,
}

impl Abilities {
    /// What a person should know, for what is wanted.
    fn shortcomings(&self, wanted: &Objects) -> Vec<String> {
        let mut told = Vec::new();
        let mut probed = wanted
            .services
            .values()
            .filter(|o| is_probed(o))
            .map(|o| o.key.to_string());
        if let Some(first) = probed.next().filter(|_| self.rootless) {
            let more = match probed.count() {
                0 => String::new(),
                n => format!(" and of {n} more"),
            };
            told.push(format!(
                "the engine is rootless: the probe of {first}{more} does not reach its containers from this host, so its health stays unknown; give it a `healthcheck`"
            ));
        }
        let asked = wanted.services.values().flat_map(|o| limits(&o.spec.limits));
        let asked: Vec<&str> = asked.collect();
        let lost: Vec<&str> = self
            .unenforced
            .iter()
            .map(String::as_str)
            .filter(|name| asked.contains(name))
            .collect();
        if !lost.is_empty() {
            told.push(format!(
                "the engine enforces no limit of {}: what the fleet asks for is taken and not kept (a rootless engine needs cgroups v2)",
                lost.join(", ")
            ));
        }
        told
    }
}

fn is_probed(object: &ServiceObject) -> bool {
    matches!(object.health, HealthSource::Probe(_))
}

/// The limits that are set, by their Compose names.
fn limits(of: &Limits) -> impl Iterator<Item = &'static str> + use<> {
    let set = [
        ("memory", of.memory.is_some() || of.memory_reservation.is_some()),
        ("cpus", of.nano_cpus.is_some()),
        ("pids", of.pids.is_some()),
    ];
    set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name)
}

impl Controller {
    /// Asks the engine once, and only for a fleet that depends on the answer, or has limits that somebody set; what stands
    /// against it is returned. A verb takes what was found before, unless a person trusts nothing (`fresh`).
    pub(super) async fn learn(&mut self, wanted: &Objects, seen: &Observation, fresh: bool) -> Vec<String> {
        let depends = |o: &ServiceObject| is_probed(o) || limits(&o.spec.limits).next().is_some();
        let mut details = seen.containers.iter().filter_map(|c| c.details.as_ref());
        let limited = details.any(|d| d.limits != SeenLimits::default());
        if !limited && !wanted.services.values().any(|o| depends(o)) {
            return Vec::new();
        }
        if self.abilities.is_none() || fresh {
            self.abilities = self.ask_abilities(fresh || self.parts.daemon).await;
        }
        let Some(known) = &self.abilities else {
            return Vec::new(); // the engine does not say now: the next pass asks again
        };
        self.probes.blind = known.rootless;
        known.shortcomings(wanted)
    }

    /// What the engine makes of limits, as far as it is known.
    pub(super) fn cgroups(&self) -> Cgroups {
        self.abilities
            .as_ref()
            .map_or_else(Cgroups::default, |a| a.cgroups)
    }

    /// The engine's id and its bytes of memory, as far as they are known.
    pub(super) async fn memory(&mut self) -> (String, Option<u64>) {
        if self.abilities.as_ref().is_none_or(|a| a.memory == 0) {
            let fresh = self.parts.daemon || self.abilities.is_some();
            self.abilities = self.ask_abilities(fresh).await;
        }
        let known = self.abilities.as_ref().filter(|a| a.memory > 0);
        known.map_or_else(Default::default, |a| (a.engine.clone(), Some(a.memory)))
    }

    async fn ask_abilities(&self, fresh: bool) -> Option<Abilities> {
        let store = &self.parts.store;
        let kept = store.meta(KEPT).ok().flatten().filter(|_| !fresh);
        if let Some(kept) = kept.and_then(|text| serde_json::from_str(&text).ok()) {
            return Some(kept);
        }
        let info = self.parts.engine.info().await.ok()?;
        let found = Abilities {
            rootless: info.rootless,
            unenforced: info.unenforced,
            engine: info.id,
            memory: info.memory,
            cgroups: info.cgroups,
        };
        if let Ok(text) = serde_json::to_string(&found) {
            // No more than a cache, and who only looks writes nothing.
            let _ = store.set_meta(KEPT, &text);
        }
        Some(found)
    }
}
