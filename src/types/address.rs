use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{UnixPath, UnixPathError, plain};

/// Where a backend is: a socket address, a host name and a port that the
/// control plane resolves, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `10.0.0.1:3306` or `[2001:db8::1]:3306`.
    Ip(SocketAddr),
    /// `db1.example.com:3306`.
    Host {
        /// The name to look up.
        host: String,
        /// The port to connect to.
        port: u16,
    },
    /// `unix:/run/db.sock`, or `unix:@name` in the abstract namespace.
    Unix(UnixPath),
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port` at the end.
    #[error("a port is missing; write {0}:PORT")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port (1 to 65535)")]
    Port(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets; write [{0}]:PORT")]
    Brackets(String),
    /// The host part is no address and no host name.
    #[error("{0:?} is neither an IP address nor a host name")]
    Host(String),
    /// It begins with `unix:`, and goes on otherwise.
    #[error("{0}")]
    Unix(#[from] UnixPathError),
}

impl Address {
    /// The port to connect to; a unix socket has none.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Host { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// The address in `text`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(UnixPath::parse(path)?));
        }
        if text.is_empty() {
            return Err(AddressError::Host(text.to_owned()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Err(match ip {
                IpAddr::V4(_) => AddressError::NoPort(text.to_owned()),
                IpAddr::V6(_) => AddressError::Brackets(text.to_owned()),
            });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(AddressError::NoPort(text.to_owned()));
        };
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            Ok(_) | Err(_) => return Err(AddressError::Port(port.to_owned())),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(host).parse::<IpAddr>() {
            return match (ip, bare) {
                (IpAddr::V6(_), None) => Err(AddressError::Brackets(host.to_owned())),
                (IpAddr::V4(_), Some(_)) => Err(AddressError::Host(host.to_owned())),
                (IpAddr::V6(_), Some(_)) | (IpAddr::V4(_), None) => {
                    Ok(Self::Ip(SocketAddr::new(plain(ip), port)))
                }
            };
        }
        if !is_host_name(host) {
            return Err(AddressError::Host(host.to_owned()));
        }
        Ok(Self::Host {
            host: host.to_owned(),
            port,
        })
    }
}

/// RFC 1123 host name; a last label of digits only would be a mistyped address.
fn is_host_name(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(label)
        && !host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_host_names() {
        for good in [
            "10.0.0.1:80",
            "[2001:db8::1]:3306",
            "db1.example.com:3306",
            "localhost:1",
            "unix:/run/db.sock",
            "unix:@db",
        ] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        let mapped = Address::parse("[::ffff:10.0.0.1]:80").unwrap();
        assert_eq!(mapped, Address::parse("10.0.0.1:80").unwrap());
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(matches!(
            Address::parse("10.0.0.1"),
            Err(AddressError::NoPort(_))
        ));
        assert!(matches!(
            Address::parse("db1"),
            Err(AddressError::NoPort(_))
        ));
        assert!(matches!(
            Address::parse("2001:db8::1"),
            Err(AddressError::Brackets(_))
        ));
        assert!(matches!(
            Address::parse("unix:db.sock"),
            Err(AddressError::Unix(_))
        ));
        for port in ["0", "65536", "+80", "http", ""] {
            assert!(matches!(
                Address::parse(&format!("a:{port}")),
                Err(AddressError::Port(_))
            ));
        }
        for host in ["10.0.0.256", "a b", "-a", "", "a..b", "[10.0.0.1]"] {
            assert!(
                matches!(
                    Address::parse(&format!("{host}:80")),
                    Err(AddressError::Host(_))
                ),
                "{host}"
            );
        }
    }
}
