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

#[test]
fn the_name_has_the_holders_addresses() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, A);
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_desired);
    assert!(!reply.metadata.recursion_available && !reply.metadata.truncation);
    assert_eq!(texts(&reply.answers), ["lb.example.com. 5 A 192.0.2.1"]);
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty());
    assert!(reply.edns.is_none(), "no OPT without an OPT");
    let reply = rig.ask(ZONE, AAAA);
    assert_eq!(
        texts(&reply.answers),
        ["lb.example.com. 5 AAAA 2001:db8::1"]
    );
    let reply = rig.ask("lb2.east.lb.example.com", A);
    assert_eq!(
        texts(&reply.answers),
        ["lb2.east.lb.example.com. 3600 A 192.0.2.2"]
    );
    let reply = rig.ask("_tandem.lb.example.com", TXT);
    let RData::TXT(text) = &reply.answers[0].data else {
        panic!("{reply}");
    };
    let words = [&b"term=17"[..], b"holder=lb1"];
    assert!(text.txt_data.iter().map(|it| &it[..]).eq(words));
}

#[test]
fn a_publication_is_seen_by_the_next_query() {
    let rig = Rig::new();
    for term in 1..100 {
        let (holder, address) = match term % 2 {
            0 => ("lb1", "192.0.2.1"),
            _ => ("lb2.east", "192.0.2.2"),
        };
        rig.publish(term, holder, &Mode::Single);
        let reply = rig.ask(ZONE, A);
        assert!(texts(&reply.answers)[0].ends_with(address));
        let soa = rig.ask(ZONE, SOA);
        let serial = format!(" {} 60 10 3600 1", term << 8);
        assert!(texts(&soa.answers)[0].ends_with(&serial), "{soa}");
    }
    assert_eq!(rig.dns.show().unwrap().records().len(), 8);
}

#[test]
fn before_the_first_publication_resolvers_are_sent_on() {
    let settings = Rig::new().settings;
    let dns = Dns::start(&settings, Sink::nowhere()).unwrap();
    assert_eq!(dns.show(), None);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let query = query(ZONE, A, IN, &[OPT]);
    client.send_to(&query, dns.addresses()[0]).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(rcode(&reply[..length]), 2);
    assert_eq!(reply[11], 1, "a resolver must not take it for EDNS trouble");
}

#[test]
fn active_active_gives_all_addresses_in_turn() {
    let rig = Rig::new();
    let names = ["lb1", "lb2.east"].map(|it| Name::new(it).unwrap());
    let functional = names.to_vec();
    rig.publish(1, "lb1", &Mode::ActiveActive { functional });
    let mut firsts = Vec::new();
    for _ in 0..4 {
        let reply = rig.ask(ZONE, A);
        assert_eq!(reply.answers.len(), 2);
        firsts.push(reply.answers[0].data.to_string());
    }
    assert_eq!(firsts[0], firsts[2]);
    assert_ne!(firsts[0], firsts[1]);
}

#[test]
fn what_is_not_there_is_denied_with_the_soa() {
    let rig = Rig::new();
    let soa = "lb.example.com. 1 SOA lb1.lb.example.com. \
               hostmaster.lb.example.com. 4352 60 10 3600 1";
    for (name, kind, code) in [
        (ZONE, TXT, ResponseCode::NoError),
        (ZONE, 65, ResponseCode::NoError),
        (ZONE, 43, ResponseCode::NoError),
        (ZONE, 65_280, ResponseCode::NoError),
        ("lb2.east.lb.example.com", AAAA, ResponseCode::NoError),
        // A name that exists only because there is one below it.
        ("east.lb.example.com", A, ResponseCode::NoError),
        ("east.lb.example.com", ANY, ResponseCode::NoError),
        ("nobody.lb.example.com", A, ResponseCode::NXDomain),
        ("x.lb1.lb.example.com", A, ResponseCode::NXDomain),
        ("*.lb.example.com", A, ResponseCode::NXDomain),
        ("nobody.lb.example.com", ANY, ResponseCode::NXDomain),
    ] {
        let reply = rig.ask(name, kind);
        assert_eq!(reply.metadata.response_code, code, "{name} {kind}");
        assert!(reply.metadata.authoritative);
        assert!(reply.answers.is_empty());
        assert_eq!(texts(&reply.authorities), [soa], "{name} {kind}");
    }
}

#[test]
fn the_name_servers_come_with_their_addresses() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, NS);
    assert_eq!(
        texts(&reply.answers),
        [
            "lb.example.com. 3600 NS lb1.lb.example.com.",
            "lb.example.com. 3600 NS lb2.east.lb.example.com."
        ]
    );
    assert_eq!(
        texts(&reply.additionals),
        [
            "lb1.lb.example.com. 3600 A 192.0.2.1",
            "lb1.lb.example.com. 3600 AAAA 2001:db8::1",
            "lb2.east.lb.example.com. 3600 A 192.0.2.2"
        ]
    );
    assert!(reply.metadata.authoritative);
}

#[test]
fn any_is_answered_with_one_set() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, ANY);
    assert_eq!(texts(&reply.answers), ["lb.example.com. 5 A 192.0.2.1"]);
    assert!(reply.additionals.is_empty() && reply.authorities.is_empty());
}

#[test]
fn what_is_not_ours_is_refused() {
    let rig = Rig::new();
    for (name, kind, class, code) in [
        ("example.com", A, IN, 5),
        ("example.org", A, IN, 5),
        ("xlb.example.com", A, IN, 5),
        (".", NS, IN, 5),
        ("version.bind", TXT, 3, 5),
        (ZONE, A, 3, 5),
        (ZONE, A, 255, 5),
        (ZONE, 252, IN, 5),
        (ZONE, 251, IN, 5),
        (ZONE, 250, IN, 4),
        (ZONE, 249, IN, 4),
        (ZONE, 41, IN, 1),
    ] {
        let reply = rig.send(&query(name, kind, class, &[]));
        assert_eq!(rcode(&reply), code, "{name} {kind} {class}");
        assert_eq!(reply[2] & 0x04, 0, "not authoritative");
        assert_eq!(reply[6..12], [0; 6], "no records: {name} {kind} {class}");
    }
    let mut stream = rig.connect();
    let reply = exchange(&mut stream, &query(ZONE, 252, IN, &[]));
    assert_eq!(rcode(&reply.unwrap()), 5, "AXFR over TCP");
}

#[test]
fn only_queries_are_understood() {
    let rig = Rig::new();
    // Inverse query, status, unassigned, notify, update, DSO, the last one.
    for opcode in [1, 2, 3, 4, 5, 6, 15] {
        let mut raw = query(ZONE, SOA, IN, &[OPT]);
        raw[2] = opcode << 3;
        let reply = rig.send(&raw);
        assert_eq!(rcode(&reply), 4);
        assert_eq!(reply[2] >> 3 & 0x0f, opcode);
        assert_eq!(reply[11], 1, "EDNS is answered with EDNS");
    }
    // A dynamic update that would delete the name.
    let mut update = query(ZONE, SOA, IN, &[]);
    (update[2], update[9]) = (5 << 3, 2);
    update.extend([&question(ZONE, A, 255)[..], &[0; 6]].concat().repeat(2));
    assert_eq!(rcode(&rig.send(&update)), 4);
    assert_eq!(rig.dns.counts().of("notimp"), 8);
    assert_eq!(texts(&rig.ask(ZONE, A).answers).len(), 1, "nothing changed");
}

#[test]
fn edns_is_answered_and_its_future_declined() {
    let rig = Rig::new();
    let ask = |opt: &[u8]| {
        let reply = rig.send(&query(ZONE, A, IN, &[opt]));
        Message::from_vec(&reply).unwrap()
    };
    let reply = ask(OPT);
    let edns = reply.edns.as_ref().unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert!(!edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
    assert_eq!(reply.answers.len(), 1);

    let reply = ask(&[0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
    assert!(reply.edns.as_ref().unwrap().flags().dnssec_ok, "DO is kept");

    let reply = ask(&[0, 0, 41, 16, 0, 0, 1, 0, 0, 0, 0]);
    // BADVERS, which shares its number with BADSIG.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.as_ref().unwrap().version(), 0);
    assert!(reply.answers.is_empty() && reply.authorities.is_empty());

    // NSID, a cookie, and one that nobody knows.
    let options: &[u8] = &[
        0, 3, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 1, 9,
    ];
    let length = u8::try_from(options.len()).unwrap();
    let reply = ask(&[&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, length], options].concat());
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.edns.unwrap().options().as_ref().is_empty());

    let mut nothing = rig.send(&query("nobody.lb.example.com", A, IN, &[OPT]));
    assert!(Message::from_vec(&nothing).unwrap().edns.is_some());
    nothing = rig.send(&query("example.org", A, IN, &[OPT]));
    assert!(Message::from_vec(&nothing).unwrap().edns.is_some());
}

#[test]
fn broken_queries_get_formerr() {
    let rig = Rig::new();
    let with_count = |count: u16| {
        let mut raw = query(ZONE, A, IN, &[]);
        raw[4..6].copy_from_slice(&count.to_be_bytes());
        raw
    };
    let mut two = with_count(2);
    two.extend(question(ZONE, AAAA, IN));
    let header = query(ZONE, A, IN, &[])[..12].to_vec();
    let with_name = |name: &[u8]| [&header, name, &[0, 1, 0, 1]].concat();
    let mut cut = query(ZONE, A, IN, &[]);
    cut.pop();
    let mut missing_opt = query(ZONE, A, IN, &[]);
    missing_opt[11] = 1;
    for (what, raw) in [
        ("no question", with_count(0)),
        ("two questions", two),
        ("65,535 questions", with_count(65_535)),
        ("only a header", header.clone()),
        ("a name that is its own end", with_name(&[0xc0, 12])),
        ("a name that points ahead", with_name(&[0xc0, 40])),
        ("a loop of two names", with_name(&[1, b'a', 0xc0, 12])),
        ("an unknown label type", with_name(&[0x80, 1, 0])),
        ("a long name", with_name(&[&[63; 64][..]; 4].concat())),
        ("a cut question", cut),
        ("an OPT that is not there", missing_opt),
        ("two OPTs", query(ZONE, A, IN, &[OPT, OPT])),
        ("four additional records", query(ZONE, A, IN, &[OPT; 4])),
    ] {
        let reply = rig.send(&raw);
        assert_eq!(rcode(&reply), 1, "{what}");
        assert!(reply.len() <= raw.len(), "{what}: no amplifier");
    }
}

#[test]
fn answers_and_fragments_are_met_with_silence() {
    let rig = Rig::new();
    let mut answer = query(ZONE, A, IN, &[]);
    answer[2] |= 0x80;
    let own = rig.send(&query(ZONE, A, IN, &[]));
    let failure = [0xab, 0xcd, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let garbage = [0xff; 300];
    rig.assert_silent(&[&answer, &own, &failure, &garbage]);
    let short = query(ZONE, A, IN, &[]);
    rig.assert_silent(&[&short[..11], &short[..2], &short[..1], &[]]);
    assert_eq!(rig.dns.counts().of("no_query"), 8);

    let mut stream = rig.connect();
    let silence = exchange(&mut stream, &answer).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::UnexpectedEof, "TCP: closed");
}

#[test]
fn two_servers_do_not_talk_to_each_other() {
    let rig = Rig::new();
    let twin = Rig::new();
    // A query that claims to come from the twin's server port.
    let forger = &rig.client;
    let own = rig.dns.addresses()[0];
    drop(twin.dns);
    let spoofed = UdpSocket::bind(twin.client.peer_addr().unwrap()).unwrap();
    spoofed.set_read_timeout(Some(PATIENCE)).unwrap();
    spoofed.send_to(&query("x.", A, IN, &[]), own).unwrap();
    let mut reply = [0; 512];
    let length = spoofed.recv(&mut reply).unwrap();
    // The twin would get this; sent back, it ends here.
    forger.send(&reply[..length]).unwrap();
    rig.assert_silent(&[&reply[..length]]);
}

#[test]
fn the_case_of_the_question_comes_back() {
    let rig = Rig::new();
    let raw = query("Lb.eXAMPLE.cOM", A, IN, &[]);
    let reply = rig.send(&raw);
    assert_eq!(reply[12..raw.len()], raw[12..]);
    assert_eq!(rcode(&reply), 0);
    let reply = rig.send(&query("NOBODY.Lb.eXAMPLE.cOM", A, IN, &[]));
    assert_eq!(rcode(&reply), 3);
}

#[test]
fn an_answer_fits_what_the_client_can_take() {
    let rig = Rig::with(|settings| {
        settings.nodes = (1..=40_u8)
            .map(|n| {
                let name = Name::new(&format!("{}{n}", "node-".repeat(8))).unwrap();
                let addresses = (1..=2).map(|m| IpAddr::from([10, 0, m, n])).collect();
                Node::new(&settings.zone, name, addresses).unwrap()
            })
            .collect();
    });
    let truncated = |extra: &[&[u8]], most: usize, kind| {
        let reply = rig.send(&query(ZONE, kind, IN, extra));
        assert!(reply.len() <= most, "{} > {most}", reply.len());
        let message = Message::from_vec(&reply).unwrap();
        assert_eq!(message.edns.is_some(), !extra.is_empty(), "OPT is kept");
        message.metadata.truncation
    };
    assert!(truncated(&[], 512, NS));
    assert!(truncated(&[OPT], 1232, NS), "4096 is more than we send");
    let tiny = &[0, 0, 41, 0, 100, 0, 0, 0, 0, 0, 0];
    assert!(truncated(&[tiny], 512, A), "below 512 means 512");
    // 80 addresses of 30 bytes do not fit, and over TCP everything does.
    assert!(truncated(&[OPT], 1232, A));
    let mut stream = rig.connect();
    let reply = exchange(&mut stream, &query(ZONE, NS, IN, &[])).unwrap();
    let message = Message::from_vec(&reply).unwrap();
    assert!(!message.metadata.truncation);
    assert_eq!((message.answers.len(), message.additionals.len()), (40, 80));
}

#[test]
fn glue_that_does_not_fit_is_left_out_without_a_fuss() {
    let rig = Rig::with(|settings| {
        settings.nodes = (1..=8_u8)
            .map(|n| {
                let name = Name::new(&format!("node-{n}")).unwrap();
                let addresses = (1..=8).map(|m| IpAddr::from([10, 0, m, n])).collect();
                Node::new(&settings.zone, name, addresses).unwrap()
            })
            .collect();
    });
    let reply = rig.ask(ZONE, NS);
    assert!(!reply.metadata.truncation);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (8, 0));
}

#[test]
fn tcp_answers_one_question_after_the_other() {
    let rig = Rig::new();
    let mut stream = rig.connect();
    for kind in [A, AAAA, SOA, NS] {
        let reply = exchange(&mut stream, &query(ZONE, kind, IN, &[])).unwrap();
        assert_eq!(rcode(&reply), 0);
    }
    // Two at once, and one byte at a time.
    let one = query(ZONE, A, IN, &[OPT]);
    let length = u16::try_from(one.len()).unwrap().to_be_bytes();
    let message = [&length[..], &one].concat();
    stream
        .write_all(&[&message[..], &message].concat())
        .unwrap();
    read_reply(&mut stream).unwrap();
    read_reply(&mut stream).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in message {
        stream.write_all(&[byte]).unwrap();
    }
    read_reply(&mut stream).unwrap();
}

#[test]
fn tcp_clients_have_a_number_and_a_deadline() {
    let rig = Rig::with(|settings| {
        settings.tcp_clients = 8;
        settings.tcp_idle = Duration::from_secs(1);
    });
    let mut held: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for stream in &mut held {
        exchange(stream, &query(ZONE, A, IN, &[])).unwrap();
    }
    assert_eq!(rig.dns.counts().tcp_clients, 2);
    // The third from this network is one too many.
    let mut third = rig.connect();
    assert!(exchange(&mut third, &query(ZONE, A, IN, &[])).is_err());
    assert_eq!(rig.dns.counts().of("tcp_limit"), 1);
    // A half-sent message holds a place no longer than silence.
    held[0].write_all(&[0, 30, 1]).unwrap();
    for stream in &mut held {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    }
    eventually("the places come back", || rig.dns.counts().tcp_clients == 0);
    let mut fourth = rig.connect();
    exchange(&mut fourth, &query(ZONE, A, IN, &[])).unwrap();
    // A message that claims to be longer than any query is not waited for.
    fourth.write_all(&[0xff, 0xff, 0]).unwrap();
    assert_eq!(fourth.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    assert_eq!(rcode(&rig.send(&query(ZONE, A, IN, &[]))), 0);
}

#[test]
fn a_source_over_its_rate_is_limited_and_recovers() {
    let rig = Rig::with(|settings| settings.per_source_qps = 20);
    let query = query(ZONE, A, IN, &[OPT]);
    for _ in 0..200 {
        rig.client.send(&query).unwrap();
    }
    let counted = || {
        let counts = rig.dns.counts();
        ["noerror", "source_limit", "told_tcp"].map(|it| counts.of(it))
    };
    eventually("200 are counted", || counted().iter().sum::<u64>() == 200);
    let [answered, dropped, told] = counted();
    assert!((20..=120).contains(&answered), "{answered}");
    assert!(told.abs_diff(dropped / 3) <= 1, "{told} of {dropped}");
    // What comes back is either a full answer or "use TCP".
    let mut reply = [0; 512];
    let mut truncated = 0;
    for _ in 0..answered + told {
        let length = rig.client.recv(&mut reply).unwrap();
        if reply[2] & 0x02 != 0 {
            truncated += 1;
            assert!(length < query.len());
        }
    }
    assert_eq!(truncated, told);
    // TCP has a rate of its own, and the rate comes back.
    exchange(&mut rig.connect(), &query).unwrap();
    rig.client.set_read_timeout(Some(SILENCE)).unwrap();
    eventually("the rate comes back", || {
        rig.client.send(&query).unwrap();
        let received = rig.client.recv(&mut reply);
        received.is_ok() && reply[2] & 0x02 == 0
    });
}

#[test]
fn everybody_together_is_limited() {
    let rig = Rig::with(|settings| settings.global_qps = 10);
    let query = query(ZONE, A, IN, &[]);
    for _ in 0..100 {
        rig.client.send(&query).unwrap();
    }
    let counts = || rig.dns.counts();
    eventually("100 are counted", || {
        counts().of("noerror") + counts().of("global_limit") == 100
    });
    assert!(counts().of("noerror") <= 60, "{:?}", counts());
}

#[test]
fn noise_does_not_kill_it() {
    let rig = Rig::new();
    let mut rng = Seed(4).rng();
    let good = query(ZONE, A, IN, &[OPT]);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.connect(rig.dns.addresses()[0]).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = || {
        other.send(&good).unwrap();
        other.recv(&mut [0; 512]).unwrap();
    };
    for round in 0..10_000 {
        let mut raw = good.clone();
        if round % 2 == 0 {
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..raw.len());
                raw[at] = rng.random();
            }
        } else {
            // Noise behind a header that passes the gate.
            raw.truncate(12);
            raw[11] = rng.random_range(0..4);
            let length = rng.random_range(0..600);
            raw.extend((0..length).map(|_| rng.random::<u8>()));
        }
        rig.client.send(&raw).unwrap();
        if round % 100 == 0 {
            // Every byte of it has been looked at, and it still answers.
            answers();
            assert_eq!(rig.dns.counts().of("fault"), 0, "round {round}");
        }
    }
    let mut stream = rig.connect();
    let noise: Vec<u8> = (0..100_000).map(|_| rng.random()).collect();
    // The server may close before it has read all of it.
    let _written = stream.write_all(&noise);
    answers();
    assert_eq!(rig.dns.counts().of("fault"), 0);
}

#[test]
fn a_wildcard_address_is_declined_with_the_reason() {
    let mut settings = Rig::new().settings;
    for any in ["0.0.0.0:0", "[::]:0"] {
        settings.binds = vec![any.parse().unwrap()];
        let error = Dns::start(&settings, Sink::nowhere()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(any) && text.contains("name each address"));
    }
    settings.binds.clear();
    assert!(Dns::start(&settings, Sink::nowhere()).is_err());
}

#[test]
fn it_answers_from_the_address_that_was_asked_and_frees_it_at_its_end() {
    let ports = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
    let rig = Rig::with(|settings| {
        settings.binds = ports.map(|it| it.parse().unwrap()).to_vec();
    });
    let addresses = rig.dns.addresses().to_vec();
    for address in &addresses {
        // Connected: an answer from elsewhere would not be received.
        rig.client.connect(address).unwrap();
        assert_eq!(rcode(&rig.send(&query(ZONE, A, IN, &[]))), 0);
    }
    let settings = ServeSettings {
        binds: addresses,
        ..rig.settings.clone()
    };
    let error = Dns::start(&settings, Sink::nowhere()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(rig);
    Dns::start(&settings, Sink::nowhere()).unwrap();
}

#[test]
fn it_answers_over_ipv6_where_there_is_any() {
    let Ok(client) = UdpSocket::bind("[::1]:0") else {
        return;
    };
    let rig = Rig::with(|settings| settings.binds.push("[::1]:0".parse().unwrap()));
    client.connect(rig.dns.addresses()[1]).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(&query(ZONE, A, IN, &[])).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(rcode(&reply[..length]), 0);
    let mut stream = TcpStream::connect(rig.dns.addresses()[1]).unwrap();
    exchange(&mut stream, &query(ZONE, A, IN, &[])).unwrap();
    assert!(rig.dns.is_running());
}
