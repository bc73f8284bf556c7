//! Whether resolvers may still send clients to this node. Pure.

use std::time::Duration;

use crate::clock::Moment;
use crate::pair::View;

/// How far the twins' answers may lag behind what this node knows: some
/// heartbeats, of which one or two may be lost.
const LAG: Duration = Duration::from_millis(500);

/// When the public name last had this node's address, whatever this node was
/// to the pair then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It has it now.
    Now,
    /// It had it until then.
    Until(Moment),
}

impl Given {
    /// At the start of a life. An earlier one may have had the name until
    /// then, and nobody here remembers.
    pub(super) const fn at_start(now: Moment) -> Self {
        Self::Until(now)
    }

    /// Takes into account what the election thinks now.
    pub(super) fn note(&mut self, is_given: bool, now: Moment) {
        *self = match (is_given, *self) {
            (true, _) => Self::Now,
            (false, Self::Now) => Self::Until(now),
            (false, before) => before,
        };
    }

    /// Until when a resolver that keeps answers for `ttl` may have this node's
    /// address, if nobody gives it out from `now` on. No TTL: nobody can.
    pub(super) fn known_until(self, now: Moment, ttl: Duration) -> Moment {
        let last = match self {
            _ if ttl.is_zero() => return now,
            Self::Now => now,
            Self::Until(last) => last,
        };
        last + ttl + LAG
    }
}

/// Whether somebody who asks for the name now may get this node's address.
pub(super) fn is_given(view: &View, is_active_active: bool) -> bool {
    let is_held = view.claim.as_ref().is_some_and(|it| it.holder == view.me);
    let is_one_of_all = is_active_active && view.functional.contains(&view.me);
    is_held || is_one_of_all || view.answer == view.me
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn who_gave_the_name_away_is_known_for_a_ttl() {
        let mut given = Given::at_start(at(0));
        given.note(true, at(10));
        assert_eq!(given.known_until(at(12), TTL), at(17) + LAG, "it has it");
        given.note(false, at(20));
        given.note(false, at(21));
        assert_eq!(given.known_until(at(22), TTL), at(25) + LAG);
        assert_eq!(given.known_until(at(60), TTL), at(25) + LAG, "long ago");
        given.note(true, at(70));
        assert_eq!(given.known_until(at(70), TTL), at(75) + LAG);
    }

    #[test]
    fn who_has_just_started_may_have_had_it_before() {
        let mut given = Given::at_start(at(3));
        given.note(false, at(4));
        assert_eq!(given.known_until(at(4), TTL), at(8) + LAG);
    }

    #[test]
    fn where_nobody_keeps_answers_nobody_is_waited_for() {
        assert_eq!(Given::Now.known_until(at(9), Duration::ZERO), at(9));
    }
}
