//! Keeps asking the containers that have a probe of ringfence's own, and remembers the answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::run::Wake;
use crate::fleet::compose::service::Probe;
use crate::plan::replace::Health;
use crate::plan::seen::{Observation, State};
use crate::render::object::{HealthSource, Objects};

/// While a container gets ready it is asked this often.
const EAGER: Duration = Duration::from_millis(100);

/// Where a container is asked, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    address: IpAddr,
    probe: Probe,
    /// Whether it was made from the wanted object. Another one was made for another release and goes on being asked as
    /// it was: the new release's probe says nothing about it.
    own: bool,
    /// What the answer must name.
    name: Option<String>,
}

/// The probes that run, by container id.
pub struct Probes {
    running: BTreeMap<String, (Target, AbortHandle)>,
    answers: Arc<Mutex<BTreeMap<String, Health>>>,
    wake: mpsc::UnboundedSender<Wake>,
    /// Whether no probe from this host reaches a container: what was not asked is unknown, and no failure.
    pub(super) blind: bool,
}

impl Probes {
    /// None yet; a change of an answer wakes the loop.
    pub fn new(wake: mpsc::UnboundedSender<Wake>) -> Self {
        Self {
            running: BTreeMap::new(),
            answers: Arc::default(),
            wake,
            blind: false,
        }
    }

    /// The answers of this moment.
    pub fn answers(&self) -> BTreeMap<String, Health> {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks each container once that runs, has a probe and gave no answer yet. `final_word`: what does not answer counts as
    /// unhealthy (`status` without a daemon); else it is asked again.
    pub async fn ask_once(&self, wanted: &Objects, seen: &Observation, final_word: bool) {
        if self.blind {
            self.know_nothing(&targets(wanted, seen));
            return;
        }
        let known = self.answers();
        let looks = targets(wanted, seen)
            .into_iter()
            .filter(|(id, _)| !known.contains_key(id))
            .map(|(id, target)| async move {
                let health = match target.look().await {
                    Ok(()) => Some(Health::Healthy),
                    Err(_) => final_word.then_some(Health::Unhealthy),
                };
                health.map(|health| (id, health))
            });
        let answers = futures_util::future::join_all(looks).await.into_iter().flatten();
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(answers);
    }

    fn know_nothing(&self, of: &BTreeMap<String, Target>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers = of.keys().map(|id| (id.clone(), Health::Unknown)).collect();
    }

    /// Asks exactly the containers that run and have a probe.
    pub fn follow(&mut self, wanted: &Objects, seen: &Observation) {
        let mut now = targets(wanted, seen);
        if self.blind {
            self.know_nothing(&now);
            now.clear();
        }
        let stale: Vec<String> = self
            .running
            .iter()
            .filter(|(id, (asked, _))| now.get(*id).is_none_or(|target| !asked.goes_on(target)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in stale {
            if let Some((_, task)) = self.running.remove(&id) {
                task.abort();
            }
            self.answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
        }
        for (id, target) in now {
            if !self.running.contains_key(&id) {
                let task = tokio::spawn(ask(
                    id.clone(),
                    target.clone(),
                    Arc::clone(&self.answers),
                    self.wake.clone(),
                ));
                self.running.insert(id, (target, task.abort_handle()));
            }
        }
    }
}

impl Target {
    async fn look(&self) -> Result<(), String> {
        crate::probe::look(self.address, &self.probe, self.name.as_deref()).await
    }

    /// Whether what is asked under `self` answers for `now` as well.
    fn goes_on(&self, now: &Self) -> bool {
        self.address == now.address && (!now.own || (&self.probe, &self.name) == (&now.probe, &now.name))
    }
}

/// The containers that have a probe and run, with where to ask and what.
fn targets(wanted: &Objects, seen: &Observation) -> BTreeMap<String, Target> {
    let mut now = BTreeMap::new();
    let probes = wanted.services.values().filter_map(|o| match &o.health {
        HealthSource::Probe(probe) => Some((o, probe)),
        _ => None,
    });
    let mut probes = probes.peekable();
    if probes.peek().is_none() {
        return now;
    }
    let containers = seen.by_service();
    for (object, probe) in probes {
        let own = containers.get(&(&object.key.owner, object.key.service.as_str()));
        for container in own.into_iter().flatten().filter(|c| c.state == State::Running) {
            let address = container
                .details
                .as_ref()
                .and_then(|d| d.addresses.get(&object.home_network))
                .and_then(|a| a.parse::<IpAddr>().ok());
            if let Some(address) = address {
                // Who names the release was told it, and so has it in its spec (`fleet/compose/health.rs`).
                let own = container.spec == Some(object.hash);
                let name = (own && probe.names_release).then(|| object.release.to_string());
                let target = Target {
                    address,
                    probe: probe.clone(),
                    own,
                    name,
                };
                now.insert(container.id.clone(), target);
            }
        }
    }
    now
}

impl Drop for Probes {
    fn drop(&mut self) {
        for (_, task) in self.running.values() {
            task.abort();
        }
    }
}

async fn ask(
    id: String,
    target: Target,
    answers: Arc<Mutex<BTreeMap<String, Health>>>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    let probe = &target.probe;
    let started = tokio::time::Instant::now();
    let mut failures = 0;
    let mut last = Health::Starting;
    loop {
        let health = match target.look().await {
            Ok(()) => {
                failures = 0;
                Health::Healthy
            }
            Err(_) => {
                let counts = started.elapsed() >= Duration::from_millis(probe.start_period_ms);
                failures += u32::from(counts);
                if failures >= probe.retries && started.elapsed() >= budget(probe) {
                    Health::Unhealthy
                } else if last == Health::Healthy {
                    Health::Healthy
                } else {
                    Health::Starting
                }
            }
        };
        if health != last {
            last = health;
            answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id.clone(), health);
            if wake.send(Wake::Again).is_err() {
                return;
            }
        }
        let pause = if last == Health::Starting {
            EAGER
        } else {
            Duration::from_millis(probe.interval_ms)
        };
        tokio::time::sleep(pause).await;
    }
}

/// Eager looks must not use the retries up in a second: an answer is bad only after the time that the retries stand for.
fn budget(probe: &Probe) -> Duration {
    Duration::from_millis(probe.start_period_ms + u64::from(probe.retries) * probe.interval_ms)
}
