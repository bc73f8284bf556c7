//! From probe results to a verdict: rise, fall, and what lies between. Pure.

use super::Timing;
use crate::clock::Moment;
use crate::pool::BackendState;

/// What a probe, or a real connection, says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Alive, and asking for no new connections.
    Drain,
    /// Not alive.
    Fail,
    /// Alive and ready.
    Pass,
    /// The host is alive, and nobody listens at the port that clients use.
    Refused,
    /// Alive, and full.
    Saturated,
}

/// What is known of a backend, and how sure that is.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    state: BackendState,
    /// Signs in a row that speak against `state`.
    against: u32,
    /// Failures in a row that were not refusals.
    unanswered: u32,
    /// Whether there is no more to be had from its connections.
    is_lost: bool,
    /// Whether the process is just starting: then everybody is new, and nobody
    /// has to be spared.
    is_cold_start: bool,
}

impl Health {
    /// A backend that has not been probed. `is_cold_start` says that its
    /// neighbours have not been either.
    pub const fn new(is_cold_start: bool) -> Self {
        Self {
            state: BackendState::Starting,
            against: 0,
            unanswered: 0,
            is_lost: false,
            is_cold_start,
        }
    }

    /// A backend that was probed before, and was found to be in `state`.
    pub const fn known(state: BackendState) -> Self {
        Self {
            state,
            ..Self::new(false)
        }
    }

    /// What it is found to be.
    pub const fn state(&self) -> BackendState {
        self.state
    }

    /// Whether some signs speak against the verdict: then probes come faster.
    pub const fn is_in_doubt(&self) -> bool {
        self.against > 0
    }

    /// Whether the connections to it are as dead as it is. A server that
    /// refuses new ones may be finishing its work before it ends, and if it has
    /// ended, its kernel has closed them; one that fails otherwise leaves
    /// clients waiting for answers that will not come.
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Takes note of `sign`; says whether the state has changed, or whether
    /// the backend is lost.
    pub fn observe(&mut self, sign: Sign, timing: &Timing, now: Moment) -> bool {
        let before = (self.state, self.is_lost);
        let is_failure = matches!(sign, Sign::Fail | Sign::Refused);
        match self.state {
            // The first probe decides alone: whoever waits for a new backend
            // has waited enough.
            BackendState::Starting | BackendState::Unknown if is_failure => self.become_down(),
            BackendState::Starting | BackendState::Unknown => self.become_alive(sign, now),
            BackendState::Down if is_failure => self.against = 0,
            BackendState::Down => {
                self.against += 1;
                if self.against >= timing.rise {
                    self.become_alive(sign, now);
                }
            }
            BackendState::Up { .. } | BackendState::Drain | BackendState::Saturated => {
                if is_failure {
                    self.against += 1;
                    if self.against >= timing.fall {
                        self.become_down();
                    }
                } else {
                    self.become_alive(sign, now);
                }
            }
        }
        self.unanswered = match sign {
            Sign::Fail => self.unanswered.saturating_add(1),
            Sign::Drain | Sign::Pass | Sign::Refused | Sign::Saturated => 0,
        };
        self.is_lost =
            self.state == BackendState::Down && (self.is_lost || self.unanswered >= timing.fall);
        before != (self.state, self.is_lost)
    }

    /// A client was greeted: a server that was full has places again. Of any
    /// other state it says nothing that the probes do not say better. Says
    /// whether the state has changed.
    pub fn greeted(&mut self, now: Moment) -> bool {
        if self.state != BackendState::Saturated {
            return false;
        }
        self.unanswered = 0;
        self.become_alive(Sign::Pass, now);
        true
    }

    /// A probe could not be made, for a reason of our own. Says whether the state
    /// has changed: nothing will be known soon of one that has not been probed
    /// before, and to wait for it is in vain.
    pub fn cannot_be_probed(&mut self) -> bool {
        let is_new = self.state == BackendState::Starting;
        if is_new {
            self.state = BackendState::Unknown;
        }
        is_new
    }

    fn become_down(&mut self) {
        self.state = BackendState::Down;
        self.against = 0;
        self.is_cold_start = false;
    }

    fn become_alive(&mut self, sign: Sign, now: Moment) {
        self.against = 0;
        self.state = match (sign, self.state) {
            (Sign::Pass, BackendState::Up { ramp_from }) => BackendState::Up { ramp_from },
            // Full a moment ago means warm.
            (Sign::Pass, BackendState::Saturated) => BackendState::Up { ramp_from: None },
            (Sign::Pass, BackendState::Starting | BackendState::Unknown) if self.is_cold_start => {
                BackendState::Up { ramp_from: None }
            }
            (
                Sign::Pass,
                BackendState::Starting
                | BackendState::Unknown
                | BackendState::Drain
                | BackendState::Down,
            ) => BackendState::Up {
                ramp_from: Some(now),
            },
            (Sign::Drain, _) => BackendState::Drain,
            (Sign::Saturated, _) => BackendState::Saturated,
            (Sign::Fail | Sign::Refused, state) => state,
        };
        self.is_cold_start = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_micros(9);

    fn timing(rise: u32, fall: u32) -> Timing {
        Timing {
            rise,
            fall,
            ..Timing::default()
        }
    }

    fn after(health: &mut Health, signs: &[Sign]) -> &'static str {
        for sign in signs {
            health.observe(*sign, &timing(2, 3), NOW);
        }
        health.state().as_str()
    }

    #[test]
    fn a_new_backend_waits_for_its_first_probe_and_for_no_second() {
        let mut health = Health::new(true);
        assert_eq!(after(&mut health, &[]), "starting");
        assert!(health.observe(Sign::Pass, &timing(2, 3), NOW));
        assert_eq!(health.state(), BackendState::Up { ramp_from: None });
        assert_eq!(after(&mut Health::new(true), &[Sign::Fail]), "down");
    }

    #[test]
    fn who_cannot_be_probed_is_unknown_until_the_first_probe_and_keeps_any_other_verdict() {
        let mut health = Health::new(true);
        assert!(health.cannot_be_probed());
        assert!(!health.cannot_be_probed(), "it is said once");
        assert_eq!(after(&mut health, &[]), "unknown");
        let mut dead = health;
        assert_eq!(after(&mut dead, &[Sign::Fail]), "down");
        assert!(!dead.cannot_be_probed());
        assert_eq!(after(&mut dead, &[]), "down");
        assert!(health.observe(Sign::Pass, &timing(2, 3), NOW));
        assert_eq!(health.state(), BackendState::Up { ramp_from: None });
        assert!(!health.cannot_be_probed());
        assert_eq!(after(&mut health, &[]), "up");
    }

    #[test]
    fn who_joins_a_running_pool_ramps_up() {
        let mut health = Health::new(false);
        health.observe(Sign::Pass, &timing(2, 3), NOW);
        let ramp_from = Some(NOW);
        assert_eq!(health.state(), BackendState::Up { ramp_from });
    }

    #[test]
    fn fall_failures_in_a_row_kill_and_rise_passes_in_a_row_revive() {
        use Sign::{Fail, Pass};
        let mut health = Health::new(true);
        assert_eq!(
            after(&mut health, &[Pass, Fail, Fail, Pass, Fail, Fail]),
            "up"
        );
        assert!(health.is_in_doubt());
        assert_eq!(after(&mut health, &[Fail]), "down");
        assert!(!health.is_in_doubt());
        assert_eq!(after(&mut health, &[Pass, Fail, Pass]), "down");
        assert_eq!(after(&mut health, &[Pass]), "up");
    }

    #[test]
    fn drained_and_saturated_are_alive() {
        use Sign::{Drain, Fail, Pass, Saturated};
        let mut health = Health::new(true);
        assert_eq!(after(&mut health, &[Pass, Drain]), "drain");
        assert_eq!(after(&mut health, &[Fail, Fail]), "drain");
        assert_eq!(after(&mut health, &[Saturated]), "saturated");
        assert_eq!(after(&mut health, &[Pass]), "up");
        assert_eq!(after(&mut health, &[Fail, Fail, Fail]), "down");
        assert_eq!(after(&mut health, &[Pass, Drain]), "drain");
    }

    #[test]
    fn who_refuses_is_down_and_not_lost_until_it_does_not_answer() {
        use Sign::{Fail, Pass, Refused};
        let mut health = Health::new(true);
        assert_eq!(after(&mut health, &[Pass, Refused, Refused]), "up");
        assert_eq!(after(&mut health, &[Refused]), "down");
        assert!(!health.is_lost());
        after(&mut health, &[Fail, Fail, Refused, Fail, Fail]);
        assert!(!health.is_lost(), "never three in a row");
        assert!(health.observe(Fail, &timing(2, 3), NOW), "that is news");
        assert!(health.is_lost());
        assert!(!health.observe(Fail, &timing(2, 3), NOW), "that is not");
        assert_eq!(after(&mut health, &[Pass, Pass, Fail, Fail]), "up");
        assert!(!health.is_lost());
        assert_eq!(after(&mut health, &[Fail]), "down");
        assert!(health.is_lost());
    }

    #[test]
    fn the_first_greeting_ends_a_full_servers_verdict_and_no_other() {
        use Sign::{Drain, Fail, Pass, Saturated};
        let mut health = Health::new(true);
        assert!(!health.greeted(NOW));
        assert_eq!(after(&mut health, &[Saturated, Fail]), "saturated");
        assert!(health.greeted(NOW));
        assert_eq!(health.state(), BackendState::Up { ramp_from: None });
        assert!(!health.is_in_doubt());
        for (signs, state) in [
            (&[Drain][..], "drain"),
            (&[Fail, Fail, Fail], "down"),
            (&[Pass, Pass, Fail], "up"),
        ] {
            assert_eq!(after(&mut health, signs), state);
            assert!(!health.greeted(NOW));
        }
        assert!(health.is_in_doubt(), "a greeting is no probe");
    }

    proptest! {
        #[test]
        fn it_never_dies_sooner_than_fall_nor_lives_sooner_than_rise(
            signs in prop::collection::vec(prop::sample::select(vec![
                Sign::Pass, Sign::Fail, Sign::Drain, Sign::Saturated, Sign::Refused,
            ]), 0..200),
            rise in 1u32..5,
            fall in 1u32..5,
        ) {
            let timing = timing(rise, fall);
            let mut health = Health::new(true);
            let (mut fails, mut lives, mut first) = (0, 0, true);
            for sign in signs {
                let was = health.state();
                let is_failure = matches!(sign, Sign::Fail | Sign::Refused);
                if is_failure { fails += 1; lives = 0 } else { lives += 1; fails = 0 }
                health.observe(sign, &timing, NOW);
                if !first {
                    if was.is_alive() && !health.state().is_alive() {
                        prop_assert!(fails >= fall);
                    }
                    if !was.is_alive() && health.state().is_alive() {
                        prop_assert!(lives >= rise);
                    }
                }
                first = false;
                prop_assert!(!health.state().is_alive() || fails < fall);
                prop_assert!(!health.is_lost() || health.state() == BackendState::Down);
            }
        }
    }
}
