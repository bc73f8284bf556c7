//! What an operator may say of listeners, pools and backends, with defaults.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::types::{Address, Endpoint, Name, ProxyVersion, Sources, UnixAccess, Weight};

/// An address we accept on and the pool it feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// The listener's name.
    pub name: Name,
    /// Where to listen; at least one.
    pub binds: Vec<Endpoint>,
    /// Who may connect to those of them that are unix sockets.
    pub unix: UnixAccess,
    /// The pool that serves it.
    pub pool: Name,
    /// Who moves the bytes.
    pub plane: Plane,
    /// Who may connect; empty means everyone.
    pub allow: Vec<IpNet>,
    /// Who may not connect; wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Connections at the same time on this listener.
    pub max_connections: Option<u32>,
    /// Connections at the same time from one source address.
    pub max_per_source: Option<u32>,
    /// Length of the kernel's accept queue.
    pub backlog: u32,
    /// Networks whose connections begin with a PROXY header; empty: nobody's.
    pub accept_proxy: Vec<IpNet>,
    /// Whether those over unix sockets do, too.
    pub accept_proxy_unix: bool,
    /// How long the PROXY header may take.
    pub proxy_header_timeout: Duration,
    /// How long a client may stay silent before its first byte; `None`: as
    /// long as the idle timeout lets it.
    pub first_byte_timeout: Option<Duration>,
    /// The client speaks first: nobody is bothered before it has.
    pub client_first: bool,
}

impl ListenerSettings {
    /// 4,096 waiting connections: a reconnect storm of a large site; the
    /// kernel's `net.core.somaxconn` bounds it too.
    pub const BACKLOG: u32 = 4096;
    /// A balancer in front sends its header at once; 3 s covers one lost
    /// segment twice.
    pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(3);

    /// A listener called `name` on `bind` for `pool`, all else by default.
    pub fn new(name: Name, bind: SocketAddr, pool: Name) -> Self {
        Self {
            name,
            binds: vec![Endpoint::Tcp(bind)],
            unix: UnixAccess::default(),
            pool,
            plane: Plane::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            max_connections: None,
            max_per_source: None,
            backlog: Self::BACKLOG,
            accept_proxy: Vec::new(),
            accept_proxy_unix: false,
            proxy_header_timeout: Self::PROXY_HEADER_TIMEOUT,
            first_byte_timeout: None,
            client_first: false,
        }
    }
}

/// Who moves the bytes of a listener's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plane {
    /// The kernel, by rules that follow the snapshot.
    Kernel,
    /// The workers.
    #[default]
    User,
}

impl Plane {
    /// The word in lb.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// What the pool's clients and servers speak: decides defaults, and what a
/// client hears when nobody can serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: the client speaks first; refused with a 503.
    Http,
    /// MySQL: the server speaks first; refused with an ERR packet.
    Mysql,
    /// Anything; refused with a reset.
    Tcp,
}

impl Protocol {
    /// The word in lb.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mysql => "mysql",
            Self::Tcp => "tcp",
        }
    }

    /// Whether clients always speak first.
    pub const fn is_client_first(self) -> bool {
        match self {
            Self::Http => true,
            Self::Mysql | Self::Tcp => false,
        }
    }

    /// When an idle session is cut, unless the pool says otherwise.
    pub const fn default_idle_timeout(self) -> Duration {
        match self {
            // Longer than any server's keep-alive, shorter than a NAT forgets.
            Self::Http => Duration::from_secs(5 * 60),
            // MySQL's own wait_timeout: the server, not the balancer, decides.
            Self::Mysql => Duration::from_secs(8 * 3600),
            Self::Tcp => Duration::from_secs(3600),
        }
    }

    /// How long a recovered backend takes to its full share, by default.
    pub const fn default_slow_start(self) -> Option<Duration> {
        match self {
            // A cold buffer pool under full load looks like a dead server.
            Self::Mysql => Some(Duration::from_secs(30)),
            Self::Http | Self::Tcp => None,
        }
    }
}

/// How a backend is chosen among those of the first usable tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The first usable one in the order of the file.
    First,
    /// By the client's address: the same on every node.
    Hash,
    /// The one with the fewest connections for its weight.
    Least,
    /// Weighted pseudo-random.
    #[default]
    Random,
    /// The better of two weighted draws, by connections for their weight.
    Random2,
    /// In turn, by weight.
    RoundRobin,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 6] = [
        Self::First,
        Self::Hash,
        Self::Least,
        Self::Random,
        Self::Random2,
        Self::RoundRobin,
    ];

    /// The word in lb.yaml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Hash => "hash",
            Self::Least => "least",
            Self::Random => "random",
            Self::Random2 => "random2",
            Self::RoundRobin => "round_robin",
        }
    }
}

/// What happens to a backend's sessions when it dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDead {
    /// They go on until they end by themselves.
    Keep,
    /// They are reset, so that clients reconnect to a living one.
    #[default]
    Reset,
}

/// TCP keepalive: first probe after `idle`, then each `interval`, dead after
/// `count` of them without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes until the connection is dead.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        // Under the 350 s after which common cloud NATs forget a flow; a
        // vanished peer is noticed in 90 s.
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 3,
        }
    }
}

/// A named set of backends and the rules of their use.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// The pool's name.
    pub name: Name,
    /// What is spoken.
    pub protocol: Protocol,
    /// How a backend is chosen.
    pub policy: Policy,
    /// The backends, in the order of the file; at least one.
    pub backends: Vec<BackendSettings>,
    /// Where connections to them leave from.
    pub source: Sources,
    /// How long one connection attempt may take.
    pub connect_timeout: Duration,
    /// How many different backends a session tries.
    pub connect_tries: u32,
    /// How long all attempts together may take.
    pub connect_budget: Duration,
    /// Silence in both directions after which a session is cut.
    pub idle_timeout: Option<Duration>,
    /// The same, once one side has closed: silence since then.
    pub half_close_timeout: Option<Duration>,
    /// TCP keepalive on both legs.
    pub keepalive: Option<Keepalive>,
    /// How long sent data may stay unacknowledged on the backend leg.
    pub tcp_user_timeout: Option<Duration>,
    /// Whether backends are sent a PROXY header.
    pub send_proxy: Option<ProxyVersion>,
    /// How long a session may wait for a backend below its connection limit.
    pub queue_timeout: Duration,
    /// How many sessions may wait.
    pub queue_limit: u32,
    /// How long a recovered or new backend takes to its full share.
    pub slow_start: Option<Duration>,
    /// Below this percentage of live backends all of them are used, dead or
    /// not. `None`: never.
    pub panic_threshold: Option<u8>,
    /// What happens to the sessions of a dead backend.
    pub on_dead: OnDead,
    /// How long the sessions of a drained or removed backend may go on.
    pub drain_timeout: Option<Duration>,
}

impl PoolSettings {
    /// A lost SYN is sent again after 1 s: one try is one packet's chance, and
    /// another backend is the better second chance.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
    /// Three different backends: two may die in the same moment.
    pub const CONNECT_TRIES: u32 = 3;
    /// `CONNECT_TRIES` attempts that all time out.
    pub const CONNECT_BUDGET: Duration = Duration::from_secs(3);
    /// After one side's FIN the other usually follows within a round trip.
    pub const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
    /// A vanished backend host is noticed before the client gives up.
    pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
    /// Long enough for a burst, short enough that a client is told the truth.
    pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
    /// A bounded queue: see `QUEUE_TIMEOUT`.
    pub const QUEUE_LIMIT: u32 = 1000;
    /// Most web requests and transactions end within 5 minutes.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

    /// A pool called `name`, all else by default for `protocol`.
    pub fn new(name: Name, protocol: Protocol, backends: Vec<BackendSettings>) -> Self {
        Self {
            name,
            protocol,
            policy: Policy::default(),
            backends,
            source: Sources::default(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            connect_tries: Self::CONNECT_TRIES,
            connect_budget: Self::CONNECT_BUDGET,
            idle_timeout: Some(protocol.default_idle_timeout()),
            half_close_timeout: Some(Self::HALF_CLOSE_TIMEOUT),
            keepalive: Some(Keepalive::default()),
            tcp_user_timeout: Some(Self::TCP_USER_TIMEOUT),
            send_proxy: None,
            queue_timeout: Self::QUEUE_TIMEOUT,
            queue_limit: Self::QUEUE_LIMIT,
            slow_start: protocol.default_slow_start(),
            panic_threshold: None,
            on_dead: OnDead::default(),
            drain_timeout: Some(Self::DRAIN_TIMEOUT),
        }
    }

    /// Where connections to `backend` leave from: what it says itself goes
    /// before what the pool says.
    pub fn sources_of<'a>(&'a self, backend: &'a BackendSettings) -> &'a Sources {
        if backend.source.is_empty() {
            &self.source
        } else {
            &backend.source
        }
    }
}

/// One server behind us.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    /// Its name, unique in the pool.
    pub name: Name,
    /// Where it is.
    pub address: Address,
    /// Its share of the traffic.
    pub weight: Weight,
    /// 0 is used first; a higher tier only when no lower one can serve.
    pub tier: u8,
    /// Connections at the same time.
    pub max_connections: Option<u32>,
    /// Where connections to it leave from; none: as its pool says.
    pub source: Sources,
}

impl BackendSettings {
    /// A backend called `name` at `address`, all else by default.
    pub fn new(name: Name, address: Address) -> Self {
        Self {
            name,
            address,
            weight: Weight::default(),
            tier: 0,
            max_connections: None,
            source: Sources::default(),
        }
    }
}
