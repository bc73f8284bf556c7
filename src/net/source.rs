//! The address that a connection leaves from, where that is not the kernel's
//! choice.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::int_option;
use crate::types::{NoSource, OwnFault, Sources};

/// Binds `socket`, which is to connect to `to`, to the one of `sources` whose
/// `turn` it is, or to the next that is an address of this machine: a floating
/// one may be at the twin now. Without any, the kernel will choose.
///
/// The port is left to connect(2) (IP_BIND_ADDRESS_NO_PORT): a port that bind(2)
/// chooses is taken from every destination at once, so that all backends
/// together would have the 28,000 connections that each of them can have.
pub fn bind(socket: &impl AsFd, sources: &Sources, turn: usize, to: SocketAddr) -> io::Result<()> {
    let mut bound = Ok(());
    for source in sources.from(turn) {
        bound = bind_to(socket, source, to);
        let fault = bound.as_ref().err().and_then(OwnFault::of_connect);
        if fault != Some(OwnFault::NoSource) {
            break;
        }
    }
    bound
}

/// Whether `address` is one of this machine's.
pub fn is_here(address: IpAddr) -> bool {
    let is_one = !address.is_unspecified() && !address.is_multicast();
    // The kernel binds only what is its own; nothing is sent.
    is_one && UdpSocket::bind((address, 0)).is_ok()
}

fn bind_to(socket: &impl AsFd, source: IpAddr, to: SocketAddr) -> io::Result<()> {
    if source.is_ipv4() != to.is_ipv4() {
        return Err(NoSource::Family(source).into());
    }
    // A kernel without it (before 4.2) has fewer ports, and serves.
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    let _fewer_ports = int_option::set(socket, libc::IPPROTO_IP, option, 1);
    match rustix::net::bind(socket, &SocketAddr::new(source, 0)) {
        Ok(()) => Ok(()),
        Err(Errno::ADDRNOTAVAIL) => Err(NoSource::Absent(source).into()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn bound(sources: &[&str], to: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        let sources = sources.iter().map(|it| it.parse().unwrap());
        bind(&socket, &Sources::new(sources.collect()), 0, to)?;
        Ok(socket)
    }

    fn source_of(socket: &Socket) -> String {
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        address.ip().to_string()
    }

    #[test]
    fn a_port_is_taken_from_one_destination_only() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let socket = bound(&["127.0.0.5"], to).unwrap();
        let before = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(before.port(), 0, "no port before there is a destination");
        socket.connect(&to.into()).unwrap();
        let (_, peer) = server.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.5");
        assert_ne!(peer.port(), 0);
    }

    #[test]
    fn an_address_that_is_elsewhere_now_is_passed_over() {
        let to = "127.0.0.1:1".parse().unwrap();
        let sources = ["192.0.2.77", "::1", "127.0.0.6"];
        assert_eq!(source_of(&bound(&sources, to).unwrap()), "127.0.0.6");
        let error = bound(&sources[..1], to).unwrap_err().to_string();
        assert_eq!(
            error,
            "192.0.2.77 is not an address of this machine (`source`)"
        );
        assert_eq!(source_of(&bound(&[], to).unwrap()), "0.0.0.0");
    }

    #[test]
    fn six_is_not_reached_from_four() {
        let error = bound(&["127.0.0.5"], "[::1]:1".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "127.0.0.5 is of another family (`source`)"
        );
        bound(&["::1"], "[::1]:1".parse().unwrap()).unwrap();
    }
}
