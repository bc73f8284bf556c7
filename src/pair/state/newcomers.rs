//! Lives of a twin that have not proved yet that they are no recordings. Pure.
//!
//! Each is asked for its proof, in turn: were only the last one asked, then
//! whoever repeats an old recording often enough would keep a real one from
//! being asked at all.

use std::time::Duration;

use crate::clock::Moment;
use crate::pair::Boot;

/// How many are known at a time: more than a twin can start anew within the
/// time that each is asked.
const MOST: usize = 16;

/// The lives that have spoken, and not proved themselves.
#[derive(Debug, Default)]
pub(super) struct Newcomers(Vec<Newcomer>);

#[derive(Debug)]
struct Newcomer {
    boot: Boot,
    /// Its newest heartbeat number.
    seq: u64,
    /// When that came.
    at: Moment,
}

impl Newcomers {
    /// Takes note of a heartbeat. One that came before changes nothing.
    pub(super) fn note(&mut self, boot: Boot, seq: u64, now: Moment) {
        if let Some(known) = self.0.iter_mut().find(|it| it.boot == boot) {
            if seq > known.seq {
                known.seq = seq;
                known.at = now;
            }
            return;
        }
        if self.0.len() == MOST {
            let oldest = (0..MOST).min_by_key(|at| self.0[*at].at);
            self.0.remove(oldest.unwrap_or(0));
        }
        self.0.push(Newcomer { boot, seq, at: now });
    }

    /// Forgets one that has proved itself.
    pub(super) fn remove(&mut self, boot: Boot) {
        self.0.retain(|it| it.boot != boot);
    }

    /// Whom to ask in this turn, of those that have spoken within `window`.
    pub(super) fn ask(&self, turn: u64, window: Duration, now: Moment) -> Option<(Boot, u64)> {
        let is_recent = |it: &&Newcomer| now.since(it.at) < window;
        let count = self.0.iter().filter(is_recent).count();
        let at = turn.checked_rem(u64::try_from(count).unwrap_or(u64::MAX))?;
        let at = usize::try_from(at).unwrap_or(0);
        let chosen = self.0.iter().filter(is_recent).nth(at)?;
        Some((chosen.boot, chosen.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(1500);

    #[test]
    fn whoever_repeats_a_recording_keeps_nobody_from_being_asked() {
        let mut all = Newcomers::default();
        let mut asked = 0;
        let mut now = Moment::START;
        for turn in 0..100 {
            all.note(Boot(1), turn, now);
            for copy in 0..40 {
                all.note(Boot(2), copy, now);
                all.note(Boot(3), copy, now);
            }
            asked += u64::from(all.ask(turn, WINDOW, now) == Some((Boot(1), turn)));
            now = now + Duration::from_millis(50);
        }
        // The copies stop counting once each has come.
        assert!(asked > 70, "{asked} of 100");
        all.remove(Boot(1));
        assert_eq!(all.ask(0, WINDOW, now), None);
    }

    #[test]
    fn the_one_that_has_been_silent_for_longest_makes_room() {
        let mut all = Newcomers::default();
        let most = u64::try_from(MOST).unwrap();
        for boot in 0..=most {
            all.note(Boot(boot), 1, Moment::from_micros(boot));
        }
        let now = Moment::from_micros(most);
        let asked = (0..most).map(|turn| all.ask(turn, WINDOW, now).unwrap().0.0);
        assert!(asked.eq(1..=most));
    }
}
