//! Who may come in, how many at once, and what the others hear.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::kit::tandem::Lb;
use crate::kit::{Backend, SOON, figure, http, ms, wait_until};

fn stand(protocol: &str) -> (Vec<Backend>, Lb) {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp").pool(&format!("protocol: {protocol}"));
    (backends, lb)
}

/// A connection from one of this machine's loopback addresses.
fn connect_from(source: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into())?;
    socket.connect(&to.into())?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket.into())
}

/// Whether the session behind it works.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut got = [0; 4];
    let sent = stream.write_all(b"ECHO\nping");
    sent.and_then(|()| stream.read_exact(&mut got)).is_ok() && &got == b"ping"
}

fn is_served_from(source: &str, to: SocketAddr) -> bool {
    connect_from(source, to).is_ok_and(|mut it| is_served(&mut it))
}

#[test]
fn allow_and_deny_decide_by_the_clients_address() {
    let (_backends, lb) = stand("tcp");
    let allowed = lb
        .clone()
        .listener("allow: [127.0.2.0/24]")
        .listener("deny: [127.0.2.9/32]");
    let tandem = allowed.start();
    assert!(is_served_from("127.0.2.1", lb.address));
    assert!(!is_served_from("127.0.2.9", lb.address), "denied by name");
    assert!(!is_served_from("127.0.3.1", lb.address), "not in the list");
    let denied = || tandem.metric("tandem_listener_rejected_total", &["reason=\"denied\""]);
    wait_until("both are counted", SOON, || denied() >= 2.0);
    tandem.reload(&lb.yaml());
    assert!(is_served_from("127.0.3.1", lb.address), "the list is gone");
}

#[test]
fn a_listener_takes_no_more_than_its_limit() {
    let (_backends, lb) = stand("tcp");
    let lb = lb.listener("max_connections: 5");
    let tandem = lb.start();
    assert_at_most(5, &lb, &tandem, |_| "127.0.0.1".to_owned());
    let most = tandem.metric("tandem_listener_connections_max", &["listener=\"web\""]);
    assert!((most - 5.0).abs() < 0.5, "{most}");
}

#[test]
fn the_process_takes_no_more_than_its_limit() {
    let (_backends, lb) = stand("tcp");
    let lb = lb.process("max_connections: 7");
    let tandem = lb.start();
    assert_at_most(7, &lb, &tandem, |at| format!("127.0.4.{}", at + 1));
}

#[test]
fn one_source_takes_no_more_than_its_limit() {
    let (_backends, lb) = stand("tcp");
    let lb = lb.listener("max_per_source: 3");
    let tandem = lb.start();
    assert_at_most(3, &lb, &tandem, |_| "127.0.5.1".to_owned());
    let _three: Vec<_> = (0..3).map(|_| served("127.0.5.2", lb.address)).collect();
    assert!(!is_served_from("127.0.5.2", lb.address));
    assert!(is_served_from("127.0.5.3", lb.address), "another source");
}

fn served(source: &str, to: SocketAddr) -> TcpStream {
    let mut stream = connect_from(source, to).unwrap();
    assert!(is_served(&mut stream), "from {source}");
    stream
}

fn assert_at_most(
    limit: usize,
    lb: &Lb,
    tandem: &crate::kit::Tandem,
    source: impl Fn(usize) -> String,
) {
    let held: Vec<_> = (0..limit)
        .map(|at| served(&source(at), lb.address))
        .collect();
    for at in 0..3 {
        assert!(!is_served_from(&source(at), lb.address), "one too many");
    }
    let shed = || tandem.metric("tandem_listener_rejected_total", &["reason=\"limit\""]);
    wait_until("they are counted", SOON, || shed() >= 3.0);
    drop(held);
    wait_until("there is room again", SOON, || {
        is_served_from(&source(0), lb.address)
    });
}

#[test]
fn a_full_backend_makes_clients_wait_a_bounded_time() {
    let (backends, lb) = stand("tcp");
    let value = format!(
        "{{ address: \"{}\", max_connections: 2 }}",
        backends[0].address
    );
    let lb = lb
        .backend_as("a", &value)
        .pool("queue: { timeout: 1500ms, limit: 2 }");
    let tandem = lb.start();
    for (limit, most) in [("backend_connections", 2.0), ("pool_queue", 2.0)] {
        let said = tandem.metric(&format!("tandem_{limit}_max"), &[]);
        assert!((said - most).abs() < 0.5, "{limit}: {said}");
    }
    let mut held: Vec<_> = (0..2).map(|_| served("127.0.0.1", lb.address)).collect();

    let start = Instant::now();
    assert!(
        !is_served_from("127.0.0.1", lb.address),
        "nobody left in time"
    );
    let waited = start.elapsed();
    figure("limits.queue_timeout_ms", waited.as_millis());
    assert!(waited >= ms(1000) && waited < ms(15_000), "{waited:?}");

    let mut waiting = TcpStream::connect(lb.address).unwrap();
    waiting.set_read_timeout(Some(SOON)).unwrap();
    wait_until("it waits", SOON, || {
        tandem.metric("tandem_pool_queued", &[]) > 0.5
    });
    drop(held.pop());
    assert!(is_served(&mut waiting), "it got the place");
    let ending = waiting.local_addr().unwrap();
    drop(waiting);
    let queued = tandem.ending(ending)["queue_ms"].as_f64().unwrap();
    assert!(queued > 0.0, "{queued}");
}

#[test]
fn the_queue_itself_is_bounded() {
    let (backends, lb) = stand("tcp");
    let value = format!(
        "{{ address: \"{}\", max_connections: 1 }}",
        backends[0].address
    );
    let lb = lb
        .backend_as("a", &value)
        .pool("queue: { timeout: 20s, limit: 3 }");
    let tandem = lb.start();
    let _held = served("127.0.0.1", lb.address);
    let _queued: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(lb.address).unwrap())
        .collect();
    let waiting = || tandem.metric("tandem_pool_queued", &[]);
    wait_until("three wait", SOON, || waiting() >= 3.0);
    let start = Instant::now();
    assert!(!is_served_from("127.0.0.1", lb.address));
    assert!(start.elapsed() < ms(10_000), "turned away at once");
}

#[test]
fn a_higher_tier_serves_when_the_first_is_full_or_dead() {
    let mut backends = Backend::several(2);
    let first = format!(
        "{{ address: \"{}\", max_connections: 1 }}",
        backends[0].address
    );
    let second = format!("{{ address: \"{}\", tier: 1 }}", backends[1].address);
    let lb = Lb::new(&backends, "tcp")
        .pool("protocol: tcp")
        .backend_as("a", &first)
        .backend_as("b", &second);
    let tandem = lb.start();
    // A session ends a moment after its client has the answer.
    let is_free = || tandem.backend("web", "a")["connections"] == 0;
    let name = || {
        let body = http::get(lb.address, "/").body;
        wait_until("the place is free", SOON, is_free);
        body
    };
    assert!(
        (0..10).all(|_| name().starts_with('a')),
        "the first tier only"
    );
    let held = served("127.0.0.1", lb.address);
    let full = http::get(lb.address, "/").body;
    assert!(full.starts_with('b'), "the first is full");
    drop(held);
    backends[0].kill();
    tandem.wait_state("a", "down");
    assert!(name().starts_with('b'), "the first is dead");
}

#[test]
fn nobody_left_is_said_in_the_pools_own_protocol() {
    for protocol in ["http", "mysql", "tcp"] {
        let backend = Backend::absent("a");
        let lb = Lb::new(&[backend], "tcp").pool(&format!("protocol: {protocol}"));
        let tandem = lb.start();
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let start = Instant::now();
        if protocol == "http" {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
        }
        let mut all = Vec::new();
        let ended = stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all).into_owned();
        figure(
            &format!("limits.refused_ms.{protocol}"),
            start.elapsed().as_millis(),
        );
        match protocol {
            "http" => assert!(text.starts_with("HTTP/1.1 503") && ended.is_ok(), "{text}"),
            "mysql" => {
                // Length, sequence 0, 0xff, 1040 in little endian.
                assert_eq!(all.get(3..7), Some(&[0, 0xff, 0x10, 0x04][..]), "{text}");
                assert!(text.contains("tandem") && text.contains("web"), "{text}");
            }
            _ => assert!(ended.is_err() && all.is_empty(), "a reset: {ended:?}"),
        }
        let client = stream.local_addr().unwrap();
        drop(stream);
        assert_eq!(tandem.reason(client), "no_backend");
        assert!(tandem.metric("tandem_pool_exhausted_total", &[]) >= 1.0);
    }
}

#[test]
fn every_address_of_a_listener_serves() {
    let (_backends, lb) = stand("tcp");
    let lb = lb.listener("bind: [\"127.0.0.1:0\", \"[::1]:0\", \"127.0.6.1:0\"]");
    let tandem = lb.start();
    let addresses = tandem.addresses("web");
    assert_eq!(addresses.len(), 3);
    assert!(addresses.iter().any(SocketAddr::is_ipv6));
    for address in addresses {
        assert_ne!(address.port(), 0, "the real port is shown");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert!(is_served(&mut stream), "{address}");
    }
}

#[test]
fn a_silent_newcomer_is_let_go_of() {
    let (_backends, lb) = stand("tcp");
    let lb = lb.listener("first_byte_timeout: 300ms");
    let tandem = lb.start();
    let mut silent = TcpStream::connect(lb.address).unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    let start = Instant::now();
    // A clean end or a reset: either lets it go.
    let _end = silent.read(&mut [0]);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(tandem.reason(silent.local_addr().unwrap()), "idle");
    let mut speaking = served("127.0.0.1", lb.address);
    crate::kit::pass(ms(800));
    speaking.write_all(b"x").unwrap();
    speaking.read_exact(&mut [0]).unwrap();
}
