use std::net::SocketAddr;
use std::sync::mpsc::channel;

use tandem::pool::Protocol;
use tandem::types::{ConnectFailure, Reason, Sources};

use super::kit::{PATIENCE, Plan, Plane, read_all, read_some, server};

/// A plan whose backend says where its clients come from.
fn telling() -> (Plan, std::sync::mpsc::Receiver<SocketAddr>) {
    let (tell, told) = channel();
    let address = server(move |mut stream| {
        tell.send(stream.peer_addr().unwrap()).unwrap();
        std::io::Write::write_all(&mut stream, b"x").unwrap();
        let _cut = std::io::copy(&mut stream, &mut std::io::sink());
    });
    (Plan::new(Protocol::Tcp, &[address]), told)
}

fn sources(texts: &[&str]) -> Sources {
    Sources::new(texts.iter().map(|it| it.parse().unwrap()).collect())
}

#[test]
fn connections_leave_from_the_sources_in_turn() {
    let (mut plan, told) = telling();
    plan.pool.source = sources(&["127.0.0.5", "127.0.0.6"]);
    let plane = Plane::start(plan);
    for from in ["127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.6"] {
        assert_eq!(read_some(&mut plane.connect(), 1), "x");
        let peer = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(peer.ip().to_string(), from);
    }
}

#[test]
fn a_backends_own_source_goes_before_its_pools() {
    let (mut plan, told) = telling();
    plan.pool.source = sources(&["127.0.0.5"]);
    plan.pool.backends[0].source = sources(&["127.0.0.7"]);
    let plane = Plane::start(plan);
    assert_eq!(read_some(&mut plane.connect(), 1), "x");
    let peer = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.7");
}

/// Better no connection than one from an address that a firewall or a grant
/// does not know.
#[test]
fn no_connection_leaves_from_another_address_than_asked_for() {
    for wrong in ["192.0.2.77", "::1"] {
        let (mut plan, told) = telling();
        plan.pool.source = sources(&[wrong]);
        let plane = Plane::start(plan);
        assert_eq!(read_all(&mut plane.connect()), (vec![], true));
        assert!(told.try_recv().is_err());
        // It said out_of_ports, and for the other family blamed the backend.
        assert_eq!(plane.finished(Reason::NoSource), 1, "{wrong}");
        assert_eq!(plane.rejected(Reason::NoSource), 1, "{wrong}");
        for failure in ConnectFailure::ALL {
            assert_eq!(plane.connect_errors(0, failure), 0, "{wrong}: {failure:?}");
        }
    }
}

/// The same file serves both twins, and a floating address is at one of them.
#[test]
fn a_source_that_is_elsewhere_now_is_passed_over() {
    let (mut plan, told) = telling();
    plan.pool.source = sources(&["192.0.2.77", "127.0.0.6"]);
    let plane = Plane::start(plan);
    for _ in 0..4 {
        assert_eq!(read_some(&mut plane.connect(), 1), "x");
        let peer = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.6");
    }
}
