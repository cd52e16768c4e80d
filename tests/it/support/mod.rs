//! What the tests share.

// Rooms' tests use what they need of it.
#[allow(dead_code)]
pub mod engine;
#[allow(dead_code)]
pub mod fleet;
pub mod image;
#[allow(dead_code)]
pub mod private_engine;
pub mod proxy;
pub mod registry;
#[allow(dead_code)]
pub mod simulated;

/// Says why a test needs root, and fails without it. Such a test stands in a module `as_root`, which `make test` leaves
/// out, and says so, for who is not root.
#[track_caller]
pub fn as_root(why: &str) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root ({why}): run it with sudo, or leave it out with `--skip as_root::`"
    );
}
