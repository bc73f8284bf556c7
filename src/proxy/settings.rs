//! Settings of the data plane as a whole.

use std::time::Duration;

/// Bounds of the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Worker threads; `None`: one per core.
    pub workers: Option<u16>,
    /// Client connections at the same time; `None`: what the file descriptors
    /// allow.
    pub max_connections: Option<u32>,
    /// How long an idle worker looks for the next event before it sleeps;
    /// zero: not at all.
    pub busy_poll: Duration,
    /// How long sessions may go on after SIGTERM.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: None,
            busy_poll: Duration::ZERO,
            // Half of what systemd grants before it kills.
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
