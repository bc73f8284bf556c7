//! Sockets that accept.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What to do about a socket that could not be bound, in brackets.
pub fn hint(why: io::ErrorKind) -> &'static str {
    if why == io::ErrorKind::AddrInUse {
        " (another process listens there; `ss -lntup` shows which)"
    } else if why == io::ErrorKind::PermissionDenied {
        " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    } else if why == io::ErrorKind::AddrNotAvailable {
        " (this machine does not have that address)"
    } else {
        ""
    }
}

/// A listening socket on `address` that others of this process may share.
///
/// IPv6 sockets take IPv6 only: an IPv4 client never shows up as
/// `::ffff:192.0.2.1`. `TCP_NODELAY` and `SO_OOBINLINE` are set and are
/// inherited by what it accepts.
pub fn shared(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    start(&socket, backlog)?;
    Ok(socket)
}

/// The same, not listening yet: clients are not greeted before it is certain
/// that they will be served.
pub fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    // Urgent bytes stay in the stream, where TCP has them anyway.
    socket.set_out_of_band_inline(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Begins to listen, or, if it does already, sets the length of the queue.
pub fn start(socket: &TcpListener, backlog: u32) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Fails if somebody else listens on `address`: sharing a port is for the
/// workers of one process, and two processes must never split the traffic by
/// accident.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    open(address)?.bind(&address.into())
}

/// A socket that keeps `address` from everybody else, and on which nobody
/// listens: whoever connects is refused.
pub fn hold(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    // Sharing was for connections of a former life that still end. From here on
    // a stranger with the same wish is to be told that the port is taken.
    socket.set_reuse_address(false)?;
    Ok(socket.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the TIME_WAITs of its former life.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_strangers_see_it_taken() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = shared(any, 16).unwrap();
        let address = first.local_addr().unwrap();
        let _second = shared(address, 16).unwrap();
        assert_eq!(
            check_free(address).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(check_free(any).is_ok());
    }

    #[test]
    fn a_held_port_refuses_clients_and_is_taken_for_strangers() {
        let first = shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(hold(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let held = hold(address).unwrap();
        for taken in [check_free(address), shared(address, 16).map(drop)] {
            assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
        assert!(shared(address, 16).is_ok());
    }
}
