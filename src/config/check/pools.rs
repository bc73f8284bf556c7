//! `pools:`

use std::time::Duration;

use super::probe;
use crate::config::PoolConfig;
use crate::config::fields::Fields;
use crate::config::node::{Key, Node, Place, Value};
use crate::config::problem::Fault;
use crate::config::reader::Reader;
use crate::config::scalar::{
    Parsed, Wrong, boolean, duration, ip, number, number32, or_off, percent, show_duration, word,
    wrong,
};
use crate::config::warning::Warning;
use crate::health::{ProbeKind, ProbeSettings, Timing};
use crate::pool::{
    BackendSettings, Keepalive, OnDead, Policy, PoolSettings, Protocol, ProxyVersion,
};
use crate::types::{Address, AddressError, Name, Sources, Weight};

pub(super) const KEYS: [&str; 18] = [
    "backends",
    "probe",
    "protocol",
    "policy",
    "connect_timeout",
    "connect_tries",
    "connect_budget",
    "idle_timeout",
    "half_close_timeout",
    "keepalive",
    "tcp_user_timeout",
    "send_proxy",
    "source",
    "queue",
    "slow_start",
    "panic_threshold",
    "on_dead",
    "drain_timeout",
];

pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Vec<PoolConfig> {
    let Some(map) = reader.map(node, "pools") else {
        return Vec::new();
    };
    if reader.lacks_names(&map, &KEYS, "pool") {
        return Vec::new();
    }
    let entries: Vec<_> = map.entries().collect();
    let mut pools = Vec::new();
    for (key, node) in entries {
        pools.extend(pool(key, node, reader));
    }
    pools
}

fn pool(key: &Key, node: &Node, reader: &mut Reader<'_>) -> Option<PoolConfig> {
    let path = format!("pools.{}", key.name);
    let name = reader.name(key, &path);
    let fields = reader.fields(node, &path, &KEYS)?;
    let backends = backends(&fields, reader);
    let probe = match fields.get("probe") {
        Some(node) => probe::read(node, &fields.path("probe"), reader),
        None => Some(ProbeSettings {
            kind: ProbeKind::Tcp,
            port: None,
            timing: Timing::default(),
            is_hushed: false,
        }),
    };
    let mut protocol = match (&probe, &backends) {
        (Some(probe), Some(backends)) => protocol_of(probe, backends),
        (None, _) | (_, None) => Protocol::Tcp,
    };
    let words = word(&[
        ("http", Protocol::Http),
        ("mysql", Protocol::Mysql),
        ("tcp", Protocol::Tcp),
    ]);
    reader.set(&fields, "protocol", &mut protocol, words);
    let stand_in = Name::new("none").ok()?;
    let mut pool = PoolSettings::new(stand_in, protocol, Vec::new());
    settings(&fields, &mut pool, reader);
    pool.source = source(&fields, reader);
    pool.name = name?;
    pool.backends = backends?;
    if let Some(node) = fields.get("source") {
        let without = pool.backends.iter().filter(|it| it.source.is_empty());
        for backend in without {
            let place = (node.at, fields.path("source"));
            family(backend, &pool.source, place, reader);
        }
    }
    probe_port(&fields, &pool, probe.as_ref(), reader);
    Some(PoolConfig {
        pool,
        probe: probe?,
    })
}

/// What the probe speaks, where it speaks to the servers that clients speak to:
/// a health check at a port of its own says nothing of theirs.
fn protocol_of(probe: &ProbeSettings, backends: &[BackendSettings]) -> Protocol {
    if !backends.iter().all(|it| probe.is_at(it.address.port())) {
        return Protocol::Tcp;
    }
    match probe.kind {
        ProbeKind::Http(_) => Protocol::Http,
        ProbeKind::Mysql(_) => Protocol::Mysql,
        ProbeKind::Exec(_) | ProbeKind::SendExpect(_) | ProbeKind::Tcp => Protocol::Tcp,
    }
}

fn settings(fields: &Fields<'_>, pool: &mut PoolSettings, reader: &mut Reader<'_>) {
    let policies = word(&[
        ("first", Policy::First),
        ("hash", Policy::Hash),
        ("least", Policy::Least),
        ("random", Policy::Random),
        ("random2", Policy::Random2),
        ("round_robin", Policy::RoundRobin),
    ]);
    reader.set(fields, "policy", &mut pool.policy, policies);
    reader.set(
        fields,
        "connect_timeout",
        &mut pool.connect_timeout,
        duration,
    );
    reader.set(
        fields,
        "connect_tries",
        &mut pool.connect_tries,
        number32(1, 10),
    );
    connect_budget(fields, pool, reader);
    let idle = &mut pool.idle_timeout;
    reader.set(fields, "idle_timeout", idle, or_off(duration));
    let half_close = &mut pool.half_close_timeout;
    reader.set(fields, "half_close_timeout", half_close, or_off(duration));
    let user_timeout = &mut pool.tcp_user_timeout;
    reader.set(fields, "tcp_user_timeout", user_timeout, or_off(duration));
    let versions = word(&[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)]);
    reader.set(fields, "send_proxy", &mut pool.send_proxy, or_off(versions));
    let slow_start = &mut pool.slow_start;
    reader.set(fields, "slow_start", slow_start, or_off(duration));
    let threshold = &mut pool.panic_threshold;
    reader.set(
        fields,
        "panic_threshold",
        threshold,
        or_off(percent(1, 100)),
    );
    let ends = word(&[("keep", OnDead::Keep), ("reset", OnDead::Reset)]);
    reader.set(fields, "on_dead", &mut pool.on_dead, ends);
    let drain = &mut pool.drain_timeout;
    reader.set(fields, "drain_timeout", drain, or_off(duration));
    keepalive(fields, pool, reader);
    queue(fields, pool, reader);
}

/// As long as all tries may take, unless said; never shorter than one.
fn connect_budget(fields: &Fields<'_>, pool: &mut PoolSettings, reader: &mut Reader<'_>) {
    let all = pool.connect_timeout * pool.connect_tries;
    pool.connect_budget = all;
    reader.set(fields, "connect_budget", &mut pool.connect_budget, duration);
    if let Some(node) = fields.get("connect_budget")
        && !reader.is_told(&fields.path("connect_timeout"))
        && pool.connect_budget < pool.connect_timeout
    {
        let what = format!(
            "is shorter than connect_timeout ({})",
            show_duration(pool.connect_timeout)
        );
        let hint = "the budget covers all tries; the time-out covers one";
        reader.fault(node.at, fields.path("connect_budget"), what, hint);
    }
}

fn is_off(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if text == "off")
}

fn keepalive(fields: &Fields<'_>, pool: &mut PoolSettings, reader: &mut Reader<'_>) {
    let Some(node) = fields.get("keepalive") else {
        return;
    };
    if is_off(node) {
        pool.keepalive = None;
        return;
    }
    let path = fields.path("keepalive");
    let Some(inner) = reader.fields(node, &path, &["idle", "interval", "count"]) else {
        return;
    };
    let mut keepalive = Keepalive::default();
    reader.set(&inner, "idle", &mut keepalive.idle, whole_seconds);
    reader.set(&inner, "interval", &mut keepalive.interval, whole_seconds);
    reader.set(&inner, "count", &mut keepalive.count, number32(1, 127));
    pool.keepalive = Some(keepalive);
}

/// The kernel counts keepalive in seconds.
fn whole_seconds(text: &str) -> Parsed<Duration> {
    let parsed = duration(text)?;
    if parsed.subsec_nanos() == 0 && parsed.as_secs() <= 32_767 {
        return Ok(parsed);
    }
    Err(Wrong {
        what: format!("{text:?} is not a number of whole seconds"),
        hint: Some("1s to 32767s: the kernel counts keepalive in seconds".to_owned()),
    })
}

fn queue(fields: &Fields<'_>, pool: &mut PoolSettings, reader: &mut Reader<'_>) {
    let Some(node) = fields.get("queue") else {
        return;
    };
    if is_off(node) {
        pool.queue_limit = 0;
        return;
    }
    let path = fields.path("queue");
    if let Some(inner) = reader.fields(node, &path, &["timeout", "limit"]) {
        reader.set(&inner, "timeout", &mut pool.queue_timeout, duration);
        let limit = number32(1, 1_000_000);
        reader.set(&inner, "limit", &mut pool.queue_limit, limit);
    }
}

fn backends(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<Vec<BackendSettings>> {
    let path = fields.path("backends");
    let hint = "list the servers, like backends: [10.0.0.11:8080]";
    let node = reader.need(fields, "backends", hint)?;
    let faults = reader.faults.len();
    let mut found: Vec<(Place, BackendSettings)> = Vec::new();
    if let Value::List(items) = &node.value {
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if let Value::Map(entries) = &item.value
                && item.bare_ipv6().is_none()
            {
                listed_map(item.at, path, entries, reader);
                continue;
            }
            if let Some(address) = reader.public(|it| it.one(item, &path, address)) {
                let name = Name::of_address(&address);
                found.push((item.at, BackendSettings::new(name, address)));
            }
        }
    } else if let Value::Text(text) = &node.value {
        let servers = text.split([',', ' ']).filter(|it| !it.is_empty());
        let servers: Vec<String> = servers.map(|it| format!("{it:?}")).collect();
        let wrong = Wrong {
            what: "should be a list or a map".to_owned(),
            hint: Some(format!("write backends: [{}]", servers.join(", "))),
        };
        reader.wrong(node.at, &path, wrong);
        return None;
    } else {
        for (key, node) in reader.map(node, &path)?.entries() {
            let path = format!("{path}.{}", key.name);
            let name = reader.name(key, &path);
            let address = backend(node, &path, reader);
            if let (Some(name), Some(mut settings)) = (name, address) {
                settings.name = name;
                found.push((key.at, settings));
            }
        }
    }
    if found.is_empty() && reader.faults.len() == faults {
        let hint = "a pool has at least one backend";
        reader.fault(node.at, &path, "there is none", hint);
    }
    for (i, (at, settings)) in found.iter().enumerate() {
        let mut earlier = found[..i].iter();
        if let Some((_, other)) = earlier.find(|(_, it)| it.address == settings.address) {
            let what = format!("{} is {} already", settings.address, other.name);
            let hint = Some("use weight to give a server a larger share".to_owned());
            let (at, path) = (*at, path.clone());
            reader.faults.push(Fault {
                at,
                path,
                what,
                hint,
            });
        }
    }
    Some(found.into_iter().map(|(_, it)| it).collect())
}

/// A server with settings in a list of servers: these have names.
fn listed_map(at: Place, path: String, entries: &[(Key, Node)], reader: &mut Reader<'_>) {
    let name = entries.iter().find_map(|(key, node)| match &node.value {
        Value::Text(name) if key.name == "name" => Some(name.as_str()),
        Value::Text(_) if entries.len() == 1 && key.name != "address" => Some(key.name.as_str()),
        Value::Map(_) if entries.len() == 1 => Some(key.name.as_str()),
        Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    });
    let name = name.unwrap_or("NAME");
    let wrong = Wrong {
        what: "is a map, and a list has addresses only".to_owned(),
        hint: Some(format!(
            "write `{name}: ADDRESS` or `{name}: {{ address: ADDRESS, ... }}`, without the dash"
        )),
    };
    reader.wrong(at, path, wrong);
}

fn address(text: &str) -> Parsed<Address> {
    Address::parse(text).map_err(|error| Wrong {
        hint: match &error {
            AddressError::Port(_) | AddressError::Host(_) => {
                Some("like 10.0.0.11:8080, db1.example.com:3306 or unix:/run/app.sock".to_owned())
            }
            // They say it themselves.
            AddressError::NoPort(_) | AddressError::Brackets(_) | AddressError::Unix(_) => None,
        },
        what: error.to_string(),
    })
}

/// Where connections leave from: one address, or several in turn.
fn source(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Sources {
    let parse = |text: &str| match ip(text) {
        Some(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        Some(_) | None => wrong(
            format!("{text:?} is not an address to connect from"),
            "an address of this machine, like 10.0.0.2, without a port",
        ),
    };
    let addresses = reader.public(|it| it.list(fields, "source", parse));
    let addresses = addresses.unwrap_or_default();
    for (at, ip) in &addresses {
        if !reader.around().has_address(*ip) {
            let warning = (*at, fields.path("source"), Warning::AbsentSource(*ip));
            reader.warnings.push(warning);
        }
    }
    Sources::new(addresses.into_iter().map(|(_, ip)| ip).collect())
}

/// A probe goes to another port of the same machine, which a unix socket does
/// not tell.
fn probe_port(
    fields: &Fields<'_>,
    pool: &PoolSettings,
    probe: Option<&ProbeSettings>,
    reader: &mut Reader<'_>,
) {
    let mut backends = pool.backends.iter();
    let unix = backends.find(|it| matches!(it.address, Address::Unix(_)));
    if let (Some(backend), Some(_)) = (unix, probe.and_then(|it| it.port)) {
        let what = format!("{} has no ports", backend.address);
        let at = fields.get("probe").map_or(fields.at, |it| it.at);
        let hint = "leave port out, or put that backend into a pool of its own";
        reader.fault(at, fields.path("probe.port"), what, hint);
    }
}

/// A connection stays in one family: each backend needs a source of its own.
/// `path` is where `sources` stand.
fn family(
    backend: &BackendSettings,
    sources: &Sources,
    (at, path): (Place, String),
    reader: &mut Reader<'_>,
) {
    if reader.is_told(&path) {
        return;
    }
    // Of a host name it is known only when it has been resolved.
    let Address::Ip(address) = &backend.address else {
        return;
    };
    let fits = sources.iter().any(|it| it.is_ipv4() == address.is_ipv4());
    if !sources.is_empty() && !fits {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let what = format!("none is {family}, as {address} is");
        let hint = "add an address of its family, or give the backend a source of its own";
        reader.fault(at, path, what, hint);
    }
}

/// `host:port`, or a map that has more to say.
fn backend(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<BackendSettings> {
    let bare = |address: Address| BackendSettings::new(Name::of_address(&address), address);
    if !matches!(node.value, Value::Map(_)) {
        return reader.public(|it| it.one(node, path, address)).map(bare);
    }
    let known = [
        "address",
        "weight",
        "tier",
        "backup",
        "max_connections",
        "source",
    ];
    let fields = reader.fields(node, path, &known)?;
    let mut weight = Weight::default();
    reader.set(&fields, "weight", &mut weight, |text| {
        let value = number(0, Weight::MAX.into())(text)?;
        Ok(Weight::new(value).unwrap_or_default())
    });
    let mut tier = 0;
    reader.set(&fields, "tier", &mut tier, number32(0, 255));
    let mut backup = false;
    reader.set(&fields, "backup", &mut backup, boolean);
    if backup && fields.has("tier") {
        let at = fields.get("backup").map_or(fields.at, |it| it.at);
        let what = "backup and tier are both there";
        reader.fault(at, fields.path("backup"), what, "backup: true is tier: 1");
    }
    let mut most = None;
    let limit = number32(1, 100_000_000);
    reader.set_some(&fields, "max_connections", &mut most, limit);
    let hint = "say where the server is, like address: 10.0.0.11:8080";
    let node = reader.need(&fields, "address", hint)?;
    let path = fields.path("address");
    let address = reader.public(|it| it.one(node, &path, address));
    let mut settings = address.map(bare)?;
    settings.weight = weight;
    settings.tier = if backup {
        1
    } else {
        u8::try_from(tier).unwrap_or(u8::MAX)
    };
    settings.max_connections = most;
    settings.source = source(&fields, reader);
    if let Some(node) = fields.get("source") {
        let place = (node.at, fields.path("source"));
        if matches!(settings.address, Address::Unix(_)) {
            let what = format!("a connection to {} has no source address", settings.address);
            reader.fault(node.at, fields.path("source"), what, "leave it out here");
        }
        family(&settings, &settings.source, place, reader);
    }
    Some(settings)
}
