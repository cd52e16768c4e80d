//! What a container does, since nothing runs in it.

use std::time::Duration;

/// How a container's health goes on after its start, where it has a healthcheck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Healthy after this time.
    Healthy(Duration),
    /// Unhealthy after this time.
    Unhealthy(Duration),
    /// `starting` for ever.
    Never,
}

/// What a container does from its start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// How its health goes on.
    pub health: Health,
    /// When it ends by itself, and with which code. None: it runs until it is stopped.
    pub exit: Option<(Duration, i64)>,
    /// How long a stop takes.
    pub stop: Duration,
    /// The code that a stop ends it with.
    pub stop_code: i64,
}

impl Default for Behaviour {
    /// Healthy at once, stopped at once by SIGTERM.
    fn default() -> Self {
        Self {
            health: Health::Healthy(Duration::ZERO),
            exit: None,
            stop: Duration::ZERO,
            stop_code: 143,
        }
    }
}
