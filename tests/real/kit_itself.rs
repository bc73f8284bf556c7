//! The kit alone, without tandem: what its clients and servers measure is
//! true, so that a fault that they report is tandem's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::kit::mariadb::{self, Mariadb};
use crate::kit::nginx::Nginx;
use crate::kit::pattern::{self, Pattern, Sum};
use crate::kit::{Backend, Load, Plan, SOON, ms, ports, said, wait_until};

#[test]
fn the_load_sees_nothing_wrong_with_a_healthy_nginx() {
    let nginx = Nginx::start("a");
    let load = Load::start(Plan::usual(nginx.address));
    load.go_on(ms(1000));
    let tally = load.stop();
    tally.assert_clean();
    assert!(tally.from("a") > 30, "{tally:?}");
    assert!(nginx.requests() as u64 >= tally.from("a"));
}

#[test]
fn the_load_sees_a_killed_nginx_and_its_return() {
    let mut nginx = Nginx::start("a");
    let load = Load::start(Plan::usual(nginx.address));
    load.go_on(ms(500));
    nginx.kill();
    load.go_on(ms(300));
    nginx.revive();
    wait_until("the load goes on", SOON, || load.take().fresh_ok > 10);
    load.take();
    load.go_on(ms(300));
    let after = load.stop();
    after.assert_clean();
}

#[test]
fn the_load_counts_what_broke() {
    let mut backend = Backend::start("a");
    let load = Load::start(Plan::usual(backend.address));
    load.go_on(ms(700));
    backend.kill();
    load.go_on(ms(300));
    let tally = load.stop();
    assert_eq!(tally.broken.len(), 50, "every held connection broke once");
    assert!(
        tally
            .broken
            .iter()
            .all(|it| it.backend.as_deref() == Some("a"))
    );
    assert!(!tally.unconnected.is_empty(), "fresh ones were refused");
}

#[test]
fn a_frozen_backend_is_silent_and_thaws() {
    let backend = Backend::start("a");
    backend.freeze();
    let plan = Plan {
        patience: ms(300),
        held: 0,
        ..Plan::usual(backend.address)
    };
    let load = Load::start(plan);
    load.go_on(ms(900));
    let frozen = load.take();
    assert_eq!(frozen.fresh_ok, 0);
    assert!(!frozen.fresh_failed.is_empty());
    backend.thaw();
    wait_until("it answers again", SOON, || load.so_far().fresh_ok > 10);
    load.stop();
}

#[test]
fn streams_arrive_as_they_were_sent() {
    const COUNT: usize = 10_000_019;
    let backend = Backend::start("a");
    let mut stream = TcpStream::connect(backend.address).unwrap();
    writeln!(stream, "BOTH {COUNT} 7").unwrap();
    let mut back = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut chunk = vec![0; COUNT];
        Pattern::new(3).fill(&mut chunk);
        stream.write_all(&chunk).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut sum = Sum::new();
    let mut all = Vec::new();
    back.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    let (bytes, trailer) = all.split_at(COUNT);
    sum.add(bytes);
    assert_eq!(sum.finish(), pattern::sum_of(7, COUNT));
    assert_eq!(String::from_utf8_lossy(trailer), pattern::sum_of(3, COUNT));
}

#[test]
fn mariadb_answers_and_counts_bare_connections_as_errors() {
    let options = ["--max-connect-errors=10", "--performance-schema=ON"];
    let server = Mariadb::start_on(ports::own_address(), &options);
    let answer = mariadb::ask(server.address, "SELECT 6 * 7");
    assert_eq!(said(&answer).trim(), "42");
    assert_eq!(server.connect_errors(), 0);
    for _ in 0..15 {
        drop(TcpStream::connect(server.address).unwrap());
    }
    // This is what a careless probe does, so a test that sees no errors means
    // something.
    wait_until("bare connections are held against us", SOON, || {
        let answer = said(&mariadb::ask(server.address, "SELECT 1"));
        answer.contains("1129")
    });
    assert!(server.connect_errors() >= 10);
}

#[test]
fn a_reset_is_seen_as_a_reset_and_an_end_as_an_end() {
    let backend = Backend::start("a");
    let end_of = |order: &str| {
        let mut stream = TcpStream::connect(backend.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(order.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).map_err(|it| it.kind())
    };
    assert_eq!(end_of("RESET 300000\n"), Err(ErrorKind::ConnectionReset));
    assert_eq!(end_of("SOURCE 300000 1\n"), Ok(300_000));
    assert_eq!(end_of("ECHO\n12345"), Ok(5));
    assert_eq!(
        end_of("GET /big/70000 HTTP/1.1\r\nConnection: close\r\n\r\n"),
        Ok(70_042)
    );
}

#[test]
fn a_frozen_backlog_fills() {
    let full = Backend::start("full");
    full.freeze();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&full.address, ms(300)) {
        held.push(stream);
        assert!(held.len() < 100, "a backlog of 4 has an end");
    }
    drop(held);
}
