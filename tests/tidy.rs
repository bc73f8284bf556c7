//! House rules that a machine can check: who may import whom, what is pure,
//! how long a file may be, which words do not belong.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files have two purposes.
const MOST_LINES: usize = 800;

/// Module -> modules it may name. `ARCHITECTURE.md` explains the arrows.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("child", &[]),
    ("clock", &[]),
    ("types", &[]),
    ("metrics", &["types", "clock"]),
    ("status", &["types", "clock"]),
    ("event", &["types", "clock", "metrics"]),
    ("net", &["types"]),
    ("pool", &["types", "clock"]),
    ("relay", &["types", "net"]),
    (
        "proxy",
        &["types", "clock", "event", "net", "pool", "relay"],
    ),
    (
        "health",
        &["types", "child", "clock", "event", "net", "pool"],
    ),
    ("kernel", &["types", "pool"]),
    ("pair", &["types", "clock", "event", "net"]),
    ("dns", &["types", "child", "clock", "event", "net"]),
    (
        "admin",
        &["types", "clock", "event", "metrics", "status", "net"],
    ),
    (
        "config",
        &[
            "types", "net", "admin", "dns", "event", "health", "pair", "pool", "proxy",
        ],
    ),
    (
        "app",
        &[
            "types", "clock", "event", "metrics", "status", "net", "pool", "proxy", "health",
            "admin", "config", "dns", "kernel", "pair",
        ],
    ),
    (
        "cli",
        &[
            "types", "clock", "event", "status", "health", "admin", "config", "app",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

/// Files that decide and do nothing.
const PURE: &[&str] = &[
    "admin/gate.rs",
    "app/candidates.rs",
    "app/given.rs",
    "app/stage.rs",
    "health/known.rs",
    "health/schedule.rs",
    "health/sight.rs",
    "health/state.rs",
    "kernel/attributes.rs",
    "kernel/ruleset.rs",
    "metrics.rs",
    "net/crc32c.rs",
    "net/http1.rs",
    "net/mysql/answer.rs",
    "net/mysql/greeting.rs",
    "net/mysql/login.rs",
    "net/mysql/packet.rs",
    "net/mysql/scramble.rs",
    "net/proxy_header.rs",
    "dns/answer.rs",
    "dns/gate.rs",
    "dns/limiter.rs",
    "dns/records.rs",
    "dns/seats.rs",
    "dns/text.rs",
    "pair/message.rs",
    "pair/settings.rs",
    "pair/state.rs",
    "pair/state/claims.rs",
    "pair/state/decide.rs",
    "pair/state/register.rs",
    "pair/state/roles.rs",
    "pair/state/twin.rs",
    "pair/state/view.rs",
    "pair/state/words.rs",
    "pair/wire.rs",
    "pool/alias.rs",
    "pool/board.rs",
    "pool/doors.rs",
    "pool/pick.rs",
    "pool/place.rs",
    "pool/snapshot.rs",
    "pool/state.rs",
    "proxy/admit.rs",
    "proxy/budget.rs",
    "proxy/deadline.rs",
    "proxy/slab.rs",
    "types/blame.rs",
    "types/plain.rs",
];

/// What a pure file never says.
const IMPURE: &[&str] = &[
    "tokio::",
    "async ",
    "std::fs",
    "std::thread",
    "clock::now",
    "clock::wall",
    "Instant::now",
    "Mutex",
    "println!",
    "Seed::random",
    "TcpStream",
    "mio::",
];

/// What the data plane never says.
const NOT_IN_PROXY: &[&str] = &["tokio", "async ", "await"];

/// The files that may contain `unsafe`, each for one thing that no crate has.
const UNSAFE: &[&str] = &["net/int_option.rs"];

fn sources() -> BTreeMap<String, String> {
    files_below("src")
}

fn files_below(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The lines of a file that are code of the product: not comments, not tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let product = text.split("#[cfg(test)]").next().unwrap();
    let lines = product.lines().enumerate();
    lines
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap()))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("_tests/")
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        let from = module(&file);
        let allowed = MAY_NAME.iter().find(|(name, _)| *name == from);
        let Some((_, allowed)) = allowed else {
            problems.push(format!("src/{file}: '{from}' is not in the table"));
            continue;
        };
        for (at, line) in code(&text).filter(|_| !is_test(&file)) {
            for rest in line.split("crate::").skip(1) {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let to = &rest[..end.unwrap_or(rest.len())];
                if !to.is_empty() && to != from && !allowed.contains(&to) {
                    problems.push(format!("src/{file}:{at}: '{from}' may not name '{to}'"));
                }
            }
            if line.trim_start().starts_with("use super::super") {
                problems.push(format!("src/{file}:{at}: write crate::, not super::super"));
            }
        }
    }
    report(&problems);
}

#[test]
fn pure_files_are_pure() {
    let sources = sources();
    let mut problems = Vec::new();
    for file in PURE {
        let text = sources.get(*file);
        let text = text.unwrap_or_else(|| panic!("the pure file {file} does not exist"));
        for (at, line) in code(text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("src/{file}:{at}: a pure file names '{word}'"));
            }
        }
    }
    report(&problems);
}

#[test]
fn the_data_plane_knows_no_tokio() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        if !matches!(module(&file), "proxy" | "relay" | "pool") {
            continue;
        }
        for (at, line) in code(&text) {
            for word in NOT_IN_PROXY.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("src/{file}:{at}: the data plane names '{word}'"));
            }
        }
    }
    report(&problems);
}

#[test]
fn files_have_one_purpose() {
    let mut problems = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for (file, text) in files_below(folder) {
            let lines = text.lines().count();
            if lines > MOST_LINES {
                problems.push(format!(
                    "{folder}/{file}: {lines} lines, {MOST_LINES} at the most"
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn unsafe_stays_where_it_is_named() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        if UNSAFE.contains(&file.as_str()) {
            continue;
        }
        for (at, line) in code(&text) {
            if is_unsafe(line) {
                problems.push(format!("src/{file}:{at}: unsafe outside the named files"));
            }
        }
    }
    for (file, text) in files_below("tests/fuzz/src") {
        for (at, _) in code(&text).filter(|(_, line)| is_unsafe(line)) {
            problems.push(format!("tests/fuzz/src/{file}:{at}: unsafe in a target"));
        }
    }
    report(&problems);
}

fn is_unsafe(line: &str) -> bool {
    line.contains("unsafe ") || line.contains("allow(unsafe_code)")
}

/// An IPv4 address in IPv6 form is the same host: whoever compares addresses
/// gets them from the few functions that know it.
#[test]
fn one_place_knows_both_spellings_of_an_address() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        for (at, line) in code(&text).filter(|_| !is_test(&file)) {
            let unfolds = ["to_canonical", "to_ipv4_mapped"];
            let is_other = file != "types/plain.rs" && unfolds.iter().any(|it| line.contains(it));
            let reads = ["parse::<IpAddr>", "parse::<SocketAddr>", "parse::<IpNet>"];
            let is_config = file.starts_with("config/") && file != "config/scalar.rs";
            if is_other || is_config && reads.iter().any(|it| line.contains(it)) {
                problems.push(format!(
                    "src/{file}:{at}: use plain(), or scalar's ip(), socket()"
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn every_metric_is_in_the_docs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let missing = tandem::metrics::ALL
        .iter()
        .filter(|metric| !docs.contains(&format!("`{}`", metric.name)))
        .map(|metric| format!("docs/operations.md does not name {}", metric.name));
    report(&missing.collect::<Vec<_>>());
}

/// The checks bite: each of these lines must be found.
#[test]
fn the_checks_see_what_they_look_for() {
    let text = "use crate::proxy::X; // crate::cli\n#[cfg(test)]\nuse crate::app;\n";
    let lines: Vec<_> = code(text).collect();
    assert_eq!(lines, [(1, "use crate::proxy::X; ")]);
    assert_eq!(module("pool/pick.rs"), "pool");
    assert_eq!(module("metrics.rs"), "metrics");
}
