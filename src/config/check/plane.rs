//! `plane: kernel`: the kernel forwards what it is told to, and nothing more.
//! Whatever else a listener or its pool asks for is refused here; a default
//! that was not asked for is not.

use super::listeners;
use crate::config::PoolConfig;
use crate::config::fields::Fields;
use crate::config::node::Place;
use crate::config::reader::Reader;
use crate::pool::{ListenerSettings, OnDead, Plane, Policy, PoolSettings};
use crate::types::{Address, Endpoint, Name};

/// What is wrong, and what to do about it.
type Trouble = (String, &'static str);

const ONLY_USER: &str = "only the workers can: leave plane out";

/// Checks every listener of the kernel plane together with its pool.
pub(super) fn check(
    root: &Fields<'_>,
    listeners: &[ListenerSettings],
    pools: &[PoolConfig],
    reader: &mut Reader<'_>,
) {
    for listener in listeners.iter().filter(|it| it.plane == Plane::Kernel) {
        // Where something is wrong it is not known what is asked for.
        let is_told = |section, name: &Name| reader.is_told(&format!("{section}.{name}"));
        if is_told("listeners", &listener.name) || is_told("pools", &listener.pool) {
            continue;
        }
        let mut found = asked_of_listener(listener);
        let pool = pools.iter().find(|it| it.pool.name == listener.pool);
        if let Some(PoolConfig { pool, .. }) = pool {
            found.extend(asked_of_pool(pool));
            found.extend(families(listener, pool));
            found.extend(unix_backends(pool));
        }
        let at = place(root, listener, reader);
        let path = format!("listeners.{}.plane", listener.name);
        for (what, hint) in found {
            reader.fault(at, path.as_str(), what, hint);
        }
    }
}

/// Where `plane: kernel` stands.
fn place(root: &Fields<'_>, listener: &ListenerSettings, reader: &mut Reader<'_>) -> Place {
    let at = reader.again(|reader| {
        let all = reader.map(root.get("listeners")?, "listeners")?;
        let found = reader.fields(all.get(listener.name.as_str())?, "", &listeners::KEYS)?;
        found.get("plane").map(|it| it.at)
    });
    at.unwrap_or(root.at)
}

fn asked_of_listener(it: &ListenerSettings) -> Vec<Trouble> {
    let plain = ListenerSettings::new(it.name.clone(), ([0; 4], 0).into(), it.pool.clone());
    let asked = [
        ("allow", !it.allow.is_empty()),
        ("deny", !it.deny.is_empty()),
        ("max_connections", it.max_connections.is_some()),
        ("max_per_source", it.max_per_source.is_some()),
        ("backlog", it.backlog != plain.backlog),
        ("accept_proxy", !it.accept_proxy.is_empty()),
        ("first_byte_timeout", it.first_byte_timeout.is_some()),
        ("client_first", it.client_first),
    ];
    let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
    let mut found: Vec<Trouble> = asked
        .map(|(key, _)| (format!("the kernel cannot do {key}"), ONLY_USER))
        .collect();
    if let Some(bind) = it.binds.iter().find(|it| it.is_unix()) {
        found.push((
            format!("the kernel cannot take clients of {bind}"),
            ONLY_USER,
        ));
    }
    let addresses = || it.binds.iter().filter_map(Endpoint::tcp);
    if addresses().any(|bind| bind.port() == 0) {
        let what = "the kernel needs to know the port, and bind says 0";
        found.push((what.to_owned(), "say which port"));
    }
    if addresses().any(|bind| bind.ip().is_loopback()) {
        let what = "the kernel does not send on what comes to a loopback address";
        found.push((what.to_owned(), "bind another address of this machine"));
    }
    found
}

fn has_source(it: &PoolSettings) -> bool {
    let mut backends = it.backends.iter();
    backends.any(|backend| !it.sources_of(backend).is_empty())
}

fn asked_of_pool(it: &PoolSettings) -> Vec<Trouble> {
    let plain = PoolSettings::new(it.name.clone(), it.protocol, Vec::new());
    let budget = plain.connect_timeout * plain.connect_tries;
    let differs = |is: Option<std::time::Duration>, default| is.is_some() && is != default;
    let queue = (plain.queue_timeout, plain.queue_limit);
    let asked = [
        (
            "connect_timeout",
            it.connect_timeout != plain.connect_timeout,
        ),
        ("connect_tries", it.connect_tries != plain.connect_tries),
        (
            "connect_budget",
            ![it.connect_timeout * it.connect_tries, budget].contains(&it.connect_budget),
        ),
        ("idle_timeout", differs(it.idle_timeout, plain.idle_timeout)),
        (
            "half_close_timeout",
            differs(it.half_close_timeout, plain.half_close_timeout),
        ),
        (
            "keepalive",
            it.keepalive.is_some() && it.keepalive != plain.keepalive,
        ),
        (
            "tcp_user_timeout",
            differs(it.tcp_user_timeout, plain.tcp_user_timeout),
        ),
        ("send_proxy", it.send_proxy.is_some()),
        ("source", has_source(it)),
        (
            "queue",
            it.queue_limit > 0 && (it.queue_timeout, it.queue_limit) != queue,
        ),
        (
            "drain_timeout",
            differs(it.drain_timeout, plain.drain_timeout),
        ),
        (
            "max_connections",
            it.backends.iter().any(|it| it.max_connections.is_some()),
        ),
    ];
    let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
    let pool = &it.name;
    let mut found: Vec<Trouble> = asked
        .map(|(key, _)| {
            (
                format!("the kernel cannot do {key} of pool {pool}"),
                ONLY_USER,
            )
        })
        .collect();
    if it.policy != Policy::Random {
        let policy = it.policy.as_str();
        let what = format!("the kernel cannot do policy: {policy} of pool {pool}");
        found.push((what, "it draws by weight: policy: random"));
    }
    if it.on_dead == OnDead::Reset {
        let what =
            format!("the kernel cannot reset the connections of a dead backend of pool {pool}");
        found.push((what, "say that you know: on_dead: keep in the pool"));
    }
    let mut addresses = it.backends.iter().map(|it| &it.address);
    if addresses.any(|it| matches!(it, Address::Ip(address) if address.ip().is_loopback())) {
        let what = format!("the kernel does not send on to a loopback address of pool {pool}");
        found.push((what, "use another address of that machine"));
    }
    found
}

/// The kernel forwards packets, and unix sockets have none.
fn unix_backends(pool: &PoolSettings) -> Option<Trouble> {
    let mut backends = pool.backends.iter();
    let found = backends.find(|it| matches!(it.address, Address::Unix(_)))?;
    let what = format!("the kernel cannot send on to {}", found.address);
    Some((what, ONLY_USER))
}

/// The kernel rewrites addresses; it does not translate between families.
fn families(listener: &ListenerSettings, pool: &PoolSettings) -> Option<Trouble> {
    let is_other = |bind: &std::net::SocketAddr| {
        pool.backends.iter().any(|backend| match &backend.address {
            Address::Ip(address) => address.is_ipv4() != bind.is_ipv4(),
            // Known only when it has been resolved.
            Address::Host { .. } | Address::Unix(_) => false,
        })
    };
    let mut binds = listener.binds.iter().filter_map(Endpoint::tcp);
    let bind = binds.find(is_other)?;
    let (ours, theirs, hint) = if bind.is_ipv4() {
        ("IPv4", "IPv6", "bind an IPv6 address, like \"[::]:80\"")
    } else {
        ("IPv6", "IPv4", "bind an IPv4 address, like 0.0.0.0:80")
    };
    let pool = &pool.name;
    let what = format!(
        "{bind} is {ours}, pool {pool} has {theirs} backends, and the kernel does not translate"
    );
    Some((what, hint))
}
