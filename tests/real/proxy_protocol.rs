//! The PROXY protocol: believed from those listed only, refused when bad, and
//! passed on to the servers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::kit::nginx::Nginx;
use crate::kit::pattern::Pattern;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, http, ms, ports, wait_until};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const TRUSTED: &str = "accept_proxy: [127.0.0.0/8]";

/// A version 2 header: command (0 LOCAL, 1 PROXY), family and transport, rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// 192.0.2.77:1111 to 198.51.100.1:80.
fn v2_tcp4() -> Vec<u8> {
    v2(
        1,
        0x11,
        &[192, 0, 2, 77, 198, 51, 100, 1, 0x04, 0x57, 0, 80],
    )
}

/// Sends a header and a request; our own address, and all that came back.
fn ask(lb: &Lb, header: &[u8]) -> (SocketAddr, String) {
    let mut stream = TcpStream::connect(lb.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = b"GET /address HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // A refusal may come before all is sent.
    let _refused = stream.write_all(&[header, request].concat());
    let mut all = Vec::new();
    let _reset = stream.read_to_end(&mut all);
    let client = stream.local_addr().unwrap();
    (client, String::from_utf8_lossy(&all).into_owned())
}

fn to_nginx(version: &str) -> (Nginx, Lb) {
    let nginx = Nginx::start_with("a", "proxy_protocol");
    let lb = Lb::new(&[Backend::from(&nginx)], "http")
        .pool("protocol: http")
        .pool(&format!("send_proxy: {version}"));
    (nginx, lb)
}

#[test]
fn a_real_nginx_learns_the_clients_address() {
    for version in ["v1", "v2"] {
        let (nginx, lb) = to_nginx(version);
        let lb = lb.listener(TRUSTED);
        // It is up: probes speak the same way.
        let tandem = lb.start();
        tandem.wait_state("a", "up");
        let headers: [&[u8]; 2] = [
            b"PROXY TCP4 192.0.2.77 198.51.100.1 1111 80\r\n",
            &v2_tcp4(),
        ];
        for header in headers {
            let (client, answer) = ask(&lb, header);
            assert!(answer.ends_with("192.0.2.77\n"), "{version}: {answer}");
            let line = tandem.ending(client);
            assert_eq!(line["reason"], "server_closed");
        }
        let (_, six) = ask(&lb, b"PROXY TCP6 2001:db8::7 2001:db8::1 1111 80\r\n");
        assert!(six.ends_with("2001:db8::7\n"), "{version}: {six}");
        assert!(nginx.log().contains("/healthz 200"));
    }
}

/// What crashed Envoy (CVE-2024-23327).
#[test]
fn local_in_and_send_out_is_the_real_connection() {
    for version in ["v1", "v2"] {
        let (_nginx, lb) = to_nginx(version);
        let lb = lb.listener(TRUSTED);
        let tandem = lb.start();
        let headers = [
            v2(0, 0x00, &[]),
            v2(0, 0x11, &[9; 12]),
            b"PROXY UNKNOWN\r\n".to_vec(),
        ];
        for header in headers {
            let (_, answer) = ask(&lb, &header);
            assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer:?}");
        }
        tandem.wait_state("a", "up");
    }
}

#[test]
fn a_stranger_is_not_believed() {
    let (_nginx, lb) = to_nginx("v1");
    let lb = lb.listener("accept_proxy: [192.0.2.0/24]");
    let _tandem = lb.start();
    let (_, plain) = ask(&lb, b"");
    assert!(plain.ends_with("127.0.0.1\n"), "his own address: {plain}");
    let (_, lied) = ask(&lb, b"PROXY TCP4 192.0.2.77 198.51.100.1 1111 80\r\n");
    assert!(!lied.contains("192.0.2.77"), "{lied}");
}

fn bad_headers() -> Vec<Vec<u8>> {
    let mut wrong_version = v2_tcp4();
    wrong_version[12] = 0x31;
    vec![
        b"PROXY TCP4 999.0.2.1 198.51.100.1 1111 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 70000 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1111\r\n".to_vec(),
        b"PROXY TCP9 192.0.2.1 198.51.100.1 1111 80\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        b"".to_vec(),
        v2(1, 0x11, &[1, 2, 3]),
        v2(7, 0x11, &[0; 12]),
        wrong_version,
    ]
}

#[test]
fn bad_headers_are_refused_and_counted() {
    let (nginx, lb) = to_nginx("v2");
    let lb = lb.listener(TRUSTED);
    let tandem = lb.start();
    let bad = bad_headers();
    let count = bad.len();
    for header in bad {
        let (client, answer) = ask(&lb, &header);
        assert_eq!(answer, "", "{header:?}");
        assert_eq!(tandem.reason(client), "bad_proxy_header", "{header:?}");
    }
    assert_eq!(nginx.requests(), 0, "no server heard of them");
    let refused = refusals(&tandem);
    assert!(refused >= count as f64 - 0.5, "{refused} of {count}");
}

/// Counted at the door or at the end: the reason's word is the same.
fn refusals(tandem: &Tandem) -> f64 {
    let label = ["reason=\"bad_proxy_header\""];
    let metrics = tandem.metrics();
    let at_the_door = metrics.sum("tandem_listener_rejected_total", &label);
    at_the_door.max(metrics.sum("tandem_connections_finished_total", &label))
}

#[test]
fn half_a_header_is_not_waited_for_without_end() {
    let (_nginx, lb) = to_nginx("v2");
    let lb = lb.listener(TRUSTED).listener("proxy_header_timeout: 400ms");
    let tandem = lb.start();
    for start_of_it in [&b"PROXY TCP4 192."[..], &v2_tcp4()[..20]] {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(start_of_it).unwrap();
        let start = Instant::now();
        // A clean end or a reset: either is a refusal.
        let _end = stream.read(&mut [0]);
        figure("proxy.header_deadline_ms", start.elapsed().as_millis());
        assert!(start.elapsed() >= ms(200) && start.elapsed() < ms(15_000));
        assert_eq!(
            tandem.reason(stream.local_addr().unwrap()),
            "bad_proxy_header"
        );
    }
    // In two pieces and in time, it is as good as any.
    let mut stream = TcpStream::connect(lb.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let header = v2_tcp4();
    stream.write_all(&header[..17]).unwrap();
    crate::kit::pass(ms(50));
    let request = b"GET /address HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream
        .write_all(&[&header[17..], request].concat())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("192.0.2.77\n"), "{answer}");
}

#[test]
fn servers_are_sent_exactly_one_header_and_then_the_stream() {
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lb = Lb::bare()
            .backend("a", listener.local_addr().unwrap())
            .pool("protocol: tcp")
            .pool(&format!("send_proxy: {version}"))
            .pool("probe: { type: tcp, interval: 10s }");
        let _tandem = lb.start();
        let mut client = TcpStream::connect(lb.address).unwrap();
        client.write_all(b"#the stream").unwrap();
        let own = client.local_addr().unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let got = loop {
            let mut server = ports::accept_soon(&listener);
            let mut all = Vec::new();
            // A probe's visit may end in a reset.
            let _probe = server.read_to_end(&mut all);
            if all.ends_with(b"#the stream") {
                break all;
            }
        };
        let port = own.port();
        if version == "v1" {
            let to = lb.address.port();
            let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {to}\r\n#the stream");
            assert_eq!(String::from_utf8_lossy(&got), expected);
        } else {
            assert!(got.starts_with(SIGNATURE) && got[12] == 0x21 && got[13] == 0x11);
            assert_eq!(got[24..26], port.to_be_bytes());
        }
    }
}

/// Row 27.
#[test]
fn random_headers_leave_it_alive() {
    let (_nginx, lb) = to_nginx("v2");
    let lb = lb.listener(TRUSTED).listener("proxy_header_timeout: 1s");
    let tandem = lb.start();
    let fds = tandem.proc.fds();
    let rss = tandem.proc.rss_kib();
    let mut chance = Pattern::new(27);
    for _ in 0..3000 {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        // It may hang up on us half-way.
        let _refused = stream.write_all(&mutated(&mut chance));
    }
    wait_until("descriptors are back", SOON, || {
        tandem.proc.fds() <= fds + 4
    });
    figure(
        "proxy.rss_before_after_kib",
        format!("{rss} {}", tandem.proc.rss_kib()),
    );
    let (_, answer) = ask(&lb, &v2_tcp4());
    assert!(answer.ends_with("192.0.2.77\n"), "{answer}");
    assert_eq!(
        http::unix(&tandem.socket(), "GET", "/healthz")
            .unwrap()
            .status,
        200
    );
    assert!(!tandem.log().contains("panicked"));
}

/// A good header with some bytes changed and perhaps an end missing.
fn mutated(chance: &mut Pattern) -> Vec<u8> {
    let good: [Vec<u8>; 4] = [
        v2_tcp4(),
        v2(0, 0, &[]),
        v2(1, 0x21, &[7; 60]),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1111 80\r\n".to_vec(),
    ];
    let mut bytes = good[chance.below(good.len())].clone();
    for _ in 0..chance.below(5) {
        let at = chance.below(bytes.len());
        bytes[at] = u8::try_from(chance.below(256)).unwrap();
    }
    if chance.below(3) == 0 {
        bytes.truncate(chance.below(bytes.len()));
    }
    bytes
}
