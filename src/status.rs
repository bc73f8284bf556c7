//! Plain data for people: what `/v1/status` and `tandem status` show. The
//! field names are the JSON's.

use std::net::{IpAddr, SocketAddr};

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
    /// The pair, if it is part of one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pair: Option<PairStatus>,
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
    /// What reloads have changed that takes effect at the next start.
    #[serde(default)]
    pub waits_for_restart: Vec<String>,
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
    pub address: String,
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
    /// `starting`, `unknown`, `up`, `drain`, `saturated` or `down`.
    pub state: String,
    /// For how many seconds it has been in that state.
    pub state_seconds: u64,
    /// Why it gets no new connections although it is alive: `weight 0`.
    #[serde(default)]
    pub out: Option<String>,
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
    /// `pass`, `drain`, `saturated`, `fail` or `unknown`.
    pub outcome: String,
    /// Why it failed, or why nothing could be found out.
    pub detail: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// How many seconds ago it ended.
    pub age_seconds: f64,
}

/// The pair, as this node sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PairStatus {
    /// The public name.
    pub name: String,
    /// This node.
    pub me: String,
    /// What it is: `init`, `standby`, `claiming`, `holder`, `unsure` or
    /// `draining`.
    pub role: String,
    /// For how many seconds it has been that.
    pub role_seconds: u64,
    /// Grows with each claim.
    pub term: u64,
    /// Who holds the name, as far as this node knows.
    pub holder: Option<String>,
    /// Whether nobody else can hold it at this moment; only a lease can tell.
    #[serde(default)]
    pub exclusive: bool,
    /// Whose address this node gives to those who ask it.
    pub answer: String,
    /// The nodes that can serve.
    pub functional: Vec<String>,
    /// Whether a person has ordered that nothing moves by itself.
    pub held: bool,
    /// Whether it looks as if this node were the sick one: it reaches no
    /// backend, and a twin does.
    pub sick: bool,
    /// The last change of role, and why.
    pub last_transition: Option<String>,
    /// The other nodes.
    pub twins: Vec<TwinStatus>,
    /// Nodes of the pair that are not in this node's lb.yaml.
    #[serde(default)]
    pub strangers: Vec<String>,
}

/// Another node of the pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TwinStatus {
    /// Its name.
    pub name: String,
    /// Whether its heartbeats come.
    pub up: bool,
    /// Whether it could take the name now.
    pub ready: bool,
    /// Its version, where it says one; those of 0.1.0 do not all.
    #[serde(default)]
    pub version: Option<String>,
    /// What it says it is.
    pub role: Option<String>,
    /// Whether its data plane serves.
    pub serving: Option<bool>,
    /// Whether it has a usable backend.
    pub has_backends: Option<bool>,
    /// Missed heartbeats in a row.
    pub missed: u32,
    /// Failed connections to its data port in a row.
    pub failed_probes: u32,
    /// The time a heartbeat and its echo took, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Whether its configuration differs from ours.
    pub config_differs: bool,
}

/// What a name server said of the public name.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ObservedStatus {
    /// The server.
    pub server: SocketAddr,
    /// The addresses that it gave.
    pub addresses: Vec<IpAddr>,
    /// Whether those are the holder's. A resolver may lag by the TTL.
    pub matches: bool,
    /// Why it gave none.
    pub error: Option<String>,
}

/// How the world learns who holds the name.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DnsStatus {
    /// The public name.
    pub zone: String,
    /// Where this node answers; nowhere if somebody else does.
    pub binds: Vec<SocketAddr>,
    /// Its records, a line each as a zone file has them.
    pub records: Vec<String>,
    /// Answers by response code, and queries that got none, by reason.
    pub queries: std::collections::BTreeMap<String, u64>,
    /// What the parent zone needs; empty if this node answers no queries.
    pub delegation: String,
    /// The DNS server that is the register, if there is one.
    #[serde(default)]
    pub register: Option<SocketAddr>,
    /// What name servers said last.
    #[serde(default)]
    pub observed: Vec<ObservedStatus>,
}
