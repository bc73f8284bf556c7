use std::io::Write;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem::pool::{BackendState, Policy, Protocol};
use tandem::types::{ProxyVersion, Reason};

use super::kit::{Plan, Plane, echo, eventually, greeter, nobody, read_all, read_some, server};

#[test]
fn the_denied_are_reset_and_counted() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.listener.deny = vec!["127.0.0.0/8".parse().unwrap()];
    let plane = Plane::start(plan);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    assert_eq!(plane.rejected(Reason::Denied), 1);
}

#[test]
fn a_listener_takes_as_many_as_it_may() {
    let mut plan = Plan::new(Protocol::Http, &[echo()]);
    plan.listener.max_connections = Some(2);
    let plane = Plane::start(plan);
    let mut held = [plane.connect(), plane.connect()];
    eventually("both are in", || plane.open() == 2);
    let mut third = plane.connect();
    third.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_all(&mut third).0.starts_with(b"HTTP/1.1 503"));
    assert_eq!(plane.rejected(Reason::Limit), 1);
    held[0].write_all(b"x").unwrap();
    assert_eq!(read_some(&mut held[0], 1), "x");
    drop(held);
    eventually("both have left", || plane.open() == 0);
    let mut fourth = plane.connect();
    fourth.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut fourth, 1), "x");
}

#[test]
fn the_process_takes_as_many_as_it_may() {
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.sessions = 1;
    let plane = Plane::start(plan);
    let held = plane.connect();
    eventually("it is in", || plane.open() == 1);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    drop(held);
}

#[test]
fn a_source_takes_as_many_as_it_may() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.listener.max_per_source = Some(1);
    let plane = Plane::start(plan);
    let mut first = plane.connect();
    assert_eq!(read_some(&mut first, 5), "hello");
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    drop(first);
    eventually("it has left", || plane.open() == 0);
    assert_eq!(read_some(&mut plane.connect(), 5), "hello");
}

#[test]
fn a_full_backend_makes_clients_wait_for_a_place() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.queue_timeout = Duration::from_secs(30);
    let plane = Plane::start(plan);
    let mut first = plane.connect();
    assert_eq!(read_some(&mut first, 5), "hello");
    let mut second = plane.connect();
    eventually("it waits", || plane.queued() == 1);
    assert_eq!(plane.active(0), 1);
    drop(first);
    assert_eq!(read_some(&mut second, 5), "hello");
    assert_eq!(plane.queued(), 0);
}

#[test]
fn the_wait_for_a_place_is_bounded_in_time_and_number() {
    let mut plan = Plan::new(Protocol::Mysql, &[greeter("hello")]);
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.queue_timeout = Duration::from_millis(300);
    plan.pool.queue_limit = 1;
    let plane = Plane::start(plan);
    let mut first = plane.connect();
    assert_eq!(read_some(&mut first, 5), "hello");
    let mut second = plane.connect();
    eventually("it waits", || plane.queued() == 1);
    let (answer, _) = read_all(&mut plane.connect());
    assert_eq!(answer[4], 0xff, "no room in the queue");
    let (answer, _) = read_all(&mut second);
    assert_eq!(answer[4], 0xff, "no place in time");
    eventually("both end", || plane.finished(Reason::Limit) == 2);
}

#[test]
fn a_full_tier_hands_over_to_the_next() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("first"), greeter("spare")]);
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.backends[1].tier = 1;
    let plane = Plane::start(plan);
    let mut first = plane.connect();
    assert_eq!(read_some(&mut first, 5), "first");
    assert_eq!(read_some(&mut plane.connect(), 5), "spare");
}

#[test]
fn those_who_wait_are_served_by_a_backend_that_comes_up() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("first"), greeter("other")]);
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.queue_timeout = Duration::from_secs(30);
    let mut plane = Plane::start(plan);
    plane.set_state(1, BackendState::Down);
    let mut first = plane.connect();
    assert_eq!(read_some(&mut first, 5), "first");
    let mut second = plane.connect();
    eventually("it waits", || plane.queued() == 1);
    plane.set_state(1, BackendState::Up { ramp_from: None });
    assert_eq!(read_some(&mut second, 5), "other");
}

/// In lockstep, so that no later client's end wakes one that was forgotten.
/// `tests/places.rs` looks at every order of the steps; this, at the whole.
#[test]
fn nobody_waits_beside_a_free_place() {
    const CLIENTS: usize = 3;
    const ROUNDS: usize = 1000;
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.workers = 4;
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.queue_timeout = Duration::from_secs(60);
    let plane = Plane::start(plan);
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    // One that nobody wakes reads for longer than it may.
                    assert_eq!(read_some(&mut plane.connect(), 5), "hello");
                }
            });
        }
    });
    assert_eq!(plane.rejected(Reason::Limit), 0);
}

/// What a MySQL server without a place says in place of its greeting.
const FULL: &[u8] = b"\x17\x00\x00\x00\xff\x10\x04Too many connections";

/// A server that said 1040 a moment ago.
#[test]
fn a_full_server_is_the_last_choice_and_speaks_for_itself() {
    let full = server(|mut stream| stream.write_all(FULL).unwrap());
    for (queue, free) in [(1000, Some(1)), (0, Some(1)), (1000, None)] {
        let mut plan = Plan::new(Protocol::Mysql, &[full, greeter("hello")]);
        plan.pool.backends[1].max_connections = free;
        // It is of a later tier, and better all the same.
        plan.pool.backends[1].tier = 1;
        plan.pool.queue_timeout = Duration::from_millis(200);
        plan.pool.queue_limit = queue;
        let mut plane = Plane::start(plan);
        plane.set_state(0, BackendState::Saturated);
        let mut first = plane.connect();
        assert_eq!(read_some(&mut first, 5), "hello");
        if free.is_none() {
            assert_eq!(read_some(&mut plane.connect(), 5), "hello");
            plane.set_state(1, BackendState::Down);
        }
        let (answer, _) = read_all(&mut plane.connect());
        assert_eq!(answer, FULL, "the server's own words");
        assert_eq!(
            plane.greeted.load(Ordering::Relaxed),
            0,
            "that is no greeting"
        );
    }
}

#[test]
fn who_is_greeted_by_a_full_server_says_so() {
    let mut plan = Plan::new(Protocol::Mysql, &[greeter("\x05\x00\x00\x00\x0a10.1")]);
    plan.workers = 1;
    let mut plane = Plane::start(plan);
    assert_eq!(read_some(&mut plane.connect(), 9).len(), 9);
    assert_eq!(plane.greeted.load(Ordering::Relaxed), 0, "it was not full");
    plane.set_state(0, BackendState::Saturated);
    assert_eq!(read_some(&mut plane.connect(), 9).len(), 9);
    eventually("its prober knows", || {
        plane.greeted.load(Ordering::Relaxed) == 1
    });
}

/// A probe comes every few seconds, and with max_connections: 1 every second
/// client heard 1040 until then, although another server had places.
#[test]
fn one_client_hears_that_a_server_is_full_and_the_others_go_elsewhere() {
    let full = server(|mut stream| stream.write_all(FULL).unwrap());
    let mut plan = Plan::new(Protocol::Mysql, &[full, greeter("hello")]);
    plan.pool.policy = Policy::First;
    // It is of a later tier, and better all the same.
    plan.pool.backends[1].tier = 1;
    plan.workers = 1;
    let plane = Plane::start(plan);
    assert_eq!(read_all(&mut plane.connect()).0, FULL);
    eventually("its prober knows", || {
        plane.refused.load(Ordering::Relaxed) == 1
    });
    for _ in 0..20 {
        assert_eq!(read_some(&mut plane.connect(), 5), "hello");
    }
}

/// The last place of a server is for administrators, and only the login shows
/// who is none. What answers a statement may hold any code.
#[test]
fn a_server_that_is_full_after_the_login_is_avoided_too() {
    const GREETING: &[u8] = b"\x05\x00\x00\x00\x0a10.1";
    for (number, is_full) in [(2, true), (4, true), (1, false)] {
        let first = server(move |mut stream| {
            stream.write_all(GREETING).unwrap();
            assert_eq!(read_some(&mut stream, 5), "login");
            let mut full = FULL.to_vec();
            full[3] = number;
            stream.write_all(&full).unwrap();
        });
        let mut plan = Plan::new(Protocol::Mysql, &[first, greeter("hello")]);
        plan.pool.policy = Policy::First;
        plan.workers = 1;
        let plane = Plane::start(plan);
        let mut client = plane.connect();
        assert_eq!(read_some(&mut client, GREETING.len()).as_bytes(), GREETING);
        client.write_all(b"login").unwrap();
        assert_eq!(read_all(&mut client).0.len(), FULL.len());
        let next = read_some(&mut plane.connect(), 5);
        assert_eq!(next == "hello", is_full, "{number}: {next:?}");
    }
}

#[test]
fn what_a_server_tells_one_client_drives_no_other_away() {
    const DENIED: &[u8] = b"\x14\x00\x00\x00\xff\x6a\x04Host 'a' is denied";
    for (said, protocol) in [(DENIED, Protocol::Mysql), (FULL, Protocol::Tcp)] {
        let first = server(move |mut stream| stream.write_all(said).unwrap());
        let mut plan = Plan::new(protocol, &[first, greeter("hello")]);
        plan.pool.policy = Policy::First;
        // The server knows the client by its own address.
        plan.pool.send_proxy = Some(ProxyVersion::V2);
        plan.workers = 1;
        let plane = Plane::start(plan);
        for _ in 0..3 {
            assert_eq!(read_all(&mut plane.connect()).0, said);
        }
        assert_eq!(plane.refused.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn who_comes_before_the_first_probe_waits_for_it() {
    let mut plan = Plan::new(Protocol::Tcp, &[nobody(), greeter("hello")]);
    plan.pool.queue_timeout = Duration::from_secs(30);
    plan.pool.queue_limit = 2;
    let mut plane = Plane::start(plan);
    plane.set_state(0, BackendState::Down);
    plane.set_state(1, BackendState::Starting);
    let mut waiting = [plane.connect(), plane.connect()];
    eventually("they wait", || plane.queued() == 2);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true), "no room");
    plane.set_state(1, BackendState::Up { ramp_from: None });
    for client in &mut waiting {
        assert_eq!(read_some(client, 5), "hello");
    }
    assert_eq!(plane.finished(Reason::NoBackend), 1);
    // Who waits for a backend that turns out to be dead hears it at once.
    plane.set_state(1, BackendState::Starting);
    let mut in_vain = plane.connect();
    eventually("it waits", || plane.queued() == 1);
    plane.set_state(1, BackendState::Down);
    assert_eq!(read_all(&mut in_vain), (vec![], true));
    assert_eq!(plane.finished(Reason::NoBackend), 2);
}

#[test]
fn without_a_queue_nobody_waits_for_the_first_probe() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.pool.queue_limit = 0;
    let mut plane = Plane::start(plan);
    plane.set_state(0, BackendState::Starting);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    assert_eq!(plane.finished(Reason::NoBackend), 1);
}
