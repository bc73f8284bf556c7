//! The wall clock jumps, as an operator or a broken NTP server makes it jump:
//! `libfaketime` lies to each node as a file says. Nothing may move for it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::kit::client::{Client, backend};
use super::kit::pair::{EMBEDDED, NAME, Pair, free_ports, in_register, loopback};
use super::kit::{figure, now, pass, since, wait_until};
use super::server::{Kind, Server};

/// What each node takes for the present.
struct Clocks {
    dir: TempDir,
    library: PathBuf,
}

impl Clocks {
    fn new() -> Self {
        let folders = fs::read_dir("/usr/lib").unwrap();
        let folders = folders.map(|it| it.unwrap().path().join("faketime/libfaketimeMT.so.1"));
        let library = folders.into_iter().find(|it| it.exists());
        let clocks = Self {
            dir: TempDir::new().unwrap(),
            library: library.expect("install faketime"),
        };
        clocks.step("+0");
        clocks
    }

    /// Puts the clocks of both nodes this far from the truth.
    fn step(&self, by: &str) {
        for node in 0..2 {
            self.step_one(node, by);
        }
    }

    fn step_one(&self, node: usize, by: &str) {
        // By rename: a file that is being written would be no time at all.
        let new = self.dir.path().join("new");
        fs::write(&new, by).unwrap();
        fs::rename(new, self.file(node)).unwrap();
    }

    fn file(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("clock{node}"))
    }

    fn pair(&self, net: u8, publish: &str) -> Pair {
        let prefix = [0, 1].map(|node| {
            vec![
                "env".to_owned(),
                format!("LD_PRELOAD={}", self.library.display()),
                format!("FAKETIME_TIMESTAMP_FILE={}", self.file(node).display()),
                "FAKETIME_NO_CACHE=1".to_owned(),
                // A step of the wall clock leaves the monotonic one alone.
                "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
                "DONT_FAKE_MONOTONIC=1".to_owned(),
            ]
        });
        let ips = loopback(net);
        Pair::at(ips, free_ports(ips), backend(), prefix, publish)
    }
}

/// How far a node's wall clock is from ours, in seconds.
fn error_of(pair: &Pair, node: usize) -> f64 {
    pair.admin(node, "POST", "/v1/reload");
    let series = "tandem_config_last_reload_success_timestamp_seconds";
    let theirs = pair.metric(node, series);
    let ours = tandem::clock::wall().as_secs_f64();
    theirs - ours
}

#[test]
fn a_step_of_the_clock_moves_nothing() {
    let clocks = Clocks::new();
    let mut pair = clocks.pair(40, EMBEDDED);
    pair.start_both();
    let holder = pair.settle();
    let term = pair.term(holder);
    let servers: Vec<SocketAddr> = pair.ips.iter().map(|ip| (*ip, pair.dns).into()).collect();
    let client = Client::start(None, servers, pair.web, Duration::ZERO);
    for (step, seconds) in [("+1h", 3600.0), ("-1h", -3600.0), ("-1d", -86_400.0)] {
        clocks.step(step);
        pass(Duration::from_millis(1500));
        for node in 0..2 {
            let error = error_of(&pair, node);
            assert!((error - seconds).abs() < 60.0, "{step}: {error}");
        }
    }
    clocks.step("+0");
    pass(Duration::from_millis(1500));
    clocks.step_one(holder, "+1h");
    pass(Duration::from_millis(1500));
    let (ok, failed) = client.stop();
    figure("twins.clock.embedded_moves", pair.term(holder) - term);
    figure(
        "twins.clock.embedded_requests",
        format!("{ok} ok, {} failed (goal: 0)", failed.len()),
    );
    assert_eq!((pair.settle(), pair.term(holder)), (holder, term));
    assert!(ok > 100 && failed.is_empty(), "{ok}, {failed:#?}");
}

#[test]
fn a_wrong_clock_keeps_the_register_from_moving_and_is_told() {
    let clocks = Clocks::new();
    let server = Server::start(Kind::Bind);
    let mut pair = clocks.pair(41, &in_register(&server, ""));
    pair.start_both();
    let holder = pair.settle();
    let term = pair.term(holder);
    let here = vec![pair.ips[holder].to_string()];
    let there = vec![pair.ips[1 - holder].to_string()];
    for step in ["+1h", "-1d"] {
        clocks.step(step);
        let start = now();
        wait_until("the log says so", || {
            (0..2).all(|node| pair.log(node).contains("set both clocks right"))
        });
        if step == "+1h" {
            figure("twins.clock.bind9_told_after_ms", since(start).as_millis());
        }
        pass(Duration::from_secs(3));
        assert!(pair.is_holder(holder), "{step}: it serves on");
        assert_eq!(server.addresses(NAME), here);
    }
    // A death while the survivor cannot sign: the name stays until it can.
    pair.kill(holder);
    pass(Duration::from_secs(3));
    let other = 1 - holder;
    assert!(
        !pair.is_holder(other),
        "it cannot claim what it cannot sign"
    );
    assert_eq!(server.addresses(NAME), here);
    assert_eq!(pair.term(other), term);
    clocks.step("+0");
    let start = now();
    wait_until("now it can", || server.addresses(NAME) == there);
    figure(
        "twins.clock.bind9_claimed_after_ms",
        since(start).as_millis(),
    );
    pair.start(holder);
    assert_eq!(pair.settle(), other);

    // The holder's clock alone is wrong, and comes back.
    let term = pair.term(other);
    clocks.step_one(other, "-1h");
    pass(Duration::from_secs(4));
    clocks.step("+0");
    assert_eq!(pair.settle(), other);
    figure("twins.clock.bind9_moves", pair.term(other) - term);
    assert_eq!(pair.term(other), term);
    pair.signal(other, Signal::TERM);
    wait_until("and all works again", || server.addresses(NAME) == here);
}
