//! Where nodes that lb.yaml does not name have spoken from: that is where they
//! are answered. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Moment;
use crate::types::Name;

/// How many addresses are known at a time: two of each guest.
const MOST: usize = 16;
/// How long an address is answered after it has last spoken.
const KEPT: Duration = Duration::from_secs(2);
/// How many datagrams of strangers are checked in a second: those of eight
/// nodes that speak a hundred times a second. A flood costs no more than that.
const CHECKED: u32 = 1000;

/// The addresses of guests. Whoever has recorded a datagram can write one in,
/// and is then sent as many heartbeats as he sends, at most.
#[derive(Debug, Default)]
pub(super) struct GuestBook(Vec<(Name, SocketAddr, Moment)>);

impl GuestBook {
    /// Takes note of a signed datagram.
    pub(super) fn note(&mut self, name: &Name, from: SocketAddr, now: Moment) {
        self.0.retain(|(_, _, at)| now.since(*at) < KEPT);
        let has_room = self.0.len() < MOST;
        let known = self.0.iter_mut().find(|it| it.0 == *name && it.1 == from);
        match known {
            Some((_, _, at)) => *at = now,
            None if has_room => self.0.push((name.clone(), from, now)),
            None => {}
        }
    }

    /// Where to answer a guest.
    pub(super) fn addresses(&self, name: &Name, now: Moment) -> Vec<SocketAddr> {
        let all = self.0.iter();
        let all = all.filter(|it| it.0 == *name && now.since(it.2) < KEPT);
        all.map(|it| it.1).collect()
    }
}

/// How many datagrams of strangers may still be checked in this second.
#[derive(Debug)]
pub(super) struct Budget {
    since: Moment,
    left: u32,
}

impl Budget {
    pub(super) const fn new(now: Moment) -> Self {
        let (since, left) = (now, CHECKED);
        Self { since, left }
    }

    /// Whether one more may be checked.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1000)
    }

    #[test]
    fn a_guest_is_answered_for_as_long_as_it_speaks() {
        let mut book = GuestBook::default();
        let name = Name::new("lb3").unwrap();
        let from: SocketAddr = "192.0.2.3:7946".parse().unwrap();
        book.note(&name, from, at(0));
        book.note(&name, from, at(1000));
        assert_eq!(book.addresses(&name, at(2500)), [from]);
        assert!(
            book.addresses(&Name::new("lb4").unwrap(), at(2500))
                .is_empty()
        );
        assert!(book.addresses(&name, at(3000)).is_empty());
        // However many addresses a recording comes from.
        for port in 1..100 {
            book.note(&name, SocketAddr::new(from.ip(), port), at(4000));
        }
        assert_eq!(book.addresses(&name, at(4000)).len(), MOST);
    }

    #[test]
    fn a_flood_is_not_checked() {
        let mut budget = Budget::new(at(0));
        let checked = (0..100_000).filter(|_| budget.take(at(500))).count();
        assert_eq!(checked, 1000);
        assert!(budget.take(at(1000)), "the next second");
    }
}
