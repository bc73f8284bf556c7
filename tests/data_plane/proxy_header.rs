use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::time::Duration;

use tandem::config::{Config, Process};
use tandem::net::proxy_header::{self, Parsed};
use tandem::pool::{Protocol, ProxyVersion};
use tandem::types::{BadHeader, Endpoint, Reason};

use super::kit::{PATIENCE, Plan, Plane, echo, eventually, read_all, read_some, server};

fn accepting() -> Plan {
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.listener.accept_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    plan.listener.proxy_header_timeout = Duration::from_millis(300);
    plan
}

#[test]
fn a_header_is_taken_off_and_what_follows_is_relayed() {
    let plane = Plane::start(accepting());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let source = "192.0.2.1:1000".parse().unwrap();
        let mut bytes = proxy_header::encode(version, source, plane.front);
        bytes.extend_from_slice(b"early");
        let mut client = plane.connect();
        // In two pieces: the header may be cut anywhere.
        client.write_all(&bytes[..7]).unwrap();
        std::thread::park_timeout(Duration::from_millis(20));
        client.write_all(&bytes[7..]).unwrap();
        assert_eq!(read_some(&mut client, 5), "early");
    }
}

#[test]
fn a_bad_or_late_header_is_refused_and_counted() {
    let plane = Plane::start(accepting());
    let mut client = plane.connect();
    client
        .write_all(b"PROXY TCP4 999.0.2.1 1.2.3.4 1 2\r\n")
        .unwrap();
    assert_eq!(read_all(&mut client), (vec![], true));
    let mut silent = plane.connect();
    assert_eq!(read_all(&mut silent), (vec![], true));
    assert_eq!(plane.rejected(Reason::BadProxyHeader), 2);
    assert_eq!(plane.finished(Reason::BadProxyHeader), 2);
}

/// A version 2 header for an IPv4 client, with an extension that makes what
/// follows the fixed part `length` bytes long.
fn v2(length: u16) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend([192, 0, 2, 1, 198, 51, 100, 2, 0x0f, 0xa0, 0, 80]);
    // A client's certificate, as HAProxy sends it (PP2_TYPE_SSL).
    bytes.push(0x20);
    bytes.extend((length - 15).to_be_bytes());
    bytes.resize(16 + usize::from(length), b'c');
    bytes
}

#[test]
fn a_header_may_carry_a_clients_certificate_and_all_that_its_length_can_say() {
    let mut plan = accepting();
    plan.listener.proxy_header_timeout = PATIENCE;
    let plane = Plane::start(plan);
    for length in [2_600, 4_096, u16::MAX] {
        let bytes = [v2(length), b"early".to_vec()].concat();
        for piece in [bytes.len(), 1_000] {
            let mut client = plane.connect();
            client.set_nodelay(true).unwrap();
            for piece in bytes.chunks(piece) {
                client.write_all(piece).unwrap();
            }
            assert_eq!(read_some(&mut client, 5), "early", "{length}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_header_is_counted_by_its_name() {
    let plane = Plane::start(accepting());
    let with = |at: usize, byte: u8| {
        let mut bytes = v2(20);
        bytes[at] = byte;
        bytes
    };
    let line = |line: &str| line.as_bytes().to_vec();
    let mut checksum = v2(19);
    checksum[28..31].copy_from_slice(&[3, 0, 4]);
    let inputs = [
        (
            BadHeader::Address,
            line("PROXY TCP4 999.0.2.1 1.2.3.4 1 2\r\n"),
        ),
        (BadHeader::Checksum, checksum),
        (BadHeader::Command, with(12, 0x22)),
        (BadHeader::Family, with(13, 0x41)),
        (BadHeader::Malformed, line("PROXY TCP4 1.2.3.4\r\n")),
        (BadHeader::Missing, line("GET / HTTP/1.1\r\n")),
        (BadHeader::TooLong, line(&"PROXY UNKNOWN ".repeat(8))),
        (BadHeader::TooShort, with(15, 11)),
        (BadHeader::Version, with(12, 0x11)),
        (BadHeader::Late, line("PROXY TCP4 1")),
    ];
    for (why, bytes) in &inputs {
        let mut client = plane.connect();
        client.write_all(bytes).unwrap();
        assert_eq!(read_all(&mut client), (vec![], true), "{why:?}");
        assert_eq!(plane.bad_headers(*why), 1, "{why:?}");
    }
    let mut client = plane.connect();
    client.write_all(b"PROXY").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), (vec![], true));
    assert_eq!(plane.bad_headers(BadHeader::Cut), 1);
    let all = inputs.len() as u64 + 1;
    assert_eq!(plane.finished(Reason::BadProxyHeader), all);
    assert_eq!(plane.rejected(Reason::BadProxyHeader), all);
}

/// Whoever sends headers and never ends them holds 64 MiB and no more.
#[test]
fn unfinished_headers_have_a_bound_together_and_give_it_back() {
    const CLIENTS: usize = 1_300;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let mut plan = accepting();
    plan.listener.proxy_header_timeout = 6 * PATIENCE;
    let plane = Plane::start(plan);
    let bytes = v2(u16::MAX);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = plane.connect();
            // Who is refused already is reset.
            let _refused = client.write_all(&bytes[..60_000]);
            client
        })
        .collect();
    eventually("some are refused", || plane.rejected(Reason::Limit) > 0);
    drop(clients);
    eventually("the others have gone", || plane.open() == 0);
    // Only now do the counters stand still: a session that is refused counts
    // its fault before its end, and more of them were being refused.
    eventually("each that was refused has ended so", || {
        plane.bad_headers(BadHeader::NoRoom) == plane.finished(Reason::Limit)
    });
    assert_eq!(plane.rejected(Reason::Limit), plane.finished(Reason::Limit));
    let mut client = plane.connect();
    let (start, rest) = bytes.split_at(60_000);
    client.write_all(start).unwrap();
    std::thread::park_timeout(Duration::from_millis(50));
    client.write_all(rest).unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
}

#[test]
fn allow_and_deny_look_at_the_client_behind_the_header() {
    let mut plan = accepting();
    plan.listener.deny = vec!["192.0.2.0/24".parse().unwrap()];
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    client
        .write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
        .unwrap();
    assert_eq!(read_all(&mut client), (vec![], true));
    assert_eq!(plane.rejected(Reason::Denied), 1);
    let mut client = plane.connect();
    client
        .write_all(b"PROXY TCP4 198.51.100.1 192.0.2.2 1000 80\r\nx")
        .unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
}

/// One client, in both spellings of its address, from the file to the socket.
#[test]
fn an_ipv4_client_in_ipv6_form_is_the_same_client() {
    let mut plan = accepting();
    let text = "
listeners:
  front:
    bind: \"[::ffff:127.0.0.1]:1\"
    pool: p
    accept_proxy: [\"::ffff:127.0.0.0/104\"]
    deny: [\"::ffff:192.0.2.9\", \"::ffff:198.51.100.0/120\"]
    max_per_source: 1
pools: { p: { backends: [\"127.0.0.1:9\"] } }
";
    let around = Process {
        folder: ".".into(),
        node: None,
    };
    let config = Config::parse(text, "lb.yaml", &around).unwrap();
    let said = &config.listeners[0];
    let bind = Endpoint::Tcp("127.0.0.1:1".parse().unwrap());
    assert_eq!(said.binds, [bind]);
    plan.listener.accept_proxy.clone_from(&said.accept_proxy);
    plan.listener.deny.clone_from(&said.deny);
    plan.listener.max_per_source = said.max_per_source;
    let plane = Plane::start(plan);
    let from = |line: &str| {
        let mut client = plane.connect();
        // In one piece: who is denied is reset before there could be another.
        client.write_all(format!("{line}x").as_bytes()).unwrap();
        client
    };
    for denied in ["192.0.2.9", "198.51.100.7"] {
        for line in [
            format!("PROXY TCP4 {denied} 192.0.2.2 1 80\r\n"),
            format!("PROXY TCP6 ::ffff:{denied} 2001:db8::1 1 80\r\n"),
        ] {
            assert!(read_all(&mut from(&line)).1, "{line}");
        }
    }
    assert_eq!(plane.rejected(Reason::Denied), 4);
    let mut first = from("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 80\r\n");
    assert_eq!(read_some(&mut first, 1), "x");
    let mut second = from("PROXY TCP4 192.0.2.1 192.0.2.2 2 80\r\n");
    assert_eq!(read_all(&mut second), (vec![], true));
    assert_eq!(plane.rejected(Reason::Limit), 1, "one per source");
}

#[test]
fn backends_are_sent_the_client_and_not_the_balancer() {
    let (told, tell) = channel();
    let address = server(move |mut stream| {
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 512];
            let got = stream.read(&mut some).unwrap();
            bytes.extend_from_slice(&some[..got]);
            if let Parsed::Done { header, length } = proxy_header::parse(&bytes).unwrap() {
                stream.write_all(b"ok").unwrap();
                told.send((header.source, bytes[length..].to_vec()))
                    .unwrap();
                let _cut = stream.read_to_end(&mut Vec::new());
                return;
            }
        }
    });
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut plan = Plan::new(Protocol::Tcp, &[address]);
        plan.pool.send_proxy = Some(version);
        let plane = Plane::start(plan);
        let mut client = plane.connect();
        assert_eq!(read_some(&mut client, 2), "ok");
        let source = tell.recv_timeout(PATIENCE).unwrap().0;
        assert_eq!(source, Some(client.local_addr().unwrap()));
    }
}

#[test]
fn local_in_and_send_out_names_the_sender() {
    let (told, tell) = channel();
    let address = server(move |mut stream| {
        let mut bytes = [0; 28];
        stream.read_exact(&mut bytes).unwrap();
        told.send(proxy_header::parse(&bytes).unwrap()).unwrap();
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.listener.accept_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    plan.pool.send_proxy = Some(ProxyVersion::V2);
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    client
        .write_all(&proxy_header::encode_local(ProxyVersion::V2))
        .unwrap();
    let Parsed::Done { header, .. } = tell.recv_timeout(PATIENCE).unwrap() else {
        panic!("incomplete");
    };
    assert_eq!(header.source, Some(client.local_addr().unwrap()));
}
