//! When to probe next. Pure.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::Timing;
use super::state::Health;
use crate::pool::BackendState;

/// First probes of a starting process are spread over this long.
const SPREAD: Duration = Duration::from_millis(200);

/// How long to wait before the first probe, so that a thousand backends are
/// not probed in the same instant, now and ever after.
pub(super) fn first(timing: &Timing, rng: &mut impl Rng) -> Duration {
    timing.interval.min(SPREAD).mul_f64(rng.random())
}

/// How long to wait after a probe began until the next one does.
pub(super) fn next(health: &Health, timing: &Timing, rng: &mut impl Rng) -> Duration {
    let base = if health.is_in_doubt() {
        timing.fast_interval
    } else {
        match health.state() {
            BackendState::Down => timing.down_interval,
            BackendState::Starting
            | BackendState::Unknown
            | BackendState::Up { .. }
            | BackendState::Drain
            | BackendState::Saturated => timing.interval,
        }
    };
    let swing = f64::from(timing.jitter) / 100.0;
    base.mul_f64(1.0 + rng.random_range(-1.0..=1.0) * swing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Moment, Seed};
    use crate::health::state::Sign;

    #[test]
    fn doubt_is_settled_faster_and_the_dead_are_left_in_peace() {
        let timing = Timing {
            jitter: 0,
            ..Timing::default()
        };
        let mut rng = Seed(1).rng();
        let mut health = Health::new(true);
        let mut say = |sign| {
            health.observe(sign, &timing, Moment::START);
            next(&health, &timing, &mut rng)
        };
        assert_eq!(say(Sign::Pass), timing.interval);
        assert_eq!(say(Sign::Fail), timing.fast_interval);
        assert_eq!(say(Sign::Fail), timing.fast_interval);
        assert_eq!(say(Sign::Fail), timing.down_interval);
        assert_eq!(say(Sign::Pass), timing.fast_interval);
    }

    #[test]
    fn jitter_keeps_to_its_percentage() {
        let timing = Timing::default();
        let mut rng = Seed(2).rng();
        let health = Health::new(true);
        let waits: Vec<f64> = (0..1000)
            .map(|_| next(&health, &timing, &mut rng).as_secs_f64())
            .collect();
        assert!(waits.iter().all(|wait| (0.9..=1.1).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 0.92) && waits.iter().any(|wait| *wait > 1.08));
    }
}
