//! Connect, and leave without a trace.
//!
//! The connection is ended by a reset. On Linux the last packet of the
//! handshake is held back (`TCP_QUICKACK` off), so that the reset comes in its
//! place: the server's kernel has answered, and the server's process never
//! hears of us. It has nothing to accept, to log or to count.

use super::outcome::Stop;
use super::stream::{Stage, connect, introduce, open};
use super::{Outcome, Target};
use crate::types::Endpoint;

pub(super) async fn run(target: &Target, stage: &Stage) -> Result<Outcome, Stop> {
    let address = match &target.address {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(_) => {
            // There is no handshake to break off: the server accepts a
            // connection that ends at once.
            connect(target, stage).await?;
            return Ok(Outcome::Pass);
        }
    };
    let socket = open(address, stage)?;
    socket
        .set_zero_linger()
        .map_err(|error| Stop::of_io("set SO_LINGER", &error))?;
    // Without it the probe works too, only less quietly.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_quickack(&socket, false);
    let connected = socket.connect(address).await;
    let mut stream = connected.map_err(|error| Stop::of_connect(&target.address, &error))?;
    stage.connected();
    introduce(&mut stream, target).await?;
    Ok(Outcome::Pass)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::super::kit::{self, reason};
    use super::super::{FailureReason, Outcome, Probe};
    use crate::health::ProbeKind;
    use crate::types::ProxyVersion;

    #[tokio::test]
    async fn an_open_port_passes_and_a_closed_one_is_refused() {
        let (listener, target) = kit::listener().await;
        let mut probe = Probe::new(&kit::settings(ProbeKind::Tcp));
        assert_eq!(probe.run(&target).await, Outcome::Pass);
        drop(listener);
        let outcome = probe.run(&target).await;
        assert_eq!(reason(&outcome), FailureReason::ConnectRefused);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_server_never_hears_of_the_probe() {
        let (listener, target) = kit::listener().await;
        let mut probe = Probe::new(&kit::settings(ProbeKind::Tcp));
        assert_eq!(probe.run(&target).await, Outcome::Pass);
        let accepted = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(accepted.is_err(), "the server accepted {accepted:?}");
    }

    #[tokio::test]
    async fn the_proxy_header_goes_first() {
        let (listener, mut target) = kit::listener().await;
        target.send_proxy = Some(ProxyVersion::V1);
        let mut probe = Probe::new(&kit::settings(ProbeKind::Tcp));
        let (outcome, received) = tokio::join!(probe.run(&target), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 15];
            // The reset may overtake the data.
            stream.read_exact(&mut buffer).await.map(|_| buffer)
        });
        assert_eq!(outcome, Outcome::Pass);
        if let Ok(buffer) = received {
            assert_eq!(&buffer, b"PROXY UNKNOWN\r\n");
        }
    }

    #[tokio::test]
    async fn a_full_accept_queue_times_out() {
        let (_listener, _fillers, target) = kit::black_hole().await;
        let mut probe = Probe::new(&kit::settings(ProbeKind::Tcp));
        let before = crate::clock::now();
        let outcome = probe.run(&target).await;
        assert_eq!(reason(&outcome), FailureReason::ConnectTimeout);
        assert!(crate::clock::now().since(before) < Duration::from_secs(2));
    }
}
