//! Values in less room than their usual types take: there is one of each for
//! each connection. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::types::plain_socket;

/// Who connected to us: an address and a port, for a `SocketAddr` has room for
/// flow labels and scopes, too.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp {
        ip: IpAddr,
        port: u16,
    },
    /// Somebody on this machine, over a unix socket.
    Unix(UnixBind),
}

/// The path of a unix socket, by its number in `Context::unix_binds`: a path
/// itself would take more room than an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnixBind(pub(super) u32);

impl Peer {
    /// The short form of `address`, and `address` if that leaves something out.
    pub(super) fn of(address: SocketAddr) -> (Self, Option<SocketAddr>) {
        let address = plain_socket(address);
        let short = Self::Tcp {
            ip: address.ip(),
            port: address.port(),
        };
        (
            short,
            Some(address).filter(|it| short.address() != Some(*it)),
        )
    }

    /// Its address, if it has one.
    pub(super) const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { ip, port } => Some(SocketAddr::new(ip, port)),
            Self::Unix(_) => None,
        }
    }
}

/// How long something took, in microseconds, if it has come to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took(u64);

impl Took {
    pub(super) const NOT_YET: Self = Self(u64::MAX);

    pub(super) fn of(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX - 1))
    }

    pub(super) const fn is_known(self) -> bool {
        self.0 != u64::MAX
    }

    pub(super) fn duration(self) -> Option<Duration> {
        self.is_known().then(|| Duration::from_micros(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_short_address_leaves_out_is_kept_apart() {
        for (text, fits) in [
            ("192.0.2.1:80", true),
            ("[2001:db8::1]:80", true),
            ("[fe80::1%3]:80", false),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (short, whole) = Peer::of(address);
            assert_eq!(whole.is_none(), fits, "{text}");
            assert_eq!(whole.or_else(|| short.address()), Some(address));
        }
    }

    #[test]
    fn who_has_no_address_takes_no_more_room() {
        assert_eq!(Peer::Unix(UnixBind(3)).address(), None);
        assert_eq!(size_of::<Peer>(), size_of::<(IpAddr, u16)>());
    }

    #[test]
    fn what_took_no_time_is_not_what_has_not_come() {
        assert_eq!(Took::NOT_YET.duration(), None);
        for micros in [0, 1, 3_600_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(Took::of(duration).duration(), Some(duration));
        }
        assert!(Took::of(Duration::MAX).is_known());
    }
}
