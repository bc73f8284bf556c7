//! `tandem status`

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Duration;

use hyper::Method;

use super::client::{self, ClientError};
use super::{ConfigFile, Exit, StatusArgs, complain, out};
use crate::status::{BackendStatus, PoolStatus, Status};
use crate::types::count;

pub(super) fn status(args: &StatusArgs, file: &ConfigFile) -> Exit {
    let socket = match client::socket(&args.admin, file) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let shown = if args.json {
        show_json(&socket)
    } else if args.watch {
        watch(&socket)
    } else {
        fetch(&socket).map(|status| out(&render(&status, &HashMap::new())))
    };
    match shown {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&error.to_string());
            error.exit()
        }
    }
}

fn show_json(socket: &Path) -> Result<(), ClientError> {
    let body = client::ask(socket, Method::GET, "/v1/status")?;
    out(&String::from_utf8_lossy(&body));
    out("\n");
    Ok(())
}

fn fetch(socket: &Path) -> Result<Status, ClientError> {
    let body = client::ask(socket, Method::GET, "/v1/status")?;
    serde_json::from_slice(&body)
        .map_err(|error| ClientError::Refused(format!("an answer of another version: {error}")))
}

/// New connections since the last look, by pool and backend.
type Rates = HashMap<(String, String), u64>;

fn watch(socket: &Path) -> Result<(), ClientError> {
    let mut last = fetch(socket)?;
    loop {
        wait_a_second();
        let status = fetch(socket)?;
        let before: HashMap<_, _> = counts(&last).collect();
        let rates: Rates = counts(&status)
            .filter_map(|(key, total)| {
                let before = before.get(&key)?;
                Some((key, total.saturating_sub(*before)))
            })
            .collect();
        if stdout().is_terminal() {
            // Home and clear: the page stays in one place.
            out("\x1b[H\x1b[2J");
        }
        out(&render(&status, &rates));
        last = status;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person watches: here it is the second that counts"
)]
fn wait_a_second() {
    std::thread::sleep(Duration::from_secs(1));
}

fn counts(status: &Status) -> impl Iterator<Item = ((String, String), u64)> {
    status.pools.iter().flat_map(|pool| {
        let backends = pool.backends.iter();
        backends.map(|it| {
            let key = (pool.name.clone(), it.name.clone());
            (key, it.connections_total)
        })
    })
}

fn render(status: &Status, rates: &Rates) -> String {
    let mut text = String::new();
    let ready = if status.ready { "ready" } else { "not ready" };
    let _infallible = writeln!(
        text,
        "tandem {}  {ready}  up {}  {} of {}  {}  config {}",
        status.version,
        age(status.uptime_seconds),
        status.connections,
        count(status.max_connections, "connection"),
        count(status.workers, "worker"),
        status.config.hash,
    );
    if let Some(error) = &status.config.last_error {
        let first = error.lines().next().unwrap_or_default();
        let _infallible = writeln!(text, "the last reload was refused: {first}");
    }
    for change in &status.config.waits_for_restart {
        let _infallible = writeln!(text, "waits for a restart: {change}");
    }
    if let Some(pair) = &status.pair {
        text.push_str(&super::pair::render(pair));
    }
    for listener in &status.listeners {
        let binds: Vec<String> = listener.binds.iter().map(|it| it.address.clone()).collect();
        let _infallible = writeln!(
            text,
            "{} {} -> {}  {}",
            listener.name,
            binds.join(" "),
            listener.pool,
            count(listener.connections, "connection")
        );
    }
    for pool in &status.pools {
        render_pool(pool, rates, &mut text);
    }
    text
}

fn render_pool(pool: &PoolStatus, rates: &Rates, text: &mut String) {
    let panic = if pool.panic { ", panic" } else { "" };
    let rows: Vec<[String; 7]> = pool
        .backends
        .iter()
        .map(|backend| row(pool, backend, rates))
        .collect();
    let width = |column: usize, least: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(least)
    };
    let (name, address, state) = (width(0, 4), width(1, 7), width(5, 5));
    let heading = format!(
        "{}  {}, {} usable{panic}",
        pool.name,
        count(pool.backends.len(), "backend"),
        pool.usable
    );
    let _infallible = writeln!(
        text,
        "{heading:<width$}  {:>6} {:>6} {:>7}  {:<state$}  probe",
        "conn",
        "new/s",
        "weight",
        "state",
        width = name + address + 4,
    );
    for [a, b, c, d, e, f, g] in &rows {
        let _infallible = writeln!(
            text,
            "  {a:<name$}  {b:<address$}  {c:>6} {d:>6} {e:>7}  {f:<state$}  {g}"
        );
    }
}

fn row(pool: &PoolStatus, backend: &BackendStatus, rates: &Rates) -> [String; 7] {
    let key = (pool.name.clone(), backend.name.clone());
    let rate = rates
        .get(&key)
        .map_or_else(|| "-".to_owned(), u64::to_string);
    let probe = match &backend.last_probe {
        None => "not yet".to_owned(),
        Some(probe) => match &probe.detail {
            Some(detail) => detail.clone(),
            None => format!("{} {:.1} ms", probe.outcome, probe.duration_ms),
        },
    };
    [
        backend.name.clone(),
        backend.address.clone(),
        backend.connections.to_string(),
        rate,
        format!("{}", backend.effective_weight),
        state(backend),
        probe,
    ]
}

/// What it is, and why it gets no new connections although it is up.
fn state(backend: &BackendStatus) -> String {
    let since = age(backend.state_seconds);
    match (&backend.out, backend.state.as_str()) {
        (Some(why), "up") => format!("out: {why}"),
        (Some(why), state) => format!("{state} {since}, {why}"),
        (None, state) => format!("{state} {since}"),
    }
}

/// A duration for people: its two largest units.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d {hours}h")
    } else if hours > 0 {
        format!("{hours}h {minutes}m")
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(5), "5s");
        assert_eq!(age(65), "1m 5s");
        assert_eq!(age(3 * 86400 + 4 * 3600), "3d 4h");
    }
}
