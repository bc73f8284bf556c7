//! What an operator may say of the pair.

use std::net::{IpAddr, SocketAddr};

use super::settings::{Failback, Timing};
use crate::types::{Fqdn, Name, Secret};

/// The pair, as one of its nodes sees it. The same lines say it on every node.
#[derive(Clone, Debug, PartialEq)]
pub struct PairSettings {
    /// The public name, which one node holds at a time.
    pub name: Fqdn,
    /// Which node this is.
    pub me: Name,
    /// Every node, best rank first.
    pub nodes: Vec<PairNode>,
    /// What heartbeats are signed with.
    pub secret: Secret,
    /// When to speak, to look, and to make up one's mind.
    pub timing: Timing,
    /// Whether the name goes back to a node that has recovered.
    pub failback: Failback,
    /// Whether the name points to every node that can serve, not to one.
    pub active_active: bool,
}

/// One node of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairNode {
    /// Its name.
    pub name: Name,
    /// Where clients reach it.
    pub addresses: Vec<IpAddr>,
    /// Where its heartbeats come from and go to (UDP), and where its workers
    /// attest that they live (TCP); several are several paths.
    pub heartbeat: Vec<SocketAddr>,
}

impl PairSettings {
    /// The port of heartbeats, unless said: not assigned by IANA.
    pub const HEARTBEAT_PORT: u16 = 7946;

    /// The node called `name`.
    pub fn node(&self, name: &Name) -> Option<&PairNode> {
        self.nodes.iter().find(|it| it.name == *name)
    }
}
