//! Places for connections: bounded, and whoever comes finds one. When they run
//! short the connection goes that has done nothing for longest, of the source
//! that holds the most. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

/// When a connection has last moved a byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(super) fn beat(&self, now: Moment) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }

    fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's place.
#[derive(Debug)]
struct Place<T> {
    id: u64,
    /// Whoever comes over a unix socket has none.
    source: Option<IpAddr>,
    pulse: Pulse,
    /// What ends it.
    end: T,
}

/// The places of one door.
#[derive(Debug)]
pub(super) struct Places<T> {
    most: usize,
    most_per_source: usize,
    next: u64,
    taken: Vec<Place<T>>,
}

impl<T> Places<T> {
    pub(super) const fn new(most: usize, most_per_source: usize) -> Self {
        Self {
            most,
            most_per_source,
            next: 0,
            taken: Vec::new(),
        }
    }

    /// A number for a connection that is about to take a place.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Gives the connection with number `id` a place; returns what ends the
    /// one that had to leave for it.
    pub(super) fn take(
        &mut self,
        id: u64,
        source: Option<IpAddr>,
        pulse: Pulse,
        end: T,
    ) -> Option<T> {
        let evicted = if self.held_by(source) >= self.most_per_source {
            self.evict(source)
        } else if self.taken.len() >= self.most {
            let sources = self.taken.iter().map(|it| it.source);
            let greediest = sources.max_by_key(|it| self.held_by(*it));
            greediest.and_then(|it| self.evict(it))
        } else {
            None
        };
        self.taken.push(Place {
            id,
            source,
            pulse,
            end,
        });
        evicted
    }

    /// Takes the place back.
    pub(super) fn leave(&mut self, id: u64) {
        self.taken.retain(|it| it.id != id);
    }

    fn held_by(&self, source: Option<IpAddr>) -> usize {
        self.taken.iter().filter(|it| it.source == source).count()
    }

    /// Ends the one of `source` that has done nothing for longest.
    fn evict(&mut self, source: Option<IpAddr>) -> Option<T> {
        let of_source = self.taken.iter().enumerate();
        let of_source = of_source.filter(|(_, it)| it.source == source);
        let (stalest, _) = of_source.min_by_key(|(_, it)| (it.pulse.last(), it.id))?;
        Some(self.taken.remove(stalest).end)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Door(Places<u64>, Vec<Pulse>);

    impl Door {
        fn come(&mut self, from: u8, at: u64) -> Option<u64> {
            let pulse = Pulse::default();
            pulse.beat(Moment::default() + Duration::from_secs(at));
            self.1.push(pulse.clone());
            let id = self.0.number();
            self.0.take(id, Some([10, 0, 0, from].into()), pulse, id)
        }
    }

    #[test]
    fn the_stalest_of_a_greedy_source_leaves_first() {
        let mut door = Door(Places::new(6, 3), Vec::new());
        assert_eq!(
            [door.come(1, 1), door.come(1, 2), door.come(1, 3)],
            [None; 3]
        );
        // The first has moved since.
        door.1[0].beat(Moment::default() + Duration::from_secs(9));
        assert_eq!(
            door.come(1, 10),
            Some(2),
            "its own, and the stalest of them"
        );
        assert_eq!(
            [door.come(2, 0), door.come(2, 0), door.come(3, 0)],
            [None; 3]
        );
        assert_eq!(
            door.come(4, 11),
            Some(3),
            "the greediest pays, not the stalest of all"
        );
        door.0.leave(1);
        assert_eq!(door.come(5, 12), None, "a place that was left is free");
        assert_eq!(door.0.taken.len(), 6);
    }
}
