//! What nobody is to see: values of the environment and of secret files.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::kit::tandem::{PROGRAM, Tandem};
use crate::kit::{SOON, http, said, wait_until, work_dir};

const GIVEN: &str = "correct horse/\"battery\"";
const IN_A_FILE: &str = "staple-of-a-file";

/// A server that repeats what it was sent, as many do that refuse a password.
/// It lives as long as the test.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut said = [0; 512];
            let length = stream.read(&mut said).unwrap_or(0);
            let said = String::from_utf8_lossy(&said[..length]);
            let _gone = write!(stream, "-ERR wrong pass {}\r\n", said.trim_end());
        }
    });
    address
}

#[test]
fn a_password_from_the_environment_is_published_nowhere() {
    let server = parrot();
    let dir = work_dir();
    let file = dir.path().join("password");
    fs::write(&file, format!("{IN_A_FILE}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let yaml = |extra: &str| {
        format!(
            "listeners: {{ r: {{ bind: \"127.0.0.1:0\", pool: r }} }}\n\
             admin: {{ bind: \"127.0.0.1:0\", socket: \"@SOCKET\", token_file: {file:?} }}\n\
             pools:\n\
             \x20 r: {{ backends: [\"{server}\"], probe: {{ type: send_expect, interval: 200ms,\n\
             \x20        send: \"AUTH ${{REDIS_PW}}\\r\\n\", expect: +OK }} }}\n\
             \x20 x: {{ backends: [\"{server}\"], probe: {{ type: exec, interval: 200ms,\n\
             \x20        command: [sh, -c, 'echo no: \"$1\"; exit 1', sh, \"${{REDIS_PW}}\"] }} }}\n\
             \x20 h: {{ backends: [\"{server}\"], probe: {{ type: http, interval: 200ms,\n\
             \x20        path: /, host: h, body: \"x ${{REDIS_PW}}\" }} }}\n{extra}"
        )
    };
    let tandem = Tandem::launch_as(&yaml(""), &[], |it| {
        it.env("REDIS_PW", GIVEN);
    });
    tandem.wait_ready();
    let mut down = vec!["r", "x", "h"];
    wait_until("the server's answers are told", SOON, || {
        let log = tandem.log();
        down.retain(|it| !log.contains(&format!("\"pool\":\"{it}\",\"backend\"")));
        down.is_empty()
    });
    // Slips beside a password, and a password where something else belongs.
    for slip in [
        "log: { format: hunter2-geheim }\n",
        "process: { hunter2-geheim: 1 }\n",
        "x-a: { password: hunter2-geheim, b }: c\n",
        "log: { format: \"${REDIS_PW}\" }\n",
    ] {
        tandem.write(&yaml(slip));
        let done = tandem.command(&["reload"]);
        assert_eq!(done.status.code(), Some(1), "{slip}: {}", said(&done));
        let told = said(&done);
        assert!(told.contains("lb.yaml:10:"), "{slip}: where it is: {told}");
        hides(&format!("{slip}: reload"), &told);
        // Whoever may read the file is shown its lines.
        let mut check = Command::new(PROGRAM);
        let check = check.env("REDIS_PW", GIVEN).args(["check", "-c"]);
        let told = said(&check.arg(tandem.config()).output().unwrap());
        assert_eq!(told.contains("hunter2"), slip.contains("hunter2"), "{told}");
        assert!(!told.contains("correct horse"), "{told}");
    }
    tandem.write(&yaml("log: { format: json }\n"));
    assert_eq!(tandem.command(&["reload"]).status.code(), Some(0));
    for (whose, text) in published(&tandem, &[("REDIS_PW", GIVEN)]) {
        hides(&whose, &text);
    }
    let config = tandem.admin("GET", "/v1/config").json();
    assert_eq!(
        config["pools"]["r"]["probe"]["send"],
        "AUTH ${REDIS_PW}\r\n"
    );
    let told = tandem.status().to_string();
    assert!(told.contains("${REDIS_PW}"), "its name is told: {told}");
}

/// All that tandem says of itself, by where, in an environment of `variables`.
fn published(tandem: &Tandem, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = vec![("the log".to_owned(), tandem.log())];
    let paths = [
        "/v1/config",
        "/v1/status",
        "/v1/events",
        "/v1/pools",
        "/metrics",
    ];
    for path in paths {
        all.push((path.to_owned(), tandem.admin("GET", path).body));
        let over_tcp = http::get(tandem.admin_tcp(), path).body;
        all.push((format!("{path} over TCP"), over_tcp));
    }
    for word in ["--print", "--online"] {
        let mut check = Command::new(PROGRAM);
        check.envs(variables.iter().copied());
        let done = check.args(["check", word, "-c"]).arg(tandem.config());
        all.push((word.to_owned(), said(&done.output().unwrap())));
    }
    all
}

/// It would be found everywhere, so what they say is not told at all.
#[test]
fn a_password_of_three_letters_that_servers_repeat_is_published_nowhere() {
    let server = parrot();
    let probes = [
        (
            "r",
            "type: send_expect, send: \"AUTH ${PW}\\r\\n\", expect: +OK",
        ),
        (
            "x",
            "type: exec, command: [sh, -c, 'echo no \"$1\"; exit 1', sh, \"${PW}\"]",
        ),
        ("c", "type: exec, command: [\"/nonexistent/${PW}\"]"),
        ("h", "type: http, path: /, body: \"x ${PW}\""),
    ];
    let pools: String = probes
        .iter()
        .map(|(name, probe)| {
            format!(
                "  {name}: {{ backends: [\"{server}\"], probe: {{ interval: 200ms, {probe} }} }}\n"
            )
        })
        .collect();
    let yaml = format!(
        "listeners: {{ r: {{ bind: \"127.0.0.1:0\", pool: r }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\", socket: \"@SOCKET\" }}\npools:\n{pools}"
    );
    let tandem = Tandem::launch_as(&yaml, &[], |it| {
        it.env("PW", "zQ7");
    });
    tandem.wait_alive();
    let mut told = vec!["r", "x", "c", "h"];
    wait_until("what the probes found is told", SOON, || {
        let log = tandem.log();
        told.retain(|it| !log.contains(&format!("\"pool\":\"{it}\",\"backend\"")));
        told.is_empty()
    });
    for (whose, text) in published(&tandem, &[("PW", "zQ7")]) {
        assert!(!text.contains("zQ7"), "{whose} shows it:\n{text}");
    }
    let log = tandem.log();
    let words = "the answer is not the expected one (its words are not shown";
    assert!(log.contains(words), "what is wrong is told: {log}");
}

/// An operator must see which server is meant, and in which words the file has
/// it.
#[test]
fn an_address_from_the_environment_is_shown_and_check_says_so() {
    let server = parrot();
    let (host, port) = ("127.0.0.1", server.port().to_string());
    let yaml = "listeners: { db: { bind: \"${DB_HOST}:0\", pool: db } }\n\
                admin: { bind: \"127.0.0.1:0\", socket: \"@SOCKET\" }\n\
                pools:\n\
                \x20 db: { backends: [\"${DB_HOST}:${DB_PORT}\"], probe: { type: http, path: / } }\n";
    let variables = [("DB_HOST", host), ("DB_PORT", &port)];
    let tandem = Tandem::launch_as(yaml, &[], |it| {
        it.envs(variables);
    });
    tandem.wait_ready();
    let status = tandem.status();
    let backend = &status["pools"][0]["backends"][0];
    assert_eq!(backend["address"], server.to_string(), "{status}");
    let config = tandem.admin("GET", "/v1/config").json();
    assert_eq!(
        config["pools"]["db"]["backends"][0],
        "${DB_HOST}:${DB_PORT}"
    );
    let check = |extra: &str| {
        tandem.write(&format!("{yaml}{extra}"));
        let mut check = Command::new(PROGRAM);
        let check = check.envs(variables).args(["check", "-c"]);
        check.arg(tandem.config()).output().unwrap()
    };
    let done = check("");
    let told = said(&done);
    assert_eq!(done.status.code(), Some(0), "{told}");
    for note in [
        "lb.yaml:1:26: listeners.db.bind: what ${DB_HOST} stands for is shown",
        "lb.yaml:4:20: pools.db.backends[0]: what ${DB_PORT} stands for is shown",
    ] {
        assert_eq!(told.matches(note).count(), 1, "{note}: {told}");
    }
    // What is shown is no secret at the same time.
    let done = check(
        "  x: { backends: [\"10.0.0.1:1\"], probe: { type: mysql, user: u, password: \"${DB_HOST}\" } }\n",
    );
    let told = said(&done);
    assert_eq!(done.status.code(), Some(2), "{told}");
    assert!(
        told.contains("${DB_HOST} is the secret of pools.x.probe.password"),
        "{told}"
    );
}

/// Looks for each secret in `text`, in whatever way it is quoted.
fn hides(whose: &str, text: &str) {
    for secret in ["correct horse", "battery", IN_A_FILE, "hunter2", "geheim"] {
        assert!(!text.contains(secret), "{whose} shows {secret}:\n{text}");
    }
}
