//! Counters that a worker can bump without touching another worker's cache
//! lines: each worker has cells of its own, and a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

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

#[cfg(test)]
mod tests {
    use super::*;

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
