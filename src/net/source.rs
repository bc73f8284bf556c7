//! The address that a connection leaves from, where that is not the kernel's
//! choice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::int_option;

/// Binds `socket`, which is to connect to `to`, to `source`.
///
/// The port is left to connect(2) (IP_BIND_ADDRESS_NO_PORT): a port that bind(2)
/// chooses is taken from every destination at once, so that all backends
/// together would have the 28,000 connections that each of them can have.
pub fn bind(socket: &impl AsFd, source: IpAddr, to: SocketAddr) -> io::Result<()> {
    if source.is_ipv4() != to.is_ipv4() {
        return Err(Errno::AFNOSUPPORT.into());
    }
    // A kernel without it (before 4.2) has fewer ports, and serves.
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    let _fewer_ports = int_option::set(socket, libc::IPPROTO_IP, option, 1);
    rustix::net::bind(socket, &SocketAddr::new(source, 0))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn bound(source: &str, to: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        bind(&socket, source.parse().unwrap(), to)?;
        Ok(socket)
    }

    #[test]
    fn a_port_is_taken_from_one_destination_only() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let socket = bound("127.0.0.5", to).unwrap();
        let before = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(before.port(), 0, "no port before there is a destination");
        socket.connect(&to.into()).unwrap();
        let (_, peer) = server.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.5");
        assert_ne!(peer.port(), 0);
    }

    #[test]
    fn six_is_not_reached_from_four() {
        let error = bound("127.0.0.5", "[::1]:1".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(Errno::AFNOSUPPORT.raw_os_error())
        );
        bound("::1", "[::1]:1".parse().unwrap()).unwrap();
    }
}
