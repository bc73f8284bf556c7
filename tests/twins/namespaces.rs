//! Each node in a network namespace of its own, joined by a bridge: links that
//! go down, and twins that cannot see each other. Needs root.

use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::time::Duration;

use super::kit::{Pair, figure, now, pass, since, wait_until};

const EMBEDDED: &str = "{ ttl: 1s, serve: { bind: \":@DNS\" } }";

fn ip(args: &str) {
    let done = Command::new("ip").args(args.split(' ')).output();
    let done = done.expect("install iproute2");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "ip {args}: {said} (needs root)");
}

/// Two nodes and a backend, each behind a link to one bridge.
struct Net {
    tag: String,
    backend: Option<Child>,
}

impl Net {
    fn new(number: u8) -> (Self, Pair) {
        let tag = format!("tdm{}n{number}", std::process::id() % 10_000);
        let net = Self { tag, backend: None };
        let hub = net.space("h");
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add br0 type bridge"));
        ip(&format!("-n {hub} link set br0 up"));
        for (at, host) in ["1", "2", "b"].iter().enumerate() {
            let space = net.space(host);
            ip(&format!("netns add {space}"));
            ip(&format!(
                "-n {hub} link add p{host} type veth peer name eth0 netns {space}"
            ));
            ip(&format!("-n {hub} link set p{host} master br0 up"));
            ip(&format!(
                "-n {space} addr add 10.77.{number}.{}/24 dev eth0",
                at + 1
            ));
            ip(&format!("-n {space} link set eth0 up"));
            ip(&format!("-n {space} link set lo up"));
        }
        net.start(number)
    }

    fn start(mut self, number: u8) -> (Self, Pair) {
        let address = Ipv4Addr::new(10, 77, number, 3);
        let space = self.space("b");
        let child = Command::new("ip")
            .args(["netns", "exec", &space, env!("CARGO_BIN_EXE_tandem")])
            .args(["demo-backend", "a", &format!("{address}:8080")])
            .spawn()
            .unwrap();
        self.backend = Some(child);
        let ips = [1, 2].map(|host| Ipv4Addr::new(10, 77, number, host));
        let prefix = ["1", "2"].map(|host| {
            let space = self.space(host);
            ["ip", "netns", "exec", &space].map(str::to_owned).to_vec()
        });
        let pair = Pair::at(
            ips,
            [8081, 5353, 7946],
            (address, 8080).into(),
            prefix,
            EMBEDDED,
        );
        (self, pair)
    }

    fn space(&self, host: &str) -> String {
        format!("{}{host}", self.tag)
    }

    fn node(&self, node: usize) -> String {
        self.space(&(node + 1).to_string())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(mut backend) = self.backend.take() {
            let _gone = backend.kill();
            let _reaped = backend.wait();
        }
        for host in ["1", "2", "b", "h"] {
            let space = self.space(host);
            let _gone = Command::new("ip").args(["netns", "del", &space]).output();
        }
    }
}

#[test]
fn a_host_that_vanishes_is_replaced_once() {
    let (net, mut pair) = Net::new(1);
    pair.start_both();
    let holder = pair.settle();
    let term = pair.term(holder);
    let space = net.node(holder);
    let start = now();
    ip(&format!("-n {space} link set eth0 down"));
    wait_until("the survivor takes the name", || pair.is_holder(1 - holder));
    figure("twins.link_down_to_new_holder_ms", since(start).as_millis());
    pass(Duration::from_secs(2));
    ip(&format!("-n {space} link set eth0 up"));
    let start = now();
    let last = pair.settle();
    figure("twins.link_up_to_agreement_ms", since(start).as_millis());
    pass(Duration::from_secs(3));
    assert_eq!(pair.settle(), last, "no second move");
    let moves = pair.term(last) - term;
    figure("twins.link_down_terms", moves);
    assert!(
        moves <= 2,
        "the vanished one may have claimed alone: {moves}"
    );
    drop(pair);
}

#[test]
fn twins_that_cannot_see_each_other_agree_when_they_can() {
    let (net, mut pair) = Net::new(2);
    pair.start_both();
    pair.settle();
    let block = |verb: &str| {
        for node in 0..2 {
            let (space, other) = (net.node(node), pair.ips[1 - node]);
            ip(&format!("-n {space} route {verb} blackhole {other}/32"));
        }
    };
    block("add");
    pass(Duration::from_secs(4));
    let holders = (0..2).filter(|node| pair.is_holder(*node)).count();
    figure("twins.partition_holders", holders);
    assert!(holders >= 1, "somebody always holds it");
    block("del");
    let start = now();
    let holder = pair.settle();
    figure("twins.partition_heal_ms", since(start).as_millis());
    let term = pair.term(holder);
    pass(Duration::from_secs(4));
    assert_eq!(pair.settle(), holder);
    assert_eq!(pair.term(holder), term, "no move after the heal");
    drop(pair);
}
