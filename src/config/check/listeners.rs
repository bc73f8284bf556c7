//! `listeners:`

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::taken::Taken;
use super::unix;
use crate::config::fields::Fields;
use crate::config::node::{Key, Node, Value};
use crate::config::problem::Fault;
use crate::config::reader::Reader;
use crate::config::scalar::{
    Parsed, Wrong, bind, duration, nearest, network, number, number32, or_off, word, wrong,
};
use crate::pool::{ListenerSettings, Plane, Protocol};
use crate::types::{Endpoint, Name, UnixPath};

pub(super) const KEYS: [&str; 14] = [
    "bind",
    "pool",
    "plane",
    "allow",
    "deny",
    "max_connections",
    "max_per_source",
    "backlog",
    "accept_proxy",
    "proxy_header_timeout",
    "first_byte_timeout",
    "client_first",
    "unix_mode",
    "unix_owner",
];

/// What listeners must know of the pools.
pub(super) struct Pools<'n> {
    /// All of them: a listener that names a broken pool is not wrong itself.
    pub(super) names: Vec<&'n str>,
    /// What the others speak.
    pub(super) protocols: HashMap<Name, Protocol>,
}

pub(super) fn read(
    node: &Node,
    pools: &Pools<'_>,
    own: Option<&[IpAddr]>,
    taken: &mut Taken,
    reader: &mut Reader<'_>,
) -> Vec<ListenerSettings> {
    let Some(map) = reader.map(node, "listeners") else {
        return Vec::new();
    };
    if map.entries().next().is_none() {
        reader.fault(
            map.at,
            "listeners",
            "there is none",
            "see `tandem init web`",
        );
    }
    if reader.lacks_names(&map, &KEYS, "listener") {
        return Vec::new();
    }
    let mut listeners = Vec::new();
    for (key, node) in map.entries() {
        listeners.extend(listener(key, node, pools, own, taken, reader));
    }
    listeners
}

fn listener(
    key: &Key,
    node: &Node,
    pools: &Pools<'_>,
    own: Option<&[IpAddr]>,
    taken: &mut Taken,
    reader: &mut Reader<'_>,
) -> Option<ListenerSettings> {
    let path = format!("listeners.{}", key.name);
    let name = reader.name(key, &path);
    let fields = reader.fields(node, &path, &KEYS)?;
    let binds = binds(&fields, own, taken, reader);
    let pool = pool(&fields, &pools.names, reader);
    let mut settings = ListenerSettings::new(
        name?,
        SocketAddr::from(([0; 4], 0)),
        Name::new("none").ok()?,
    );
    for (key, target) in [("allow", &mut settings.allow), ("deny", &mut settings.deny)] {
        if let Some(networks) = reader.list(&fields, key, network) {
            *target = networks.into_iter().map(|(_, it)| it).collect();
        }
    }
    accept_proxy(&fields, &mut settings, reader);
    let planes = word(&[("kernel", Plane::Kernel), ("user", Plane::User)]);
    reader.set(&fields, "plane", &mut settings.plane, planes);
    let most = || number32(1, 100_000_000);
    reader.set_some(
        &fields,
        "max_connections",
        &mut settings.max_connections,
        most(),
    );
    reader.set_some(
        &fields,
        "max_per_source",
        &mut settings.max_per_source,
        most(),
    );
    reader.set(
        &fields,
        "backlog",
        &mut settings.backlog,
        number32(1, 1_000_000),
    );
    let timeout = &mut settings.proxy_header_timeout;
    reader.set(&fields, "proxy_header_timeout", timeout, duration);
    let timeout = &mut settings.first_byte_timeout;
    reader.set(&fields, "first_byte_timeout", timeout, or_off(duration));
    settings.binds = binds?;
    settings.unix = unix::access(&fields, &settings.binds, reader);
    unix::clients(&fields, &settings, reader);
    settings.pool = pool?;
    let protocol = pools.protocols.get(&settings.pool).copied();
    settings.client_first = client_first(&fields, protocol, settings.plane, reader);
    Some(settings)
}

/// Networks, and `unix` for those without an address.
fn accept_proxy(fields: &Fields<'_>, settings: &mut ListenerSettings, reader: &mut Reader<'_>) {
    let parse = |text: &str| match text {
        "unix" => Ok(None),
        text => network(text).map(Some),
    };
    let found = reader.list(fields, "accept_proxy", parse);
    for (_, network) in found.into_iter().flatten() {
        match network {
            Some(network) => settings.accept_proxy.push(network),
            None => settings.accept_proxy_unix = true,
        }
    }
}

fn client_first(
    fields: &Fields<'_>,
    protocol: Option<Protocol>,
    plane: Plane,
    reader: &mut Reader<'_>,
) -> bool {
    let mut said = None;
    let words = word(&[("auto", None), ("on", Some(true)), ("off", Some(false))]);
    reader.set(fields, "client_first", &mut said, words);
    if let (Some(node), Some(true), Some(Protocol::Mysql)) =
        (fields.get("client_first"), said, protocol)
    {
        let what = "in MySQL the server speaks first: clients would wait for ever";
        let hint = "leave it out";
        reader.fault(node.at, fields.path("client_first"), what, hint);
    }
    // The kernel knows of no protocol; only what was asked for is refused.
    let default = plane == Plane::User && protocol.is_some_and(Protocol::is_client_first);
    said.unwrap_or(default)
}

fn binds(
    fields: &Fields<'_>,
    own: Option<&[IpAddr]>,
    taken: &mut Taken,
    reader: &mut Reader<'_>,
) -> Option<Vec<Endpoint>> {
    let path = fields.path("bind");
    let hint = "say where to listen, like bind: \":80\"";
    let node = reader.need(fields, "bind", hint)?;
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        reader.fault(node.at, path, "is empty", hint);
        return None;
    }
    let parse = |text: &str| bind_or_self(text, own);
    let list = reader.public(|it| it.list(fields, "bind", parse))?;
    let mut binds = Vec::new();
    for (at, addresses) in list {
        for address in addresses {
            taken.claim(&address, at, &path, reader);
            binds.push(address);
        }
    }
    // Without one the listener's own fault has been told, or the pair's.
    (!binds.is_empty()).then_some(binds)
}

/// `self:80` is the node's own address in a pair: the same line on each node.
fn bind_or_self(text: &str, own: Option<&[IpAddr]>) -> Parsed<Vec<Endpoint>> {
    let tcp = |all: Vec<SocketAddr>| all.into_iter().map(Endpoint::Tcp).collect();
    if let Some(path) = text.strip_prefix("unix:") {
        return match UnixPath::parse(path) {
            Ok(path) => Ok(vec![Endpoint::Unix(path)]),
            Err(error) => Err(Wrong {
                what: error.to_string(),
                hint: None,
            }),
        };
    }
    let Some(port) = text.strip_prefix("self:") else {
        return bind(text).map(tcp);
    };
    let Some(own) = own else {
        return wrong(
            "self: is a node of a pair, and there is none",
            "write :PORT",
        );
    };
    let port = u16::try_from(number(1, 65_535)(port)?).unwrap_or(0);
    Ok(tcp(own
        .iter()
        .map(|ip| SocketAddr::new(*ip, port))
        .collect()))
}

fn pool(fields: &Fields<'_>, pools: &[&str], reader: &mut Reader<'_>) -> Option<Name> {
    let path = fields.path("pool");
    let node = reader.need(fields, "pool", "say which pool serves it, like pool: web")?;
    let wanted = reader.public(|it| it.text(node, &path))?;
    if pools.contains(&wanted.as_str()) {
        return Name::new(&wanted).ok();
    }
    if pools.is_empty() {
        // That has been told, and this follows from it.
        return None;
    }
    let hint = match nearest(&wanted, pools.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("the pools are: {}", pools.join(", ")),
    };
    reader.faults.push(Fault {
        at: node.at,
        path,
        what: format!("there is no pool {wanted:?}"),
        hint: Some(hint),
    });
    None
}
