use std::net::IpAddr;
use std::sync::Arc;

use super::Endpoint;

/// Addresses of this machine that connections to a backend leave from, in
/// turn. None: the kernel chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sources(Arc<[IpAddr]>);

impl Sources {
    /// These, in this order.
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self(addresses.into())
    }

    /// Whether the kernel chooses.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + Clone {
        self.0.iter().copied()
    }

    /// Those from which `address` can be reached: none, if it is a unix socket or
    /// not known.
    /// If it has been resolved to a family that none is of, all: no connection
    /// must leave from an address that was not asked for, and the failure says
    /// why.
    #[must_use]
    pub fn towards(&self, address: Option<&Endpoint>) -> Self {
        let Some(address) = address.and_then(Endpoint::tcp) else {
            return Self::default();
        };
        let fits = |it: &IpAddr| it.is_ipv4() == address.is_ipv4();
        if self.iter().all(|it| fits(&it)) || !self.iter().any(|it| fits(&it)) {
            return self.clone();
        }
        Self(self.iter().filter(fits).collect())
    }

    /// All of them, beginning with the one whose turn it is.
    pub fn from(&self, turn: usize) -> impl Iterator<Item = IpAddr> {
        let first = turn.checked_rem(self.len()).unwrap_or(0);
        self.iter().cycle().skip(first).take(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_in_turn_and_fit_the_family() {
        assert_eq!(Sources::default().from(7).next(), None);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (a, b, six) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("2001:db8::1"));
        let all = Sources::new(vec![a, six, b]);
        let to = |text: &str| Endpoint::Tcp(text.parse().unwrap());
        let v4 = all.towards(Some(&to("192.0.2.1:80")));
        let from = |turn| v4.from(turn).collect::<Vec<_>>();
        assert_eq!([from(0), from(1), from(2)], [[a, b], [b, a], [a, b]]);
        let v6 = all.towards(Some(&to("[2001:db8::2]:80")));
        assert_eq!(v6.from(1).collect::<Vec<_>>(), [six]);
        let none = v4.towards(Some(&to("[2001:db8::2]:80")));
        assert_eq!(none, v4, "never an address that was not asked for");
    }
}
