//! `tandem events`

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use serde_json::{Map, Value};

use super::client::{self, ClientError};
use super::{ConfigFile, EventsArgs, Exit, complain, out};

/// How often `--follow` looks.
const GLANCE: Duration = Duration::from_millis(250);

pub(super) fn events(args: &EventsArgs, file: &ConfigFile) -> Exit {
    let socket = match client::socket(&args.admin, file) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let mut seen = 0;
    loop {
        match show(&socket, seen, args.json) {
            Ok(newest) => seen = newest,
            Err(error) => {
                complain(&error.to_string());
                return error.exit();
            }
        }
        if !args.follow {
            return Exit::Ok;
        }
        std::thread::park_timeout(GLANCE);
    }
}

/// Prints what came after number `seen`; says the newest number.
fn show(socket: &Path, seen: u64, json: bool) -> Result<u64, ClientError> {
    let path = format!("/v1/events?after={seen}");
    let body = client::ask(socket, Method::GET, &path)?;
    let strange =
        |what: &str| ClientError::Refused(format!("an answer of another version: {what}"));
    let answer: Value =
        serde_json::from_slice(&body).map_err(|error| strange(&error.to_string()))?;
    let events = answer["events"].as_array();
    let mut newest = seen;
    for event in events.ok_or_else(|| strange("no events"))? {
        let Value::Object(fields) = event else {
            return Err(strange("an event is no object"));
        };
        newest = fields.get("seq").and_then(Value::as_u64).unwrap_or(newest);
        if json {
            out(&format!("{event}\n"));
        } else {
            out(&render(fields));
        }
    }
    Ok(newest)
}

/// A line as the log has it for people.
fn render(fields: &Map<String, Value>) -> String {
    let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or("?");
    let mut line = format!(
        "{} {:<5} {}",
        word("ts"),
        word("level").to_uppercase(),
        word("event")
    );
    for (key, value) in fields {
        if ["seq", "ts", "level", "event"].contains(&key.as_str()) {
            continue;
        }
        let bare = value.as_str();
        let bare = bare.filter(|it| it.bytes().all(|it| it.is_ascii_graphic()));
        let _infallible = match bare {
            Some(text) => write!(line, " {key}={text}"),
            None => write!(line, " {key}={value}"),
        };
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = serde_json::json!({
            "seq": 7, "ts": "2026-01-01T00:00:00.000Z", "level": "warn", "event": "twin",
            "twin": "lb2", "what": "is\nsilent", "n": 3,
        });
        let line = render(event.as_object().unwrap());
        assert_eq!(
            line,
            "2026-01-01T00:00:00.000Z WARN  twin twin=lb2 what=\"is\\nsilent\" n=3\n"
        );
    }
}
