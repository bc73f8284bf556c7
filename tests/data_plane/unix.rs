//! Backends on unix sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tandem::pool::{Protocol, ProxyVersion};
use tandem::types::{Address, Reason, UnixPath};

use super::kit::{PATIENCE, Plan, Plane, eventually, nobody, read_all, read_some};

/// Serves each connection to `listener` in a thread of its own.
fn serve(listener: UnixListener, serve: impl Fn(UnixStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
}

fn echo(mut stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    let _cut = std::io::copy(&mut stream, &mut writer);
}

/// A plan whose one backend is at `path`.
fn plan(path: &str) -> Plan {
    let mut plan = Plan::new(Protocol::Tcp, &[nobody()]);
    plan.pool.backends[0].address = Address::Unix(UnixPath::parse(path).unwrap());
    plan
}

#[test]
fn bytes_go_to_a_unix_socket_and_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("echo.sock");
    serve(UnixListener::bind(&file).unwrap(), echo);
    let name = format!("tandem-echo-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    serve(UnixListener::bind_addr(&address).unwrap(), echo);
    for path in [file.to_str().unwrap(), &format!("@{name}")] {
        let plane = Plane::start(plan(path));
        // Enough for the pipes, and more than any buffer on the way.
        let sent: Vec<u8> = (0..9_000_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut client = plane.connect();
        let mut writer = client.try_clone().unwrap();
        let bytes = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let (got, was_reset) = read_all(&mut client);
        writing.join().unwrap();
        assert!(!was_reset);
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        eventually("the session ends", || {
            plane.finished(Reason::ClientClosed) == 1
        });
        // Small messages, in both directions and in turn.
        let mut client = plane.connect();
        for _ in 0..100 {
            client.write_all(b"ping").unwrap();
            assert_eq!(read_some(&mut client, 4), "ping");
        }
    }
}

#[test]
fn a_unix_backend_that_is_gone_refuses_as_a_port_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gone.sock");
    for is_left_behind in [false, true] {
        if is_left_behind {
            drop(UnixListener::bind(&file).unwrap());
        }
        let plane = Plane::start(plan(file.to_str().unwrap()));
        assert_eq!(read_all(&mut plane.connect()), (vec![], true));
        eventually("it is counted", || {
            plane.finished(Reason::ConnectRefused) == 1
        });
    }
}

#[test]
fn what_a_unix_backend_does_reaches_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.sock");
    serve(UnixListener::bind(&file).unwrap(), |mut stream| {
        let mut order = [0; 1];
        stream.read_exact(&mut order).unwrap();
        if order == *b"!" {
            // With an unread byte its end is a reset.
            stream.write_all(b"part").unwrap();
            std::thread::park_timeout(Duration::from_millis(200));
            return;
        }
        stream.write_all(b"bye").unwrap();
    });
    let plane = Plane::start(plan(file.to_str().unwrap()));
    let mut client = plane.connect();
    client.write_all(b"?").unwrap();
    assert_eq!(read_all(&mut client), (b"bye".to_vec(), false));
    drop(client);
    eventually("it ends in order", || {
        plane.finished(Reason::ServerClosed) == 1
    });
    let mut client = plane.connect();
    client.write_all(b"!").unwrap();
    assert_eq!(read_some(&mut client, 4), "part");
    client.write_all(b"unread").unwrap();
    assert!(read_all(&mut client).1, "a reset is passed on as a reset");
    eventually("it is counted", || plane.finished(Reason::ServerReset) == 1);
}

/// A unix socket has no SYN that is sent again: connect(2) says EAGAIN at once
/// when the accept queue is full, and a burst must not lose clients to that.
#[test]
fn a_burst_waits_for_a_full_accept_queue() {
    const CLIENTS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slow.sock");
    let listener = UnixListener::bind(&file).unwrap();
    rustix::net::listen(&listener, 2).unwrap();
    let mut plan = plan(file.to_str().unwrap());
    plan.pool.connect_timeout = PATIENCE;
    plan.pool.connect_budget = PATIENCE;
    let plane = Plane::start(plan);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| plane.connect()).collect();
    eventually("they have come", || plane.active(0) as usize == CLIENTS);
    // They are taken one by one, a little later.
    std::thread::park_timeout(Duration::from_millis(100));
    serve(listener, |mut stream| {
        stream.write_all(b"x").unwrap();
        let _cut = stream.read_to_end(&mut Vec::new());
    });
    for client in &mut clients {
        assert_eq!(read_some(client, 1), "x");
    }
    assert_eq!(plane.refused.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_full_accept_queue_is_a_timeout_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("full.sock");
    let listener = UnixListener::bind(&file).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&file).unwrap();
    let mut plan = plan(file.to_str().unwrap());
    plan.pool.connect_timeout = Duration::from_millis(200);
    plan.pool.connect_budget = Duration::from_millis(200);
    let plane = Plane::start(plan);
    assert_eq!(read_all(&mut plane.connect()), (vec![], true));
    assert_eq!(plane.finished(Reason::ConnectTimeout), 1);
}

#[test]
fn a_unix_backend_is_told_who_its_client_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.sock");
    let (tell, told) = channel();
    serve(UnixListener::bind(&file).unwrap(), move |mut stream| {
        let mut bytes = vec![0; 28];
        stream.read_exact(&mut bytes).unwrap();
        tell.send(bytes).unwrap();
    });
    let mut plan = plan(file.to_str().unwrap());
    plan.pool.send_proxy = Some(ProxyVersion::V2);
    let plane = Plane::start(plan);
    let client = plane.connect();
    let header = told.recv_timeout(PATIENCE).unwrap();
    let parsed = tandem::net::proxy_header::parse(&header).unwrap();
    let tandem::net::proxy_header::Parsed::Done { header, .. } = parsed else {
        panic!("{parsed:?}");
    };
    assert_eq!(header.source, Some(client.local_addr().unwrap()));
}
