//! `pair.dns:`: how the world learns who holds the name.

use std::net::SocketAddr;
use std::time::Duration;

use super::pair::port;
use super::tsig;
use crate::config::fields::Fields;
use crate::config::node::{Node as YamlNode, Value};
use crate::config::reader::Reader;
use crate::config::scalar::{Parsed, boolean, duration, ip, number32, socket, wrong};
use crate::dns::hook::HookSettings;
use crate::dns::rfc2136::{Rfc2136, Rfc2136Settings};
use crate::dns::{LONGEST_TTL, Node, SHORTEST_TTL, ServeSettings};
use crate::pair::{Mode, PairNode};
use crate::types::{Fqdn, Name};

/// The ways of publishing.
pub(super) struct Published {
    pub(super) serve: Option<ServeSettings>,
    pub(super) register: Option<Rfc2136Settings>,
    pub(super) mode: Mode,
    pub(super) observe: Vec<SocketAddr>,
    pub(super) hook: Option<HookSettings>,
}

/// Without a word the embedded server answers; with a register it does so only
/// if that is said, too.
pub(super) fn read(
    fields: &Fields<'_>,
    zone: &Fqdn,
    nodes: &[PairNode],
    me: &Name,
    reader: &mut Reader<'_>,
) -> Option<Published> {
    let mut settings = serve_settings(fields, zone, nodes, me, reader)?;
    let mut published = Published {
        serve: None,
        register: None,
        mode: Mode::Embedded,
        observe: Vec::new(),
        hook: None,
    };
    let Some(node) = fields.get("dns") else {
        published.serve = Some(settings);
        return Some(published);
    };
    if matches!(&node.value, Value::Text(text) if text == "off") {
        return Some(published);
    }
    let known = ["serve", "rfc2136", "exec", "lease", "observe", "ttl"];
    let inner = reader.fields(node, &fields.path("dns"), &known)?;
    reader.set(&inner, "ttl", &mut settings.ttl, ttl);
    if let Some(node) = inner.get("rfc2136") {
        let mut register = register(node, &inner, zone, reader)?;
        if inner.has("ttl") {
            register.ttl = settings.ttl;
        }
        published.register = Some(register);
        published.mode = Mode::Cas;
    }
    if let Some(node) = inner.get("lease") {
        published.mode = lease(node, &inner, published.mode, reader)?;
    }
    let observe = reader.public(|it| it.list(&inner, "observe", resolver));
    published.observe = observe.into_iter().flatten().map(|(_, it)| it).collect();
    if let Some(node) = inner.get("exec") {
        published.hook = Some(hook(node, &inner.path("exec"), reader)?);
    }
    match inner.get("serve") {
        Some(node) => {
            let own = nodes.iter().find(|it| it.name == *me)?;
            published.serve = Some(serve(node, &inner, settings, own, reader)?);
        }
        None if published.register.is_none() => published.serve = Some(settings),
        None => {}
    }
    Some(published)
}

fn serve_settings(
    fields: &Fields<'_>,
    zone: &Fqdn,
    nodes: &[PairNode],
    me: &Name,
    reader: &mut Reader<'_>,
) -> Option<ServeSettings> {
    let mut published = Vec::new();
    for node in nodes {
        match Node::new(zone, node.name.clone(), node.addresses.clone()) {
            Ok(node) => published.push(node),
            Err(error) => {
                reader.fault(fields.at, fields.path("nodes"), error.to_string(), None);
                return None;
            }
        }
    }
    let own = nodes.iter().find(|it| it.name == *me)?;
    let own = own.addresses.iter();
    let binds = own.map(|ip| SocketAddr::new(*ip, 53)).collect();
    Some(ServeSettings::new(zone.clone(), published, binds))
}

fn serve(
    node: &YamlNode,
    inner: &Fields<'_>,
    mut settings: ServeSettings,
    own: &PairNode,
    reader: &mut Reader<'_>,
) -> Option<ServeSettings> {
    let known = ["bind", "per_source_qps", "global_qps", "tcp_clients"];
    let serve = reader.fields(node, &inner.path("serve"), &known)?;
    let parse = |text: &str| dns_bind(text, own);
    if let Some(binds) = reader.public(|it| it.list(&serve, "bind", parse)) {
        settings.binds = binds.into_iter().flat_map(|(_, it)| it).collect();
    }
    let (source, global) = (&mut settings.per_source_qps, &mut settings.global_qps);
    reader.set(&serve, "per_source_qps", source, number32(1, 1_000_000));
    reader.set(&serve, "global_qps", global, number32(1, 10_000_000));
    let clients = &mut settings.tcp_clients;
    reader.set(&serve, "tcp_clients", clients, number32(1, 10_000));
    Some(settings)
}

fn ttl(text: &str) -> Parsed<Duration> {
    let ttl = duration(text)?;
    if ttl.subsec_nanos() == 0 && (SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    wrong(
        format!("{text:?} is out of range"),
        "whole seconds from 1s to 300s",
    )
}

/// `:53` is this node's own addresses: an answer must leave from where it was
/// asked.
fn dns_bind(text: &str, own: &PairNode) -> Parsed<Vec<SocketAddr>> {
    let bare = text
        .strip_prefix("self:")
        .or_else(|| text.strip_prefix(':'));
    if let Some(bare) = bare {
        let port = port(bare)?;
        let own = own.addresses.iter();
        return Ok(own.map(|ip| SocketAddr::new(*ip, port)).collect());
    }
    match socket(text) {
        Some(address) if !address.ip().is_unspecified() => Ok(vec![address]),
        Some(_) | None => wrong(
            format!("{text:?} is not an address to answer at"),
            "like :53 (this node's addresses) or 203.0.113.10:53",
        ),
    }
}

/// A name server to ask, at port 53 unless said.
fn resolver(text: &str) -> Parsed<SocketAddr> {
    let bare = ip(text).map(|ip| SocketAddr::new(ip, 53));
    match bare.or_else(|| socket(text)) {
        Some(address) if !address.ip().is_unspecified() && address.port() != 0 => Ok(address),
        Some(_) | None => wrong(
            format!("{text:?} is not the address of a name server"),
            "like 192.0.2.53 or 192.0.2.53:5353",
        ),
    }
}

fn register(
    node: &YamlNode,
    inner: &Fields<'_>,
    name: &Fqdn,
    reader: &mut Reader<'_>,
) -> Option<Rfc2136Settings> {
    let path = inner.path("rfc2136");
    let known = [
        "server",
        "zone",
        "key",
        "algorithm",
        "secret",
        "secret_file",
        "timeout",
        "tcp",
    ];
    let fields = reader.fields(node, &path, &known)?;
    let hint = "the zone's primary, like server: 192.0.2.53:53";
    let server = reader.need(&fields, "server", hint)?;
    let parse = |text: &str| match socket(text) {
        Some(address) => Ok(address),
        None => wrong(format!("{text:?} is not an address"), "like 192.0.2.53:53"),
    };
    let server = reader.public(|it| it.one(server, &fields.path("server"), parse))?;
    let mut zone = name
        .parent()
        .map_or_else(String::new, |it| it.as_str().to_owned());
    reader.set(&fields, "zone", &mut zone, |text| Ok(text.to_owned()));
    let mut settings = Rfc2136Settings::new(server, &zone, name.as_str());
    reader.set(&fields, "timeout", &mut settings.timeout, duration);
    reader.set(&fields, "tcp", &mut settings.tcp, boolean);
    settings.key = tsig::read(&fields, reader);
    if reader.is_told(&path) {
        return None;
    }
    // The register's own check: names, zone and secret fit together.
    if let Err(error) = Rfc2136::new(&settings) {
        reader.fault(node.at, path, error.to_string(), None);
        return None;
    }
    Some(settings)
}

fn lease(node: &YamlNode, inner: &Fields<'_>, mode: Mode, reader: &mut Reader<'_>) -> Option<Mode> {
    let path = inner.path("lease");
    if matches!(&node.value, Value::Text(text) if text == "off") {
        return Some(mode);
    }
    if mode == Mode::Embedded {
        let hint = "add rfc2136: a lease needs somebody who keeps it";
        reader.fault(node.at, path, "needs a register", hint);
        return None;
    }
    let fields = reader.fields(node, &path, &["ttl", "margin"])?;
    let (mut ttl, mut margin) = (Duration::from_secs(2), Duration::from_millis(200));
    reader.set(&fields, "ttl", &mut ttl, duration);
    reader.set(&fields, "margin", &mut margin, duration);
    if margin * 2 >= ttl && !reader.is_told(&path) {
        let what = "is not much shorter than ttl";
        reader.fault(fields.at, fields.path("margin"), what, "a tenth is usual");
        return None;
    }
    Some(Mode::Lease { ttl, margin })
}

fn hook(node: &YamlNode, path: &str, reader: &mut Reader<'_>) -> Option<HookSettings> {
    let fields = reader.fields(node, path, &["command", "timeout"])?;
    let hint = "like command: [/usr/lib/tandem/move-ip]";
    let node = reader.need(&fields, "command", hint)?;
    let before = reader.too_short;
    let command = reader.list(&fields, "command", |text| Ok(text.to_owned()))?;
    let is_hushed = reader.too_short > before;
    let command: Vec<String> = command.into_iter().map(|(_, it)| it).collect();
    if command.is_empty() {
        if !reader.is_told(&fields.path("command")) {
            reader.fault(node.at, fields.path("command"), "is empty", hint);
        }
        return None;
    }
    let mut settings = HookSettings::new(command);
    settings.is_hushed = is_hushed;
    reader.set(&fields, "timeout", &mut settings.timeout, duration);
    Some(settings)
}
