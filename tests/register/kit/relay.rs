//! A relay between tandem and a server that loses what it is told to lose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What happens to a datagram or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The question arrives, the answer does not.
    LoseAnswer,
    /// The question arrives twice; the second answer alone comes back.
    Twice,
    /// The answer comes after a forged one.
    ForgedFirst,
    /// The answer comes back from another port only.
    OtherPort,
}

/// A relay; it ends with this value.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    /// Relays to `server`.
    pub(crate) async fn to(server: SocketAddr, fate: Fate) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let of_udp = tokio::spawn(over_udp(udp, server, fate, Arc::clone(&questions)));
        let of_tcp = tokio::spawn(over_tcp(tcp, server, Arc::clone(&questions)));
        Self {
            address,
            questions,
            tasks: [of_udp, of_tcp],
        }
    }

    /// How many messages or connections came by.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn over_udp(socket: UdpSocket, server: SocketAddr, fate: Fate, count: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        count.fetch_add(1, Ordering::SeqCst);
        let question = &buffer[..length];
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        upstream.connect(server).await.unwrap();
        upstream.send(question).await.unwrap();
        let answer = receive(&upstream).await;
        match fate {
            Fate::LoseAnswer => {}
            Fate::Twice => {
                upstream.send(question).await.unwrap();
                let second = receive(&upstream).await;
                socket.send_to(&second, client).await.unwrap();
            }
            Fate::ForgedFirst => {
                let mut forged = answer.clone();
                let last = forged.len() - 20;
                forged[last] ^= 1;
                socket.send_to(&forged, client).await.unwrap();
                // The same header, not signed, with another code.
                let mut refused = question.to_vec();
                refused.truncate(12);
                refused[2] |= 0x80;
                refused[3] = 5;
                refused[4..12].fill(0);
                socket.send_to(&refused, client).await.unwrap();
                socket.send_to(&answer, client).await.unwrap();
            }
            Fate::OtherPort => {
                upstream.connect(client).await.unwrap();
                upstream.send(&answer).await.unwrap();
            }
        }
    }
}

/// Passes the question on, waits for the answer, and closes.
async fn over_tcp(listener: TcpListener, server: SocketAddr, count: Arc<AtomicUsize>) {
    while let Ok((mut client, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::SeqCst);
        let length = client.read_u16().await.unwrap();
        let mut question = vec![0; usize::from(length)];
        client.read_exact(&mut question).await.unwrap();
        let mut upstream = tokio::net::TcpStream::connect(server).await.unwrap();
        upstream.write_u16(length).await.unwrap();
        upstream.write_all(&question).await.unwrap();
        let length = upstream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(length)];
        upstream.read_exact(&mut answer).await.unwrap();
    }
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let soon = Duration::from_secs(10);
    let length = timeout(soon, socket.recv(&mut buffer)).await;
    buffer[..length.expect("the server answers").unwrap()].to_vec()
}
