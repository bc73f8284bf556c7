//! A start that fails takes back all that it has done until then.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::kit::tandem::PROGRAM;
use crate::kit::{output, ports, said, work_dir};

/// All that is below `folder`, but the file that is read.
fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path().display().to_string());
        }
    }
    found.sort();
    found
}

fn run(prefix: &[&str], config: &Path) -> Output {
    let words = [prefix, &[PROGRAM, "run", "-c"]].concat();
    let mut command = Command::new("timeout");
    output(command.arg("60").args(words).arg(config), "coreutils")
}

/// Each part of a start opens something of its own, and each of them may find
/// its place taken after all those before it have found theirs.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let _by_udp = UdpSocket::bind(taken).unwrap();
    let register = UdpSocket::bind("127.0.0.1:0").unwrap();
    register.set_nonblocking(true).unwrap();
    for part in [
        "admin",
        "last listener",
        "unix listener",
        "heartbeat",
        "name server",
    ] {
        let dir = work_dir();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let foreign = UnixListener::bind(at("foreign.sock")).unwrap();
        let place = |of: &str| match part == of {
            true => taken,
            false => ports::free(),
        };
        let last = match part {
            "unix listener" => format!("unix:{}", at("foreign.sock")),
            _ => place("last listener").to_string(),
        };
        let yaml = format!(
            "process: {{ state_dir: {state:?} }}\n\
             admin: {{ bind: \"{admin}\", socket: {socket:?} }}\n\
             listeners:\n\
             \x20 a: {{ bind: \"unix:{a}\", pool: p }}\n\
             \x20 b: {{ bind: [\"unix:{b}\", \"{b_tcp}\"], pool: p }}\n\
             \x20 c: {{ bind: \"{last}\", pool: p }}\n\
             pools:\n  p: {{ backends: [\"{backend}\"] }}\n\
             pair:\n  name: lb.example.test\n  nodes: {{ lb1: 127.0.0.1, lb2: 127.0.0.77 }}\n  \
             me: lb1\n  secret: 0123456789abcdef0123456789abcdef\n  \
             heartbeat: {{ port: {heartbeat}, start_grace: 1ms }}\n  dns:\n    ttl: 1s\n    \
             serve: {{ bind: \"{names}\" }}\n    \
             exec: {{ command: [touch, {hook:?}] }}\n    \
             rfc2136: {{ server: \"{register}\", zone: example.test, key: k, secret: \
             \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\" }}\n",
            state = at("state"),
            admin = place("admin"),
            socket = at("made/for/it/admin.sock"),
            a = at("a.sock"),
            b = at("b.sock"),
            b_tcp = ports::free(),
            backend = ports::free(),
            heartbeat = place("heartbeat").port(),
            names = place("name server"),
            hook = at("told"),
            register = register.local_addr().unwrap(),
        );
        let config = dir.path().join("lb.yaml");
        fs::write(&config, yaml).unwrap();
        let before = below(dir.path());
        let done = run(&[], &config);
        let words = said(&done);
        assert_eq!(done.status.code(), Some(1), "{part}: {words}");
        let names = match part {
            "unix listener" => at("foreign.sock"),
            "heartbeat" => taken.port().to_string(),
            _ => taken.to_string(),
        };
        let last_line = words.lines().last().unwrap();
        assert!(last_line.contains(&names), "{part}: {words}");
        assert_eq!(below(dir.path()), before, "{part}");
        let heard = register.recv(&mut [0; 512]).map_err(|it| it.kind());
        assert_eq!(
            heard,
            Err(ErrorKind::WouldBlock),
            "{part}: the register is asked"
        );
        drop(foreign);
    }
}

/// In a network of its own, whose tables are told when it is over.
#[test]
fn a_start_that_fails_leaves_no_rules_in_the_kernel() {
    let dir = work_dir();
    let config = dir.path().join("lb.yaml");
    let yaml = "admin: { bind: off, socket: off }\n\
                listeners:\n  a: { bind: \"10.99.0.1:3306\", pool: p, plane: kernel }\n\
                pools:\n  p: { backends: [\"10.99.0.2:3306\"], on_dead: keep }\n\
                pair:\n  name: lb.example.test\n  nodes: { lb1: 10.99.0.1, lb2: 10.99.0.7 }\n  \
                me: lb1\n  secret: 0123456789abcdef0123456789abcdef\n  \
                dns: { serve: { bind: \"192.0.2.9:53\" } }\n";
    fs::write(&config, yaml).unwrap();
    let script = "PATH=$PATH:/usr/sbin:/sbin\n\
                  ip link set lo up && ip addr add 10.99.0.1/24 dev lo || exit 99\n\
                  \"$0\" \"$@\"; code=$?\n\
                  nft list tables >&2 && exit $code";
    let done = run(&["unshare", "-n", "sh", "-c", script], &config);
    let words = said(&done);
    assert_eq!(done.status.code(), Some(1), "{words}");
    assert!(words.contains("the kernel plane is table"), "{words}");
    let last = words.lines().last().unwrap();
    assert!(last.contains("192.0.2.9:53"), "a table stays: {words}");
}
