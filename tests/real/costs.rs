//! What things cost, in what can be counted: bytes, system calls, lines. A time
//! is held against another time of the same run, as the machine's own speed
//! says nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::backend::raise_nofile;
use crate::kit::proc::Proc;
use crate::kit::tandem::Lb;
use crate::kit::{Backend, SOON, Tandem, figure, wait_until, work_dir};

/// Short connections under strace(1).
const SHORT: usize = 500;

/// One worker, and probes that are too rare to be counted by chance.
fn quiet(backends: &[Backend], kind: &str) -> Lb {
    let (protocol, path) = if kind == "http" {
        ("http", ", path: /healthz")
    } else {
        ("tcp", "")
    };
    Lb::new(backends, "tcp")
        .process("workers: 1")
        .pool(&format!("protocol: {protocol}"))
        .pool(&format!(
            "probe: {{ type: {kind}{path}, interval: 60s, fast_interval: 60s }}"
        ))
}

/// What `work` makes the process call, by name.
fn calls_during(proc: &Proc, work: impl FnOnce()) -> BTreeMap<String, f64> {
    let dir = work_dir();
    let out = dir.path().join("calls");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-o"])
        .arg(&out)
        .args(["-p", &proc.id().to_string()])
        .stdin(Stdio::null());
    let mut strace = Proc::spawn(&mut strace, "strace");
    wait_until("strace is attached to every thread", SOON, || {
        is_traced(proc.id())
    });
    work();
    strace.signal(Signal::INT);
    strace.wait(SOON).expect("strace lets go");
    count_calls(&out)
}

fn is_traced(id: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("a running process");
    let mut tasks = tasks.filter_map(Result::ok);
    tasks.all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// strace writes a line for each call, and a second one for a call that
/// another thread interrupted.
fn count_calls(file: &Path) -> BTreeMap<String, f64> {
    let mut calls = BTreeMap::new();
    for line in fs::read_to_string(file).expect("strace's file").lines() {
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim());
        if let Some((name, _)) = call.split_once('(')
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        {
            *calls.entry(name.to_owned()).or_insert(0.0) += 1.0;
        }
    }
    calls
}

/// A whole exchange that the backend ends.
fn ask_once(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.starts_with(b"HTTP/1.1 200"), "{got:?}");
}

/// Each system call of the path of a connection is paid a hundred thousand
/// times a second; one more must be somebody's decision.
fn assert_calls_of_a_connection(kind: &str, most: f64) {
    let backends = Backend::several(1);
    let lb = quiet(&backends, kind);
    let tandem = lb.start();
    ask_once(lb.address);
    let calls = calls_during(&tandem.proc, || {
        for _ in 0..SHORT {
            ask_once(lb.address);
        }
    });
    let each = |count: f64| count / SHORT as f64;
    for (name, count) in calls.iter().filter(|(_, count)| each(**count) > 0.01) {
        figure(
            &format!("costs.{kind}.{name}"),
            format!("{:.2}", each(*count)),
        );
    }
    // Not the path of a connection: the log's thread, how often the worker
    // sleeps, and the look that a debug build of the standard library takes
    // at each descriptor before it closes it (fcntl).
    let others = ["epoll_wait", "fcntl", "futex", "write", "writev"];
    let own = calls
        .iter()
        .filter(|(name, _)| !others.contains(&name.as_str()));
    let own = each(own.map(|(_, count)| count).sum());
    figure(&format!("costs.{kind}.calls_each"), format!("{own:.2}"));
    assert!(own <= most, "{own:.2} system calls each: {calls:?}");
}

#[test]
fn a_short_connection_takes_few_system_calls() {
    assert_calls_of_a_connection("tcp", 15.1);
}

#[test]
fn a_short_connection_whose_client_speaks_first_takes_few_system_calls() {
    assert_calls_of_a_connection("http", 16.1);
}

/// The shortest of several times: the others waited for a busy machine, too.
fn shortest(times: impl Iterator<Item = Duration>) -> Duration {
    times.min().unwrap_or_default()
}

/// How often the larger time holds the smaller one.
fn ratio(large: Duration, small: Duration) -> f64 {
    large.as_secs_f64() / small.as_secs_f64().max(1e-6)
}

/// Row 30: what a scrape costs depends on what there is to tell, not on how
/// much is open.
#[test]
fn a_scrape_beside_five_thousand_connections_is_the_scrape_of_an_idle_one() {
    raise_nofile();
    let backends = Backend::several(3);
    let lb = Lb::new(&backends, "http");
    let tandem = lb.start();
    let scrape = || {
        let reply = tandem.admin("GET", "/metrics");
        assert_eq!(reply.status, 200);
        reply.body
    };
    let time = || {
        let start = Instant::now();
        scrape();
        start.elapsed()
    };
    let idle = shortest((0..41).map(|_| time()));
    let lines = scrape().lines().count();
    let held: Vec<_> = (0..5000)
        .map(|_| {
            let mut stream = TcpStream::connect(lb.address).unwrap();
            stream.write_all(b"HOLD\n").unwrap();
            stream
        })
        .collect();
    wait_until("all are open", SOON, || {
        tandem.metric("tandem_listener_connections", &[]) > 4999.5
    });
    let busy = shortest((0..41).map(|_| time()));
    figure("costs.scrape_idle_us", idle.as_micros());
    figure(
        "costs.scrape_us",
        format!("{} at {}", busy.as_micros(), held.len()),
    );
    assert_eq!(scrape().lines().count(), lines, "no series for a client");
    let times = ratio(busy, idle);
    assert!(times < 3.0, "{times:.1} times the time of an idle one");
}

/// Row 30: each backend has so many lines to tell and costs what they cost: no
/// look at a backend is a walk through all of them. Ten times the text takes
/// 17 times the time, as it no longer fits the caches; a walk for each takes 90.
#[test]
fn a_scrape_of_two_thousand_backends_walks_through_them_once() {
    let figures = |count: u16, by: &str| {
        // Nobody is probed for a minute, and nobody is asked to answer.
        let mut lb = Lb::bare().process("workers: 1").pool(
            "probe: { type: tcp, interval: 60s, fast_interval: 60s, down_interval: 60s, timeout: 1s }",
        );
        for at in 0..count {
            let host = 1 + u8::try_from(at % 250).unwrap();
            let net = u8::try_from(at / 250).unwrap();
            lb = lb.backend(
                &format!("b{at}"),
                SocketAddr::from(([127, 9, net, host], 9)),
            );
        }
        let admin = format!("admin: {{ bind: off, socket: \"@SOCKET\", histograms: {by} }}\n");
        let tandem = Tandem::launch(&lb.tail(&admin).yaml(), None, None);
        tandem.wait_alive();
        let scrape = || {
            let start = Instant::now();
            let reply = tandem.admin("GET", "/metrics");
            assert_eq!(reply.status, 200);
            (start.elapsed(), reply.body)
        };
        wait_until("every backend has been probed", SOON, || {
            scrape().1.matches("tandem_probe_failures_total{").count() == usize::from(count)
        });
        let (lines, bytes) = {
            let page = scrape().1;
            (page.lines().count(), page.len())
        };
        let time = shortest((0..21).map(|_| scrape().0));
        figure(
            &format!("costs.scrape_of_{count}_backends.{by}"),
            format!("{} us, {lines} lines, {bytes} bytes", time.as_micros()),
        );
        (time, lines)
    };
    // A histogram has 19 lines.
    for (by, most) in [("pool", 19), ("backend", 19 + 2 * 19)] {
        let (few, few_lines) = figures(200, by);
        let (many, many_lines) = figures(2000, by);
        assert_eq!(many_lines - few_lines, most * 1800, "lines of 1,800");
        let times = ratio(many, few);
        figure(
            &format!("costs.scrape_2000_to_200.{by}"),
            format!("{times:.1}"),
        );
        assert!(
            times < 20.0,
            "{times:.1} times the time for ten times as much"
        );
    }
}

/// A start waits for its first probes and for nothing else: not for an
/// interval, a time-out or a grace.
#[test]
fn a_start_waits_for_no_interval() {
    let backends = Backend::several(3);
    let start = |interval: &str| {
        let probe = format!("probe: {{ type: http, path: /healthz, interval: {interval} }}");
        let yaml = Lb::new(&backends, "http").pool(&probe).yaml();
        let times = (0..7).map(|_| {
            let start = Instant::now();
            let _tandem = Tandem::start(&yaml);
            start.elapsed()
        });
        shortest(times)
    };
    let (often, seldom) = (start("200ms"), start("60s"));
    figure("costs.start_ms_interval_200ms", often.as_millis());
    figure("costs.start_ms_interval_60s", seldom.as_millis());
    let times = ratio(seldom, often);
    assert!(times < 5.0, "{times:.1} times the time at 200 ms");
}
