//! `ringfence` keeps Docker hosts equal to what a git repository says.
//!
//! The rooms, from the ground up (nothing imports upwards; see ARCHITECTURE.md):
//!
//! - [`diagnostic`], [`digest`], [`text`]: findings with positions, canonical hashes, safe text;
//! - [`fleet`]: what the repository says, with positions;
//! - [`render`], [`plan`], [`decide`]: which objects, which steps, which release. No I/O down to here;
//! - [`engine`], [`git`], [`probe`]: the only rooms that touch Docker, git and the network;
//! - [`apply`], [`store`]: carrying out a plan; the ledger;
//! - [`controller`]: the loop;
//! - [`cli`]: the door for people.

pub mod apply;
pub mod cli;
pub mod controller;
pub mod decide;
pub mod diagnostic;
pub mod digest;
pub mod engine;
pub mod fleet;
pub mod git;
pub mod plan;
pub mod probe;
pub mod render;
pub mod store;
pub mod text;
