//! What the tests of the probes share.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{FailureReason, Outcome, Target};
use crate::health::{ProbeKind, ProbeSettings, Timing};
use crate::types::{Endpoint, Name, Sources};

pub(crate) fn settings(kind: ProbeKind) -> ProbeSettings {
    ProbeSettings {
        kind,
        port: None,
        timing: Timing {
            timeout: Duration::from_millis(500),
            ..Timing::default()
        },
        is_hushed: false,
    }
}

pub(crate) fn target(address: SocketAddr) -> Target {
    Target {
        pool: Name::new("p").unwrap(),
        backend: Name::new("b").unwrap(),
        is_clients_port: true,
        host: address.ip().to_string(),
        address: Endpoint::Tcp(address),
        sources: Sources::default(),
        send_proxy: None,
    }
}

pub(crate) async fn listener() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap());
    (listener, target)
}

/// A listener whose accept queue is full: the kernel drops our SYN.
pub(crate) async fn black_hole() -> (TcpListener, Vec<TcpStream>, Target) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        fillers.push(stream);
    }
    (listener, fillers, target(address))
}

pub(crate) fn reason(outcome: &Outcome) -> FailureReason {
    let Outcome::Fail(failure) = outcome else {
        panic!("{outcome:?}");
    };
    failure.reason
}
