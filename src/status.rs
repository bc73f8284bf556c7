//! Plain data for people: what `/v1/status` and `tandem status` show. The
//! field names are the JSON's.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A whole node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// For how many seconds it has been running.
    pub uptime_seconds: u64,
    /// Whether its listeners are bound and every backend has been probed.
    pub ready: bool,
    /// Worker threads.
    pub workers: usize,
    /// Client connections now.
    pub connections: u32,
    /// Client connections at the same time, at the most.
    pub max_connections: u32,
    /// Its configuration.
    pub config: ConfigStatus,
    /// Where its admin interface is.
    pub admin: AdminStatus,
    /// Its listeners, in the order of the file.
    pub listeners: Vec<ListenerStatus>,
    /// Its pools, in the order of the file.
    pub pools: Vec<PoolStatus>,
}

/// The configuration in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConfigStatus {
    /// The file it came from.
    pub file: String,
    /// A hash of what it says; equal on nodes that are configured the same.
    pub hash: String,
    /// When it was put in force, in seconds since 1970.
    pub loaded: u64,
    /// What was wrong with the file when it was last read, if anything.
    pub last_error: Option<String>,
}

/// Where the admin interface is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AdminStatus {
    /// The TCP address.
    pub bind: Option<SocketAddr>,
    /// The path of the unix socket.
    pub socket: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The pool that serves it.
    pub pool: String,
    /// Where it accepts.
    pub binds: Vec<BindStatus>,
    /// Client connections now.
    pub connections: u32,
    /// Client connections accepted since the start.
    pub connections_total: u64,
}

/// One address of a listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BindStatus {
    /// The address, with the port that was given where the file says 0.
    pub address: SocketAddr,
}

/// A pool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub policy: String,
    /// What is spoken.
    pub protocol: String,
    /// How many backends may get new connections.
    pub usable: usize,
    /// Whether dead backends are used too, because too few live.
    pub panic: bool,
    /// Connections that wait for a place.
    pub queued: u32,
    /// Its backends, in the order of the file.
    pub backends: Vec<BackendStatus>,
}

/// A backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Where it is; what the file says, if that is a host name that could not
    /// be resolved yet.
    pub address: String,
    /// `starting`, `up`, `drain`, `saturated` or `down`.
    pub state: String,
    /// For how many seconds it has been in that state.
    pub state_seconds: u64,
    /// The configured weight.
    pub weight: u32,
    /// The weight now: 0 if it gets no new connections.
    pub effective_weight: f64,
    /// Lower tiers are used first.
    pub tier: u8,
    /// Connections now.
    pub connections: u32,
    /// Connections at the same time, at the most.
    pub max_connections: Option<u32>,
    /// Connections made since the start.
    pub connections_total: u64,
    /// What the last probe found.
    pub last_probe: Option<ProbeStatus>,
}

/// What a probe found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProbeStatus {
    /// `pass`, `drain`, `saturated` or `fail`.
    pub outcome: String,
    /// Why it failed.
    pub detail: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// How many seconds ago it ended.
    pub age_seconds: f64,
}
