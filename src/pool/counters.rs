//! Counters that a worker can bump without touching another worker's cache
//! lines: each worker has cells of its own, and a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the cell's one writer may call this: it is a load and a
    /// store, not a locked instruction.
    pub fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Two cache lines, because CPUs fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One `T` for each worker, none sharing a cache line with another.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[Padded<T>]>);

impl<T: Default> PerWorker<T> {
    /// Cells for `workers` workers; at least one.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Padded::default()).collect())
    }

    /// The cells of worker number `worker`.
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker].0
    }

    /// The sum of what `read` finds in each worker's cells.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|padded| read(&padded.0)).sum()
    }

    /// Everybody's cells.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// Upper bounds of the duration buckets in microseconds: from a loopback round
/// trip to a connection that lives for an hour.
pub const BUCKETS: [u64; 16] = [
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

/// A histogram of durations with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Cell; BUCKETS.len() + 1],
    sum_micros: Cell,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }

    /// Adds this histogram's counts to `total`.
    pub fn add_to(&self, total: &mut Totals) {
        for (into, cell) in total.buckets.iter_mut().zip(&self.buckets) {
            *into += cell.get();
        }
        total.sum_micros += self.sum_micros.get();
    }
}

/// What several histograms counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Per bucket of [`BUCKETS`], and what is above the last one. Not
    /// cumulative.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// All durations added up.
    pub sum_micros: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_puts_a_bound_into_its_own_bucket() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 3_600_000_000, 3_600_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut total = Totals::default();
        histogram.add_to(&mut total);
        assert_eq!(total.buckets[0], 2);
        assert_eq!(total.buckets[1], 1);
        assert_eq!(total.buckets[15], 1);
        assert_eq!(total.buckets[16], 1);
    }

    #[test]
    fn workers_do_not_share_cache_lines() {
        let cells: PerWorker<Cell> = PerWorker::new(2);
        let a = std::ptr::from_ref(cells.of(0)) as usize;
        let b = std::ptr::from_ref(cells.of(1)) as usize;
        assert!(b - a >= 128);
        cells.of(0).add(2);
        cells.of(1).add(3);
        assert_eq!(cells.sum(Cell::get), 5);
    }
}
