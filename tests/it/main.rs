//! The integration tests: one binary, against a real engine. Without an engine they fail; they never skip.

// What `clippy.toml` allows in tests holds for functions marked as tests only; here all of it is tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]

mod crash;
mod drift;
mod engine;
mod fleets;
mod house;
mod main_job;
mod registry;
mod shared_state;
mod support;
mod zero_loss;
