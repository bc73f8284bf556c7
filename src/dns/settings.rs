use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::types::{Fqdn, FqdnError, Name};

/// The shortest time to live that resolvers honour at all.
pub const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// A takeover that takes longer than this to be seen is none.
pub const LONGEST_TTL: Duration = Duration::from_secs(300);

/// How the embedded server answers for the public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// Where it answers, over UDP and TCP; each address by itself, never
    /// "all of them", so that an answer leaves from where it was asked.
    pub binds: Vec<SocketAddr>,
    /// The public name, delegated to the nodes as a zone of its own.
    pub zone: Fqdn,
    /// Every node of the pair; each is a name server of the zone.
    pub nodes: Vec<Node>,
    /// How long resolvers may keep the answer, 1 s to 300 s.
    pub ttl: Duration,
    /// Queries a second from one network (IPv4 /24, IPv6 /56).
    pub per_source_qps: u32,
    /// Queries a second from everybody.
    pub global_qps: u32,
    /// TCP connections at the same time; one network gets a quarter of them.
    /// Beyond that the longest idle ones make place.
    pub tcp_clients: u32,
    /// How long a TCP connection may take to ask its next question, and to
    /// take its answer.
    pub tcp_idle: Duration,
}

/// A node of the pair, as the DNS sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: Name,
    host: Fqdn,
    addresses: Vec<IpAddr>,
}

/// Why a node cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Its name makes no domain name.
    #[error("the node {0} cannot be named in DNS: {1}")]
    Name(Name, FqdnError),
    /// There is nowhere to send clients.
    #[error("the node {0} has no address")]
    NoAddress(Name),
    /// An address that no client could connect to.
    #[error("the node {0} cannot be reached at {1}")]
    Unreachable(Name, IpAddr),
}

impl Node {
    /// The node `name` of `zone`, which clients reach at `addresses`.
    pub fn new(zone: &Fqdn, name: Name, addresses: Vec<IpAddr>) -> Result<Self, NodeError> {
        if addresses.is_empty() {
            return Err(NodeError::NoAddress(name));
        }
        let is_nowhere = |it: &&IpAddr| it.is_unspecified() || it.is_multicast();
        if let Some(wrong) = addresses.iter().find(is_nowhere) {
            return Err(NodeError::Unreachable(name, *wrong));
        }
        match zone.child(name.as_str()) {
            Ok(host) => Ok(Self {
                name,
                host,
                addresses,
            }),
            Err(error) => Err(NodeError::Name(name, error)),
        }
    }

    /// Its name in the pair.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Its own name in DNS, where it also answers as a name server.
    pub const fn host(&self) -> &Fqdn {
        &self.host
    }

    /// Where clients reach it; at least one.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

impl ServeSettings {
    /// Answers for `zone` at `binds`, with every limit at its default.
    pub const fn new(zone: Fqdn, nodes: Vec<Node>, binds: Vec<SocketAddr>) -> Self {
        Self {
            binds,
            zone,
            nodes,
            // A dead node's clients are back within this time; the load is
            // one query for each resolver and TTL, so short is cheap.
            ttl: Duration::from_secs(5),
            // A busy resolver asks twice (A, AAAA) in each TTL; a network of
            // them does not come near. A victim whose address is forged gets
            // less than a megabit a second.
            per_source_qps: 200,
            // A third of what one core can answer.
            global_qps: 20_000,
            // TCP is for truncated answers, of which there are few.
            tcp_clients: 128,
            // RFC 7766 wants seconds, and a slot must not be held for free.
            tcp_idle: Duration::from_secs(5),
        }
    }
}
