//! Taking leave of a listening socket without losing anybody. close(2) resets
//! whom the kernel has greeted and not handed over yet: who waits in the accept
//! queue, whose last step of the handshake is on its way, and who is silent
//! where the kernel waits for first bytes. A shut socket gets no new clients,
//! while all those still come out of it.

use std::io;
use std::os::fd::AsFd;

use super::int_option;

/// `SO_BINDTOIFINDEX` (Linux 5.1; without privileges since 5.7).
const BIND_TO_INTERFACE: libc::c_int = 62;

/// An interface that does not exist: nothing arrives there.
const NOWHERE: libc::c_int = libc::c_int::MAX;

/// Hides a listening `socket` from new clients, for ever: they are refused, or
/// come to another socket that listens for them, too. Handshakes that have
/// begun go on, and it hands over what it has.
pub fn shut(socket: &impl AsFd) -> io::Result<()> {
    int_option::set(socket, libc::SOL_SOCKET, BIND_TO_INTERFACE, NOWHERE)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;
    use crate::net::{defer, listen};

    fn come_and_say(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
        stream
    }

    fn take(listener: &TcpListener) -> usize {
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    #[test]
    fn a_shut_socket_refuses_newcomers_and_hands_over_those_before_them() {
        let listener = listen::shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        defer::set_defer_accept(&listener, true).unwrap();
        let address = listener.local_addr().unwrap();
        let _queued = come_and_say(address);
        let mut silent = TcpStream::connect(address).unwrap();
        shut(&listener).unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(take(&listener), 1);
        silent.write_all(b"y").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&byte).unwrap();
        silent.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"y");
    }

    #[test]
    fn newcomers_go_to_whoever_listens_for_them_too() {
        // Somebody else may use the port at another address of this machine.
        let both = || {
            let narrow = listen::shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
            let address = narrow.local_addr().unwrap();
            let wide = SocketAddr::from(([0; 4], address.port()));
            Some((narrow, address, listen::shared(wide, 16).ok()?))
        };
        let (narrow, address, wide) = (0..50).find_map(|_| both()).unwrap();
        let _old = come_and_say(address);
        shut(&narrow).unwrap();
        let _new = come_and_say(address);
        assert_eq!((take(&narrow), take(&wide)), (1, 1));
        // And somebody who comes back finds the narrow one again.
        let again = listen::shared(address, 16).unwrap();
        let _newest = come_and_say(address);
        assert_eq!((take(&narrow), take(&wide), take(&again)), (0, 0, 1));
    }
}
