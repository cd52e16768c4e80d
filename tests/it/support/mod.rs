//! What the tests against a real engine share.

// Rooms' tests use what they need of it.
#[allow(dead_code)]
pub mod engine;
#[allow(dead_code)]
pub mod fleet;
pub mod image;
pub mod registry;
