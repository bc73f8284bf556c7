//! Who has been given out as the name's address serves on until resolvers have
//! forgotten it, whatever it is to the pair when it is told to end.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use super::kit::client::{Client, get};
use super::kit::pair::Pair;
use super::kit::{figure, now, pass, since, wait_until};

const TTL: Duration = Duration::from_secs(2);
/// With a TTL of two seconds.
const SLOW: &str = "{ ttl: 2s, serve: { bind: \":@DNS\", per_source_qps: 100000 } }";

fn servers(pair: &Pair) -> Vec<SocketAddr> {
    pair.ips.iter().map(|ip| (*ip, pair.dns).into()).collect()
}

fn front(pair: &Pair, node: usize) -> SocketAddr {
    (pair.ips[node], pair.web).into()
}

#[test]
fn an_active_node_that_stops_serves_who_was_sent_there() {
    let mut pair = Pair::new(60, SLOW);
    pair.edit("pair:\n", "pair:\n  mode: active-active\n");
    pair.start(0);
    pair.start(1);
    wait_until("both are answered", || {
        let records = pair.admin(0, "GET", "/v1/dns")["records"].to_string();
        pair.ips.iter().all(|ip| records.contains(&ip.to_string()))
    });
    // A node is answered before its backend has passed the first probe.
    for node in 0..2 {
        wait_until("it serves", || get(front(&pair, node)).is_ok());
    }
    // Each keeps what it was told for as long as it may.
    let clients: Vec<_> = (0..4)
        .map(|_| Client::start(None, servers(&pair), pair.web, TTL))
        .collect();
    pass(TTL + TTL / 2);
    // The one with the worse rank: it never holds the claim.
    let start = now();
    pair.signal(1, Signal::TERM);
    assert_eq!(pair.wait(1), Some(0));
    figure(
        "twins.active_active_stop_ms (ttl 2 s)",
        since(start).as_millis(),
    );
    pass(TTL / 2);
    for client in clients {
        let (ok, failed) = client.stop();
        assert!(ok > 100, "{ok}");
        assert!(
            failed.is_empty(),
            "{} failed: {:?}",
            failed.len(),
            failed.first()
        );
    }
}

#[test]
fn the_old_holder_that_stops_after_a_handover_serves_who_was_sent_there() {
    let mut pair = Pair::new(61, SLOW);
    pair.start_both();
    let old = pair.settle();
    let new = 1 - old;
    let client = Client::start(None, servers(&pair), pair.web, TTL);
    pass(TTL + TTL / 2);
    // As PAIR.md has it for an upgrade.
    assert_eq!(
        pair.admin(old, "POST", "/v1/pair/handover")["ordered"],
        true
    );
    wait_until("the other holds it", || pair.is_holder(new));
    pair.signal(old, Signal::TERM);
    assert_eq!(pair.wait(old), Some(0));
    pass(TTL / 2);
    let (ok, failed) = client.stop();
    assert!(ok > 100, "{ok}");
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed.first()
    );
    assert_eq!(pair.answer(new), Some(IpAddr::V4(pair.ips[new])));
}

#[test]
fn a_standby_that_has_just_started_may_have_been_given_out_before() {
    let mut pair = Pair::new(62, "{ ttl: 300s, serve: { bind: \":@DNS\" } }");
    pair.start_both();
    let standby = 1 - pair.settle();
    // A life that has just begun cannot know what the one before was.
    pair.signal(standby, Signal::TERM);
    pass(Duration::from_secs(3));
    assert!(get(front(&pair, standby)).is_ok(), "it serves on");
    pair.signal(standby, Signal::TERM);
    assert_eq!(pair.wait(standby), Some(0), "who asks twice means it");
}

#[test]
fn a_node_that_leaves_takes_no_orders_and_opens_nothing() {
    let mut pair = Pair::new(63, "{ ttl: 300s, serve: { bind: \":@DNS\" } }");
    pair.start_both();
    let leaving = pair.settle();
    pair.signal(leaving, Signal::TERM);
    wait_until("the other holds it", || pair.is_holder(1 - leaving));
    let web = pair.web;
    let more: SocketAddr = {
        let free = std::net::TcpListener::bind((pair.ips[leaving], 0)).unwrap();
        free.local_addr().unwrap()
    };
    pair.edit(
        &format!("\"self:{web}\""),
        &format!("[\"self:{web}\", \"self:{}\"]", more.port()),
    );
    for path in ["/v1/reload", "/v1/pair/hold", "/v1/pair/handover"] {
        let problem = pair.admin(leaving, "POST", path);
        assert_eq!(problem["status"], 409, "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("stopping: "), "{path}: {detail}");
    }
    // The twin's order to hand the name back finds nobody to take it.
    let problem = pair.admin(1 - leaving, "POST", "/v1/pair/handover");
    assert_eq!(problem["status"], 409, "{problem}");
    assert!(TcpStream::connect(more).is_err());
    assert!(get(front(&pair, leaving)).is_ok(), "it serves on");
    pair.signal(leaving, Signal::TERM);
    assert_eq!(pair.wait(leaving), Some(0));
}
