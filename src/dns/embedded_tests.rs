//! Queries as bytes, over real sockets, and what comes back.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_server::proto::op::{Message, ResponseCode};
use hickory_server::proto::rr::{RData, Record as Wire};
use rand::RngExt;

use super::*;
use crate::clock::{self, Seed};
use crate::event::Sink;
use crate::types::{Claim, Fqdn, Name, Term};

mod limits;
mod queries;
mod sockets;
mod zone;

const ZONE: &str = "lb.example.com";
const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const IN: u16 = 1;
/// An OPT record: version 0, room for 4096 bytes.
const OPT: &[u8] = &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(150);

struct Rig {
    dns: Dns,
    settings: ServeSettings,
    client: UdpSocket,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServeSettings)) -> Self {
        let zone = Fqdn::parse(ZONE).unwrap();
        let node = |name: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            Node::new(&zone, Name::new(name).unwrap(), addresses).unwrap()
        };
        let nodes = vec![
            node("lb1", &["192.0.2.1", "2001:db8::1"]),
            node("lb2.east", &["192.0.2.2"]),
        ];
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut settings = ServeSettings::new(zone, nodes, vec![loopback]);
        settings.per_source_qps = 1_000_000;
        settings.global_qps = 1_000_000;
        change(&mut settings);
        let dns = Dns::start(&settings, Sink::nowhere()).unwrap();
        let client = UdpSocket::bind(loopback).unwrap();
        client.connect(dns.addresses()[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let rig = Self {
            dns,
            settings,
            client,
        };
        rig.publish(17, "lb1", &Mode::Single);
        rig
    }

    fn publish(&self, term: u64, holder: &str, mode: &Mode) {
        let claim = Claim {
            term: Term(term),
            holder: Name::new(holder).unwrap(),
            nonce: 0,
        };
        self.dns.publish(Zone::of(&self.settings, &claim, mode, 0));
    }

    fn send(&self, query: &[u8]) -> Vec<u8> {
        self.client.send(query).unwrap();
        let mut buffer = [0; 65_536];
        let length = self.client.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..2], query[..2], "the id comes back");
        buffer[..length].to_vec()
    }

    fn ask(&self, name: &str, kind: u16) -> Message {
        let reply = self.send(&query(name, kind, IN, &[]));
        Message::from_vec(&reply).unwrap()
    }

    /// Sends all of `messages`, then a good query: only that is answered.
    fn assert_silent(&self, messages: &[&[u8]]) {
        for message in messages {
            self.client.send(message).unwrap();
        }
        let mut good = query(ZONE, A, IN, &[]);
        good[..2].copy_from_slice(&[0xfe, 0xed]);
        self.send(&good);
        self.client.set_read_timeout(Some(SILENCE)).unwrap();
        let more = self.client.recv(&mut [0; 512]);
        assert_eq!(more.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        self.client.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.dns.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A query with RD set, and `extra` as its additional records.
fn query(name: &str, kind: u16, class: u16, extra: &[&[u8]]) -> Vec<u8> {
    let mut raw = vec![0xbe, 0xef, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    raw[11] = u8::try_from(extra.len()).unwrap();
    raw.extend(question(name, kind, class));
    raw.extend(extra.concat());
    raw
}

fn question(name: &str, kind: u16, class: u16) -> Vec<u8> {
    let mut raw = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        raw.push(u8::try_from(label.len()).unwrap());
        raw.extend(label.bytes());
    }
    raw.push(0);
    raw.extend(kind.to_be_bytes());
    raw.extend(class.to_be_bytes());
    raw
}

fn rcode(reply: &[u8]) -> u8 {
    assert_eq!(reply[2] & 0x80, 0x80, "it is an answer");
    reply[3] & 0x0f
}

/// The records as text, sorted.
fn texts(records: &[Wire]) -> Vec<String> {
    let text = |it: &Wire| format!("{} {} {} {}", it.name, it.ttl, it.record_type(), it.data);
    let mut texts: Vec<_> = records.iter().map(text).collect();
    texts.sort();
    texts
}

fn exchange(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, query].concat())?;
    read_reply(stream)
}

fn read_reply(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = clock::now();
    while !condition() {
        assert!(clock::now().since(start) < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}
