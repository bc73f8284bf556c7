use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem::pool::{BackendState, Policy, Protocol};
use tandem::types::{ConnectFailure, Reason};

use super::kit::{Plan, Plane, eventually, greeter, nobody, read_all, read_some};

fn without_backends(protocol: Protocol) -> Plane {
    let mut plane = Plane::start(Plan::new(protocol, &[nobody()]));
    plane.set_state(0, BackendState::Down);
    plane
}

#[test]
fn a_tcp_client_is_reset() {
    let plane = without_backends(Protocol::Tcp);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    assert_eq!(plane.finished(Reason::NoBackend), 1);
}

#[test]
fn a_mysql_client_hears_an_error_before_the_greeting() {
    let plane = without_backends(Protocol::Mysql);
    let (packet, was_reset) = read_all(&mut plane.connect());
    assert!(!was_reset);
    let length = packet.len() - 4;
    assert_eq!(&packet[..4], &[u8::try_from(length).unwrap(), 0, 0, 0]);
    assert_eq!(packet[4], 0xff);
    assert_eq!(u16::from_le_bytes([packet[5], packet[6]]), 1040);
    let text = String::from_utf8_lossy(&packet[7..]);
    assert!(
        text.contains("tandem") && text.contains("pool pool"),
        "{text}"
    );
}

#[test]
fn an_http_client_hears_503_even_if_its_request_comes_in_pieces() {
    let plane = without_backends(Protocol::Http);
    let mut client = plane.connect();
    for piece in [
        "POST / HTT",
        "P/1.1\r\nHost: x\r\nContent-Length: 5\r\n",
        "\r\n",
        "hel",
    ] {
        client.write_all(piece.as_bytes()).unwrap();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let (answer, was_reset) = read_all(&mut client);
    let answer = String::from_utf8(answer).unwrap();
    assert!(!was_reset, "the answer is not lost to a reset");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: "), "{answer}");
    drop(client);
    eventually("it ends", || plane.finished(Reason::NoBackend) == 1);
}

#[test]
fn what_is_not_http_is_reset_by_an_http_pool() {
    let plane = without_backends(Protocol::Http);
    let mut client = plane.connect();
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    let (answer, was_reset) = read_all(&mut client);
    assert!(answer.is_empty() && was_reset);
}

#[test]
fn a_refused_connect_ends_with_its_own_reason() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[nobody()]));
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    assert_eq!(plane.finished(Reason::ConnectRefused), 1);
}

/// Both backends are there in the snapshot; what one client has met spares
/// those of every worker.
#[test]
fn who_has_refused_one_client_is_spared_the_next_ones() {
    for tier in [0, 1] {
        let mut plan = Plan::new(Protocol::Tcp, &[nobody(), greeter("hello")]);
        plan.pool.policy = Policy::First;
        plan.pool.backends[1].tier = tier;
        let plane = Plane::start(plan);
        for _ in 0..100 {
            assert_eq!(read_some(&mut plane.connect(), 5), "hello");
        }
        // One, and another whenever the suspicion of the one before has passed.
        let met = plane.connect_errors(0, ConnectFailure::Refused);
        assert!((1..=5).contains(&met), "{met} of 100 in tier {tier}");
        assert_eq!(plane.refused.load(Ordering::Relaxed), met);
    }
}

#[test]
fn a_backend_that_comes_back_serves_those_who_come_then() {
    let mut plane = Plane::start(Plan::new(Protocol::Tcp, &[greeter("hello")]));
    plane.set_state(0, BackendState::Down);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    plane.set_state(0, BackendState::Up { ramp_from: None });
    assert_eq!(read_some(&mut plane.connect(), 5), "hello");
}

#[test]
fn so_many_refusals_at_once_that_the_rest_is_reset() {
    let mut plan = Plan::new(Protocol::Http, &[nobody()]);
    plan.workers = 1;
    let mut plane = Plane::start(plan);
    plane.set_state(0, BackendState::Down);
    let slow: Vec<_> = (0..16).map(|_| plane.connect()).collect();
    let (answer, was_reset) = read_all(&mut plane.connect());
    assert!(answer.is_empty() && was_reset);
    drop(slow);
    eventually("the slow ones go", || {
        plane.finished(Reason::NoBackend) == 17
    });
    let mut client = plane.connect();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_all(&mut client).0.starts_with(b"HTTP/1.1 503"));
}
