use std::fmt;
use std::net::SocketAddr;

use super::UnixPath;

/// One end of a connection, as the kernel takes it: an IP address and a port,
/// or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(UnixPath),
}

impl Endpoint {
    /// Whether a socket on the one could take clients of the other.
    pub fn meets(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (self.tcp(), other.tcp()) else {
            return self == other;
        };
        let is_wide = one.ip().is_unspecified() || two.ip().is_unspecified();
        one.port() != 0
            && one.port() == two.port()
            && one.is_ipv4() == two.is_ipv4()
            && (one.ip() == two.ip() || is_wide)
    }

    /// Whether it is a unix socket that has a file.
    pub fn has_file(&self) -> bool {
        matches!(self, Self::Unix(path) if path.file().is_some())
    }

    /// The port to connect to; a unix socket has none.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|it| it.port())
    }

    /// The address; `None`: it has none.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// What a client would call the machine behind it.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.ip().to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether it is a unix socket.
    pub const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}
