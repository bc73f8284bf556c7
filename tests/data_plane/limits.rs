use std::io::Write;
use std::time::Duration;

use tandem::pool::{BackendState, Protocol};
use tandem::types::Reason;

use super::kit::{Plan, Plane, echo, eventually, greeter, read_all, read_some};

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
