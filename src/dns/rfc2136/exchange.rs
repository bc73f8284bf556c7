//! One message out, one answer back, over UDP or TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::fits_a_datagram;
use super::reply::{Reply, failure, judge};
use super::tsig::{Key, Signed};
use crate::clock::Seed;
use crate::dns::register::RegisterError;

/// How often a question is asked within its deadline. Only a question: an
/// update that is sent twice would lose against itself.
const QUESTION_TRIES: u32 = 3;

/// How long the server's own answer may come after one that anybody may have
/// written.
const GRACE: Duration = Duration::from_millis(50);

/// More than any answer we ask for.
const DATAGRAM: usize = 4096;

/// The server and how to talk to it.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) server: SocketAddr,
    pub(super) key: Option<Key>,
    pub(super) tcp: bool,
    pub(super) timeout: Duration,
    /// The time of day: signatures are the one thing that needs it.
    pub(super) wall: fn() -> Duration,
}

impl Exchange {
    /// Asks, again if nothing comes, and over TCP if the answer is too long.
    /// The answer is the zone's own, or it is an error.
    pub(super) async fn ask(&self, question: &Message) -> Result<Message, RegisterError> {
        let each = self.timeout / QUESTION_TRIES;
        let mut answer = Err(RegisterError::TimedOut);
        for _ in 0..QUESTION_TRIES {
            // A new number and a new port each time: a late answer to an
            // earlier try is a stranger's.
            answer = match timeout(each, self.once(question, self.tcp)).await {
                Ok(answer) => answer,
                Err(_elapsed) => continue,
            };
            break;
        }
        let mut answer = answer?;
        if answer.metadata.truncation && !self.tcp {
            answer = self.once(question, true).await?;
        }
        if let Some(error) = failure(&answer) {
            return Err(error);
        }
        if !answer.metadata.authoritative {
            return Err(RegisterError::NotPrimary);
        }
        Ok(answer)
    }

    /// Sends a change, once. A truncated answer is good enough: its code and
    /// its signature are all that it says.
    pub(super) async fn tell(&self, update: &Message) -> Result<Message, RegisterError> {
        let answer = self.once(update, self.tcp).await?;
        match failure(&answer) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    async fn once(&self, message: &Message, tcp: bool) -> Result<Message, RegisterError> {
        let mut message = message.clone();
        message.metadata.id = random_id();
        let sent = match &self.key {
            Some(key) => key.sign(message.clone(), self.now())?,
            None => Signed::unsigned(&message)?,
        };
        if tcp || !fits_a_datagram(&sent.bytes) {
            self.over_tcp(&message, &sent).await
        } else {
            self.over_udp(&message, &sent).await
        }
    }

    async fn over_udp(&self, request: &Message, sent: &Signed) -> Result<Message, RegisterError> {
        let own: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let unreachable = |error| self.unreachable("UDP", &error);
        let socket = UdpSocket::bind(own).await.map_err(unreachable)?;
        // A connected socket hears its peer only, and hears that nobody is
        // there.
        socket.connect(self.server).await.map_err(unreachable)?;
        socket.send(&sent.bytes).await.map_err(unreachable)?;
        let distrusted = match self.listen(&socket, request, sent).await? {
            Heard::Answer(answer) => return Ok(*answer),
            Heard::Distrusted(error) => error,
        };
        let hear_the_server = async {
            loop {
                if let Heard::Answer(answer) = self.listen(&socket, request, sent).await? {
                    return Ok::<_, RegisterError>(*answer);
                }
            }
        };
        match timeout(GRACE, hear_the_server).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(distrusted),
        }
    }

    /// Waits for the next datagram that is no stranger's.
    async fn listen(
        &self,
        socket: &UdpSocket,
        request: &Message,
        sent: &Signed,
    ) -> Result<Heard, RegisterError> {
        let mut buffer = [0; DATAGRAM];
        loop {
            let count = socket.recv(&mut buffer).await;
            let count = count.map_err(|error| self.unreachable("UDP", &error))?;
            let bytes = buffer.get(..count).unwrap_or_default();
            match judge(bytes, request, sent, self.key.as_ref(), self.now()) {
                Reply::Answer(answer) => return Ok(Heard::Answer(answer)),
                Reply::Distrusted(error) => return Ok(Heard::Distrusted(error)),
                Reply::Stranger => {}
            }
        }
    }

    async fn over_tcp(&self, request: &Message, sent: &Signed) -> Result<Message, RegisterError> {
        let mut stream = TcpStream::connect(self.server)
            .await
            .map_err(|error| self.unreachable("TCP", &error))?;
        let bytes = framed(&stream_bytes(sent)?, &mut stream).await;
        let bytes = bytes.map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                RegisterError::Closed
            } else {
                self.unreachable("TCP", &error)
            }
        })?;
        match judge(&bytes, request, sent, self.key.as_ref(), self.now()) {
            Reply::Answer(answer) => Ok(*answer),
            Reply::Distrusted(error) => Err(error),
            Reply::Stranger => Err(RegisterError::BadReply(
                "it is not to our question, or its signature is wrong".to_owned(),
            )),
        }
    }

    fn now(&self) -> u64 {
        (self.wall)().as_secs()
    }

    fn unreachable(&self, how: &str, error: &io::Error) -> RegisterError {
        RegisterError::Unreachable(format!("{} over {how}: {error}", self.server))
    }
}

enum Heard {
    Answer(Box<Message>),
    Distrusted(RegisterError),
}

/// Nobody can foretell it.
fn random_id() -> u16 {
    let [low, high, ..] = Seed::random().0.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// A message with its length in front (RFC 1035 section 4.2.2).
fn stream_bytes(sent: &Signed) -> Result<Vec<u8>, RegisterError> {
    let length = u16::try_from(sent.bytes.len())
        .map_err(|_| RegisterError::Unwritable("it has more than 64 KiB".to_owned()))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&sent.bytes);
    Ok(bytes)
}

async fn framed(bytes: &[u8], stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    stream.set_nodelay(true)?;
    stream.write_all(bytes).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
