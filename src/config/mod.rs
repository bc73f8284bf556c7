//! text -> [`Config`], or [`Problems`].

use crate::admin::AdminSettings;
use crate::event::LogSettings;
use crate::health::ProbeSettings;
use crate::pool::{ListenerSettings, PoolSettings};
use crate::proxy::Limits;

/// A whole lb.yaml, checked. If you hold one, it is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bounds of the process.
    pub limits: Limits,
    /// The listeners, by name.
    pub listeners: Vec<ListenerSettings>,
    /// The pools, by name, each with its probe.
    pub pools: Vec<PoolConfig>,
    /// The admin interface.
    pub admin: AdminSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// A pool and how it is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// The pool.
    pub pool: PoolSettings,
    /// Its probe.
    pub probe: ProbeSettings,
}
