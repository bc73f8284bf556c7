//! What clients behind a real resolver see of a takeover: the parent zone, on
//! a real bind9, delegates the name to the pair, and unbound goes its own way.

use std::time::Duration;

use super::kit::client::Watch;
use super::kit::net::Net;
use super::kit::pair::{EMBEDDED, Pair};
use super::kit::resolver::Unbound;
use super::kit::{figures, now, pass};
use super::server::{Kind, Server};

/// Resolvers that look on at the same time, each at another age of its answer.
const RESOLVERS: u16 = 6;
const GOAL: &str = "goal: 2500, which is TTL + 1.5 s";

struct Audience(Vec<(Unbound, Watch)>);

impl Audience {
    fn new(net: &Net, parent: &Server) -> Self {
        let seats = (0..RESOLVERS).map(|it| {
            let unbound = Unbound::start(net, parent.address.ip(), 5301 + it);
            let watch = Watch::start(Some(net.space("c")), unbound.address);
            (unbound, watch)
        });
        Self(seats.collect())
    }

    /// How long each takes to see the other node, once `act` has been done to
    /// the holder.
    fn time(&self, pair: &mut Pair, act: impl FnOnce(&mut Pair, usize)) -> Vec<Duration> {
        let holder = pair.settle();
        for (_, watch) in &self.0 {
            watch.wait_for(pair.ips[holder], now());
        }
        pass(Duration::from_millis(400));
        let start = now();
        act(pair, holder);
        let there = pair.ips[1 - holder];
        let all = self.0.iter();
        all.map(|(_, watch)| watch.wait_for(there, start)).collect()
    }
}

#[test]
fn clients_of_unbound_are_back_soon_after_the_ttl() {
    let net = Net::new(5);
    let parent = net.server(Kind::Bind, &net.delegation());
    let mut pair = net.pair(EMBEDDED);
    pair.start_both();

    let audience = Audience::new(&net, &parent);
    let killed = audience.time(&mut pair, Pair::kill);
    let killed = figures("twins.unbound.kill_ttl_1s", killed, GOAL);
    // The survivor of the next death is one that these resolvers have seen
    // dead a moment ago.
    pair.start_dead();
    let again = audience.time(&mut pair, Pair::kill);
    figures("twins.unbound.second_kill_in_a_row_ttl_1s", again, GOAL);
    drop(audience);

    pair.start_dead();
    pair.settle();
    let audience = Audience::new(&net, &parent);
    let vanished = audience.time(&mut pair, |_, holder| net.link(holder, "down"));
    let vanished = figures("twins.unbound.link_down_ttl_1s", vanished, GOAL);
    assert!(killed.max(vanished) < Duration::from_secs(15));
}
