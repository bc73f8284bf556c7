//! The embedded name server's places for TCP, with `dig`, `kdig` and a pair
//! whose heartbeats go on.

use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::kit::pair::Pair;
use super::kit::said::Said;
use super::kit::{figure, wait_until};

const NETWORKS: u8 = 4;
const EACH: u8 = 40;

/// Idle connections from one /24 network, each from a host of its own.
fn idle(server: SocketAddr, network: u8) -> impl Iterator<Item = TcpStream> {
    (1..=EACH).map(move |host| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = SocketAddr::from(([127, 1, network, host], 0));
        socket.bind(&source.into()).unwrap();
        socket.connect(&server.into()).unwrap();
        socket.into()
    })
}

#[test]
fn idle_connections_from_four_networks_keep_nobody_out_of_tcp() {
    let mut pair = Pair::embedded(60);
    pair.start_both();
    let holder = pair.settle();
    let term = pair.term(holder);
    let address = IpAddr::V4(pair.ips[holder]);
    let server = SocketAddr::from((address, pair.dns));
    // They come again whenever they are sent away.
    let mut held: Vec<TcpStream> = Vec::new();
    let heard = |node| pair.metric(node, "tandem_pair_heartbeats_total{direction=\"received\"}");
    let dropped = || -> f64 {
        let all = pair.asker(holder).ask("GET", "/metrics");
        let lines = all
            .lines()
            .filter(|it| it.starts_with("tandem_pair_datagrams_dropped_total"));
        lines
            .filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    let (before, bad) = ([heard(0), heard(1)], dropped());
    let served = |it: &Said| it.is("NOERROR") && it.answer.len() == 1;
    let mut answers = [0; 4];
    for round in 0..10 {
        held.extend((0..NETWORKS).flat_map(|network| idle(server, network)));
        let asked = [
            format!("kdig +tcp -b 127.2.0.{} NAME A", round + 1),
            format!("dig +tcp -b 127.2.1.{} NAME A", round + 1),
            // From a network whose places are all taken by the idle.
            format!("kdig +tcp -b 127.1.{}.200 NAME A", round % 4),
            "dig +notcp NAME A".to_owned(),
        ];
        for (count, question) in answers.iter_mut().zip(&asked) {
            let said = Said::ask(server, question);
            assert!(served(&said), "{question}: {}", said.text);
            *count += 1;
        }
        // Descriptors are few, and the first of them have been closed long ago.
        let old = held.len().saturating_sub(2 * usize::from(NETWORKS * EACH));
        held.drain(..old);
    }
    assert_eq!(answers, [10; 4]);
    figure(
        "twins.seats_idle",
        10 * u32::from(NETWORKS) * u32::from(EACH),
    );
    // Who has sent a query is no idler: a connection stays for several.
    let said = Said::ask(server, "kdig +tcp +keepopen NAME A NAME A");
    assert!(
        said.text.matches("status: NOERROR").count() == 2,
        "{}",
        said.text
    );
    wait_until("heartbeats go on", || {
        [heard(0), heard(1)]
            .iter()
            .zip(before)
            .all(|(now, it)| *now >= it + 10.0)
    });
    assert_eq!(dropped().to_bits(), bad.to_bits(), "none of them was bad");
    assert_eq!(pair.agree(), holder);
    assert_eq!(pair.term(holder), term, "and the name has not moved");
}
