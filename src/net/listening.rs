//! Sockets that accept, of either kind: as the control plane opens, shuts and
//! tunes them, and as a worker takes clients from them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::SockRef;

use super::{defer, shutter};

/// A socket that listens, or is to.
#[derive(Debug)]
pub enum Listening {
    /// At an address.
    Tcp(std::net::TcpListener),
    /// At a path.
    Unix(std::os::unix::net::UnixListener),
}

impl Listening {
    /// Another handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(it) => Self::Tcp(it.try_clone()?),
            Self::Unix(it) => Self::Unix(it.try_clone()?),
        })
    }

    /// Begins to listen, or, if it does already, sets the length of the queue.
    pub fn start(&self, backlog: u32) -> io::Result<()> {
        SockRef::from(self).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
    }

    /// Hands over connections only with their first bytes, or no longer. Unix
    /// sockets cannot wait for them: there the session does.
    pub fn set_deferred(&self, yes: bool) -> io::Result<()> {
        match self {
            Self::Tcp(it) => defer::set_defer_accept(it, yes),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Lets nobody new in, for ever; whoever was let in before comes out.
    pub fn shut(&self) -> io::Result<()> {
        match self {
            Self::Tcp(it) => shutter::shut(it),
            Self::Unix(it) => Ok(rustix::net::shutdown(it, rustix::net::Shutdown::Both)?),
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(it) => it.as_fd(),
            Self::Unix(it) => it.as_fd(),
        }
    }
}

/// The same in an event loop.
#[derive(Debug)]
pub enum Accepting {
    /// At an address.
    Tcp(mio::net::TcpListener),
    /// At a path.
    Unix(mio::net::UnixListener),
}

impl Accepting {
    /// The next client, and its address, if it has one. A unix stream is the
    /// same type: see [`dial::start`](super::dial::start).
    pub fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(it) => it.accept().map(|(stream, peer)| (stream, Some(peer))),
            Self::Unix(it) => match it.accept() {
                Ok((stream, _)) => Ok((OwnedFd::from(stream).into(), None)),
                // It is shut, and the last has come out.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(error) => Err(error),
            },
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(it) => it,
            Self::Unix(it) => it,
        }
    }
}

impl From<Listening> for Accepting {
    fn from(socket: Listening) -> Self {
        match socket {
            Listening::Tcp(it) => Self::Tcp(mio::net::TcpListener::from_std(it)),
            Listening::Unix(it) => Self::Unix(mio::net::UnixListener::from_std(it)),
        }
    }
}

impl Source for Accepting {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{socket_file, unix};
    use crate::types::{UnixAccess, UnixPath};

    #[test]
    fn a_shut_unix_socket_refuses_newcomers_and_hands_over_those_before_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let path = UnixPath::parse(file.to_str().unwrap()).unwrap();
        let (socket, _file) = socket_file::bound(&path, UnixAccess::default()).unwrap();
        let socket = Listening::Unix(socket);
        socket.start(8).unwrap();
        let copy = socket.try_clone().unwrap();
        let _early = [unix::connect(&path).unwrap(), unix::connect(&path).unwrap()];
        copy.shut().unwrap();
        let refused = unix::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let accepting = Accepting::from(socket);
        for _ in 0..2 {
            assert_eq!(accepting.accept().unwrap().1, None);
        }
        for _ in 0..2 {
            let error = accepting.accept().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
