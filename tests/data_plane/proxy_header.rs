use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use tandem::net::proxy_header::{self, Parsed};
use tandem::pool::{Protocol, ProxyVersion};
use tandem::types::Reason;

use super::kit::{PATIENCE, Plan, Plane, echo, read_all, read_some, server};

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
