//! The deadlines of 100,000 sessions, cheaply: a timing wheel. Pure.
//!
//! The wheel only says "look at this one about now". A session whose real
//! deadline has moved is put back; so activity costs nothing, and a session
//! that has gone is found gone at its turn.

use crate::clock::Moment;

const SLOTS: usize = 4096;
/// 16.384 ms: finer than any timeout people set, coarse enough that a minute
/// fits on the wheel.
const TICK_SHIFT: u32 = 14;

/// Entries by the tick at which they want to be looked at.
pub(super) struct Wheel<K> {
    slots: Vec<Vec<K>>,
    /// One bit for each slot that is not empty.
    occupied: [u64; SLOTS / 64],
    /// Everything before this tick has been handed out.
    next_tick: u64,
}

impl<K> Wheel<K> {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; SLOTS / 64],
            next_tick: now.as_micros() >> TICK_SHIFT,
        }
    }

    /// Asks for `entry` at `when`, or as soon after it as ticks allow; never
    /// before it, unless it lies farther ahead than the wheel goes round.
    pub(super) fn insert(&mut self, when: Moment, entry: K) {
        let wanted = (when.as_micros() >> TICK_SHIFT) + 1;
        let tick = wanted.clamp(self.next_tick, self.next_tick + SLOTS as u64 - 1);
        let slot = Self::slot(tick);
        self.slots[slot].push(entry);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Moves every entry whose tick has come by `now` into `due`.
    pub(super) fn expire(&mut self, now: Moment, due: &mut Vec<K>) {
        let last = now.as_micros() >> TICK_SHIFT;
        if last < self.next_tick {
            return;
        }
        // After a long pause each slot is visited once, not once per turn.
        let ticks = (last - self.next_tick + 1).min(SLOTS as u64);
        for tick in self.next_tick..self.next_tick + ticks {
            let slot = Self::slot(tick);
            if self.occupied[slot / 64] & (1 << (slot % 64)) != 0 {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
                // The slot's memory goes too: a burst is not kept for ever.
                due.append(&mut std::mem::take(&mut self.slots[slot]));
            }
        }
        self.next_tick = last + 1;
    }

    /// When there is something to hand out next.
    pub(super) fn next(&self) -> Option<Moment> {
        let start = Self::slot(self.next_tick);
        let (word, bit) = (start / 64, start % 64);
        for step in 0..=self.occupied.len() {
            let at = (word + step) % self.occupied.len();
            let mut bits = self.occupied[at];
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == self.occupied.len() {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let slot = at * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                let tick = self.next_tick + ahead as u64;
                return Some(Moment::from_micros(tick << TICK_SHIFT));
            }
        }
        None
    }

    fn slot(tick: u64) -> usize {
        usize::try_from(tick % SLOTS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at_millis(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    #[test]
    fn entries_come_at_their_time_and_not_before() {
        let mut wheel = Wheel::new(Moment::START);
        wheel.insert(at_millis(100), 'a');
        wheel.insert(at_millis(3000), 'b');
        let mut due = Vec::new();
        wheel.expire(at_millis(99), &mut due);
        assert!(due.is_empty());
        assert!(wheel.next().is_some_and(|at| at > at_millis(100)));
        wheel.expire(at_millis(133), &mut due);
        assert_eq!(due, ['a']);
        wheel.expire(at_millis(3033), &mut due);
        assert_eq!(due, ['a', 'b']);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_lies_beyond_the_span_is_looked_at_within_it() {
        let mut wheel = Wheel::new(Moment::START);
        wheel.insert(Moment::START + Duration::from_secs(8 * 3600), ());
        let next = wheel.next().unwrap();
        assert!(next <= Moment::from_micros((SLOTS as u64) << TICK_SHIFT));
    }

    #[test]
    fn a_process_that_slept_for_an_hour_hands_out_everything_once() {
        let mut wheel = Wheel::new(Moment::START);
        for i in 0..1000u64 {
            wheel.insert(at_millis(i * 50), i);
        }
        let mut due = Vec::new();
        wheel.expire(at_millis(3_600_000), &mut due);
        assert_eq!(due.len(), 1000);
        wheel.insert(at_millis(3_600_100), 0);
        assert!(wheel.next().is_some_and(|at| at > at_millis(3_600_100)));
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_list(
            steps in prop::collection::vec((0u64..67_000, 0u64..5_000), 1..60),
        ) {
            let mut wheel = Wheel::new(Moment::START);
            let mut list: Vec<u64> = Vec::new();
            let mut now = 0;
            for (ahead, pass) in steps {
                list.push(now + ahead);
                wheel.insert(at_millis(now + ahead), now + ahead);
                now += pass;
                let mut due = Vec::new();
                wheel.expire(at_millis(now), &mut due);
                for wanted in due {
                    prop_assert!(wanted <= now, "nothing within the span comes early");
                    let place = list.iter().position(|&w| w == wanted);
                    prop_assert!(place.is_some());
                    list.remove(place.unwrap());
                }
                // Never more than two ticks late.
                prop_assert!(list.iter().all(|&w| w + 33 > now));
                if let (Some(next), Some(first)) = (wheel.next(), list.iter().min()) {
                    prop_assert!(next <= at_millis(first + 33));
                }
            }
        }
    }
}
