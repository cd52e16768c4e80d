//! The integration tests: one binary, against a real engine and a simulated one. Without an engine they fail; they never
//! skip.

// What `clippy.toml` allows in tests holds for functions marked as tests only; here all of it is tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]

mod bad_input;
mod bad_objects;
mod conformance;
mod crash;
mod drift;
mod engine;
mod faces;
mod faults;
mod fleets;
mod house;
mod lost_ledger;
mod main_job;
mod no_op;
mod promotion;
mod promotion_verbs;
mod properties;
mod quiet;
mod registry;
mod resources;
mod schema;
mod shared_state;
mod state;
mod support;
mod zero_loss;
