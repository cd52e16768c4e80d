//! A Docker engine that only keeps state. It speaks as much of the API as ringfence asks for, on a unix socket, refuses
//! what an engine refuses, and can be told to fail. Nothing runs in it: a container "runs" from its start to its stop,
//! and its health and end come from a [`Behaviour`].
//!
//! What an engine does was seen on Engine 20.10 and 28; `tests/it/conformance.rs` holds this one and real ones to the same
//! facts.
//!
//! ```no_run
//! use simulated_engine::{Fault, SimulatedEngine};
//! let folder = std::env::temp_dir();
//! let engine = SimulatedEngine::start(&folder);
//! engine.add_image("web:1", true);
//! // The second start is carried out, and its answer lost.
//! let mut starts = 0;
//! engine.script(move |call| {
//!     starts += usize::from(call.is("POST /containers/*/start"));
//!     (call.is("POST /containers/*/start") && starts == 2).then_some(Fault::LoseReply)
//! });
//! println!("DOCKER_HOST={}", engine.address());
//! ```

mod behaviour;
mod containers;
mod engine;
mod events;
mod images;
mod lifecycle;
mod networks;
mod routes;
mod script;
mod server;
mod views;
mod world;

pub use behaviour::{Behaviour, Health};
pub use engine::SimulatedEngine;
pub use events::Event;
pub use images::Image;
pub use networks::{Network, Volume};
pub use script::{Call, Fault, Hold, Moment};
pub use world::{Container, End, State, World};
