//! What tandem tells Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

use crate::kit::tandem::Lb;
use crate::kit::{Backend, SOON, figure, http, output, said, wait_until};

fn stand() -> (Vec<Backend>, Lb) {
    let backends = Backend::several(2);
    let lb = Lb::new(&backends, "http").pool("protocol: http");
    (backends, lb)
}

/// Row 30: what Prometheus' own checker says of our metrics.
#[test]
fn promtool_finds_nothing_wrong() {
    let (mut backends, lb) = stand();
    let tandem = lb.start();
    for _ in 0..20 {
        assert_eq!(http::get(lb.address, "/").status, 200);
    }
    backends[0].kill();
    tandem.wait_state("a", "down");
    let scrape = http::get(tandem.admin_tcp(), "/metrics");
    let kind = scrape.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts; install prometheus");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(scrape.body.as_bytes()).unwrap();
    drop(stdin);
    let done = promtool.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(said(&done), "", "not even a hint");
}

/// The rules that deploy/ ships, each against a series that should raise it and
/// one that should not: `alerts.yml`.
#[test]
fn the_alerts_come_when_they_should_and_only_then() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/alerts.yml");
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", cases]);
    let done = output(&mut promtool, "prometheus");
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    let open = || tandem.metric("tandem_listener_connections", &["listener=\"web\""]);
    assert!(open() < 0.5);
    let mut held = Vec::new();
    for _ in 0..12 {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.write_all(b"HOLD\n").unwrap();
        held.push(stream);
    }
    wait_until("12 are open", SOON, || (open() - 12.0).abs() < 0.5);
    wait_until("and 12 to the backends", SOON, || {
        (tandem.metric("tandem_backend_connections", &[]) - 12.0).abs() < 0.5
    });
    let finished = || tandem.metric("tandem_connections_finished_total", &[]);
    assert!(finished() < 0.5, "none has ended");
    drop(held);
    wait_until("all have ended", SOON, || open() < 0.5 && finished() > 11.5);
}

/// Row 30: labels are bounded, whoever comes.
#[test]
fn many_client_addresses_make_no_more_series() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    visit(lb.address, 0);
    wait_until("the first has ended", SOON, || {
        tandem.metric("tandem_connections_finished_total", &[]) > 0.5
    });
    let before = tandem.metrics().series();
    for at in 0..1500 {
        visit(lb.address, at);
    }
    let after = tandem.metrics().series();
    figure("admin.series_before_after", format!("{before} {after}"));
    assert!(after <= before + 20, "{before} -> {after}");
}

/// One request from one of 65,000 loopback addresses.
fn visit(to: SocketAddr, at: u32) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = format!("127.1.{}.{}:0", at / 250, 1 + at % 250);
    socket
        .bind(&source.parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.starts_with(b"HTTP/1.1 200"));
}

/// A slow server hid behind the average of its pool.
#[test]
fn connects_and_probes_are_timed_for_each_backend() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    for _ in 0..20 {
        assert_eq!(http::get(lb.address, "/").status, 200);
    }
    let finished = || {
        tandem.metric(
            "tandem_backend_connections_finished_total",
            &["pool=\"web\""],
        )
    };
    wait_until("each end is known", SOON, || finished() > 19.5);
    let count = |name: &str, labels: &[&str]| tandem.metric(&format!("tandem_{name}"), labels);
    let connects = "backend_connect_duration_seconds_count";
    let each = ["a", "b"].map(|it| count(connects, &[&format!("backend=\"{it}\"")]));
    assert!((each[0] + each[1] - 20.0).abs() < 0.5, "{each:?}");
    let probes = count("probe_duration_seconds_count", &["backend=\"a\""]);
    assert!(probes > 0.5, "{probes}");
    let shortest = count(
        "probe_duration_seconds_bucket",
        &["backend=\"a\"", "le=\"0.00001\""],
    );
    assert!(shortest >= 0.0, "the scale begins at 10 us");
    let per_pool =
        lb.tail("admin: { socket: \"@SOCKET\", bind: \"127.0.0.1:0\", histograms: pool }\n");
    tandem.reload(&per_pool.yaml());
    let text = http::get(tandem.admin_tcp(), "/metrics").body;
    let line = "tandem_backend_connect_duration_seconds_count{pool=\"web\"} 20";
    assert!(text.contains(line), "{text}");
}
