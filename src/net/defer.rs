//! TCP_DEFER_ACCEPT, which no crate of ours offers: the kernel hands over a
//! connection when its first bytes are there, not before.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::int_option;

/// How long the kernel waits for a client's first bytes before it hands over a
/// silent connection, too: the shortest that it can. It looks after 1, 3 and 7
/// seconds, when it would send its part of the handshake again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lets a listening `socket` wait for data (tcp(7)), or no longer.
pub fn set_defer_accept(socket: &impl AsFd, is_on: bool) -> io::Result<()> {
    let seconds: libc::c_int = if is_on {
        libc::c_int::try_from(PATIENCE.as_secs()).unwrap_or(1)
    } else {
        0
    };
    int_option::set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_comes_with_its_first_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        set_defer_accept(&listener, true).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Loopback delivers before connect(2) returns.
        let early = listener.accept().unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
        stream.write_all(b"x").unwrap();
        listener.accept().unwrap();

        set_defer_accept(&listener, false).unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    }
}
