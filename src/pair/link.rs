//! The sockets of heartbeats: one for each of this node's addresses, each a
//! path of its own. A thread receives, so that neither load nor a flood of
//! garbage keeps a sign of life waiting behind it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::guest_book::{Budget, GuestBook};
use super::wire::{self, Bad, Key};
use super::{Heartbeat, PairSettings};
use crate::clock::{self, Moment};
use crate::net::listen;
use crate::types::Name;

/// How often the receiving threads look whether they are to end.
const GLANCE: Duration = Duration::from_millis(100);
/// Heartbeats whose echo may still come: ten seconds of them.
const REMEMBERED: usize = 200;

/// The heartbeat sockets.
pub struct Link {
    shared: Arc<Shared>,
    sockets: Vec<UdpSocket>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    key: Key,
    peers: HashMap<Name, Vec<SocketAddr>>,
    guests: Mutex<GuestBook>,
    is_over: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    stranger: AtomicU64,
    bad: [AtomicU64; Bad::ALL.len()],
    clock: Mutex<Rtt>,
}

/// When which heartbeat was sent, and how long its echo took.
#[derive(Debug, Default)]
struct Rtt {
    sent: HashMap<Name, VecDeque<(u64, Moment)>>,
    /// The last ones of each twin.
    took: HashMap<Name, VecDeque<Duration>>,
}

impl Link {
    /// Binds this node's heartbeat addresses, and hands every genuine
    /// heartbeat to `hear`: of a peer from its own addresses, and of nodes that
    /// lb.yaml does not name from anywhere.
    pub fn start(
        settings: &PairSettings,
        hear: impl Fn(Heartbeat) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let own = settings.node(&settings.me);
        let others = settings.nodes.iter().filter(|it| it.name != settings.me);
        let peers: HashMap<Name, Vec<SocketAddr>> = others
            .map(|it| (it.name.clone(), it.heartbeat.clone()))
            .collect();
        let known: Vec<IpAddr> = peers.values().flatten().map(SocketAddr::ip).collect();
        let shared = Arc::new(Shared {
            key: Key::new(settings.secret.expose(), settings.name.as_str()),
            peers,
            guests: Mutex::default(),
            is_over: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stranger: AtomicU64::new(0),
            bad: Default::default(),
            clock: Mutex::default(),
        });
        let mut sockets = Vec::new();
        let mut threads = Vec::new();
        for address in own.into_iter().flat_map(|it| &it.heartbeat) {
            let socket = UdpSocket::bind(address).map_err(|error| {
                let hint = listen::hint(error.kind());
                let what = format!("pair: cannot send heartbeats from {address}: {error}{hint}");
                io::Error::new(error.kind(), what)
            })?;
            socket.set_read_timeout(Some(GLANCE))?;
            let receiving = socket.try_clone()?;
            let (shared, hear, known) = (Arc::clone(&shared), hear.clone(), known.clone());
            let thread = std::thread::Builder::new()
                .name("heartbeat".to_owned())
                .spawn(move || shared.receive(&receiving, &known, hear))?;
            sockets.push(socket);
            threads.push(thread);
        }
        Ok(Self {
            shared,
            sockets,
            threads,
        })
    }

    /// Sends a heartbeat on every path. The network may lose it; it says no
    /// more than the next one.
    pub fn send(&self, heartbeat: &Heartbeat) {
        let addresses = self.shared.addresses(&heartbeat.to);
        if addresses.is_empty() {
            return;
        }
        self.shared.note_sent(heartbeat);
        let bytes = wire::encode(heartbeat, &self.shared.key);
        for socket in &self.sockets {
            let is_v4 = socket.local_addr().is_ok_and(|it| it.is_ipv4());
            for address in addresses.iter().filter(|it| it.is_ipv4() == is_v4) {
                if socket.send_to(&bytes, address).is_ok() {
                    self.shared.sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// How long the way to a twin and back takes. An echo waits for its
    /// sender's next heartbeat; the shortest of the last ones waited least.
    pub fn rtt(&self, twin: &Name) -> Option<Duration> {
        let rtt = self.shared.clock.lock();
        let rtt = rtt.unwrap_or_else(PoisonError::into_inner);
        rtt.took.get(twin)?.iter().min().copied()
    }

    /// Heartbeats sent and received.
    pub fn traffic(&self) -> (u64, u64) {
        let load = |it: &AtomicU64| it.load(Ordering::Relaxed);
        (load(&self.shared.sent), load(&self.shared.received))
    }

    /// Datagrams that were no heartbeats, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bad = Bad::ALL.into_iter().zip(&self.shared.bad);
        let bad = bad.map(|(why, it)| (why.as_str(), it.load(Ordering::Relaxed)));
        let stranger = self.shared.stranger.load(Ordering::Relaxed);
        bad.chain([("stranger", stranger)])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been reported by the panic hook.
            let _reported = thread.join();
        }
    }
}

impl Shared {
    fn receive(&self, socket: &UdpSocket, known: &[IpAddr], hear: impl Fn(Heartbeat)) {
        let mut bytes = [0; wire::MOST_BYTES + 1];
        let mut budget = Budget::new(clock::now());
        while !self.is_over.load(Ordering::Relaxed) {
            // Time-outs, and the ICMP errors of a twin that is down.
            let Ok((length, from)) = socket.recv_from(&mut bytes) else {
                continue;
            };
            let bytes = &bytes[..length];
            // Before any arithmetic: a flood from elsewhere costs a look.
            let is_known = known.contains(&from.ip());
            let is_checked = is_known || (self.key.is_named_by(bytes) && budget.take(clock::now()));
            if !is_checked {
                self.stranger.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            match wire::decode(bytes, &self.key) {
                // A peer has its addresses in lb.yaml.
                Ok(it) if !is_known && self.peers.contains_key(&it.from) => {
                    self.stranger.fetch_add(1, Ordering::Relaxed);
                }
                Ok(heartbeat) => {
                    self.received.fetch_add(1, Ordering::Relaxed);
                    self.note_guest(&heartbeat.from, from);
                    self.note_echo(&heartbeat);
                    hear(heartbeat);
                }
                Err(bad) => {
                    self.bad[bad as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Where a node is reached, for one heartbeat.
    fn addresses(&self, node: &Name) -> Vec<SocketAddr> {
        if let Some(addresses) = self.peers.get(node) {
            return addresses.clone();
        }
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.answer(node, clock::now())
    }

    fn note_guest(&self, node: &Name, from: SocketAddr) {
        if !self.peers.contains_key(node) {
            let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
            guests.note(node, from, clock::now());
        }
    }

    fn note_sent(&self, heartbeat: &Heartbeat) {
        let mut rtt = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = rtt.sent.entry(heartbeat.to.clone()).or_default();
        if sent.len() == REMEMBERED {
            sent.pop_front();
        }
        sent.push_back((heartbeat.seq, clock::now()));
    }

    fn note_echo(&self, heartbeat: &Heartbeat) {
        let now = clock::now();
        let mut rtt = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = rtt.sent.get(&heartbeat.from);
        let (_, seq) = heartbeat.echo;
        let at = sent.and_then(|sent| sent.iter().find(|(it, _)| *it == seq));
        if let Some((_, at)) = at {
            let took = now.since(*at);
            let all = rtt.took.entry(heartbeat.from.clone()).or_default();
            if all.len() == REMEMBERED {
                all.pop_front();
            }
            all.push_back(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::pair::{Boot, Failback, PairNode, Role, Timing};
    use crate::types::{Fqdn, Secret, Term};

    fn settings(me: &str, addresses: [&str; 2], port: u16) -> PairSettings {
        let name = |text: &str| Name::new(text).unwrap();
        let node = |(name, address): (Name, &str)| {
            let ip: IpAddr = address.parse().unwrap();
            PairNode {
                name,
                addresses: vec![ip],
                heartbeat: vec![SocketAddr::new(ip, port)],
            }
        };
        PairSettings {
            name: Fqdn::parse("lb.example.com").unwrap(),
            me: name(me),
            nodes: [name("lb1"), name("lb2")]
                .into_iter()
                .zip(addresses)
                .map(node)
                .collect(),
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            timing: Timing::default(),
            failback: Failback::Never,
            active_active: false,
        }
    }

    fn free_port() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    }

    fn heartbeat(seq: u64) -> Heartbeat {
        Heartbeat {
            from: Name::new("lb1").unwrap(),
            to: Name::new("lb2").unwrap(),
            boot: Boot(1),
            seq,
            role: Role::Standby,
            term: Term::NONE,
            holder: None,
            nonce: 0,
            serving: true,
            has_backends: true,
            hears_you: false,
            complains: false,
            hold: crate::pair::Hold::default(),
            echo: (Boot(0), 0),
            config: 0,
            more: None,
        }
    }

    #[test]
    fn heartbeats_come_through_a_flood_of_garbage() {
        let port = free_port();
        let addresses = ["127.0.0.31", "127.0.0.32"];
        let (heard, hears) = channel();
        let hear = move |it: Heartbeat| heard.send(it.seq).unwrap();
        let one = Link::start(&settings("lb1", addresses, port), |_| {}).unwrap();
        let two = Link::start(&settings("lb2", addresses, port), hear).unwrap();
        let target = SocketAddr::new("127.0.0.32".parse().unwrap(), port);
        // From the twin's own address, unsigned; and from a stranger's.
        let forger = UdpSocket::bind("127.0.0.31:0").unwrap();
        let stranger = UdpSocket::bind("127.0.0.33:0").unwrap();
        let genuine = wire::encode(&heartbeat(1), &one.shared.key);
        for seq in 0..50 {
            // No more than its socket holds: what the kernel drops for want of
            // room is not what this test is about.
            for _ in 0..30 {
                forger.send_to(b"garbage", target).unwrap();
                let mut forged = genuine.clone();
                forged[20] ^= 1;
                forger.send_to(&forged, target).unwrap();
                stranger.send_to(&genuine, target).unwrap();
            }
            one.send(&heartbeat(seq));
            let heard = hears.recv_timeout(Duration::from_secs(10));
            assert_eq!(heard, Ok(seq), "the flood hid it");
        }
        let dropped: HashMap<_, _> = two.dropped().collect();
        assert_eq!(dropped["foreign"], 50 * 30);
        assert_eq!(dropped["signature"], 50 * 30);
        assert_eq!(dropped["stranger"], 50 * 30);
        assert_eq!(two.traffic().1, 50);
    }
}
