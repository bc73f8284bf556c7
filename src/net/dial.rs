//! Sockets that connect, without waiting for it.

use std::io;

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::unix;
use crate::types::{Endpoint, Sources};

/// What became of a connect(2) so far.
#[derive(Debug)]
pub enum Dialed {
    /// It is established.
    Connected(TcpStream),
    /// It is under way; the socket turns writable or fails.
    Connecting(TcpStream),
}

/// Begins to connect to `to`, from the one of `sources` whose `turn` it is. With
/// a request in hand the end of the handshake waits for it, and both leave in
/// one segment.
///
/// The stream to a unix socket is the same type: it is read, written and closed
/// by the same calls, and only TCP's own options fail on it.
pub fn start(
    to: &Endpoint,
    (sources, turn): (&Sources, usize),
    has_request: bool,
) -> io::Result<Dialed> {
    let address = match to {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(path) => return Ok(Dialed::Connected(unix::connect(path)?.into())),
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    super::source::bind(&socket, sources, turn, address)?;
    if has_request {
        // Without it there is one segment more.
        let _one_more = socket.set_tcp_quickack(false);
    }
    let outcome = socket.connect(&address.into());
    let stream = TcpStream::from_std(socket.into());
    match outcome {
        Ok(()) => Ok(Dialed::Connected(stream)),
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
            Ok(Dialed::Connecting(stream))
        }
        Err(error) => Err(error),
    }
}
