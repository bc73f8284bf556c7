//! What users script against: metric names, JSON fields, `--help`.
//!
//! `UPDATE=1 cargo test --test golden` writes the files anew; the difference
//! is to be read, and CHANGELOG.md gets a line.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use tandem::metrics;
use tandem::status::{
    AdminStatus, BackendStatus, BindStatus, ConfigStatus, ListenerStatus, PoolStatus, ProbeStatus,
    Status,
};

fn compare(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "tests/golden/{name} says\n{expected}\nbut it is\n{actual}"
    );
}

#[test]
fn metrics_keep_their_names_and_labels() {
    let lines = metrics::ALL.iter().map(|metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels = metric.labels.join(",");
        format!("{} {kind} {{{labels}}}\n", metric.name)
    });
    compare("metrics.txt", &lines.collect::<String>());
}

#[test]
fn check_counts_one_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.yaml");
    let said = |listeners: &str, backends: &str| {
        let text = format!(
            "listeners: {{ {listeners} }}\npools: {{ web: {{ backends: [{backends}] }} }}\n"
        );
        fs::write(&file, text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_tandem"));
        let output = check.args(["check", "-c"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        said.rsplit_once("lb.yaml").unwrap().1.to_owned()
    };
    let one = said("a: { bind: \":80\", pool: web }", "\"10.0.0.1:80\"");
    assert_eq!(one, ": ok (1 listener, 1 pool, 1 backend)\n");
    let two = said(
        "a: { bind: \":80\", pool: web }, b: { bind: \":81\", pool: web }",
        "\"10.0.0.1:80\", \"10.0.0.2:80\"",
    );
    assert_eq!(two, ": ok (2 listeners, 1 pool, 2 backends)\n");
}

#[test]
fn help_says_what_there_is() {
    let commands = [
        "",
        "run",
        "check",
        "init",
        "quick",
        "probe",
        "status",
        "reload",
        "pair",
        "events",
        "dns",
        "demo",
        "version",
        "completions",
        "man",
    ];
    let mut text = String::new();
    for command in commands {
        let mut run = Command::new(env!("CARGO_BIN_EXE_tandem"));
        // As wide on every terminal.
        run.env("COLUMNS", "80");
        if !command.is_empty() {
            run.arg(command);
        }
        let help = run.arg("--help").output().unwrap();
        assert!(help.status.success(), "{command}");
        text.push_str(&format!("$ tandem {command} --help\n").replace("  ", " "));
        text.push_str(&String::from_utf8(help.stdout).unwrap());
        text.push('\n');
    }
    compare("help.txt", &text);
}

#[test]
fn the_status_keeps_its_fields() {
    let backend = BackendStatus {
        name: "a".to_owned(),
        address: "10.0.0.1:80".to_owned(),
        state: "up".to_owned(),
        state_seconds: 5,
        out: None,
        weight: 100,
        effective_weight: 55.5,
        tier: 0,
        connections: 1,
        max_connections: None,
        connections_total: 2,
        last_probe: Some(ProbeStatus {
            outcome: "fail".to_owned(),
            detail: Some("timeout".to_owned()),
            duration_ms: 1.5,
            age_seconds: 0.5,
        }),
    };
    let status = Status {
        version: "1.2.3".to_owned(),
        started: 1,
        uptime_seconds: 2,
        ready: true,
        workers: 2,
        connections: 3,
        max_connections: 4,
        config: ConfigStatus {
            file: "lb.yaml".to_owned(),
            hash: "0011223344556677".to_owned(),
            loaded: 5,
            last_error: None,
            waits_for_restart: vec!["process.workers: 2 -> 4".to_owned()],
        },
        admin: AdminStatus {
            bind: Some(([127, 0, 0, 1], 9127).into()),
            socket: Some("/run/tandem/admin.sock".to_owned()),
        },
        pair: None,
        listeners: vec![ListenerStatus {
            name: "web".to_owned(),
            pool: "web".to_owned(),
            binds: vec![BindStatus {
                address: "0.0.0.0:80".to_owned(),
            }],
            connections: 3,
            connections_total: 6,
        }],
        pools: vec![PoolStatus {
            name: "web".to_owned(),
            policy: "random".to_owned(),
            protocol: "http".to_owned(),
            usable: 1,
            panic: false,
            queued: 0,
            backends: vec![backend],
        }],
    };
    let json = serde_json::to_string_pretty(&status).unwrap();
    compare("status.json", &(json + "\n"));
}
