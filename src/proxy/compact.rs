//! Values in less room than their usual types take: there is one of each for
//! each connection. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::types::plain_socket;

/// An address and a port: a `SocketAddr` has room for flow labels and scopes,
/// too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    ip: IpAddr,
    port: u16,
}

impl Peer {
    /// The short form of `address`, and `address` if that leaves something out.
    pub(super) fn of(address: SocketAddr) -> (Self, Option<SocketAddr>) {
        let address = plain_socket(address);
        let short = Self {
            ip: address.ip(),
            port: address.port(),
        };
        (short, (short.address() != address).then_some(address))
    }

    pub(super) const fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
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
            assert_eq!(whole.unwrap_or_else(|| short.address()), address);
        }
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
