use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tandem::clock;
use tandem::net::listen;
use tandem::pool::Protocol;
use tandem::types::Reason;

use super::kit::{Plan, Plane, echo, eventually, greeter, read_all, read_some};

#[test]
fn the_sessions_of_a_dead_backend_are_reset_and_the_others_go_on() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("a"), greeter("b")]);
    plan.pool.policy = tandem::pool::Policy::RoundRobin;
    plan.workers = 1;
    let plane = Plane::start(plan);
    let mut clients: Vec<_> = (0..20).map(|_| plane.connect()).collect();
    let names: Vec<String> = clients.iter_mut().map(|it| read_some(it, 1)).collect();
    plane
        .workers
        .kill(plane.ids[0], Reason::BackendDown)
        .unwrap();
    eventually("they are gone", || plane.active(0) == 0);
    for (client, name) in clients.iter_mut().zip(&names) {
        if name == "a" {
            assert_eq!(read_all(client), (vec![], true));
        }
    }
    assert_eq!(plane.finished(Reason::BackendDown), 10);
    assert_eq!(plane.active(1), 10);
}

#[test]
fn a_drained_backend_keeps_its_sessions_until_the_deadline() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[echo()]));
    let mut client = plane.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
    let at = clock::now() + Duration::from_millis(300);
    plane.workers.drain(plane.ids[0], at).unwrap();
    client.write_all(b"y").unwrap();
    assert_eq!(read_some(&mut client, 1), "y");
    assert_eq!(read_all(&mut client), (vec![], true));
    assert!(clock::now() >= at);
    assert_eq!(plane.finished(Reason::Drained), 1);
}

#[test]
fn who_waits_for_a_connect_at_the_end_of_a_drain_is_served_elsewhere() {
    let (deaf, _queue) = deaf();
    let mut plan = Plan::new(Protocol::Tcp, &[deaf, echo()]);
    plan.pool.policy = tandem::pool::Policy::RoundRobin;
    plan.pool.connect_timeout = Duration::from_secs(60);
    plan.pool.connect_budget = Duration::from_secs(60);
    plan.workers = 1;
    let plane = Plane::start(plan);
    let mut clients = [plane.connect(), plane.connect()];
    eventually("one of them dials", || plane.active(0) == 1);
    let at = clock::now() + Duration::from_millis(200);
    plane.workers.drain(plane.ids[0], at).unwrap();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        assert_eq!(read_some(client, 1), "x");
    }
    assert!(clock::now() >= at);
    assert_eq!(plane.finished(Reason::Drained), 0);
}

/// A port whose queue is full: who connects waits.
fn deaf() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let listener = listen::shared("127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    for _ in 0..16 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => queue.push(stream),
            Err(_) => return (address, (listener, queue)),
        }
    }
    panic!("a queue of no length takes everybody");
}

#[test]
fn a_stop_accepts_no_more_and_lets_sessions_finish() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[echo()]));
    let mut client = plane.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
    plane
        .workers
        .shutdown(clock::now() + Duration::from_secs(60))
        .unwrap();
    eventually("nobody accepts", || {
        TcpStream::connect(plane.front).is_err()
    });
    client.write_all(b"y").unwrap();
    assert_eq!(read_some(&mut client, 1), "y");
    drop(client);
    assert_eq!(plane.workers.join(), 0);
}

#[test]
fn a_stop_cuts_what_has_not_finished_by_the_deadline() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[greeter("a")]));
    let mut client = plane.connect();
    assert_eq!(read_some(&mut client, 1), "a");
    let at = clock::now() + Duration::from_millis(200);
    plane.workers.shutdown(at).unwrap();
    assert_eq!(plane.workers.join(), 1);
    assert_eq!(read_all(&mut client), (vec![], true));
    assert_eq!(plane.finished(Reason::Shutdown), 1);
}

#[test]
fn who_is_in_the_accept_queue_when_the_stop_comes_is_still_served() {
    for _ in 0..20 {
        let plane = Plane::start(Plan::new(Protocol::Tcp, &[greeter("hello")]));
        let mut clients: Vec<_> = (0..20).map(|_| plane.connect()).collect();
        plane
            .workers
            .shutdown(clock::now() + Duration::from_secs(60))
            .unwrap();
        for client in &mut clients {
            assert_eq!(read_some(client, 5), "hello");
        }
        drop(clients);
        plane.workers.join();
    }
}
