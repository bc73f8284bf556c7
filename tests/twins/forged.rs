//! Heartbeats that somebody on the switch has recorded, bent, or made up, in a
//! stream that does not end: none of them counts as life, none moves the name.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tandem::pair::{Boot, Heartbeat, Hold, Key, Role, encode};
use tandem::types::{Name, Term};

use super::SOON;
use super::kit::net::{Net, enter, within};
use super::kit::pair::{EMBEDDED, NAME, PAIR_SECRET, Pair};
use super::kit::{figure, figures, now, pass, since, wait_until};

const PORT: u16 = 7946;
/// IPv4, as Ethernet calls it.
const IPV4: u16 = 0x0800;

/// Genuine heartbeats of `from`, as they arrive on a host.
fn record(space: &str, from: Ipv4Addr, count: usize) -> Vec<Vec<u8>> {
    within(space, || {
        let protocol = Protocol::from(i32::from(IPV4.to_be()));
        let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).unwrap();
        let mut packet = [0; 2048];
        let mut all = Vec::new();
        let start = now();
        while all.len() < count {
            assert!(since(start) < SOON, "only {} came", all.len());
            let length = socket.read(&mut packet).unwrap();
            let head = usize::from(packet[0] & 0x0f) * 4;
            let is_udp = packet[9] == 17;
            let is_theirs = packet[12..16] == from.octets();
            let port = [packet[head + 2], packet[head + 3]];
            if is_udp && is_theirs && u16::from_be_bytes(port) == PORT {
                all.push(packet[head + 8..length].to_vec());
            }
        }
        all
    })
}

fn node(at: usize) -> Name {
    Name::new(&format!("lb{}", at + 1)).unwrap()
}

/// A claim of `from` to a far higher term, signed with the wrong key.
fn claim(from: usize, key: &Key) -> Vec<u8> {
    let heartbeat = Heartbeat {
        from: node(from),
        to: node(1 - from),
        boot: Boot(7),
        seq: u64::MAX / 2,
        role: Role::Holder,
        term: Term(1_000_000),
        holder: Some(node(from)),
        nonce: 7,
        serving: true,
        has_backends: true,
        hears_you: true,
        complains: false,
        hold: Hold {
            version: u64::MAX,
            is_on: true,
        },
        echo: (Boot(0), 0),
        config: 0,
        more: None,
    };
    encode(&heartbeat, key)
}

/// Sends what it has at both nodes, 200 times a second and kind, under the
/// address of the other one.
struct Forger {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Forger {
    fn start(net: &Net, ips: [Ipv4Addr; 2], recorded: [Vec<Vec<u8>>; 2]) -> Self {
        let over = Arc::<AtomicBool>::default();
        let sent = Arc::<AtomicU64>::default();
        let (is_over, count, space) = (Arc::clone(&over), Arc::clone(&sent), net.space("c"));
        let thread = std::thread::spawn(move || {
            enter(Some(&space));
            let masks = ips.map(masked);
            let stranger = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let keys = [
                Key::new("another secret of 32 characters!", NAME),
                Key::new(PAIR_SECRET, "another.example.test"),
            ];
            let mut turn = 0;
            while !is_over.load(Ordering::Relaxed) {
                turn += 1;
                for from in 0..2 {
                    let to = SocketAddr::from((ips[1 - from], PORT));
                    let real = &recorded[from][turn % recorded[from].len()];
                    let mut bent = real.clone();
                    let at = turn % bent.len();
                    bent[at] ^= 1 << (turn % 8);
                    let foreign = keys.iter().map(|key| claim(from, key));
                    let all = [real.clone(), bent].into_iter().chain(foreign);
                    for packet in all {
                        let sent = masks[from].send_to(&packet, to).is_ok();
                        count.fetch_add(u64::from(sent), Ordering::Relaxed);
                    }
                    let _may_be_full = stranger.send_to(real, to);
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self { over, sent, thread }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// A socket that sends under the address of somebody else.
fn masked(ip: Ipv4Addr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_ip_transparent_v4(true).unwrap();
    let address = SocketAddr::new(IpAddr::V4(ip), PORT);
    socket.bind(&address.into()).unwrap();
    socket.into()
}

fn dropped(pair: &Pair, node: usize, reason: &str) -> f64 {
    let series = format!("tandem_pair_datagrams_dropped_total{{reason=\"{reason}\"}}");
    pair.metric(node, &series)
}

#[test]
fn recorded_and_forged_heartbeats_count_for_nothing() {
    let net = Net::new(7);
    let mut pair = net.pair(EMBEDDED);
    pair.start_both();
    let holder = pair.settle();
    let term = pair.term(holder);
    let recorded = [0, 1].map(|from| record(&net.node(1 - from), pair.ips[from], 40));
    let forger = Forger::start(&net, pair.ips, recorded);
    pass(Duration::from_secs(2));
    assert_eq!(pair.settle(), holder, "nothing has moved");
    assert_eq!(pair.term(holder), term);
    let mut times = Vec::new();
    for _ in 0..5 {
        let holder = pair.settle();
        let term = pair.term(holder);
        let start = now();
        pair.kill(holder);
        wait_until("the other takes it", || pair.is_holder(1 - holder));
        times.push(since(start));
        assert_eq!(pair.term(1 - holder), term + 1, "nobody believes in more");
        wait_until("a recording is no life", || {
            pair.pair(1 - holder)["twins"][0]["up"] == false
        });
        pair.start(holder);
    }
    figures("twins.forged.kill_during_replay", times, "goal: 300 ms");
    pair.settle();
    let sent = forger.stop();
    let holder = pair.settle();
    for reason in ["signature", "foreign", "stranger"] {
        let count = dropped(&pair, holder, reason);
        figure(&format!("twins.forged.dropped_{reason}"), count);
        assert!(count > 10.0, "{reason}: {count}");
    }
    figure("twins.forged.sent_under_a_twins_address", sent);
    assert!(sent > 1000, "{sent}");
    assert_eq!(pair.term(holder), term + 5, "five deaths, five terms");
}
