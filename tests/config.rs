//! lb.yaml as its users meet it: broken files and their exact messages, good
//! files and what they mean, and the promise that no bytes make it panic.
//!
//! `UPDATE=1 cargo test --test config` writes the expected texts anew; the
//! difference is to be read.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tandem::config::{Change, Config, LoadError, Process, changes};
use tandem::pool::Protocol;

#[path = "golden/machine.rs"]
mod machine;

use machine::Machine;

fn golden(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

fn parse(path: &Path, text: &str) -> Result<Config, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let around = Machine;
    Config::parse(text, name, &around).map_err(|problems| format!("{problems}\n"))
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
    let files = golden("config");
    assert!(files.len() >= 50, "{} broken files", files.len());
    let mut wrong = Vec::new();
    for (path, text) in files {
        match parse(&path, &text) {
            Ok(_) => wrong.push(format!("{}: nothing is found wrong", path.display())),
            Err(message) => {
                let name = path.file_name().unwrap().to_str().unwrap();
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
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().unwrap();
        parse(Path::new("README.md"), text).unwrap_or_else(|message| panic!("{message}"));
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
    assert!(problems.to_string().contains("chmod"), "{problems}");
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
