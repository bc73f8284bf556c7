//! Durations, counted by their length.

use std::marker::PhantomData;
use std::time::Duration;

use super::counters::Cell;

/// Buckets of a histogram, without the one above the last bound.
pub(super) const BUCKETS: usize = 16;

/// Upper bounds of buckets.
pub trait Scale {
    /// In microseconds, ascending.
    const BOUNDS: [u64; BUCKETS];
}

/// How long connections live: from one request on the loopback interface to an
/// hour.
#[derive(Debug, Default)]
pub struct Lives;

impl Scale for Lives {
    const BOUNDS: [u64; BUCKETS] = [
        100,
        250,
        500,
        1_000,
        2_500,
        5_000,
        10_000,
        25_000,
        100_000,
        250_000,
        1_000_000,
        5_000_000,
        30_000_000,
        300_000_000,
        1_800_000_000,
        3_600_000_000,
    ];
}

/// How long one waits for an answer: from a handshake on the loopback interface
/// to the longest timeouts.
#[derive(Debug, Default)]
pub struct Waits;

impl Scale for Waits {
    const BOUNDS: [u64; BUCKETS] = [
        10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000,
        2_500_000, 10_000_000, 60_000_000,
    ];
}

/// A histogram of durations with one writer.
#[derive(Debug, Default)]
pub struct Histogram<S> {
    buckets: [Cell; BUCKETS + 1],
    sum_micros: Cell,
    scale: PhantomData<S>,
}

impl<S: Scale> Histogram<S> {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = S::BOUNDS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }

    /// Adds this histogram's counts to `total`.
    pub fn add_to(&self, total: &mut Totals<S>) {
        for (into, cell) in total.buckets.iter_mut().zip(&self.buckets) {
            *into += cell.get();
        }
        total.sum_micros += self.sum_micros.get();
    }
}

/// What several histograms counted together.
#[derive(Debug, Default)]
pub struct Totals<S> {
    buckets: [u64; BUCKETS + 1],
    sum_micros: u64,
    scale: PhantomData<S>,
}

impl<S: Scale> Totals<S> {
    /// Each upper bound, with the count between it and the one before.
    pub fn below(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = S::BOUNDS.into_iter().map(Duration::from_micros);
        bounds.zip(self.buckets)
    }

    /// What is above the last bound.
    pub const fn above(&self) -> u64 {
        self.buckets[BUCKETS]
    }

    /// All durations added up.
    pub const fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        let histogram = Histogram::<Lives>::default();
        for micros in [1, 100, 101, 3_600_000_000, 3_600_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut total = Totals::default();
        histogram.add_to(&mut total);
        let counts: Vec<u64> = total.below().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[15]), (2, 1, 1));
        assert_eq!(total.above(), 1);
    }

    #[test]
    fn bounds_ascend() {
        assert!(Lives::BOUNDS.is_sorted() && Waits::BOUNDS.is_sorted());
    }
}
