//! What is known of a backend, and what follows for its traffic. Pure.

use std::time::Duration;

use crate::clock::Moment;

/// What the probes have found a backend to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// It has not been probed yet: no traffic.
    Starting,
    /// It cannot be probed, for a reason of our own, and has not been before:
    /// it is tried where nobody else is left.
    Unknown,
    /// Alive and ready.
    Up {
        /// When it began to ramp up; `None`: at its full share.
        ramp_from: Option<Moment>,
    },
    /// Alive, and asking for no new connections.
    Drain,
    /// Alive, and full: no new connections where another has a place, and
    /// nobody is reset.
    Saturated,
    /// Dead.
    Down,
}

impl BackendState {
    /// The word for people, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unknown => "unknown",
            Self::Up { .. } => "up",
            Self::Drain => "drain",
            Self::Saturated => "saturated",
            Self::Down => "down",
        }
    }

    /// Every word of [`as_str`](Self::as_str).
    pub const WORDS: [&'static str; 6] =
        ["down", "drain", "saturated", "starting", "unknown", "up"];

    /// Whether it answers its probes.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Up { .. } | Self::Drain | Self::Saturated)
    }

    /// The weight in thousandths, at `now`, of a backend in this state.
    pub fn effective_weight(self, weight: u32, slow_start: Option<Duration>, now: Moment) -> u32 {
        let Self::Up { ramp_from } = self else {
            return 0;
        };
        let full = weight * 1000;
        let (Some(since), Some(ramp)) = (ramp_from, slow_start) else {
            return full;
        };
        let done = now.since(since).as_millis();
        let whole = ramp.as_millis().max(1);
        if done >= whole {
            return full;
        }
        // A tenth at once: a backend without any traffic warms nothing up.
        let share = 100 + u32::try_from(done * 900 / whole).unwrap_or(900);
        weight * share
    }

    /// Whether the weight still grows at `now`.
    pub fn is_ramping(self, slow_start: Option<Duration>, now: Moment) -> bool {
        match (self, slow_start) {
            (
                Self::Up {
                    ramp_from: Some(since),
                },
                Some(ramp),
            ) => now.since(since) < ramp,
            (
                Self::Up { .. }
                | Self::Starting
                | Self::Unknown
                | Self::Drain
                | Self::Saturated
                | Self::Down,
                _,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn a_recovered_backend_ramps_from_a_tenth_to_its_full_share() {
        let start = Moment::from_micros(7_000_000);
        let up = BackendState::Up {
            ramp_from: Some(start),
        };
        assert_eq!(up.effective_weight(100, RAMP, start), 10_000);
        let half = start + Duration::from_secs(5);
        assert_eq!(up.effective_weight(100, RAMP, half), 55_000);
        let end = start + Duration::from_secs(10);
        assert_eq!(up.effective_weight(100, RAMP, end), 100_000);
        assert!(up.is_ramping(RAMP, half) && !up.is_ramping(RAMP, end));
        assert_eq!(up.effective_weight(100, None, start), 100_000);
        assert_eq!(up.effective_weight(0, RAMP, half), 0);
    }

    #[test]
    fn only_the_ready_have_weight() {
        for state in [
            BackendState::Starting,
            BackendState::Unknown,
            BackendState::Drain,
            BackendState::Saturated,
            BackendState::Down,
        ] {
            assert_eq!(state.effective_weight(100, None, Moment::START), 0);
        }
    }
}
