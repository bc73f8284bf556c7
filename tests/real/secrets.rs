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
    for path in [
        "/v1/config",
        "/v1/status",
        "/v1/events",
        "/v1/pools",
        "/metrics",
    ] {
        hides(path, &tandem.admin("GET", path).body);
        hides(path, &http::get(tandem.admin_tcp(), path).body);
    }
    let config = tandem.admin("GET", "/v1/config").json();
    assert_eq!(
        config["pools"]["r"]["probe"]["send"],
        "AUTH ${REDIS_PW}\r\n"
    );
    let told = tandem.status().to_string();
    assert!(told.contains("${REDIS_PW}"), "its name is told: {told}");
    for arguments in [
        &["check", "--print", "-c"][..],
        &["check", "--online", "-c"],
    ] {
        let mut check = Command::new(PROGRAM);
        let check = check.env("REDIS_PW", GIVEN).args(arguments);
        let done = check.arg(tandem.config()).output().unwrap();
        hides(arguments[1], &said(&done));
    }
    hides("the log", &tandem.log());
}

/// Looks for each secret in `text`, in whatever way it is quoted.
fn hides(whose: &str, text: &str) {
    for secret in ["correct horse", "battery", IN_A_FILE, "hunter2", "geheim"] {
        assert!(!text.contains(secret), "{whose} shows {secret}:\n{text}");
    }
}
