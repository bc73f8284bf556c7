//! `tandem pair` and `tandem dns`

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use hyper::Method;

use super::client::{self, ClientError};
use super::{ConfigFile, DnsArgs, DnsCommand, Exit, PairArgs, PairCommand, complain, out};
use crate::clock;
use crate::status::{DnsStatus, PairStatus};

/// How long a hand-over may take until it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the drill looks.
const GLANCE: Duration = Duration::from_millis(5);

pub(super) fn pair(args: &PairArgs, file: &ConfigFile) -> Exit {
    let socket = match client::socket(&args.admin, file) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let done = match &args.command {
        PairCommand::Status { json } => show_pair(&socket, *json),
        PairCommand::Handover { to } => hand_over(&socket, to.as_deref()),
        PairCommand::Hold { off } => hold(&socket, *off),
        PairCommand::Drill { really } => drill(&socket, *really),
    };
    finish(done)
}

pub(super) fn dns(args: &DnsArgs, file: &ConfigFile) -> Exit {
    let socket = match client::socket(&args.admin, file) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let DnsCommand::Show { json } = args.command;
    finish(show_dns(&socket, json))
}

fn finish(done: Result<Exit, ClientError>) -> Exit {
    done.unwrap_or_else(|error| {
        complain(&error.to_string());
        error.exit()
    })
}

fn fetch<T: serde::de::DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    let body = client::ask(socket, Method::GET, path)?;
    serde_json::from_slice(&body)
        .map_err(|error| ClientError::Refused(format!("an answer of another version: {error}")))
}

fn show_json(socket: &Path, path: &str) -> Result<Exit, ClientError> {
    let body = client::ask(socket, Method::GET, path)?;
    out(&String::from_utf8_lossy(&body));
    out("\n");
    Ok(Exit::Ok)
}

fn show_pair(socket: &Path, json: bool) -> Result<Exit, ClientError> {
    if json {
        return show_json(socket, "/v1/pair");
    }
    out(&render(&fetch(socket, "/v1/pair")?));
    Ok(Exit::Ok)
}

/// The pair in a few lines; also at the head of `tandem status`.
pub(super) fn render(pair: &PairStatus) -> String {
    let mut text = format!(
        "{}  {} of {} (for {}, term {})",
        pair.me,
        pair.role,
        pair.name,
        super::status::age(pair.role_seconds),
        pair.term
    );
    if pair.held {
        text.push_str("  ON HOLD");
    }
    if pair.sick {
        text.push_str("  reaches no backend, and a twin does");
    }
    text.push('\n');
    let holder = pair.holder.as_deref().unwrap_or("nobody");
    let _infallible = writeln!(
        text,
        "  held by {holder}; this node answers {}; able to serve: {}",
        pair.answer,
        pair.functional.join(", ")
    );
    for twin in &pair.twins {
        let life = match (twin.up, twin.ready) {
            (true, true) => "heard, and able to take the name",
            (true, false) => "heard, and not able to take the name",
            (false, _) => "silent",
        };
        let role = twin.role.as_deref().unwrap_or("unknown");
        let rtt = twin.rtt_ms.map(|it| format!("  rtt {it:.1} ms"));
        let version = twin.version.as_ref().map(|it| format!("  version {it}"));
        let drift = if twin.config_differs {
            "  ITS CONFIGURATION DIFFERS"
        } else {
            ""
        };
        let _infallible = writeln!(
            text,
            "  twin {} {role}  {life}{}{}{drift}",
            twin.name,
            rtt.unwrap_or_default(),
            version.unwrap_or_default()
        );
    }
    for stranger in &pair.strangers {
        let _infallible = writeln!(
            text,
            "  {stranger} is in the pair and NOT IN THIS NODE'S lb.yaml"
        );
    }
    if let Some(last) = &pair.last_transition {
        let _infallible = writeln!(text, "  last change: {last}");
    }
    text
}

fn hand_over(socket: &Path, to: Option<&str>) -> Result<Exit, ClientError> {
    let took = move_name(socket, to)?;
    let pair: PairStatus = fetch(socket, "/v1/pair")?;
    let holder = pair.holder.unwrap_or_default();
    out(&format!(
        "{holder} holds {} after {:.0} ms\n",
        pair.name,
        took * 1000.0
    ));
    Ok(Exit::Ok)
}

/// Orders a hand-over and waits until it is done; says how many seconds that
/// took.
fn move_name(socket: &Path, to: Option<&str>) -> Result<f64, ClientError> {
    let before: PairStatus = fetch(socket, "/v1/pair")?;
    let path = match to {
        Some(to) => format!("/v1/pair/handover?to={to}"),
        None => "/v1/pair/handover".to_owned(),
    };
    let start = clock::now();
    client::ask(socket, Method::POST, &path)?;
    loop {
        let now: PairStatus = fetch(socket, "/v1/pair")?;
        let took = clock::now().since(start);
        if now.holder != before.holder {
            return Ok(took.as_secs_f64());
        }
        if took > PATIENCE {
            let why = format!("{} still holds the name", before.me);
            return Err(ClientError::Refused(why));
        }
        std::thread::park_timeout(GLANCE);
    }
}

fn hold(socket: &Path, off: bool) -> Result<Exit, ClientError> {
    let path = if off {
        "/v1/pair/hold?off=1"
    } else {
        "/v1/pair/hold"
    };
    client::ask(socket, Method::POST, path)?;
    out(if off {
        "the pair moves the name again when it must\n"
    } else {
        "nothing moves by itself until `tandem pair hold --off`\n"
    });
    Ok(Exit::Ok)
}

/// Whether a takeover would work; with `really`, whether it does, and how long
/// it takes.
fn drill(socket: &Path, really: bool) -> Result<Exit, ClientError> {
    let pair: PairStatus = fetch(socket, "/v1/pair")?;
    let mut is_fine = true;
    let mut say = |good: bool, what: String| {
        is_fine &= good;
        out(&format!("{} {what}\n", if good { "ok  " } else { "FAIL" }));
    };
    say(
        pair.functional.contains(&pair.me),
        format!("{} serves", pair.me),
    );
    say(!pair.held, "the pair is not on hold".to_owned());
    say(
        pair.twins.iter().any(|it| it.ready),
        "a twin could take the name".to_owned(),
    );
    for stranger in &pair.strangers {
        say(false, format!("{stranger} is in this node's lb.yaml"));
    }
    for twin in &pair.twins {
        let name = &twin.name;
        say(twin.up, format!("{name} is heard"));
        say(twin.serving == Some(true), format!("{name} serves"));
        say(
            twin.has_backends == Some(true),
            format!("{name} has a usable backend"),
        );
        say(
            twin.failed_probes == 0,
            format!("the data port of {name} accepts"),
        );
        say(
            !twin.config_differs,
            format!("{name} has the same configuration"),
        );
    }
    if let Ok(dns) = fetch::<DnsStatus>(socket, "/v1/dns") {
        let has_answer = dns
            .records
            .iter()
            .any(|it| it.contains(" A ") || it.contains(" AAAA "));
        if !dns.binds.is_empty() {
            say(has_answer, format!("{} is answered here", dns.zone));
        }
        for it in &dns.observed {
            say(it.matches, format!("{} names the holder", it.server));
        }
    }
    if !is_fine {
        return Ok(Exit::Refused);
    }
    if !really {
        out("a takeover would work; `tandem pair drill --really` moves the name to see\n");
        return Ok(Exit::Ok);
    }
    let took = move_name(socket, None)?;
    out(&format!("the name moved in {:.0} ms\n", took * 1000.0));
    Ok(Exit::Ok)
}

fn show_dns(socket: &Path, json: bool) -> Result<Exit, ClientError> {
    if json {
        return show_json(socket, "/v1/dns");
    }
    let dns: DnsStatus = fetch(socket, "/v1/dns")?;
    out(&render_dns(&dns));
    Ok(Exit::Ok)
}

fn render_dns(dns: &DnsStatus) -> String {
    let mut text = String::new();
    if let Some(register) = dns.register {
        let _infallible = writeln!(text, "; {} is kept in the zone at {register}", dns.zone);
    }
    if !dns.binds.is_empty() {
        let binds: Vec<String> = dns.binds.iter().map(ToString::to_string).collect();
        let _infallible = writeln!(text, "; answered at {}", binds.join(" "));
        for record in &dns.records {
            text.push_str(record);
            text.push('\n');
        }
        text.push_str("\n; what the zone above needs\n");
        text.push_str(&dns.delegation);
    }
    if !dns.observed.is_empty() {
        let _infallible = writeln!(text, "\n; what {} is elsewhere", dns.zone);
    }
    for it in &dns.observed {
        let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
        let said = match &it.error {
            Some(error) => error.clone(),
            None if addresses.is_empty() => "no address".to_owned(),
            None => addresses.join(" "),
        };
        let verdict = if it.matches {
            "right"
        } else {
            "NOT the holder"
        };
        let _infallible = writeln!(text, "; {}: {said} ({verdict})", it.server);
    }
    text
}
