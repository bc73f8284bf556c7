//! Unix stream sockets: connections to them. `socket_file` is the other side.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::types::UnixPath;

/// The address of `path` as the kernel takes it.
pub(super) fn address(path: &UnixPath) -> io::Result<SockAddr> {
    match path.abstract_name() {
        // An abstract name begins with a zero byte.
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(path.file().unwrap_or_else(|| std::path::Path::new(""))),
    }
}

/// Connects to `path`. That never waits: there is no network between. If as
/// many clients as the server allows wait to be accepted, it fails with
/// `WouldBlock`, and may be tried again.
pub fn connect(path: &UnixPath) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&address(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn files_and_abstract_names_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let by_file = UnixPath::parse(file.to_str().unwrap()).unwrap();
        assert_eq!(
            connect(&by_file).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let name = format!("tandem-test-{}", std::process::id());
        let by_name = UnixPath::parse(&format!("@{name}")).unwrap();
        assert_eq!(
            connect(&by_name).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let listeners = [
            (by_file, UnixListener::bind(&file).unwrap()),
            (by_name, {
                let address = SocketAddr::from_abstract_name(&name).unwrap();
                UnixListener::bind_addr(&address).unwrap()
            }),
        ];
        for (path, listener) in listeners {
            let mut stream = UnixStream::from(connect(&path).unwrap());
            let (mut served, _) = listener.accept().unwrap();
            served.write_all(b"x").unwrap();
            stream.set_nonblocking(false).unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        }
    }

    #[test]
    fn a_full_accept_queue_says_that_it_would_block() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("full.sock");
        let listener = UnixListener::bind(&file).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let path = UnixPath::parse(file.to_str().unwrap()).unwrap();
        let waiting: Vec<_> = (0..8).map_while(|_| connect(&path).ok()).collect();
        assert!(waiting.len() < 8);
        let error = connect(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(listener.accept().unwrap());
        assert!(connect(&path).is_ok(), "and there is room again");
    }
}
