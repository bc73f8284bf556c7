//! Places that are limited in number, and the line of those who wait for one.
//! Workers take them and give them back without a lock, and no wake-up is lost.
//!
//! Two workers must not miss each other:
//!
//! ```text
//! who finds no place          who gives one back
//! ------------------          ------------------
//! 1. joins the line           1. gives the place back
//! 2. looks once more          2. looks at the line
//! 3. waits for the bell       3. rings if somebody waits
//! ```
//!
//! Each writes first and reads what the other has written afterwards, with a
//! `SeqCst` fence between: then at least one of them sees the other. Without
//! the fences both reads may come before both writes (x86 does that, too), and
//! without the second look a place that came free between the look and the
//! line is nobody's.
//!
//! A place is taken by a compare-and-swap, so that the count never passes the
//! limit. If it did for a moment, whoever looked in that moment would see no
//! place although there is one, and nobody would give back what was never
//! taken.
//!
//! `tests/places.rs` lets `loom` try every order of these steps on this very
//! file; `sync` is the standard library's atomics here and loom's there.

use super::sync::{AtomicBool, AtomicU32, Ordering, fence};

/// Places that are taken.
#[derive(Debug, Default)]
pub struct Places(AtomicU32);

impl Places {
    /// None is taken.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes one, if fewer than `limit` are taken.
    pub fn acquire(&self, limit: Option<u32>) -> bool {
        let Some(limit) = limit else {
            self.0.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let next = |taken| (taken < limit).then_some(taken + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// Gives one back for which nobody waits.
    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives one back, and says whether somebody in `line` may want it: then
    /// the bells are to be rung.
    #[must_use]
    pub fn release_to(&self, line: &Line) -> bool {
        self.release();
        fence(Ordering::SeqCst);
        line.0.load(Ordering::Relaxed) > 0
    }
}

/// Those who wait for a place, at whichever backend.
#[derive(Debug, Default)]
pub struct Line(AtomicU32);

impl Line {
    /// Nobody waits.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Joins. Who has joined must look for a place once more before it waits
    /// for the bell.
    pub fn join(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Waits no longer.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker's bell: there may be a place for those who wait at it.
#[derive(Debug, Default)]
pub struct Bell(AtomicBool);

impl Bell {
    /// It is silent.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Rings; says whether it was silent, so that the worker is to be woken.
    /// If it was not, the worker has been woken and has not listened yet; when
    /// it does, it sees the place that was given back before this.
    pub fn ring(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether it has rung. Who listens must look for a place afterwards.
    pub fn has_rung(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}
