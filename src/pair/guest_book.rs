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

/// Answers to one datagram: two, for one of them may be lost.
const ANSWERS: u32 = 2;
/// Answers that an address may have saved.
const SAVED: u32 = 8;

/// The addresses of guests. Whoever has recorded a datagram can write any
/// address in; it is sent two heartbeats for each datagram, at most.
#[derive(Debug, Default)]
pub(super) struct GuestBook(Vec<Guest>);

#[derive(Debug)]
struct Guest {
    name: Name,
    from: SocketAddr,
    spoke: Moment,
    answers: u32,
}

impl GuestBook {
    /// Takes note of a signed datagram.
    pub(super) fn note(&mut self, name: &Name, from: SocketAddr, now: Moment) {
        self.0.retain(|it| now.since(it.spoke) < KEPT);
        let has_room = self.0.len() < MOST;
        let mut all = self.0.iter_mut();
        match all.find(|it| it.name == *name && it.from == from) {
            Some(guest) => {
                guest.spoke = now;
                guest.answers = (guest.answers + ANSWERS).min(SAVED);
            }
            None if has_room => self.0.push(Guest {
                name: name.clone(),
                from,
                spoke: now,
                answers: ANSWERS,
            }),
            None => {}
        }
    }

    /// Where to answer a guest, once.
    pub(super) fn answer(&mut self, name: &Name, now: Moment) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for guest in self.0.iter_mut().filter(|it| it.name == *name) {
            if now.since(guest.spoke) < KEPT && guest.answers > 0 {
                guest.answers -= 1;
                addresses.push(guest.from);
            }
        }
        addresses
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
        assert_eq!(book.answer(&name, at(2500)), [from]);
        let other = Name::new("lb4").unwrap();
        assert!(book.answer(&other, at(2500)).is_empty());
        assert!(book.answer(&name, at(3000)).is_empty());
        // However many addresses a recording comes from.
        for port in 1..100 {
            book.note(&name, SocketAddr::new(from.ip(), port), at(4000));
        }
        assert_eq!(book.answer(&name, at(4000)).len(), MOST);
    }

    #[test]
    fn a_recording_makes_no_more_traffic_than_twice_its_own() {
        let mut book = GuestBook::default();
        let name = Name::new("lb3").unwrap();
        let victim: SocketAddr = "192.0.2.3:7946".parse().unwrap();
        let mut sent = 0;
        for ms in (0..60_000).step_by(50) {
            if ms % 1000 == 0 {
                book.note(&name, victim, at(ms));
            }
            sent += book.answer(&name, at(ms)).len();
        }
        assert_eq!(sent, 2 * 60);
    }

    #[test]
    fn a_flood_is_not_checked() {
        let mut budget = Budget::new(at(0));
        let checked = (0..100_000).filter(|_| budget.take(at(500))).count();
        assert_eq!(checked, 1000);
        assert!(budget.take(at(1000)), "the next second");
    }
}
