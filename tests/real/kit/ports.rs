//! Free ports, and this machine's own address.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::{SOON, eventually};

/// An address on 127.0.0.1 that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket")
}

/// The next connection to `listener`, which must come soon.
pub(crate) fn accept_soon(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("an option");
    let stream = eventually("somebody connects", SOON, || {
        listener.accept().ok().map(|(stream, _)| stream)
    });
    stream.set_nonblocking(false).expect("an option");
    stream.set_read_timeout(Some(SOON)).expect("an option");
    stream
}

/// This machine's address on its network. MariaDB keeps no record of what
/// 127.0.0.1 does to it, so tests of that record must come from elsewhere.
pub(crate) fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a UDP socket");
    // No packet is sent: this only asks for the route.
    socket
        .connect("192.0.2.1:9")
        .expect("this machine needs one address besides the loopback");
    socket.local_addr().expect("a connected socket").ip()
}
