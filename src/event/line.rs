//! An event as a line of text or of JSON. Pure.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::{Connection, Event};
use crate::types::Name;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Info,
    Warn,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

#[derive(Debug)]
enum Value {
    Millis(Duration),
    Number(u64),
    Text(String),
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn number(value: impl TryInto<u64>) -> Value {
    Value::Number(value.try_into().unwrap_or(u64::MAX))
}

type Fields = Vec<(&'static str, Value)>;

/// `event` as JSON, with a line feed.
pub(super) fn json(wall: Duration, event: &Event, out: &mut String) {
    let (level, name, fields) = describe(event);
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + wall);
    let _infallible = write!(
        out,
        r#"{{"ts":"{time}","level":"{}","event":"{name}""#,
        level.as_str()
    );
    for (key, value) in fields {
        let _infallible = match value {
            Value::Millis(duration) => write!(out, r#","{key}":{}"#, millis(duration)),
            Value::Number(number) => write!(out, r#","{key}":{number}"#),
            Value::Text(text) => write!(out, r#","{key}":{}"#, serde_json::Value::String(text)),
        };
    }
    out.push_str("}\n");
}

/// `event` for people, with a line feed.
pub(super) fn plain(wall: Duration, event: &Event, out: &mut String) {
    let (level, name, fields) = describe(event);
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + wall);
    let _infallible = write!(out, "{time} {:<5} {name}", level.as_str().to_uppercase());
    for (key, value) in fields {
        let _infallible = match value {
            Value::Millis(duration) => write!(out, " {key}={}", millis(duration)),
            Value::Number(number) => write!(out, " {key}={number}"),
            Value::Text(text) if is_bare(&text) => write!(out, " {key}={text}"),
            // Quoted and escaped: nobody breaks a line with a name of his own.
            Value::Text(text) => write!(out, " {key}={text:?}"),
        };
    }
    out.push('\n');
}

fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}

fn millis(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn describe(event: &Event) -> (Level, &'static str, Fields) {
    let (level, name) = headline(event);
    (level, name, fields(event))
}

fn headline(event: &Event) -> (Level, &'static str) {
    match event {
        Event::AdminTrouble { .. } => (Level::Warn, "admin"),
        Event::Backend { to: "down", .. } => (Level::Warn, "backend"),
        Event::Backend { .. } => (Level::Info, "backend"),
        Event::Blind { fault: None, .. } => (Level::Info, "probe"),
        Event::Blind { .. } => (Level::Warn, "probe"),
        Event::Change { .. } => (Level::Info, "change"),
        Event::Connection(_) => (Level::Info, "conn"),
        Event::Limited { .. } => (Level::Warn, "limited"),
        Event::Listening { .. } => (Level::Info, "listening"),
        Event::Pair { .. } => (Level::Info, "pair"),
        Event::Twin { what: "is up", .. } => (Level::Info, "twin"),
        Event::Twin { .. } => (Level::Warn, "twin"),
        Event::Pool { usable: 0, .. } => (Level::Error, "pool"),
        Event::Pool { .. } => (Level::Info, "pool"),
        Event::Reloaded { .. } => (Level::Info, "reloaded"),
        Event::ReloadFailed { .. } => (Level::Error, "reload_failed"),
        Event::Resolve { .. } => (Level::Warn, "resolve"),
        Event::Shed { .. } => (Level::Warn, "shed"),
        Event::Started { .. } => (Level::Info, "started"),
        Event::Stopped { .. } => (Level::Info, "stopped"),
        Event::Stopping { .. } => (Level::Info, "stopping"),
        Event::Trouble { .. } => (Level::Error, "trouble"),
    }
}

fn fields(event: &Event) -> Fields {
    match event {
        Event::AdminTrouble { what }
        | Event::Change { what }
        | Event::Limited { what }
        | Event::Trouble { what } => vec![("what", text(what))],
        Event::Backend { .. } | Event::Pair { .. } | Event::Pool { .. } => of_state(event),
        Event::Blind {
            pool,
            backend,
            fault,
            state,
        } => {
            let (outcome, reason, why) = match fault {
                Some((fault, why)) => ("unknown", fault.as_str(), why.as_str()),
                None => ("known", "none", "the backend can be probed again"),
            };
            vec![
                ("pool", text(pool)),
                ("backend", text(backend)),
                ("outcome", text(outcome)),
                ("reason", text(reason)),
                ("stays", text(state)),
                ("why", text(why)),
            ]
        }
        Event::Connection(connection) => of_connection(connection),
        Event::Listening { listener, address } => {
            vec![("listener", text(listener)), ("address", text(address))]
        }
        Event::Twin { node, what } => vec![("twin", text(node)), ("what", text(what))],
        Event::Reloaded { changes } => vec![("changes", number(*changes))],
        Event::ReloadFailed { why } => vec![("why", text(why))],
        Event::Resolve { pool, backend, why } => vec![
            ("pool", text(pool)),
            ("backend", text(backend)),
            ("why", text(why)),
        ],
        Event::Shed {
            listener,
            reason,
            count,
        } => vec![
            ("listener", text(listener)),
            ("reason", text(reason.as_str())),
            ("count", number(*count)),
        ],
        Event::Started {
            version,
            workers,
            max_connections,
        } => vec![
            ("version", text(version)),
            ("workers", number(*workers)),
            ("max_connections", number(*max_connections)),
        ],
        Event::Stopped { cut } => vec![("cut", number(*cut))],
        Event::Stopping { sessions, grace } => vec![
            ("sessions", number(*sessions)),
            ("grace_ms", Value::Millis(*grace)),
        ],
    }
}

/// What has changed of a backend, a pool or the pair.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "called for these three only"
)]
fn of_state(event: &Event) -> Fields {
    match event {
        Event::Backend {
            pool,
            backend,
            address,
            from,
            to,
            why,
        } => vec![
            ("pool", text(pool)),
            ("backend", text(backend)),
            ("backend_addr", text(address)),
            ("from", text(from)),
            ("to", text(to)),
            ("why", text(why)),
        ],
        Event::Pair {
            from,
            to,
            why,
            term,
            holder,
        } => vec![
            ("from", text(from)),
            ("to", text(to)),
            ("why", text(why)),
            ("term", number(*term)),
            ("holder", text(holder.as_ref().map_or("", Name::as_str))),
        ],
        Event::Pool { pool, usable, of } => vec![
            ("pool", text(pool)),
            ("usable", number(*usable)),
            ("of", number(*of)),
        ],
        _ => Vec::new(),
    }
}

fn of_connection(it: &Connection) -> Fields {
    let mut fields = vec![
        ("id", text(format!("{:016x}", it.id))),
        ("listener", text(&it.listener)),
        ("client", text(&it.client)),
        ("pool", text(&it.pool)),
    ];
    if let Some((name, address)) = &it.backend {
        fields.push(("backend", text(name)));
        fields.push(("backend_addr", text(address)));
    }
    fields.push(("reason", text(it.reason.as_str())));
    if let Some(why) = it.why {
        fields.push(("why", text(why)));
    }
    fields.extend([
        ("bytes_in", number(it.bytes_in)),
        ("bytes_out", number(it.bytes_out)),
        ("queue_ms", Value::Millis(it.queue)),
    ]);
    if let Some(connect) = it.connect {
        fields.push(("connect_ms", Value::Millis(connect)));
    }
    if let Some(first_byte) = it.first_byte {
        fields.push(("first_byte_ms", Value::Millis(first_byte)));
    }
    fields.extend([
        ("duration_ms", Value::Millis(it.duration)),
        ("retries", number(it.retries)),
    ]);
    if let Some(source) = &it.proxy_src {
        fields.push(("proxy_src", text(source)));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Endpoint, Reason};

    #[test]
    fn nobody_breaks_a_line() {
        let event = Event::Trouble {
            what: "first\nlevel=info \"second\"".to_owned(),
        };
        let (mut a, mut b) = (String::new(), String::new());
        plain(Duration::ZERO, &event, &mut a);
        json(Duration::ZERO, &event, &mut b);
        assert_eq!(a.lines().count(), 1);
        assert_eq!(b.lines().count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&b).unwrap();
        assert_eq!(parsed["what"], "first\nlevel=info \"second\"");
    }

    #[test]
    fn what_was_wrong_with_a_header_stands_behind_the_reason() {
        let event = Event::Connection(Box::new(Connection {
            id: 1,
            listener: Name::new("web").unwrap(),
            client: Endpoint::Tcp("192.0.2.1:5".parse().unwrap()),
            proxy_src: None,
            pool: Name::new("site").unwrap(),
            backend: None,
            reason: Reason::BadProxyHeader,
            why: Some("too_short"),
            bytes_in: 0,
            bytes_out: 0,
            queue: Duration::ZERO,
            connect: None,
            first_byte: None,
            duration: Duration::ZERO,
            retries: 0,
        }));
        let mut out = String::new();
        plain(Duration::ZERO, &event, &mut out);
        assert!(
            out.contains("reason=bad_proxy_header why=too_short "),
            "{out}"
        );
    }

    #[test]
    fn a_connection_line_has_its_fields_in_order() {
        let event = Event::Connection(Box::new(Connection {
            id: 0x2a,
            listener: Name::new("web").unwrap(),
            client: Endpoint::Tcp("192.0.2.1:5".parse().unwrap()),
            proxy_src: None,
            pool: Name::new("site").unwrap(),
            backend: Some((
                Name::new("a").unwrap(),
                Endpoint::Tcp(([10, 0, 0, 1], 80).into()),
            )),
            reason: Reason::ClientClosed,
            why: None,
            bytes_in: 1,
            bytes_out: 2,
            queue: Duration::ZERO,
            connect: Some(Duration::from_micros(1500)),
            first_byte: None,
            duration: Duration::from_secs(2),
            retries: 0,
        }));
        let mut out = String::new();
        json(Duration::ZERO, &event, &mut out);
        assert_eq!(
            out,
            r#"{"ts":"1970-01-01T00:00:00.000Z","level":"info","event":"conn","id":"000000000000002a","listener":"web","client":"192.0.2.1:5","pool":"site","backend":"a","backend_addr":"10.0.0.1:80","reason":"client_closed","bytes_in":1,"bytes_out":2,"queue_ms":0.000,"connect_ms":1.500,"duration_ms":2000.000,"retries":0}"#.to_owned() + "\n"
        );
    }
}
