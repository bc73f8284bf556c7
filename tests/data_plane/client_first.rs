//! Where the client speaks first, nobody is bothered before it has.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tandem::clock;
use tandem::net::tune;
use tandem::pool::Protocol;
use tandem::types::Reason;

use super::kit::{Plan, Plane, echo, eventually, greeter, nobody, read_all, read_some, server};

fn plan(backends: &[std::net::SocketAddr]) -> Plan {
    let mut plan = Plan::new(Protocol::Http, backends);
    plan.listener.client_first = true;
    plan
}

#[test]
fn a_silent_client_costs_no_backend_anything_for_a_moment() {
    let plane = Plane::start(plan(&[echo()]));
    // A machine that is too busy shows a late moment: then once more.
    let mut tries = 0;
    let silent = loop {
        let start = clock::now();
        let silent: Vec<TcpStream> = (0..20).map(|_| plane.connect()).collect();
        eventually("all are there", || plane.open() == 20);
        let active = plane.active(0);
        if clock::now().since(start) < Duration::from_millis(400) {
            assert_eq!(active, 0);
            break silent;
        }
        tries += 1;
        assert!(tries < 20, "never in time");
        drop(silent);
        eventually("all have gone", || plane.open() == 0);
    };
    let before = plane.finished(Reason::ClientClosed);
    for mut client in silent {
        client.write_all(b"now").unwrap();
        assert_eq!(read_some(&mut client, 3), "now");
    }
    eventually("all have ended", || {
        plane.finished(Reason::ClientClosed) == before + 20
    });
}

/// What a pool speaks may have been inferred wrongly.
#[test]
fn a_client_that_waits_for_the_server_hears_it() {
    let plane = Plane::start(plan(&[nobody(), greeter("hello")]));
    let mut clients: Vec<TcpStream> = (0..20).map(|_| plane.connect()).collect();
    for client in &mut clients {
        assert_eq!(read_some(client, 5), "hello");
    }
}

#[test]
fn who_has_met_a_backend_in_silence_is_cut_as_any_other_silent_client() {
    let mut plan = plan(&[greeter("hello")]);
    plan.listener.first_byte_timeout = Some(Duration::from_millis(900));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    assert_eq!(read_all(&mut client), (b"hello".to_vec(), true));
    assert_eq!(plane.finished(Reason::Idle), 1);
}

#[test]
fn what_comes_first_arrives_whole_with_its_end() {
    let plane = Plane::start(plan(&[echo()]));
    for length in [1, 64, 65_535, 65_536, 65_537, 1_000_000] {
        let mut client = plane.connect();
        let sent: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        let mut writer = client.try_clone().unwrap();
        let bytes = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let (got, was_reset) = read_all(&mut client);
        writing.join().unwrap();
        assert!(!was_reset);
        assert!(got == sent, "{} of {length} bytes", got.len());
    }
    eventually("all have ended", || {
        plane.finished(Reason::ClientClosed) == 6
    });
}

#[test]
fn a_request_reaches_the_next_backend_if_the_first_is_dead() {
    let plane = Plane::start(plan(&[nobody(), echo()]));
    for _ in 0..20 {
        let mut client = plane.connect();
        client.write_all(b"ping").unwrap();
        assert_eq!(read_some(&mut client, 4), "ping");
    }
}

#[test]
fn who_goes_without_a_word_has_closed_and_who_resets_has_reset() {
    let plane = Plane::start(plan(&[echo()]));
    drop(plane.connect());
    eventually("one has closed", || {
        plane.finished(Reason::ClientClosed) == 1
    });
    let client = plane.connect();
    eventually("the other is there", || plane.open() == 1);
    tune::reset_on_close(&client).unwrap();
    drop(client);
    eventually("and has reset", || plane.finished(Reason::ClientReset) == 1);
}

#[test]
fn a_client_that_never_speaks_is_cut() {
    let mut plan = plan(&[echo()]);
    plan.listener.first_byte_timeout = Some(Duration::from_millis(100));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    let mut rest = Vec::new();
    assert!(client.read_to_end(&mut rest).is_err(), "a reset");
    assert_eq!(plane.finished(Reason::Idle), 1);
}

#[test]
fn a_refusal_answers_the_request_that_was_read() {
    let plane = Plane::start(plan(&[nobody()]));
    let mut client = plane.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (answer, was_reset) = read_all(&mut client);
    assert!(!was_reset);
    assert!(answer.starts_with(b"HTTP/1.1 503"), "{answer:?}");
}

#[test]
fn a_head_that_is_too_long_is_answered_though_it_was_read_before() {
    let plane = Plane::start(plan(&[nobody()]));
    let mut client = plane.connect();
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    client.write_all(head.as_bytes()).unwrap();
    let (answer, was_reset) = read_all(&mut client);
    assert!(!was_reset);
    assert!(answer.starts_with(b"HTTP/1.1 503"), "{answer:?}");
}

/// A second small write must not wait for the first one's acknowledgement.
#[test]
fn small_writes_leave_at_once() {
    let address = server(|mut stream| {
        let mut seen = [0; 3];
        // Nothing is answered until all three are here, so that nothing but
        // acknowledgements goes back.
        for place in &mut seen {
            let mut one = [0];
            stream.read_exact(&mut one).unwrap();
            *place = one[0];
        }
        stream.write_all(&seen).unwrap();
    });
    for client_first in [false, true] {
        let mut plan = plan(&[address]);
        plan.listener.client_first = client_first;
        let plane = Plane::start(plan);
        for _ in 0..20 {
            let mut client = plane.connect();
            client.set_nodelay(true).unwrap();
            for byte in b"abc" {
                client.write_all(&[*byte]).unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
            }
            assert_eq!(read_some(&mut client, 3), "abc");
        }
    }
}
