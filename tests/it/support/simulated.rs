//! A fleet on a simulated engine: the real binary, a real repository, and an engine that does what it is told.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use simulated_engine::{Behaviour, Call, Container, Fault, Health, SimulatedEngine, State};

use super::fleet::{AGENT, TestFleet};

/// How long a health check or an end takes to come.
pub const SOON: Duration = Duration::from_millis(5);

/// A [`TestFleet`] and the engine that it is on.
pub struct SimulatedFleet {
    /// The engine.
    pub engine: SimulatedEngine,
    fleet: TestFleet,
    _folder: tempfile::TempDir,
}

impl Deref for SimulatedFleet {
    type Target = TestFleet;

    fn deref(&self) -> &TestFleet {
        &self.fleet
    }
}

impl SimulatedFleet {
    /// An empty fleet; the engine has the example agent's image, and containers do what [`agent`] says.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = SimulatedEngine::start(folder.path());
        engine.add_image(AGENT, true);
        engine.with(|world| world.behave(agent));
        let fleet = TestFleet::simulated(name, &engine.address());
        Self {
            engine,
            fleet,
            _folder: folder,
        }
    }

    /// Asks until the answer is yes, as [`TestFleet::eventually`] does.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut ask: impl FnMut(&Self) -> bool) {
        self.fleet.eventually(what, |_| ask(self));
    }

    /// A fault for the `n`th (from 0) call that `which` names, once.
    pub fn fault(&self, n: usize, which: &'static str, fault: &Fault) {
        let fault = fault.clone();
        let mut met = 0;
        self.engine.script(move |call| {
            let hit = call.is(which) && met == n;
            met += usize::from(call.is(which));
            hit.then(|| fault.clone())
        });
    }

    /// The instance's containers by name.
    pub fn all(&self) -> BTreeMap<String, Container> {
        let ours = |c: &&Container| c.labels.get("dev.ringfence.instance") == Some(&self.instance);
        let found = |world: &mut simulated_engine::World| {
            let ours = world.containers.values().filter(ours);
            ours.map(|c| (c.name.clone(), c.clone())).collect()
        };
        self.engine.with(found)
    }

    /// The container that has the service's name, in either spelling.
    pub fn server(&self, owner: &str, service: &str) -> Option<Container> {
        let name = format!("{service}.{owner}.{}", self.instance);
        self.all()
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(&name))
            .map(|(_, container)| container)
    }

    /// The version that serves and runs; empty if none does.
    pub fn serves(&self, owner: &str, service: &str) -> String {
        self.server(owner, service)
            .filter(|c| c.state == State::Running)
            .and_then(|c| c.env("AGENT_VERSION").map(str::to_owned))
            .unwrap_or_default()
    }

    /// What was changed since the log began, in words.
    pub fn changed(&self) -> Vec<String> {
        self.engine.changes().iter().map(Call::to_string).collect()
    }
}

/// What the example agent does: `AGENT_FAIL` is `unhealthy`, `exit` or `never`.
fn agent(container: &Container) -> Behaviour {
    let mut behaviour = Behaviour {
        health: Health::Healthy(SOON),
        ..Behaviour::default()
    };
    match container.env("AGENT_FAIL") {
        Some("unhealthy") => behaviour.health = Health::Unhealthy(SOON),
        Some("exit") => behaviour.exit = Some((SOON, 1)),
        Some("never") => behaviour.health = Health::Never,
        _ => {}
    }
    behaviour
}
