//! Connections as probes use them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::net::proxy_header;
use crate::types::ConnectFailure;

use super::{Failure, FailureReason, Target};

/// As much of an answer as is looked at.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How far a probe has come; decides what its timeout is called.
#[derive(Debug, Default)]
pub(super) struct Stage {
    connected: AtomicBool,
}

impl Stage {
    /// From here on the peer is there, and merely slow.
    pub(super) fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    /// The failure of a probe that took longer than `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Failure {
        if self.connected.load(Ordering::Relaxed) {
            let detail = format_args!("no answer within {limit:?}");
            Failure::new(FailureReason::Timeout, detail)
        } else {
            let detail = format_args!("not connected within {limit:?}");
            Failure::new(FailureReason::ConnectTimeout, detail)
        }
    }
}

/// Connects to `target` and sends the PROXY header, if it wants one.
pub(super) async fn connect(target: &Target, stage: &Stage) -> Result<TcpStream, Failure> {
    let connected = TcpStream::connect(target.address).await;
    let mut stream = connected.map_err(|error| connect_failure(target, &error))?;
    stage.connected();
    // A probe is a few small packets: none may wait for the answer to another.
    stream
        .set_nodelay(true)
        .map_err(|error| Failure::of_io("set TCP_NODELAY", &error))?;
    introduce(&mut stream, target).await?;
    Ok(stream)
}

/// Sends the PROXY header, if `target` wants one.
pub(super) async fn introduce(stream: &mut TcpStream, target: &Target) -> Result<(), Failure> {
    let Some(version) = target.send_proxy else {
        return Ok(());
    };
    let header = proxy_header::encode_local(version);
    let sent = stream.write_all(&header).await;
    sent.map_err(|error| Failure::of_io("send the PROXY header", &error))
}

/// What `error`, returned by a connect to `target`, means.
pub(super) fn connect_failure(target: &Target, error: &io::Error) -> Failure {
    let reason = match ConnectFailure::of(error) {
        ConnectFailure::Refused => FailureReason::ConnectRefused,
        ConnectFailure::TimedOut => FailureReason::ConnectTimeout,
        ConnectFailure::Unreachable => FailureReason::Unreachable,
    };
    Failure::new(
        reason,
        format_args!("connect to {}: {error}", target.address),
    )
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
