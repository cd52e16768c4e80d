//! Lists that are out of date, and events that nobody hears. A list may be answered while a call is still carried out: it
//! says what was before, and the next one what is.

use std::sync::{Arc, Mutex};

use simulated_engine::Fault;

use super::flows::Stage;

/// The lists that each pass begins with. Each of them is out of date by itself: they are three calls.
pub const LISTS: [&str; 3] = ["containers", "networks", "volumes"];

/// The call that asks for a list.
fn asks(list: &str) -> &'static str {
    match list {
        "containers" => "GET /containers/json",
        "networks" => "GET /networks",
        _ => "GET /volumes",
    }
}

impl Stage {
    /// The `n`th list of this kind is as it was before the last change of what it tells. None if there is none, or nothing
    /// ever changes what it tells; false if nothing had until then, so that it told what was.
    pub fn stale(&mut self, list: &'static str, n: usize) -> Option<bool> {
        self.reset();
        self.fleet.engine.with(|world| world.remember(true));
        let met = self.stale_at(list, n);
        self.check(&format!("list {n} of {list} is out of date"), &[self.flow.code]);
        let (was, changes) = self
            .fleet
            .engine
            .with(|world| (world.was_stale(), world.has_before(list)));
        (changes && *met.lock().unwrap() > n).then_some(was)
    }

    /// From now on the `n`th list of this kind is out of date. How many were asked for.
    pub fn stale_at(&self, list: &'static str, n: usize) -> Arc<Mutex<usize>> {
        let met = Arc::new(Mutex::new(0));
        let counts = Arc::clone(&met);
        self.fleet.engine.script(move |call| {
            let hit = call.is(asks(list));
            let mut met = counts.lock().unwrap();
            *met += usize::from(hit);
            (hit && *met == n + 1).then_some(Fault::Stale)
        });
        met
    }

    /// The `n`th event is not told; false if there is none.
    pub fn missed(&mut self, n: usize) -> bool {
        self.reset();
        let met = Arc::new(Mutex::new(0));
        let counts = Arc::clone(&met);
        self.fleet.engine.with(|world| {
            world.drop_events(move |_| {
                let mut met = counts.lock().unwrap();
                *met += 1;
                *met == n + 1
            });
        });
        self.check(&format!("event {n} is not told"), &[self.flow.code]);
        *met.lock().unwrap() > n
    }
}
