//! Trouble of our own, made on purpose: no descriptors, no processes. The
//! backends are well all the while, and nobody may think otherwise.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::kit::proc::{Proc, is_root};
use crate::kit::tandem::{Lb, PROGRAM, Tandem};
use crate::kit::{Backend, SOON, figure, http, ms, output, said, wait_until, work_dir};

const TIMES: &str = "interval: 100ms, timeout: 500ms, fall: 2, rise: 1, \
                     fast_interval: 100ms, down_interval: 100ms";
/// Clients that hold a session each.
const SESSIONS: usize = 75;
/// Twice `fall` and more.
const ENOUGH: f64 = 6.0;

/// Sessions to it, which are cut when it is thought dead.
fn hold(address: SocketAddr) -> Vec<TcpStream> {
    let mut held: Vec<TcpStream> = (0..SESSIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(b"ECHO\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(served(&mut held), SESSIONS);
    held
}

fn served(held: &mut [TcpStream]) -> usize {
    let mut still = 0;
    for stream in held {
        let mut got = [0; 4];
        let sent = stream.write_all(b"ping");
        let is_served = sent.and_then(|()| stream.read_exact(&mut got)).is_ok() && &got == b"ping";
        still += usize::from(is_served);
    }
    still
}

/// A pool that is probed over connections, and one that is probed by a command.
fn two_pools(backend: &Backend) -> Lb {
    Lb::bare()
        .backend("a", backend.address)
        .pool(&format!("probe: {{ type: tcp, {TIMES} }}"))
        .pool("on_dead: reset")
        .tail(&format!(
            "  run:\n    backends: {{ a: \"{}\" }}\n    \
             probe: {{ type: exec, command: [/bin/true], {TIMES} }}\n",
            backend.address
        ))
}

fn limit_files(proc: &Proc, current: u64) {
    let pid = Pid::from_raw(proc.id().cast_signed());
    let limit = Rlimit {
        current: Some(current),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(pid, Resource::Nofile, limit).expect("the limit of a child of ours");
}

/// Sets the soft limit of processes, as the user that it runs as.
fn limit_processes(proc: &Proc, limit: &str) {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["prlimit", "--pid", &proc.id().to_string()])
        .arg(format!("--nproc={limit}"));
    let done = output(&mut command, "util-linux");
    assert!(done.status.success(), "{}", said(&done));
}

fn count(tandem: &Tandem, metric: &str, pool: &str) -> f64 {
    tandem.metric(metric, &[&format!("pool=\"{pool}\"")])
}

fn state(tandem: &Tandem, pool: &str) -> Value {
    tandem.backend(pool, "a")["state"].clone()
}

#[test]
fn out_of_descriptors_probes_go_on_and_no_session_is_cut() {
    let backend = Backend::start("a");
    let lb = two_pools(&backend);
    let tandem = lb.start();
    let mut held = hold(lb.address);
    let before = ["web", "run"].map(|it| count(&tandem, "tandem_probe_success_total", it));
    let in_use = tandem.proc.fds() as u64;
    figure("blame.descriptors_in_use", in_use);
    limit_files(&tandem.proc, in_use);
    let refused = TcpStream::connect(lb.address).unwrap();
    crate::kit::pass(ms(3000));
    assert_eq!(served(&mut held), SESSIONS, "while there are none left");
    drop(refused);
    limit_files(&tandem.proc, 4096);
    for (pool, before) in ["web", "run"].into_iter().zip(before) {
        let passed = count(&tandem, "tandem_probe_success_total", pool) - before;
        figure(&format!("blame.passed_without_descriptors.{pool}"), passed);
        assert!(passed >= ENOUGH, "{pool}: {passed} probes passed");
        assert_eq!(count(&tandem, "tandem_probe_failures_total", pool), 0.0);
        assert_eq!(state(&tandem, pool), "up");
    }
    assert_eq!(served(&mut held), SESSIONS);
}

#[test]
fn blind_probes_keep_the_verdict_and_say_so_once() {
    let backend = Backend::start("a");
    let lb = two_pools(&backend);
    let tandem = lb.start();
    let mut held = hold(lb.address);
    // Not even those that are kept back have numbers as low as that.
    limit_files(&tandem.proc, 3);
    crate::kit::pass(ms(3000));
    assert_eq!(served(&mut held), SESSIONS, "while nobody can look");
    limit_files(&tandem.proc, 4096);
    let fds = "reason=\"out_of_fds\"";
    for pool in ["web", "run"] {
        let label = format!("pool=\"{pool}\"");
        let unknown = tandem.metric("tandem_probe_unknown_total", &[&label, fds]);
        figure(&format!("blame.unknown.{pool}"), unknown);
        assert!(unknown >= ENOUGH, "{pool}: {unknown} probes found nothing");
        assert_eq!(count(&tandem, "tandem_probe_failures_total", pool), 0.0);
        assert_eq!(state(&tandem, pool), "up");
        let said = |outcome: &str| {
            let lines = tandem.events("probe");
            let of = |it: &&Value| it["pool"] == pool && it["outcome"] == outcome;
            lines.iter().filter(of).count()
        };
        wait_until("it is said that it is over", SOON, || said("known") == 1);
        assert_eq!(said("unknown"), 1, "{:?}", tandem.events("probe"));
    }
    assert_eq!(served(&mut held), SESSIONS);
}

#[test]
fn a_command_that_cannot_be_started_says_nothing_of_the_backend() {
    assert!(is_root(), "only root may run tandem as somebody else");
    let backend = Backend::start("a");
    let dir = work_dir();
    let config = dir.path().join("lb.yaml");
    let socket = dir.path().join("admin.sock");
    let admin = format!(
        "admin: {{ bind: off, socket: {} }}\nlog: {{ format: json }}\n",
        socket.display()
    );
    fs::write(&config, two_pools(&backend).yaml() + &admin).unwrap();
    // Root is bound by no number of processes; nobody is, and wants his files.
    let program = dir.path().join("tandem");
    fs::copy(PROGRAM, &program).unwrap();
    const NOBODY: u32 = 65534;
    for path in [dir.path(), &config, &program] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["run", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(log);
    let proc = Proc::spawn(&mut command, "util-linux");
    let pool = || {
        let reply = http::unix(&socket, "GET", "/v1/pools/run/a").ok()?;
        serde_json::from_str::<Value>(&reply.body).ok()
    };
    let is = |key: &str, value: &str| {
        pool().is_some_and(|it| it[key] == value || it["last_probe"][key] == value)
    };
    wait_until("it runs", SOON, || is("state", "up"));
    limit_processes(&proc, "1:");
    wait_until("no command starts", SOON, || is("outcome", "unknown"));
    crate::kit::pass(ms(1500));
    assert!(
        is("state", "up") && is("outcome", "unknown"),
        "{:?}",
        pool()
    );
    let metrics = http::unix(&socket, "GET", "/metrics").unwrap().body;
    let unknown = metrics
        .lines()
        .find(|it| it.starts_with("tandem_probe_unknown_total") && it.contains("out_of_processes"));
    figure("blame.no_process", unknown.unwrap_or("none"));
    assert!(unknown.is_some(), "{metrics}");
    limit_processes(&proc, "4096:");
    wait_until("commands start again", SOON, || is("outcome", "pass"));
}

/// It was "starting" for ever, and each client waited out the queue for it.
#[test]
fn a_backend_whose_command_is_gone_from_the_start_serves_where_nobody_else_can() {
    let backend = Backend::start("a");
    let dir = work_dir();
    let command = dir.path().join("check");
    let lb = Lb::bare()
        .backend("a", backend.address)
        .pool("queue: { timeout: 60s }")
        .pool(&format!(
            "probe: {{ type: exec, command: [\"{}\"], interval: 200ms }}",
            command.display()
        ));
    let tandem = lb.start();
    tandem.wait_state("a", "unknown");
    // Nobody waits for longer than a client of this test does.
    let mut held = hold(lb.address);
    std::os::unix::fs::symlink("/bin/true", &command).unwrap();
    tandem.wait_state("a", "up");
    assert_eq!(served(&mut held), SESSIONS);
}
