//! `pair:`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::publish;
use crate::config::PairConfig;
use crate::config::fields::Fields;
use crate::config::node::{Key, Node as YamlNode, Value};
use crate::config::reader::Reader;
use crate::config::scalar::{Parsed, Wrong, duration, ip, number, word, wrong};
use crate::pair::{Failback, PairNode, PairSettings, Timing};
use crate::types::{Fqdn, Name, Secret, count};

const KEYS: [&str; 9] = [
    "name",
    "nodes",
    "me",
    "secret",
    "secret_file",
    "heartbeat",
    "failback",
    "mode",
    "dns",
];

/// A shorter secret could be guessed.
const SHORTEST_SECRET: usize = 32;

pub(super) fn read(node: &YamlNode, reader: &mut Reader<'_>) -> Option<PairConfig> {
    let fields = reader.fields(node, "pair", &KEYS)?;
    let name = name(&fields, reader);
    let heartbeat = heartbeat(&fields, reader);
    let nodes = nodes(&fields, heartbeat.port, reader);
    let me = nodes.as_ref().and_then(|nodes| me(&fields, nodes, reader));
    let secret = secret(&fields, reader);
    let failback = failback(&fields, nodes.as_deref(), reader);
    let mut active_active = false;
    let modes = word(&[("active-active", true), ("active-passive", false)]);
    reader.set(&fields, "mode", &mut active_active, modes);
    let (name, nodes, me) = (name?, nodes?, me?);
    let published = publish::read(&fields, &name, &nodes, &me, reader);
    let pair = PairSettings {
        name,
        me,
        nodes,
        secret: secret?,
        timing: heartbeat.timing,
        failback: failback?,
        active_active,
    };
    let published = published?;
    Some(PairConfig {
        pair,
        serve: published.serve,
        register: published.register,
        mode: published.mode,
        observe: published.observe,
        hook: published.hook,
    })
}

/// Where this node is: what `self:PORT` means.
pub(super) fn own_addresses(config: &PairConfig) -> Vec<IpAddr> {
    let me = config.pair.node(&config.pair.me);
    me.map(|it| it.addresses.clone()).unwrap_or_default()
}

fn name(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<Fqdn> {
    let hint = "the name that clients use, like name: lb.example.com";
    let node = reader.need(fields, "name", hint)?;
    let parse = |text: &str| {
        Fqdn::parse(text).map_err(|error| Wrong {
            what: error.to_string(),
            hint: None,
        })
    };
    reader.public(|it| it.one(node, &fields.path("name"), parse))
}

struct Beat {
    port: u16,
    timing: Timing,
}

fn heartbeat(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Beat {
    let mut beat = Beat {
        port: PairSettings::HEARTBEAT_PORT,
        timing: Timing::default(),
    };
    let Some(node) = fields.get("heartbeat") else {
        return beat;
    };
    let path = fields.path("heartbeat");
    let known = ["port", "interval", "start_grace", "forget_after"];
    let Some(inner) = reader.fields(node, &path, &known) else {
        return beat;
    };
    reader.set(&inner, "port", &mut beat.port, port);
    let interval = |text: &str| {
        let interval = duration(text)?;
        if (Duration::from_millis(10)..=Duration::from_secs(1)).contains(&interval) {
            return Ok(interval);
        }
        wrong(format!("{text:?} is out of range"), "from 10ms to 1s")
    };
    reader.set(&inner, "interval", &mut beat.timing.heartbeat, interval);
    let grace = &mut beat.timing.start_grace;
    reader.set(&inner, "start_grace", grace, duration);
    let forget = &mut beat.timing.forget_after;
    reader.set(&inner, "forget_after", forget, duration);
    beat
}

pub(super) fn port(text: &str) -> Parsed<u16> {
    let port = number(1, 65_535)(text)?;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

fn nodes(fields: &Fields<'_>, port: u16, reader: &mut Reader<'_>) -> Option<Vec<PairNode>> {
    let path = fields.path("nodes");
    let hint = "like nodes: { lb1: 203.0.113.10, lb2: 203.0.113.11 }";
    let node = reader.need(fields, "nodes", hint)?;
    let map = reader.map(node, &path)?;
    let mut nodes: Vec<PairNode> = Vec::new();
    let mut is_whole = true;
    for (key, value) in map.entries() {
        match pair_node(key, value, &path, port, reader) {
            Some(found) => {
                let meets =
                    |it: &&PairNode| it.addresses.iter().any(|ip| found.addresses.contains(ip));
                if let Some(other) = nodes.iter().find(meets) {
                    let what = format!("shares an address with {}", other.name);
                    let hint = "each node has addresses of its own";
                    reader.fault(key.at, format!("{path}.{}", key.name), what, hint);
                }
                nodes.push(found);
            }
            None => is_whole = false,
        }
    }
    if is_whole && !(2..=8).contains(&nodes.len()) {
        let what = format!("has {}", count(nodes.len(), "node"));
        reader.fault(
            node.at,
            path,
            what,
            "a pair has two; up to eight are possible",
        );
        return None;
    }
    is_whole.then_some(nodes)
}

fn pair_node(
    key: &Key,
    node: &YamlNode,
    path: &str,
    port: u16,
    reader: &mut Reader<'_>,
) -> Option<PairNode> {
    let path = format!("{path}.{}", key.name);
    let name = reader.name(key, &path);
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Null | Value::Text(_) | Value::Map(_) => std::slice::from_ref(node),
    };
    let mut addresses = Vec::new();
    for item in items {
        addresses.push(reader.public(|it| it.one(item, &path, address))?);
    }
    if addresses.is_empty() {
        reader.fault(node.at, path, "has no address", "like 203.0.113.10");
        return None;
    }
    let heartbeat = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
    Some(PairNode {
        name: name?,
        heartbeat: heartbeat.collect(),
        addresses,
    })
}

fn address(text: &str) -> Parsed<IpAddr> {
    match ip(text) {
        Some(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
        Some(_) | None => wrong(
            format!("{text:?} is not an address that clients could reach"),
            "like 203.0.113.10 or 2001:db8::10, without a port",
        ),
    }
}

/// Which node this is: the command line says so, or the file, or the machine.
fn me(fields: &Fields<'_>, nodes: &[PairNode], reader: &mut Reader<'_>) -> Option<Name> {
    let path = fields.path("me");
    let names: Vec<&str> = nodes.iter().map(|it| it.name.as_str()).collect();
    let at = fields.get("me").map_or(fields.at, |it| it.at);
    let mut said = reader.around().node();
    if said.is_none()
        && let Some(node) = fields.get("me")
    {
        let text = reader.public(|it| it.text(node, &path));
        said = text.filter(|it| it != "auto");
    }
    if let Some(said) = said {
        let found = nodes.iter().find(|it| it.name.as_str() == said);
        if found.is_none() {
            let what = format!("there is no node {said:?}; there are {}", names.join(", "));
            reader.fault(at, path, what, None);
        }
        return found.map(|it| it.name.clone());
    }
    let around = reader.around();
    let host = around.host_name();
    let short = host.split('.').next().unwrap_or_default();
    let by_name = nodes
        .iter()
        .find(|it| [host.as_str(), short].contains(&it.name.as_str()));
    if let Some(node) = by_name {
        return Some(node.name.clone());
    }
    let here = |it: &&PairNode| it.addresses.iter().any(|ip| around.has_address(*ip));
    let mut found = nodes.iter().filter(here);
    match (found.next(), found.next()) {
        (Some(node), None) => Some(node.name.clone()),
        (one, _) => {
            let what = if one.is_some() {
                "this machine has the addresses of several nodes"
            } else {
                "this machine has neither the name nor an address of a node"
            };
            reader.fault(at, path, what, "say which it is: --node NAME, or me: NAME");
            None
        }
    }
}

fn secret(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<Secret> {
    let (key, secret) = match (fields.get("secret"), fields.get("secret_file")) {
        (Some(node), Some(_)) => {
            let what = "secret and secret_file are both there";
            reader.fault(node.at, fields.path("secret"), what, "keep one of them");
            return None;
        }
        (Some(node), None) => {
            let path = fields.path("secret");
            (node, reader.secret(node, &path)?)
        }
        (None, Some(node)) => {
            let path = fields.path("secret_file");
            (node, reader.secret_file(node, &path)?)
        }
        (None, None) => {
            let hint = "openssl rand -hex 32 > /etc/tandem/pair.key, the same on every node";
            reader.fault(fields.at, fields.path("secret_file"), "is missing", hint);
            return None;
        }
    };
    if secret.expose().len() < SHORTEST_SECRET {
        let what = format!("the secret has fewer than {SHORTEST_SECRET} characters");
        let hint = "make one: openssl rand -hex 32";
        reader.fault(key.at, fields.path("secret"), what, hint);
        return None;
    }
    Some(secret)
}

fn failback(
    fields: &Fields<'_>,
    nodes: Option<&[PairNode]>,
    reader: &mut Reader<'_>,
) -> Option<Failback> {
    let Some(node) = fields.get("failback") else {
        return Some(Failback::Never);
    };
    let path = fields.path("failback");
    if !matches!(node.value, Value::Map(_)) {
        return reader
            .one(node, &path, word(&[("never", ())]))
            .map(|()| Failback::Never);
    }
    let inner = reader.fields(node, &path, &["prefer", "after"])?;
    let mut after = Duration::from_secs(60);
    reader.set(&inner, "after", &mut after, duration);
    let hint = "like failback: { prefer: lb1, after: 60s }";
    let prefer = reader.need(&inner, "prefer", hint)?;
    let wanted = reader.public(|it| it.text(prefer, &inner.path("prefer")))?;
    let mut nodes = nodes?.iter();
    match nodes.find(|it| it.name.as_str() == wanted) {
        Some(found) => Some(Failback::Prefer {
            node: found.name.clone(),
            after,
        }),
        None => {
            let what = format!("there is no node {wanted:?}");
            reader.fault(prefer.at, inner.path("prefer"), what, None);
            None
        }
    }
}
