//! Time and chance, as values. This is the only file that reads the clock or
//! draws a seed; everyone else is handed a [`Moment`] or a [`Seed`].
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock and seeds chance"
)]

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::time::{ClockId, clock_gettime};

/// A point on the monotonic clock: microseconds since the process started.
///
/// A plain number, so that a test can write one and a log can print one. Wall
/// clock steps never move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment the process (or the test) began.
    pub const START: Self = Self(0);

    /// The moment `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// The present moment.
pub fn now() -> Moment {
    Moment(u64::try_from(origin().elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Wall-clock time, for people and for metrics only: never for a decision.
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

/// Processor time that the process has taken, of all its threads together.
pub fn cpu() -> Duration {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(taken).unwrap_or_default()
}

/// Where chance comes from: a number that can be written down and replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed that nobody can foretell.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A seed of its own for the `n`th user of this one.
    pub const fn fork(self, n: u64) -> Self {
        // SplitMix64's increment keeps neighbouring forks far apart.
        Self(
            self.0
                .wrapping_add((n.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }

    /// A generator that draws the same numbers for the same seed.
    pub fn rng(self) -> SmallRng {
        SmallRng::seed_from_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_add_subtract_and_never_wrap() {
        let at = Moment::from_micros(5);
        assert_eq!((at + Duration::from_micros(7)).as_micros(), 12);
        assert_eq!(at - Duration::from_secs(1), Moment::START);
        assert_eq!(Moment::START.since(at), Duration::ZERO);
        assert_eq!(
            (at + Duration::MAX).as_micros(),
            Moment::from_micros(u64::MAX).as_micros()
        );
    }

    #[test]
    fn forks_of_a_seed_differ_and_repeat() {
        assert_ne!(Seed(1).fork(0), Seed(1).fork(1));
        assert_eq!(Seed(1).fork(3), Seed(1).fork(3));
    }
}
