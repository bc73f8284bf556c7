//! The measured window: warm-up, begin, end, and what was counted between.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::fault::Fault;
use crate::sched::{Counters, Cpu};

use super::{Errors, Latency, Outcome, Spec};

const LONGEST_NS: u64 = 60_000_000_000;

pub(crate) struct Meter {
    begins: Instant,
    window: Duration,
    ends: Option<Instant>,
    counters: Counters,
    measured: Option<(Duration, Cpu)>,
    units: u64,
    latency: Histogram<u64>,
    pub(crate) errors: Errors,
}

impl Meter {
    /// The warm-up begins now.
    pub(crate) fn new(spec: &Spec) -> Result<Self, Fault> {
        let counters = Counters::new(spec.watched.clone())?;
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .map_err(|error| Fault::new(error.to_string()))?;
        Ok(Self {
            begins: Instant::now() + spec.warm_up,
            window: spec.window,
            ends: None,
            counters,
            measured: None,
            units: 0,
            latency,
            errors: Errors::default(),
        })
    }

    /// Begins and ends the window when it is time; false once it is over.
    pub(crate) fn goes_on(&mut self, now: Instant) -> Result<bool, Fault> {
        match self.ends {
            None if now >= self.begins => {
                self.counters.begin()?;
                self.ends = Some(Instant::now() + self.window);
            }
            Some(ends) if now >= ends => {
                self.measured = Some(self.counters.end()?);
                return Ok(false);
            }
            None | Some(_) => {}
        }
        Ok(!self.errors.too_many())
    }

    /// How long until the window begins or ends.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let next = self.ends.unwrap_or(self.begins);
        next.saturating_duration_since(now)
    }

    /// Counts only inside the window.
    pub(crate) fn count(&mut self, units: u64) {
        if self.ends.is_some() && self.measured.is_none() {
            self.units += units;
        }
    }

    /// One answer, and how long it took.
    pub(crate) fn answered(&mut self, took: Duration) {
        if self.ends.is_some() && self.measured.is_none() {
            self.units += 1;
            let ns = u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS);
            self.latency.saturating_record(ns.max(1));
        }
    }

    /// For connections that do nothing, being connected is the work.
    pub(crate) fn idle(mut self, connections: usize) -> Outcome {
        let time = self.measured.map_or(Duration::ZERO, |(time, _)| time);
        self.units = (connections as f64 * time.as_secs_f64()) as u64;
        self.outcome()
    }

    pub(crate) fn outcome(mut self) -> Outcome {
        let (time, cpu) = self.measured.unwrap_or_default();
        if self.units == 0 {
            self.errors.add("nothing was done inside the window");
        }
        Outcome {
            units: self.units,
            seconds: time.as_secs_f64(),
            cpu,
            latency: self.quantiles(),
            memory: None,
            errors: self.errors,
        }
    }

    fn quantiles(&self) -> Option<Latency> {
        let us = |share| self.latency.value_at_quantile(share) as f64 / 1e3;
        (!self.latency.is_empty()).then(|| Latency {
            p50: us(0.5),
            p99: us(0.99),
            p999: us(0.999),
            max: self.latency.max() as f64 / 1e3,
            count: self.latency.len(),
        })
    }
}
