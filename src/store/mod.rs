//! The store room: the state directory and the ledger in it, one SQLite file.

mod decisions;
pub mod dir;
mod error;
mod events;
mod facts;
mod ledger;
mod objects;
mod proofs;
mod schema;
pub mod seal;
mod steps;
#[cfg(test)]
mod tests;
mod tidy;

pub use decisions::TenantRuns;
pub use dir::{StateDir, StateView};
pub use error::StoreError;
pub use events::{Event, EventQuery, NewEvent};
pub use ledger::Store;
pub use proofs::{Proved, Stretch};
pub use steps::{OpenStep, StepId, StepOutcome};
