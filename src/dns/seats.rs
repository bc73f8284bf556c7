//! The places for TCP connections, and who makes place when they run short.
//! Pure.
//!
//! A connection that has brought no whole query since a moment ago is idle,
//! however many bytes of one it has sent: those who have been so for the
//! longest go first. So a newcomer always gets a place, and keeps it for as
//! long as it takes as many others to come after it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::limiter::prefix;
use crate::clock::Moment;

/// The places, all together and for each network. `T` is what a connection is
/// told by that it must go.
#[derive(Debug)]
pub(super) struct Seats<T> {
    all: usize,
    one_network: u32,
    guests: HashMap<u64, Guest<T>>,
    networks: HashMap<u128, u32>,
    last: u64,
}

#[derive(Debug)]
struct Guest<T> {
    network: u128,
    /// When it came, or was answered last.
    since: Moment,
    bell: T,
}

impl<T> Seats<T> {
    /// So many places, of which one network gets a quarter.
    pub(super) fn new(all: u32) -> Self {
        Self {
            all: usize::try_from(all).unwrap_or(usize::MAX).max(1),
            one_network: all.div_ceil(4).max(1),
            guests: HashMap::new(),
            networks: HashMap::new(),
            last: 0,
        }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.guests.len()
    }

    /// Gives a connection from `source` a place, whose number is returned; and
    /// the bell of the one that must go for it, if one must.
    pub(super) fn take(&mut self, source: IpAddr, now: Moment, bell: T) -> (u64, Option<T>) {
        let network = prefix(source);
        let mine = self.networks.get(&network).copied().unwrap_or(0);
        let victim = if mine >= self.one_network {
            self.longest_idle(|guest| guest.network == network)
        } else if self.guests.len() >= self.all {
            self.longest_idle(|_| true)
        } else {
            None
        };
        let gone = victim.and_then(|number| self.leave(number));
        self.last += 1;
        let since = now;
        let guest = Guest {
            network,
            since,
            bell,
        };
        self.guests.insert(self.last, guest);
        *self.networks.entry(network).or_default() += 1;
        (self.last, gone)
    }

    /// The connection with this number has been answered.
    pub(super) fn answered(&mut self, number: u64, now: Moment) {
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.since = now;
        }
    }

    /// The connection with this number is over; `None` if it had to go before.
    pub(super) fn leave(&mut self, number: u64) -> Option<T> {
        let guest = self.guests.remove(&number)?;
        if let Some(count) = self.networks.get_mut(&guest.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&guest.network);
            }
        }
        Some(guest.bell)
    }

    /// Of those `among` whom one must go: the one that has been idle for the
    /// longest, in the network that has the most places.
    fn longest_idle(&self, among: impl Fn(&Guest<T>) -> bool) -> Option<u64> {
        let guests = self.guests.iter().filter(|(_, guest)| among(guest));
        let first = guests.max_by_key(|(number, guest)| {
            let crowd = self.networks.get(&guest.network).copied();
            (crowd, Reverse(guest.since), Reverse(**number))
        });
        first.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn ip(network: u8, host: u8) -> IpAddr {
        IpAddr::from([192, 0, network, host])
    }

    /// Takes places in turn, a second after each other; who had to go.
    fn take(seats: &mut Seats<u32>, from: u32, sources: &[IpAddr]) -> Vec<u32> {
        let mut gone = Vec::new();
        for (source, bell) in sources.iter().zip(from..) {
            gone.extend(seats.take(*source, at(u64::from(bell)), bell).1);
        }
        gone
    }

    #[test]
    fn in_a_full_network_the_longest_idle_goes() {
        let mut seats = Seats::new(8);
        let crowd: Vec<IpAddr> = (0..4).map(|host| ip(0, host)).collect();
        assert_eq!(take(&mut seats, 1, &crowd), [1, 2], "two places of eight");
        assert_eq!(seats.taken(), 2);
        seats.answered(3, at(100));
        assert_eq!(take(&mut seats, 101, &[ip(0, 9)]), [4], "3 has asked since");
    }

    #[test]
    fn when_all_is_full_the_greatest_crowd_makes_place() {
        let mut seats = Seats::new(8);
        let sources = [0, 1, 1, 2, 2, 3, 3, 4].map(|network| ip(network, 0));
        assert_eq!(take(&mut seats, 1, &sources), [0; 0]);
        // The first has been idle for the longest, but it is alone.
        assert_eq!(take(&mut seats, 9, &[ip(5, 0)]), [2]);
        assert_eq!(take(&mut seats, 10, &[ip(6, 0), ip(7, 0)]), [4, 6]);
        assert_eq!(take(&mut seats, 12, &[ip(8, 0)]), [1], "all are alone now");
        assert_eq!(seats.taken(), 8);
    }

    #[test]
    fn who_had_to_go_leaves_nothing_behind() {
        let mut seats = Seats::new(1);
        let (first, _) = seats.take(ip(0, 0), at(0), 1);
        let (second, gone) = seats.take(ip(1, 0), at(1), 2);
        assert_eq!(gone, Some(1));
        assert_eq!(seats.leave(first), None);
        seats.answered(first, at(2));
        assert_eq!(seats.leave(second), Some(2));
        assert_eq!((seats.taken(), seats.networks.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn everybody_gets_a_place_and_no_bound_is_passed(
            all in 1..20_u32,
            steps in prop::collection::vec((0..6_u8, 0..30_u64, 0..3_u8), 1..200),
        ) {
            let mut seats = Seats::new(all);
            for (time, (network, number, what)) in (0..).zip(steps) {
                match what {
                    0 => {
                        let (mine, _) = seats.take(ip(network, 0), at(time), ());
                        prop_assert!(seats.guests.contains_key(&mine));
                    }
                    1 => drop(seats.leave(number)),
                    _ => seats.answered(number, at(time)),
                }
                prop_assert!(seats.taken() <= all as usize);
                let sum: u32 = seats.networks.values().sum();
                prop_assert_eq!(sum as usize, seats.taken());
                prop_assert!(seats.networks.values().all(|it| (1..=all.div_ceil(4)).contains(it)));
            }
        }
    }
}
