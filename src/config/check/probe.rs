//! `probe:`

use std::time::Duration;

use crate::config::fields::Fields;
use crate::config::node::{Node, Value};
use crate::config::problem::Fault;
use crate::config::reader::Reader;
use crate::config::scalar::{
    Parsed, Wrong, boolean, duration, means_off, nearest, number, number32, percent, word, wrong,
};
use crate::health::{
    HttpHost, HttpMethod, HttpPath, HttpProbe, HttpRequest, MysqlLogin, MysqlProbe, ProbeKind,
    ProbeSettings, SendExpect, Timing, Tls, TlsName, Trusted, Unsendable, Verify,
};
use crate::types::Secret;

const TYPES: [&str; 6] = ["exec", "http", "https", "mysql", "send_expect", "tcp"];

const VERIFY: [(&str, Verify); 3] = [
    ("true", Verify::Name),
    ("ca", Verify::Authority),
    ("false", Verify::Off),
];

const COMMON: [&str; 9] = [
    "type",
    "port",
    "interval",
    "timeout",
    "fall",
    "rise",
    "fast_interval",
    "down_interval",
    "jitter",
];

const HTTP: [&str; 7] = [
    "method",
    "path",
    "host",
    "expect",
    "body",
    "drain_on_404",
    "tls",
];

const MYSQL: [&str; 4] = ["user", "password", "password_file", "tls"];

pub(super) fn read(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<ProbeSettings> {
    if matches!(node.value, Value::Map(_)) {
        return long(node, path, reader);
    }
    let before = reader.too_short;
    let kind = reader.one(node, path, short)?;
    Some(ProbeSettings {
        kind,
        port: None,
        timing: Timing::default(),
        is_hushed: reader.too_short > before,
    })
}

/// `tcp`, `http /path`, `https /path`, `mysql`.
fn short(text: &str) -> Parsed<ProbeKind> {
    let mut words = text.split_whitespace();
    let (kind, argument) = (words.next().unwrap_or_default(), words.next());
    if words.next().is_some() {
        return wrong(
            format!("{text:?} has too many words"),
            "like `http /healthz`, or a map: { type: http, path: ... }",
        );
    }
    match (kind, argument) {
        ("tcp", None) => Ok(ProbeKind::Tcp),
        ("mysql", None) => Ok(ProbeKind::Mysql(MysqlProbe {
            login: None,
            tls: None,
        })),
        ("http" | "https", argument) => {
            let path = HttpPath::parse(argument.unwrap_or("/")).map_err(wrong_request)?;
            let tls = (kind == "https").then(verified);
            Ok(ProbeKind::Http(http_probe(path, tls)))
        }
        (path, None) if path.starts_with('/') => wrong(
            format!("{path:?} does not say how to ask for it"),
            format!("write http {path}"),
        ),
        ("exec" | "send_expect", _) => wrong(
            format!("{kind} has more to say than fits into a line"),
            format!("write a map: {{ type: {kind}, ... }}"),
        ),
        ("tcp" | "mysql", Some(argument)) => wrong(
            format!("{kind} takes no {argument:?}"),
            format!("write {kind}"),
        ),
        _ => Err(unknown_type(kind)),
    }
}

fn unknown_type(kind: &str) -> Wrong {
    if kind == "off" || means_off(kind) {
        return Wrong {
            what: format!("a pool cannot be without a probe, as {kind:?} wants it"),
            hint: Some(
                "write tcp: it only connects; or, rarely, { type: tcp, interval: 1h }".to_owned(),
            ),
        };
    }
    let hint = match nearest(kind, TYPES.into_iter()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("one of {}", TYPES.join(", ")),
    };
    Wrong {
        what: format!("unknown probe type {kind:?}"),
        hint: Some(hint),
    }
}

/// HTTPS as the world expects it: the certificate must be right.
fn verified() -> Tls {
    Tls {
        verify: Verify::Name,
        trusted: None,
        server_name: None,
    }
}

fn http_probe(path: HttpPath, tls: Option<Tls>) -> HttpProbe {
    HttpProbe {
        request: HttpRequest {
            method: HttpMethod::Get,
            path,
            host: None,
        },
        expect: vec![(200, 399)],
        body: None,
        drain_on_404: false,
        tls,
    }
}

fn wrong_request(it: Unsendable) -> Wrong {
    Wrong {
        what: it.what,
        hint: Some(it.hint),
    }
}

fn long(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<ProbeSettings> {
    let map = reader.map(node, path)?;
    // The type says which keys there are. Until it is known, all of them are.
    let all = [&COMMON[..], &HTTP, &MYSQL, &["command", "send"]].concat();
    let typed = reader.again(|reader| reader.fields(node, path, &all));
    let hint = "say what to do: { type: http, ... }";
    let type_node = reader.need(typed.as_ref().unwrap_or(&map), "type", hint)?;
    let faults = reader.faults.len();
    let kind = reader.text(type_node, &map.path("type"))?;
    let own: &[&str] = match kind.as_str() {
        "exec" => &["command"],
        "http" | "https" => &HTTP,
        "mysql" => &MYSQL,
        "send_expect" => &["send", "expect"],
        "tcp" => &[],
        _ => {
            let wrong = unknown_type(&kind);
            reader.wrong(type_node.at, map.path("type"), wrong);
            return None;
        }
    };
    // The map's duplicates have been told.
    reader.faults.truncate(faults);
    let known = [&COMMON, own].concat();
    let fields = reader.fields(node, path, &known)?;
    let timing = timing(&fields, reader);
    let mut port = None;
    reader.set_some(&fields, "port", &mut port, |text| {
        let port = number(1, 65_535)(text)?;
        Ok(u16::try_from(port).unwrap_or(u16::MAX))
    });
    let before = reader.too_short;
    let kind = match kind.as_str() {
        "exec" => exec(&fields, reader)?,
        "http" => ProbeKind::Http(http(&fields, None, reader)?),
        "https" => ProbeKind::Http(http(&fields, Some(verified()), reader)?),
        "mysql" => ProbeKind::Mysql(mysql(&fields, reader)?),
        "send_expect" => send_expect(&fields, reader)?,
        _ => ProbeKind::Tcp,
    };
    Some(ProbeSettings {
        kind,
        port,
        timing,
        is_hushed: reader.too_short > before,
    })
}

fn timing(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Timing {
    let mut timing = Timing::default();
    reader.set(fields, "interval", &mut timing.interval, duration);
    // Who probes more often than the defaults wants doubt settled no slower.
    timing.fast_interval = timing.fast_interval.min(timing.interval);
    reader.set(fields, "timeout", &mut timing.timeout, duration);
    reader.set(fields, "fall", &mut timing.fall, number32(1, 100));
    reader.set(fields, "rise", &mut timing.rise, number32(1, 100));
    let fast = &mut timing.fast_interval;
    reader.set(fields, "fast_interval", fast, duration);
    let down = &mut timing.down_interval;
    reader.set(fields, "down_interval", down, duration);
    reader.set(fields, "jitter", &mut timing.jitter, percent(0, 50));
    if let Some(node) = fields.get("fast_interval")
        && !reader.is_told(&fields.path("interval"))
        && timing.fast_interval > timing.interval.max(Duration::from_millis(1))
    {
        let path = fields.path("fast_interval");
        let what = "is longer than interval";
        reader.fault(node.at, path, what, "doubt should be settled faster");
    }
    timing
}

fn http(fields: &Fields<'_>, secure: Option<Tls>, reader: &mut Reader<'_>) -> Option<HttpProbe> {
    let mut path = HttpPath::root();
    reader.set(fields, "path", &mut path, |text| {
        HttpPath::parse(text).map_err(wrong_request)
    });
    let is_secure = secure.is_some();
    let mut probe = http_probe(path, secure);
    let methods = word(&HttpMethod::WORDS);
    reader.set(fields, "method", &mut probe.request.method, methods);
    reader.set_some(fields, "host", &mut probe.request.host, |text| {
        HttpHost::parse(text).map_err(wrong_request)
    });
    if let Some(expect) = reader.list(fields, "expect", statuses) {
        probe.expect = expect.into_iter().map(|(_, it)| it).collect();
    }
    if let Some(node) = fields.get("expect")
        && probe.expect.is_empty()
        && !reader.is_told(&fields.path("expect"))
    {
        reader.fault(node.at, fields.path("expect"), "is empty", "like 200-399");
    }
    reader.set_some(fields, "body", &mut probe.body, |text| match text {
        "" => wrong("is empty, which every answer has in it", "leave it out"),
        text => Ok(text.to_owned()),
    });
    if let (Some(node), HttpMethod::Head) = (fields.get("body"), probe.request.method) {
        let what = "a HEAD request has no body";
        reader.fault(node.at, fields.path("body"), what, "use method: GET");
    }
    reader.set(fields, "drain_on_404", &mut probe.drain_on_404, boolean);
    if let Some(node) = fields.get("tls") {
        if is_secure {
            probe.tls = Some(tls(node, &fields.path("tls"), reader)?);
        } else {
            let what = "http has no TLS";
            reader.fault(node.at, fields.path("tls"), what, "use type: https");
        }
    }
    name_in_certificate(fields, &probe, reader);
    Some(probe)
}

/// Without `server_name` the server is to prove that it is `host`.
fn name_in_certificate(fields: &Fields<'_>, probe: &HttpProbe, reader: &mut Reader<'_>) {
    let (Some(tls), Some(host)) = (&probe.tls, &probe.request.host) else {
        return;
    };
    let is_said = tls.server_name.is_some() || reader.is_told(&fields.path("tls"));
    if let Some(node) = fields.get("host")
        && !is_said
        && TlsName::parse(host.name()).is_none()
    {
        let what = format!("{:?} cannot be a name in a certificate", host.name());
        let hint = "say which name is, like tls: { server_name: www.example.com }";
        reader.fault(node.at, fields.path("host"), what, hint);
    }
}

fn server_name(text: &str) -> Parsed<TlsName> {
    let Some(name) = TlsName::parse(text) else {
        let what = format!("{text:?} is not a host name");
        return wrong(what, "like www.example.com");
    };
    Ok(name)
}

/// `200` or `200-399`.
fn statuses(text: &str) -> Parsed<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let status = number(100, 599)(text.trim())?;
        Ok(u16::try_from(status).unwrap_or(599))
    };
    let (from, to) = (status(from)?, status(to)?);
    if from > to {
        return wrong(format!("{text:?} is empty"), format!("write {to}-{from}"));
    }
    Ok((from, to))
}

fn tls(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Tls> {
    let mut tls = verified();
    let fields = reader.fields(node, path, &["verify", "ca_file", "server_name"])?;
    reader.set(&fields, "verify", &mut tls.verify, word(&VERIFY));
    if let Some(node) = fields.get("ca_file")
        && let Some((file, text)) = reader.named_file(node, &fields.path("ca_file"))
    {
        match Trusted::parse(&file, &text) {
            Ok(trusted) => tls.trusted = Some(trusted),
            Err(why) => {
                let what = format!("{:?} {why}", file.display().to_string());
                let hint = "it holds certificates in PEM: -----BEGIN CERTIFICATE-----";
                reader.fault(node.at, fields.path("ca_file"), what, hint);
            }
        }
    }
    reader.set_some(&fields, "server_name", &mut tls.server_name, server_name);
    if let (Some(ca), Verify::Off) = (fields.get("ca_file"), tls.verify) {
        let what = "a certificate that is not verified needs no authority";
        reader.fault(ca.at, fields.path("ca_file"), what, "keep one of them");
    }
    Some(tls)
}

fn mysql(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<MysqlProbe> {
    let password = match (fields.get("password"), fields.get("password_file")) {
        (Some(node), Some(_)) => {
            let what = "password and password_file are both there";
            reader.fault(node.at, fields.path("password"), what, "keep one of them");
            None
        }
        (Some(node), None) => reader.secret(node, &fields.path("password")),
        (None, Some(node)) => reader.secret_file(node, &fields.path("password_file")),
        (None, None) => Some(Secret::new("")),
    };
    let mut user = None;
    reader.set_some(fields, "user", &mut user, mysql_user);
    if !fields.has("user")
        && let Some(key) = fields.first_of(&["password", "password_file"])
    {
        reader.faults.push(Fault {
            at: key.at,
            path: fields.path(&key.name),
            what: "whose? there is no user".to_owned(),
            hint: Some("add user: NAME".to_owned()),
        });
    }
    let tls = match fields.get("tls") {
        Some(node) => match &node.value {
            Value::Text(text) if text == "off" => None,
            Value::Text(text) if text == "on" => Some(verified()),
            Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                Some(tls(node, &fields.path("tls"), reader)?)
            }
        },
        None => None,
    };
    let password = password?;
    Some(MysqlProbe {
        login: user.map(|user| MysqlLogin { user, password }),
        tls,
    })
}

/// A NUL byte ends it where it is sent.
fn mysql_user(text: &str) -> Parsed<String> {
    if text.contains('\0') {
        return wrong("the name of a MySQL user has no NUL byte", "leave it out");
    }
    Ok(text.to_owned())
}

fn send_expect(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<ProbeKind> {
    let mut probe = SendExpect {
        send: Vec::new(),
        expect: Vec::new(),
    };
    let bytes = |text: &str| Ok(text.as_bytes().to_vec());
    reader.set(fields, "send", &mut probe.send, bytes);
    reader.set(fields, "expect", &mut probe.expect, bytes);
    let is_told = ["send", "expect"].map(|key| reader.is_told(&fields.path(key)));
    if probe.send.is_empty() && probe.expect.is_empty() && is_told == [false; 2] {
        let hint = "add send, expect or both; or use type: tcp";
        reader.fault(fields.at, &fields.path, "neither sends nor expects", hint);
        return None;
    }
    Some(ProbeKind::SendExpect(probe))
}

fn exec(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<ProbeKind> {
    let hint = "like command: [/usr/lib/tandem/check, --quick]";
    let node = reader.need(fields, "command", hint)?;
    let words: Vec<String> = match &node.value {
        Value::List(_) => {
            let all = reader.list(fields, "command", |text| Ok(text.to_owned()))?;
            all.into_iter().map(|(_, it)| it).collect()
        }
        Value::Null | Value::Text(_) | Value::Map(_) => {
            let text = reader.text(node, &fields.path("command"))?;
            text.split_whitespace().map(str::to_owned).collect()
        }
    };
    if words.is_empty() {
        if !reader.is_told(&fields.path("command")) {
            reader.fault(node.at, fields.path("command"), "is empty", hint);
        }
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        let what = "the kernel takes no NUL byte in a command";
        reader.fault(node.at, fields.path("command"), what, hint);
        return None;
    }
    Some(ProbeKind::Exec(words))
}
