//! Listeners on unix sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use tandem::clock;
use tandem::net::proxy_header::{self, Header, Parsed};
use tandem::pool::{Protocol, ProxyVersion};
use tandem::proxy::GateId;
use tandem::types::{Address, Endpoint, Reason, UnixPath};

use super::kit::{PATIENCE, Plan, Plane, echo, eventually, read_some, server};

fn bind(plan: &mut Plan, path: &Path) {
    let path = UnixPath::parse(path.to_str().unwrap()).unwrap();
    plan.listener.binds.push(Endpoint::Unix(path));
}

fn come(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(stream: &mut UnixStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn clients_of_a_unix_socket_are_served_beside_those_of_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    bind(&mut plan, &path);
    let plane = Plane::start(plan);
    let sent: Vec<u8> = (0..9_000_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut client = come(&path);
    let mut writer = client.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    eventually("it ends in order", || {
        plane.finished(Reason::ClientClosed) == 1
    });
    let mut other = plane.connect();
    other.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut other, 1), "x");
    // All workers have one accept queue: nobody is left in it or taken twice.
    let mut clients: Vec<_> = (0..100).map(|_| come(&path)).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let text = at.to_string();
        assert_eq!(exchange(client, &text), text);
    }
    assert_eq!(plane.open(), 101);
}

#[test]
fn limits_by_address_are_not_for_those_who_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.listener.deny = vec!["127.0.0.0/8".parse().unwrap()];
    plan.listener.max_per_source = Some(1);
    plan.listener.client_first = true;
    bind(&mut plan, &path);
    let plane = Plane::start(plan);
    let mut clients = [come(&path), come(&path), come(&path)];
    for client in &mut clients {
        assert_eq!(exchange(client, "hello"), "hello");
    }
    // And no address is one that others could take places of.
    assert_eq!(plane.rejected(Reason::Limit), 0);
    let mut denied = plane.connect();
    assert!(super::kit::read_all(&mut denied).1);
    assert_eq!(plane.rejected(Reason::Denied), 1);
}

#[test]
fn who_has_waited_in_the_queue_of_a_unix_socket_is_met_when_it_closes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    bind(&mut plan, &path);
    let plane = Plane::start(plan);
    let mut clients: Vec<_> = (0..50).map(|_| come(&path)).collect();
    plane.workers.unlisten(GateId(3)).unwrap();
    for client in &mut clients {
        assert_eq!(exchange(client, "x"), "x");
    }
    eventually("nobody listens", || UnixStream::connect(&path).is_err());
    plane.workers.shutdown(clock::now()).unwrap();
}

/// What clients say in full.
const END: &[u8] = b"end";

/// A backend that hands over the PROXY header that it gets.
fn hearing() -> (std::net::SocketAddr, Receiver<Vec<u8>>) {
    let (tell, told) = channel();
    let address = server(move |mut stream| {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(END) && stream.read_exact(&mut byte).is_ok() {
            bytes.push(byte[0]);
        }
        tell.send(bytes).unwrap();
        stream.write_all(b".").unwrap();
    });
    (address, told)
}

fn parsed(bytes: &[u8]) -> Header {
    let Ok(Parsed::Done { header, length }) = proxy_header::parse(bytes) else {
        panic!("{bytes:?}");
    };
    assert_eq!(&bytes[length..], END, "and then the client's own");
    header
}

#[test]
fn a_backend_is_told_that_nobody_knows_the_address_of_a_unix_client() {
    let dir = tempfile::tempdir().unwrap();
    for (version, start) in [
        (ProxyVersion::V1, &b"PROXY UNKNOWN\r\n"[..]),
        // Version 2, command PROXY, family UNSPEC, nothing behind.
        (ProxyVersion::V2, b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"),
    ] {
        for is_unix in [false, true] {
            let path = dir.path().join(format!("{version:?}-{is_unix}.sock"));
            let (address, told) = hearing();
            let mut plan = Plan::new(Protocol::Tcp, &[address]);
            if is_unix {
                let file = dir.path().join(format!("{version:?}-backend.sock"));
                forward(UnixListener::bind(&file).unwrap(), address);
                let path = UnixPath::parse(file.to_str().unwrap()).unwrap();
                plan.pool.backends[0].address = Address::Unix(path);
            }
            plan.pool.send_proxy = Some(version);
            bind(&mut plan, &path);
            let _plane = Plane::start(plan);
            come(&path).write_all(END).unwrap();
            let bytes = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(&bytes[..bytes.len() - END.len()], start);
            let header = parsed(&bytes);
            assert_eq!((header.source, header.destination), (None, None));
        }
    }
}

/// Hands on what one connection brings.
fn forward(listener: UnixListener, to: std::net::SocketAddr) {
    std::thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = std::net::TcpStream::connect(to).unwrap();
        let _cut = std::io::copy(&mut from, &mut to);
    });
}

#[test]
fn a_balancer_in_front_names_its_clients_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (address, told) = hearing();
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.send_proxy = Some(ProxyVersion::V2);
    plan.listener.accept_proxy_unix = true;
    plan.listener.deny = vec!["192.0.2.66".parse::<std::net::IpAddr>().unwrap().into()];
    bind(&mut plan, &path);
    let plane = Plane::start(plan);
    let source = "192.0.2.7:1234".parse().unwrap();
    let here = "192.0.2.1:80".parse().unwrap();
    let mut client = come(&path);
    let header = proxy_header::encode(ProxyVersion::V1, source, here);
    client.write_all(&[&header[..], END].concat()).unwrap();
    let named = parsed(&told.recv_timeout(PATIENCE).unwrap());
    assert_eq!(
        (named.source, named.destination),
        (Some(source), Some(here))
    );
    // One that speaks for itself has no address still.
    let mut client = come(&path);
    client.write_all(b"PROXY UNKNOWN\r\nend").unwrap();
    let named = parsed(&told.recv_timeout(PATIENCE).unwrap());
    assert_eq!(named.source, None);
    let denied = "192.0.2.66:1234".parse().unwrap();
    let mut client = come(&path);
    client
        .write_all(&proxy_header::encode(ProxyVersion::V2, denied, here))
        .unwrap();
    eventually("the named are denied as the others", || {
        plane.finished(Reason::Denied) == 1
    });
    let mut client = come(&path);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    eventually("and the header is required", || {
        plane.finished(Reason::BadProxyHeader) == 1
    });
}
