//! Samples become figures.

use crate::cells::{Cell, Kind};
use crate::load::Outcome;
use crate::rounds::{Run, Sample};
use crate::stats::{Spread, spread};
use crate::subjects::Subject;

/// What can be read off an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// CPU of the balancer for one unit, in the cell's unit.
    Proxy,
    /// CPU of balancer, load, backend and kernel threads for one unit.
    System,
    /// Units per second.
    Rate,
    P50,
    P99,
    P999,
    /// User bytes for one idle connection.
    MemoryEach,
    /// User bytes with one connection served.
    MemoryBase,
    /// User bytes once all are closed, beyond the base.
    MemoryKept,
    /// Kernel slab for one connection, both ends and the balancer's two.
    SlabEach,
    /// Other people's CPU, in percent of one CPU.
    Foreign,
    /// What the hypervisor took, in percent of one CPU.
    Stolen,
    /// How often the balancer's threads were put on a CPU for one unit.
    Runs,
}

impl Measure {
    pub(crate) fn of(self, outcome: &Outcome, cell: &Cell) -> Option<f64> {
        let unit = cell.kind.unit();
        let units = outcome.units as f64 / unit.size;
        let each = |ns: u64| (ns > 0 && units > 0.0).then(|| ns as f64 / unit.ns / units);
        let percent = |ns: u64| Some(ns as f64 / 1e7 / outcome.seconds);
        let memory = outcome.memory;
        let of_all = |bytes: u64| memory.map(|it| bytes as f64 / it.connections as f64);
        match self {
            // A balancer with nothing to do may use nothing at all.
            Self::Proxy if memory.is_some() && outcome.cpu.proxy_ns == 0 => Some(0.0),
            Self::Proxy => each(outcome.cpu.proxy_ns),
            Self::System => each(outcome.cpu.system_ns()),
            Self::Rate if matches!(cell.kind, Kind::Idle { .. }) => {
                memory.map(|it| it.connections as f64)
            }
            Self::Rate => Some(outcome.units as f64 / unit.rate_size / outcome.seconds),
            Self::P50 => outcome.latency.map(|it| it.p50),
            Self::P99 => outcome.latency.map(|it| it.p99),
            Self::P999 => outcome.latency.map(|it| it.p999),
            Self::MemoryEach => memory.and_then(|it| of_all(it.full.saturating_sub(it.base))),
            Self::MemoryBase => memory.map(|it| it.base as f64),
            Self::MemoryKept => memory.map(|it| it.after.saturating_sub(it.base) as f64),
            Self::SlabEach => memory.and_then(|it| of_all(it.slab)),
            Self::Foreign => percent(outcome.cpu.foreign_ns()),
            Self::Stolen => percent(outcome.cpu.stolen_ns),
            Self::Runs => {
                let runs = outcome.cpu.proxy_runs as f64;
                (units > 0.0 && runs > 0.0).then(|| runs / units)
            }
        }
    }
}

impl Run {
    pub(crate) fn figure(
        &self,
        cell: &Cell,
        subject: &Subject,
        measure: Measure,
    ) -> Option<Spread> {
        let samples = self.samples_of(cell, subject);
        let values = samples.filter_map(|it| measure.of(it.good()?, cell));
        spread(values.collect())
    }

    /// Same-round ratios: what the machine did to a round, it did to both.
    pub(crate) fn ratio(
        &self,
        cell: &Cell,
        subject: &Subject,
        base: &Subject,
        measure: Measure,
    ) -> Option<Spread> {
        let ratios = self.samples_of(cell, subject).filter_map(|sample| {
            let mut bases = self.samples_of(cell, base);
            let beside = bases.find(|it| it.round == sample.round)?;
            let value = measure.of(sample.good()?, cell)?;
            Some(value / measure.of(beside.good()?, cell)?)
        });
        spread(ratios.collect())
    }

    fn samples_of(&self, cell: &Cell, subject: &Subject) -> impl Iterator<Item = &Sample> {
        let same = move |it: &&Sample| it.cell == cell.name && it.subject == subject.name;
        self.samples.iter().filter(same)
    }

    /// What the others are compared with: both HAProxies and the first tandem,
    /// if there are two of them.
    pub(crate) fn bases(&self) -> Vec<&Subject> {
        let named = |name: &str| self.subjects.iter().find(|it| it.name == name);
        let mut bases: Vec<&Subject> = Vec::new();
        let mut tandems = self.subjects.iter().filter(|it| it.kind.is_tandem());
        let first = tandems.next();
        let several = tandems.next().is_some();
        bases.extend(first.filter(|_| several));
        bases.extend(
            ["haproxy", "haproxy-tuned"]
                .iter()
                .filter_map(|it| named(it)),
        );
        if bases.is_empty() {
            bases.extend(named("direct"));
        }
        bases
    }
}
