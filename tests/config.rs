//! lb.yaml as its users meet it: broken files and their exact messages, good
//! files and what they mean, and the promise that no bytes make it panic.
//!
//! `UPDATE=1 cargo test --test config` writes the expected texts anew; the
//! difference is to be read.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tandem::config::{Change, Config, LoadError, Process, Surroundings, changes};
use tandem::pool::Protocol;

#[path = "golden/broken.rs"]
mod broken;
#[path = "golden/machine.rs"]
mod machine;

use machine::Machine;

fn golden(folder: &str) -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files(folder).into_iter().map(read).collect()
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    files
}

fn parse(path: &Path, text: &str) -> Result<Config, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let around = Machine;
    Config::parse(text, name, &around).map_err(|problems| format!("{}\n", problems.with_lines()))
}

/// Compares `actual` with the file beside `path`, or writes it.
fn compare(path: &Path, actual: &str, wrong: &mut Vec<String>) {
    let path = path.with_extension("txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        wrong.push(format!(
            "{name}: expected\n{expected}\nbut it says\n{actual}"
        ));
    }
}

#[test]
fn broken_files_get_their_exact_messages() {
    let files = files("config");
    assert!(files.len() >= 50, "{} broken files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        // One of them is no text.
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let parsed = Config::parse_bytes(&bytes, name, &Machine);
        match parsed.map_err(|problems| format!("{}\n", problems.with_lines())) {
            Ok(_) => wrong.push(format!("{}: nothing is found wrong", path.display())),
            Err(message) => {
                assert!(message.starts_with(&format!("{name}:")), "{message}");
                compare(&path, &message, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn good_files_mean_what_they_say() {
    let mut wrong = Vec::new();
    for (path, text) in golden("config-good") {
        let config = parse(&path, &text).unwrap_or_else(|message| panic!("{message}"));
        let json = serde_json::to_string_pretty(&config.to_json()).unwrap();
        compare(&path, &(json + "\n"), &mut wrong);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn what_is_printed_means_the_same() {
    for (path, text) in golden("config-good") {
        let config = parse(&path, &text).unwrap();
        let printed = config.to_yaml();
        let again = parse(&path, &printed)
            .unwrap_or_else(|message| panic!("{}\n{printed}\n{message}", path.display()));
        assert_eq!(again.to_json(), config.to_json(), "{}", path.display());
        assert!(changes(&config, &again).iter().all(|it| it.from.is_none()));
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    for (path, text) in golden("config-good") {
        let config = parse(&path, &text).unwrap();
        let shown = format!("{:?} {} {}", config, config.to_json(), config.to_yaml());
        assert!(!shown.contains("geheim"), "{}", path.display());
    }
}

/// What the operator named in a configuration.
fn own_names(config: &serde_json::Value) -> Vec<String> {
    let sections = ["listeners", "pools"].map(|it| config[it].as_object().unwrap());
    let all = || sections.iter().flat_map(|it| it.values());
    let backends = all().filter_map(|it| it["backends"].as_object());
    let nodes = config["pair"]["nodes"].as_object();
    let maps = sections.into_iter().chain(backends).chain(nodes);
    maps.flat_map(|it| it.keys().cloned()).collect()
}

/// Every place of `text` where a word stands: where it begins and ends.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split(" #").next().unwrap();
        let mut rest = 0;
        while let Some(start) = code[rest..].find(|c: char| c.is_ascii_alphanumeric()) {
            let start = rest + start;
            let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./%@".contains(c);
            let length = code[start..].find(|c| !is_word(c));
            let end = length.map_or(code.len(), |it| start + it);
            found.push((at + start, at + end));
            rest = end;
        }
        at += line.len();
    }
    found
}

#[test]
fn no_message_for_everybody_repeats_what_the_file_says() {
    // A password where something else belongs, and slips beside one.
    let secrets = [
        "hunter2-geheim",
        "hunter2 geheim",
        "\"hunter2 geheim",
        "{ hunter2geheim",
        "hunter2-geheim: x",
        "*hunter2geheim",
        "!hunter2geheim x",
        "pasword hunter2geheim",
        "password:hunter2geheim",
        "900719925474099",
        "hunter2:70001",
        "10.98.76.54:hunter2",
        "10.98.76.54/7",
        "hunter2s",
        "[hunter2::1",
    ];
    let leaks = ["hunter2", "geheim", "900719925474", "10.98.76.54"];
    let mut refused = 0;
    for (path, text) in golden("config-good") {
        // A word that names something of the user's is no secret.
        let names = own_names(&parse(&path, &text).unwrap().to_json());
        for (from, to) in words(&text) {
            if names.iter().any(|it| *it == text[from..to]) && text[to..].starts_with(':') {
                continue;
            }
            for secret in secrets {
                let broken = format!("{}{secret}{}", &text[..from], &text[to..]);
                let Err(problems) = Config::parse(&broken, "lb.yaml", &Machine) else {
                    continue;
                };
                refused += 1;
                let told = problems.to_string();
                assert!(told.starts_with("lb.yaml:"), "{told}");
                let leak = leaks.iter().find(|it| told.contains(**it));
                assert_eq!(leak, None, "{secret} for {:?}:\n{told}", &text[from..to]);
            }
        }
    }
    assert!(refused > 1000, "{refused} broken files were refused");
}

/// A machine whose environment has a secret by every name, and whose files do.
struct Leaky(&'static str);

impl Surroundings for Leaky {
    fn env(&self, name: &str) -> Option<String> {
        name.starts_with("PW").then(|| self.0.to_owned())
    }
    fn read_file(&self, _: &Path) -> std::io::Result<String> {
        Ok(format!("{}{}\n", self.0, self.0.repeat(4)))
    }
    fn is_open_to_all(&self, _: &Path) -> bool {
        false
    }
    fn folder(&self) -> &Path {
        Path::new("/etc/tandem")
    }
    fn real(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    fn absolute(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }
    fn node(&self) -> Option<String> {
        None
    }
    fn host_name(&self) -> String {
        "lb2".to_owned()
    }
    fn has_address(&self, _: std::net::IpAddr) -> bool {
        false
    }
}

#[test]
fn what_the_environment_gave_is_shown_by_its_name_in_every_key() {
    const SECRET: &str = "hunter2-geheim";
    let mut checked = 0;
    for (path, text) in golden("config-good") {
        for (from, to) in words(&text) {
            for (before, after) in [("", ""), ("x-", ""), ("", "-x"), ("/", "/x")] {
                let planted = format!("\"{before}${{PW}}{after}\"");
                let quoted = text[..from].ends_with(['"', '\'']);
                let planted = if quoted {
                    planted.trim_matches('"')
                } else {
                    &planted
                };
                let with = format!("{}{planted}{}", &text[..from], &text[to..]);
                let (shown, again) = match Config::parse(&with, "lb.yaml", &Leaky(SECRET)) {
                    Ok(config) => {
                        let yaml = config.to_yaml();
                        let again = Config::parse(&yaml, "lb.yaml", &Leaky(SECRET));
                        let again =
                            again.unwrap_or_else(|it| panic!("{}\n{yaml}", it.with_lines()));
                        let old = parse(&path, &text).unwrap();
                        let changes: String = changes(&old, &config)
                            .iter()
                            .map(Change::to_string)
                            .collect();
                        assert_eq!(again.to_json(), config.to_json(), "{yaml}");
                        (format!("{}{yaml}{changes}", config.to_json()), true)
                    }
                    Err(problems) => (format!("{}{problems}", problems.with_lines()), false),
                };
                checked += usize::from(again);
                assert!(
                    !shown.contains("hunter2"),
                    "{}: {with}\n{shown}",
                    path.display()
                );
            }
        }
    }
    assert!(
        checked > 60,
        "{checked} files were accepted with a secret in them"
    );
}

#[test]
fn a_redis_password_in_send_is_not_published() {
    for secret in ["hunter2", "abc", "with \"quotes\" and \\"] {
        // Leaky wants a text that lives for ever.
        let secret: &'static str = Box::leak(secret.to_owned().into_boxed_str());
        let text = "listeners: { r: { bind: ':6379', pool: r } }\n\
                    pools: { r: { backends: ['10.0.0.1:6379'], probe: { type: send_expect, \
                    send: \"AUTH ${PW_REDIS}\\r\\n\", expect: +OK } } }\n";
        let config = Config::parse(text, "lb.yaml", &Leaky(secret)).unwrap();
        assert_eq!(
            config.to_json()["pools"]["r"]["probe"]["send"],
            "AUTH ${PW_REDIS}\r\n"
        );
        let said = format!("-ERR invalid password '{secret}'");
        // One of three characters would be found everywhere: what the server
        // says is not told then.
        let is_found = !config.taint.clean(&said).contains(secret);
        assert_eq!(config.pools[0].probe.is_hushed, !is_found, "{secret}");
    }
}

#[test]
fn a_short_password_is_shown_by_no_message_of_ours() {
    for setting in [
        "type: http, body: \"${PW}\"",
        "type: exec, command: \"check ${PW} x\"",
        "type: send_expect, send: \"AUTH ${PW}\"",
        "type: mysql, user: ü${PW}, password: \"${PW}\"",
        "type: \"${PW}\"",
        "type: http, path: \"/ ${PW}\"",
        "type: http, host: \"/${PW}\"",
        "type: https, tls: { server_name: \"${PW}!\" }",
        "type: tcp, interval: \"${PW}\"",
    ] {
        let text = format!(
            "listeners: {{ r: {{ bind: ':6379', pool: r }} }}\n\
             pools: {{ r: {{ backends: ['10.0.0.1:6379'], probe: {{ {setting} }} }} }}\n"
        );
        let shown = match Config::parse(&text, "lb.yaml", &Leaky("zQ7")) {
            Ok(config) => {
                assert!(config.pools[0].probe.is_hushed, "{setting}");
                format!("{}{}", config.to_json(), config.to_yaml())
            }
            Err(problems) => format!("{}{problems}", problems.with_lines()),
        };
        assert!(!shown.contains("zQ7"), "{setting}: {shown}");
    }
}

#[test]
fn an_address_from_the_environment_is_shown_and_check_says_so() {
    let text = "listeners: { db: { bind: '127.0.0.1:${PW_PORT}', pool: db } }\n\
                pools:\n  db:\n    backends: { a: '10.0.0.1:${PW_PORT}', b: '10.0.0.2:3306' }\n\
                \x20   connect_timeout: ${PW_PORT}ms\n";
    let parsed = |text: &str| Config::parse(text, "lb.yaml", &Leaky("3306"));
    let config = parsed(&text.replace("${PW_PORT}ms", "1s")).unwrap();
    // A message about another server is whole, too.
    let said = "connect to 10.0.0.2:3306: Connection refused";
    assert_eq!(config.taint.clean(said), said);
    let json = config.to_json();
    assert_eq!(
        json["pools"]["db"]["backends"]["a"]["address"],
        "10.0.0.1:${PW_PORT}"
    );
    assert_eq!(
        config.notes(),
        [
            "1:26: listeners.db.bind: what ${PW_PORT} stands for is shown in status, metrics and \
          the log, as every address and name is"
        ]
    );
    // Elsewhere it may be something else, and is hidden.
    let config = parsed(text).unwrap();
    assert!(!config.taint.clean(said).contains("3306"));
}

#[test]
fn an_alias_of_a_number_keeps_its_text() {
    let text = "listeners: { web: { bind: ':80', pool: web } }\n\
                x-shared: { body: &x 007, off: &off off, pw: &pw 0x10 }\n\
                pools:\n  web:\n    backends: ['10.0.0.1:80']\n    keepalive: *off\n\
                \x20   probe: { type: http, body: *x }\n\
                \x20 db:\n    backends: ['10.0.0.1:3306']\n\
                \x20   probe: { type: mysql, user: *x, password: *pw }\n";
    let config = parse(Path::new("lb.yaml"), text).unwrap_or_else(|it| panic!("{it}"));
    let json = config.to_json();
    assert_eq!(json["pools"]["web"]["probe"]["body"], "007");
    assert_eq!(json["pools"]["web"]["keepalive"], "off");
    assert_eq!(json["pools"]["db"]["probe"]["user"], "007");
    // The password, too, is what was typed.
    let plain = text.replace("*pw", "\"0x10\"");
    let plain = parse(Path::new("lb.yaml"), &plain).unwrap();
    assert!(changes(&config, &plain).is_empty());
}

#[test]
fn the_example_and_the_templates_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "lb.yaml",
        "src/cli/init/web.yaml",
        "src/cli/init/mysql.yaml",
    ] {
        let path = root.join(file);
        let text = fs::read_to_string(&path).unwrap();
        parse(&path, &text).unwrap_or_else(|message| panic!("{message}"));
    }
    for file in ["README.md", "docs/kernel-plane.md"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let blocks: Vec<&str> = text.split("```yaml\n").skip(1).collect();
        assert!(!blocks.is_empty());
        for block in blocks {
            let text = block.split("```").next().unwrap();
            parse(Path::new(file), text).unwrap_or_else(|message| panic!("{message}"));
        }
    }
}

#[test]
fn a_reload_says_what_it_will_do() {
    let path = Path::new("lb.yaml");
    let file = |backends: &str, rest: &str| {
        let text = format!(
            "listeners: {{ web: {{ bind: ':80', pool: web }} }}\n\
             pools:\n  web:\n    backends: {backends}\n{rest}"
        );
        parse(path, &text).unwrap_or_else(|message| panic!("{message}"))
    };
    let old = file("{ a: 10.0.0.1:80, b: 10.0.0.2:80 }", "");
    let new = file(
        "{ a: { address: 10.0.0.1:80, weight: 50 }, c: 10.0.0.3:80 }",
        "    policy: least\nprocess: { workers: 2 }\n",
    );
    let said: Vec<String> = changes(&old, &new).iter().map(Change::to_string).collect();
    assert_eq!(
        said,
        [
            "process.workers: auto -> 2 (takes effect at the next start)",
            "pools.web.backends.a.weight: 100 -> 50",
            "pools.web.backends.b: removed",
            "pools.web.backends.c: added (10.0.0.3:80)",
            "pools.web.policy: random -> least",
        ]
    );
    assert!(changes(&old, &old).is_empty());
}

#[test]
fn a_changed_password_is_a_change() {
    let file = |password: &str| {
        let text = format!(
            "listeners: {{ db: {{ bind: ':3306', pool: db }} }}\n\
             pools: {{ db: {{ backends: ['10.0.0.1:3306'], \
             probe: {{ type: mysql, user: u, password: {password} }} }} }}\n"
        );
        parse(Path::new("lb.yaml"), &text).unwrap()
    };
    let found = changes(&file("one"), &file("two"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "pools.db.probe.password: changed");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let error = Config::load(Path::new("/nonexistent/lb.yaml"), None).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(error.to_string().contains("tandem init"), "{error}");
}

#[test]
fn a_password_file_that_everybody_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("db.pass");
    fs::write(&secret, "geheim\n").unwrap();
    let text = "listeners: { db: { bind: ':3306', pool: db } }\n\
                pools: { db: { backends: ['10.0.0.1:3306'], \
                probe: { type: mysql, user: u, password_file: db.pass } } }\n";
    let around = Process {
        folder: folder.path().to_owned(),
        node: None,
    };
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let problems = Config::parse(text, "lb.yaml", &around).unwrap_err();
    let told = problems.with_lines();
    assert!(told.contains("chmod"), "{told}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Config::parse(text, "lb.yaml", &around).is_ok());
}

const WHOLE: &str = include_str!("golden/config-good/everything.yaml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let _either = parse(Path::new("lb.yaml"), &text);
    }

    #[test]
    fn no_mutation_makes_it_panic_and_each_fault_has_a_place(
        edits in prop::collection::vec((0usize..WHOLE.len(), 0usize..12, "[ -~\n]{0,3}"), 1..5),
    ) {
        let mut text = WHOLE.to_owned();
        for (at, length, new) in edits {
            let from = text.floor_char_boundary(at.min(text.len()));
            let to = text.floor_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to, &new);
        }
        let around = Machine;
        if let Err(problems) = Config::parse(&text, "lb.yaml", &around) {
            prop_assert!(problems.iter().count() > 0);
            for problem in problems.iter() {
                prop_assert!(!problem.what.is_empty());
            }
            let first = problems.to_string();
            prop_assert!(first.starts_with("lb.yaml:"), "{}", first);
        }
    }
}

/// What a health check speaks at a port of its own says nothing of what
/// clients and servers speak.
#[test]
fn the_protocol_is_inferred_only_from_a_probe_of_the_port_of_the_traffic() {
    let protocol = |pool: &str| {
        let text = format!(
            "listeners: {{ a: {{ bind: \":80\", pool: p }} }}\npools: {{ p: {{ {pool} }} }}\n"
        );
        let config = parse(Path::new("lb.yaml"), &text).unwrap();
        let client_first = config.listeners[0].client_first;
        (config.pools[0].pool.protocol, client_first)
    };
    let (http, mysql, tcp) = (
        (Protocol::Http, true),
        (Protocol::Mysql, false),
        (Protocol::Tcp, false),
    );
    for (pool, expected) in [
        (
            "backends: [10.0.0.1:3306], probe: { type: http, port: 9200 }",
            tcp,
        ),
        (
            "backends: [10.0.0.1:3306], probe: { type: mysql, port: 3307 }",
            tcp,
        ),
        (
            "backends: [10.0.0.1:80, 10.0.0.2:81], probe: { type: http, port: 80 }",
            tcp,
        ),
        (
            "backends: [10.0.0.1:80, 10.0.0.2:80], probe: { type: http, port: 80 }",
            http,
        ),
        ("backends: [10.0.0.1:80, 10.0.0.2:81], probe: http", http),
        ("backends: [10.0.0.1:3306], probe: mysql", mysql),
        (
            "backends: [10.0.0.1:3306], protocol: mysql, probe: { type: http, port: 9200 }",
            mysql,
        ),
    ] {
        assert_eq!(protocol(pool), expected, "{pool}");
    }
}

/// The process said `out_of_ports` for each client, and `check` said nothing.
#[test]
fn a_source_that_is_not_here_is_told_by_check() {
    let text = "listeners: { a: { bind: ':80', pool: p } }\npools:\n  p:\n    \
                backends: ['10.0.0.1:80']\n    source: [203.0.113.11, 192.0.2.77]\n";
    let config = parse(Path::new("lb.yaml"), text).unwrap();
    let [warning] = &config.warnings(false)[..] else {
        panic!("{:?}", config.warnings(false));
    };
    let start = "5:28: pools.p.source: 192.0.2.77 is not an address of this machine now";
    assert!(warning.starts_with(start), "{warning}");
}
