//! How many connections the file descriptors allow. Pure.

/// What a process may hold open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Client connections, over all workers.
    pub sessions: u32,
    /// Clients that are being told no, per worker, beside those.
    pub refusals: u32,
    /// Pipes for streams that are too much to copy, per worker; two
    /// descriptors each.
    pub pipes: u32,
    /// Whether `sessions` is less than what was asked for.
    pub is_clamped: bool,
}

/// So many streams per worker may wait for their readers with bytes in a pipe.
const PIPES: u64 = 64;

impl Budget {
    /// Two descriptors for each session; what probes, the admin interface,
    /// listeners and refusals need is set aside first.
    pub fn new(descriptors: u64, workers: u64, others: u64, wanted: Option<u32>) -> Self {
        // Each worker has an epoll, a waker and a spare; the rest is for logs,
        // libraries and resolver files.
        let reserve = 48 + workers * 4 + others;
        let left = descriptors.saturating_sub(reserve);
        // A thirty-second part, so that a small limit is not eaten by refusals.
        let refusals = (left / 32 / workers.max(1)).clamp(4, 256);
        // As for refusals. A stream that gets no pipe is copied.
        let pipes = (left / 64 / workers.max(1)).min(PIPES);
        let left = left.saturating_sub(pipes * 2 * workers);
        let possible = left.saturating_sub(refusals * workers) / 2;
        let possible = u32::try_from(possible).unwrap_or(u32::MAX).max(1);
        Self {
            sessions: wanted.unwrap_or(possible).min(possible),
            refusals: u32::try_from(refusals).unwrap_or(4),
            pipes: u32::try_from(pipes).unwrap_or(0),
            is_clamped: wanted.is_some_and(|wanted| wanted > possible),
        }
    }

    /// Descriptors that `sessions` would need beside `others`.
    pub fn needed(sessions: u32, workers: u64, others: u64) -> u64 {
        48 + workers * (4 + 256 + 2 * PIPES) + others + 2 * u64::from(sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_still_serves() {
        let budget = Budget::new(1024, 2, 10, None);
        assert!(budget.sessions > 415, "{budget:?}");
        let each_worker = u64::from(budget.refusals) + 2 * u64::from(budget.pipes);
        assert!(48 + 8 + 10 + 2 * u64::from(budget.sessions) + 2 * each_worker <= 1024);
        assert!(Budget::new(10, 2, 10, None).sessions >= 1);
    }

    #[test]
    fn a_wish_above_the_limit_is_clamped_and_said() {
        assert!(Budget::new(1024, 2, 10, Some(10_000)).is_clamped);
        let modest = Budget::new(20_000, 2, 10, Some(100));
        assert_eq!((modest.sessions, modest.is_clamped), (100, false));
    }

    #[test]
    fn what_is_needed_is_enough() {
        for sessions in [1, 100, 50_000] {
            let needed = Budget::needed(sessions, 4, 99);
            assert!(!Budget::new(needed, 4, 99, Some(sessions)).is_clamped);
        }
    }
}
