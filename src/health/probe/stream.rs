//! Connections as probes use them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use super::outcome::Stop;
use super::{Failure, FailureReason, Outcome, Target};
use crate::net::{proxy_header, source, unix};
use crate::types::{Endpoint, Sources, UnixPath};

/// As much of an answer as is looked at.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// Between tries to connect to a unix socket whose accept queue is full.
const AGAIN: Duration = Duration::from_millis(20);

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a probe leaves from, and how far it has come; that decides what its
/// timeout is called.
#[derive(Debug)]
pub(super) struct Stage {
    sources: Sources,
    turn: usize,
    connected: AtomicBool,
    answered: AtomicBool,
}

impl Stage {
    pub(super) fn new(sources: &Sources, turn: usize) -> Self {
        Self {
            sources: sources.clone(),
            turn,
            connected: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        }
    }

    /// From here on the peer is there, and merely slow.
    pub(super) fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    /// From here on all is known that the probe wants to know; what follows is
    /// a polite end.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// What a probe has found that took longer than `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Outcome {
        if self.answered.load(Ordering::Relaxed) {
            return Outcome::Pass;
        }
        let failure = if self.connected.load(Ordering::Relaxed) {
            let detail = format_args!("no answer within {limit:?}");
            Failure::new(FailureReason::Timeout, detail)
        } else {
            let detail = format_args!("not connected within {limit:?}");
            Failure::new(FailureReason::ConnectTimeout, detail)
        };
        Outcome::Fail(failure)
    }
}

/// Connects to `target` and sends the PROXY header, if it wants one.
pub(super) async fn connect(target: &Target, stage: &Stage) -> Result<TcpStream, Stop> {
    let mut stream = match &target.address {
        Endpoint::Tcp(address) => {
            let connected = open(*address, stage)?.connect(*address).await;
            let stream = connected.map_err(|error| Stop::of_connect(&target.address, &error))?;
            // A probe is a few small packets: none may wait for the answer to
            // another.
            let prompt = stream.set_nodelay(true);
            prompt.map_err(|error| Stop::of_io("set TCP_NODELAY", &error))?;
            stream
        }
        Endpoint::Unix(path) => connect_unix(target, path).await?,
    };
    stage.connected();
    introduce(&mut stream, target).await?;
    Ok(stream)
}

/// Connects to a unix socket. The stream is the same type: it is read and
/// written by the same calls.
async fn connect_unix(target: &Target, path: &UnixPath) -> Result<TcpStream, Stop> {
    loop {
        match unix::connect(path) {
            Ok(socket) => {
                let stream = TcpStream::from_std(socket.into());
                return stream.map_err(|error| Stop::of_io("open a socket", &error));
            }
            // Its accept queue is full; nothing tells when there is room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN).await,
            Err(error) => return Err(Stop::of_connect(&target.address, &error)),
        }
    }
}

/// A socket that will connect to `address` from where it should.
pub(super) fn open(address: SocketAddr, stage: &Stage) -> Result<TcpSocket, Stop> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(|error| Stop::of_io("open a socket", &error))?;
    let bound = source::bind(&socket, &stage.sources, stage.turn, address);
    bound.map_err(|error| Stop::of_connect(address, &error))?;
    Ok(socket)
}

/// Sends the PROXY header, if `target` wants one.
pub(super) async fn introduce(stream: &mut TcpStream, target: &Target) -> Result<(), Stop> {
    let Some(version) = target.send_proxy else {
        return Ok(());
    };
    let header = proxy_header::encode_local(version);
    let sent = stream.write_all(&header).await;
    sent.map_err(|error| Stop::of_io("send the PROXY header", &error))
}

/// Whether `text` holds `part`.
pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// The start of what a peer said, fit for a log line.
pub(super) struct Quote<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.0[..self.0.len().min(80)];
        write!(f, "\"{}\"", start.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit;
    use super::super::{Outcome, Probe};
    use crate::health::{ProbeKind, SendExpect};
    use crate::types::Sources;

    #[tokio::test]
    async fn probes_leave_from_the_sources_in_turn() {
        for kind in [
            ProbeKind::Tcp,
            ProbeKind::SendExpect(SendExpect {
                send: b"x".to_vec(),
                expect: Vec::new(),
            }),
        ] {
            let (listener, mut target) = kit::listener().await;
            let sources = ["127.0.0.5", "127.0.0.6"];
            target.sources = Sources::new(sources.map(|it| it.parse().unwrap()).to_vec());
            let is_quiet = matches!(kind, ProbeKind::Tcp);
            let mut probe = Probe::new(&kit::settings(kind));
            for from in [sources[0], sources[1], sources[0]] {
                assert_eq!(probe.run(&target).await, Outcome::Pass);
                // The tcp probe leaves nothing to accept.
                if !is_quiet {
                    let (_, peer) = listener.accept().await.unwrap();
                    assert_eq!(peer.ip().to_string(), from);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_source_of_another_machine_is_named() {
        let (_listener, mut target) = kit::listener().await;
        target.sources = Sources::new(vec!["192.0.2.77".parse().unwrap()]);
        let outcome = Probe::new(&kit::settings(ProbeKind::Tcp))
            .run(&target)
            .await;
        let Outcome::Unknown(blindness) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(blindness.detail.contains("192.0.2.77 is not an address"));
    }
}
