//! A connection that is watched: each byte that moves is noted, and an answer
//! that its client does not take has a deadline.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::places::Pulse;
use crate::clock;

/// `stream`, watched.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Pulse,
    patience: Duration,
    /// Runs while something is left to be written.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Pulse, patience: Duration) -> Self {
        pulse.beat(clock::now());
        Self {
            stream,
            pulse,
            patience,
            deadline: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.beat(clock::now());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(result) = written {
            if result.is_ok() {
                self.pulse.beat(clock::now());
            }
            return Poll::Ready(result);
        }
        let patience = self.patience;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for once everything has been written.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.deadline = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let patience = Duration::from_millis(50);
        let mut watched = Watched::new(ours, Pulse::default(), patience);
        // Who takes it is served, however long all answers take together.
        for _ in 0..3 {
            let mut taken = [0; 64];
            watched.write_all(&[1; 64]).await.unwrap();
            theirs.read_exact(&mut taken).await.unwrap();
            watched.flush().await.unwrap();
            sleep(patience).await;
        }
        let error = watched.write_all(&[1; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
