//! Where the admin interface listens.

use std::net::SocketAddr;

use crate::types::{Secret, UnixFile};

/// Where people, scrapers and commands reach a running node.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    /// TCP address; `None`: no TCP. GET only unless there is a token.
    pub bind: Option<SocketAddr>,
    /// Unix socket for everything; `None`: no socket.
    pub socket: Option<UnixFile>,
    /// Names and addresses that TCP is reached by, besides this machine's own:
    /// an alias, a proxy, the address in front of a translation.
    pub hosts: Vec<String>,
    /// By what connect and probe durations are counted in `/metrics`.
    pub histograms: Histograms,
    /// Bearer token that permits writes over TCP.
    pub token: Option<Secret>,
}

/// By what durations are counted in `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Each backend has its own: 38 series.
    #[default]
    Backend,
    /// Each pool has its own, for those who have thousands of backends.
    Pool,
}

impl Histograms {
    /// Every way, by its word in lb.yaml.
    pub const WORDS: [(&'static str, Self); 2] = [("backend", Self::Backend), ("pool", Self::Pool)];

    /// The word in lb.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Pool => "pool",
        }
    }
}

impl AdminSettings {
    /// Loopback only: the page tells more than a stranger should know.
    pub const BIND: &'static str = "127.0.0.1:9127";
    /// Where systemd's RuntimeDirectory= puts it.
    pub const SOCKET: &'static str = "/run/tandem/admin.sock";
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            bind: Self::BIND.parse().ok(),
            socket: UnixFile::parse(Self::SOCKET).ok(),
            hosts: Vec::new(),
            histograms: Histograms::default(),
            token: None,
        }
    }
}
