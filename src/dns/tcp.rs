//! The embedded server over TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::counts::Silence;
use super::limiter::Transport;
use super::serve::{AFTER_FAILURE, MOST_QUERY, Shared, lock};
use crate::clock;

/// What precedes a message: its length.
const PREFIX: usize = 2;

/// Answers whoever connects.
pub(super) async fn tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            sleep(AFTER_FAILURE).await;
            continue;
        };
        let seat = Seat::take(&shared, from);
        clients.spawn(client(stream, from, seat));
    }
}

/// A connection's place; given back when dropped.
struct Seat {
    shared: Arc<Shared>,
    number: u64,
    /// Rings when the place is another's.
    bell: Arc<Notify>,
}

impl Seat {
    /// A place for a connection from there. When there is none left, somebody
    /// who says nothing loses theirs.
    fn take(shared: &Arc<Shared>, from: SocketAddr) -> Self {
        let bell = Arc::<Notify>::default();
        let mut seats = lock(&shared.seats);
        let (number, gone) = seats.take(from.ip(), clock::now(), Arc::clone(&bell));
        drop(seats);
        if let Some(gone) = gone {
            shared.counters.silent(Silence::TcpLimit);
            gone.notify_one();
        }
        Self {
            shared: Arc::clone(shared),
            number,
            bell,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _bell = lock(&self.shared.seats).leave(self.number);
    }
}

/// One question after the other, until the client closes, dawdles, says
/// something that gets no answer, or must make place.
async fn client(mut stream: TcpStream, from: SocketAddr, seat: Seat) {
    let shared = &seat.shared;
    let mut asked = Asked::default();
    let mut must_go = false;
    while !must_go {
        let whole = tokio::select! {
            biased;
            read = timeout(shared.tcp_idle, asked.read(&mut stream)) => read.unwrap_or(false),
            () = seat.bell.notified() => {
                must_go = true;
                // What has arrived by now is answered all the same.
                yield_now().await;
                let read = timeout(Duration::ZERO, asked.read(&mut stream));
                read.await.unwrap_or(false)
            }
        };
        if !whole {
            break;
        }
        let Some(reply) = shared.answer(asked.query(), from, Transport::Tcp) else {
            break;
        };
        asked.forget();
        let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
        // In one piece: two would be two packets.
        let message = [&length.to_be_bytes(), reply.as_slice()].concat();
        // Who has sent no new query is idle, whether it takes its answers or
        // not.
        lock(&shared.seats).answered(seat.number, clock::now());
        let written = tokio::select! {
            biased;
            written = timeout(shared.tcp_idle, stream.write_all(&message)) => written,
            () = seat.bell.notified() => Ok(Err(std::io::ErrorKind::TimedOut.into())),
        };
        if !matches!(written, Ok(Ok(()))) {
            shared.counters.silent(Silence::Unsent);
            break;
        }
    }
}

/// What a client has sent and was not answered yet. Reading may be given up at
/// any time and gone on with later.
#[derive(Debug, Default)]
struct Asked {
    bytes: Vec<u8>,
}

impl Asked {
    /// How long the message is with its prefix, once that is there.
    fn length(&self) -> Option<usize> {
        let prefix = self.bytes.first_chunk::<PREFIX>()?;
        Some(PREFIX + usize::from(u16::from_be_bytes(*prefix)))
    }

    /// Reads until there is a whole message; `false` if there will be none.
    async fn read(&mut self, stream: &mut TcpStream) -> bool {
        loop {
            let wanted = self.length().unwrap_or(PREFIX);
            if wanted > PREFIX + MOST_QUERY {
                return false;
            }
            if self.bytes.len() >= wanted && self.length().is_some() {
                return true;
            }
            // Never beyond this message: the next one stays with the kernel.
            let rest = wanted - self.bytes.len();
            let mut part = (&mut *stream).take(rest as u64);
            if !matches!(part.read_buf(&mut self.bytes).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// The message, once it is whole.
    fn query(&self) -> &[u8] {
        self.bytes.get(PREFIX..).unwrap_or(&[])
    }

    fn forget(&mut self) {
        self.bytes.clear();
    }
}
