//! What is counted of a backend's probes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::probe::{FailureReason, Outcome};
use crate::clock::Moment;
use crate::pool::{Histogram, Totals, Waits};
use crate::types::OwnFault;

/// What is counted of a backend's probes.
#[derive(Debug, Default)]
pub struct ProbeCells {
    passes: AtomicU64,
    failures: [AtomicU64; FailureReason::ALL.len()],
    unknown: [AtomicU64; OwnFault::ALL.len()],
    durations: Histogram<Waits>,
    last: Mutex<Option<LastProbe>>,
}

/// What the last probe found.
#[derive(Clone, Debug)]
pub struct LastProbe {
    /// In a word: `pass`, `drain`, `saturated`, `fail` or `unknown`.
    pub outcome: &'static str,
    /// Why it failed, or why nothing could be found out.
    pub detail: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Moment,
}

impl ProbeCells {
    /// Probes that found the backend alive.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Probes that failed, by reason.
    pub fn failures(&self) -> impl Iterator<Item = (FailureReason, u64)> {
        let counts = self.failures.iter().map(|it| it.load(Ordering::Relaxed));
        FailureReason::ALL.into_iter().zip(counts)
    }

    /// Probes that found nothing out for a reason of our own, by that reason.
    pub fn unknown(&self) -> impl Iterator<Item = (OwnFault, u64)> {
        let counts = self.unknown.iter().map(|it| it.load(Ordering::Relaxed));
        OwnFault::ALL.into_iter().zip(counts)
    }

    /// Adds how long probes took to `total`.
    pub fn add_durations(&self, total: &mut Totals<Waits>) {
        self.durations.add_to(total);
    }

    /// What the last probe found.
    pub fn last(&self) -> Option<LastProbe> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note(&self, outcome: &Outcome, took: Duration, at: Moment) {
        self.durations.observe(took);
        let (word, detail, cell) = match outcome {
            Outcome::Pass => ("pass", None, &self.passes),
            Outcome::Drain => ("drain", None, &self.passes),
            Outcome::Saturated => ("saturated", None, &self.passes),
            Outcome::Fail(failure) => {
                let cell = &self.failures[failure.reason as usize];
                ("fail", Some(failure.to_string()), cell)
            }
            Outcome::Unknown(blindness) => {
                let cell = &self.unknown[blindness.fault as usize];
                ("unknown", Some(blindness.to_string()), cell)
            }
        };
        cell.fetch_add(1, Ordering::Relaxed);
        let last = LastProbe {
            outcome: word,
            detail,
            took,
            at,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}
