//! What is measured of a pool and its backends.

use super::durations;
use crate::admin::Histograms;
use crate::app::ports::LocalPorts;
use crate::app::world::World;
use crate::health::ProbeCells;
use crate::kernel::Measured;
use crate::metrics::{self, Sample};
use crate::pool::{BackendState, BackendView, PoolView, Totals, Waits};
use crate::types::{ConnectFailure, Reason};

/// What the workers count of a pool.
pub(super) fn work(pool: &PoolView, out: &mut Vec<Sample>) {
    let name = pool.settings.name.as_str();
    let cells = &pool.live.cells;
    let retries = cells.sum(|it| it.retries.get());
    let exhausted = cells.sum(|it| it.exhausted.get());
    out.extend([
        Sample::count(&metrics::BACKEND_RETRIES, &[name], retries),
        Sample::count(&metrics::POOL_EXHAUSTED, &[name], exhausted),
        Sample::count(&metrics::POOL_QUEUED, &[name], pool.live.queued().into()),
    ]);
}

pub(super) fn pool(pool: &PoolView, out: &mut Vec<Sample>) {
    let name = pool.settings.name.as_str();
    out.extend([
        Sample::flag(&metrics::POOL_PANIC, &[name], pool.panic),
        Sample::count(&metrics::POOL_USABLE, &[name], pool.usable() as u64),
    ]);
}

pub(super) fn state(world: &World, view: &BackendView, out: &mut Vec<Sample>) {
    let backend = &view.backend;
    let (pool, name) = (backend.pool.as_str(), backend.name.as_str());
    let both = [pool, name];
    let weight = f64::from(view.effective) / 1000.0;
    out.extend([
        Sample::flag(&metrics::BACKEND_UP, &both, view.state.is_alive()),
        Sample::number(&metrics::BACKEND_WEIGHT, &both, weight),
    ]);
    for word in BackendState::WORDS {
        let is_it = view.state.as_str() == word;
        out.push(Sample::flag(
            &metrics::BACKEND_STATE,
            &[pool, name, word],
            is_it,
        ));
    }
    if let Some(cells) = world.probes.load().get(&backend.id) {
        probes(pool, name, cells, out);
    }
}

pub(super) fn ports(ports: &LocalPorts<'_>, view: &BackendView, out: &mut Vec<Sample>) {
    let backend = &view.backend;
    let labels = [backend.pool.as_str(), backend.name.as_str()];
    if let Some(most) = ports.most(view) {
        let used = ports.used(view);
        out.push(Sample::count(&metrics::BACKEND_PORTS_USED, &labels, used));
        out.push(Sample::count(&metrics::BACKEND_PORTS_MAX, &labels, most));
    }
}

/// What the workers count of a backend.
pub(super) fn traffic(view: &BackendView, out: &mut Vec<Sample>) {
    let backend = &view.backend;
    let (pool, name) = (backend.pool.as_str(), backend.name.as_str());
    let cells = &backend.live.cells;
    out.extend([
        Sample::count(
            &metrics::BACKEND_BYTES,
            &[pool, name, "in"],
            cells.sum(|it| it.bytes_in.get()),
        ),
        Sample::count(
            &metrics::BACKEND_BYTES,
            &[pool, name, "out"],
            cells.sum(|it| it.bytes_out.get()),
        ),
    ]);
    for reason in Reason::ALL {
        let count = cells.sum(|it| it.finished[reason as usize].get());
        // Most reasons never occur at a backend.
        if count > 0 {
            let labels = [pool, name, reason.as_str()];
            out.push(Sample::count(&metrics::BACKEND_FINISHED, &labels, count));
        }
    }
    for failure in ConnectFailure::ALL {
        let count = cells.sum(|it| it.connect_errors[failure as usize].get());
        let labels = [pool, name, failure.as_str()];
        out.push(Sample::count(
            &metrics::BACKEND_CONNECT_ERRORS,
            &labels,
            count,
        ));
    }
}

fn probes(pool: &str, name: &str, cells: &ProbeCells, out: &mut Vec<Sample>) {
    let passes = cells.passes();
    out.push(Sample::count(
        &metrics::PROBE_SUCCESS,
        &[pool, name],
        passes,
    ));
    for (reason, count) in cells.failures() {
        // Most reasons never occur; a series for each would be most of the
        // page.
        if count > 0 {
            let labels = [pool, name, reason.as_str()];
            out.push(Sample::count(&metrics::PROBE_FAILURES, &labels, count));
        }
    }
    for (fault, count) in cells.unknown() {
        if count > 0 {
            let labels = [pool, name, fault.as_str()];
            out.push(Sample::count(&metrics::PROBE_UNKNOWN, &labels, count));
        }
    }
}

/// Connections of a backend, whoever made them.
pub(super) fn connections(
    kernel: &Measured,
    view: &BackendView,
    has_workers: bool,
    out: &mut Vec<Sample>,
) {
    let backend = &view.backend;
    let labels = [backend.pool.as_str(), backend.name.as_str()];
    let (open, given) = kernel.of_backend(view.backend.id.0);
    if has_workers || open.is_some() {
        let open = u64::from(backend.live.active()) + u64::from(open.unwrap_or(0));
        out.push(Sample::count(&metrics::BACKEND_CONNECTIONS, &labels, open));
    }
    if has_workers || given.is_some() {
        let made = backend.live.cells.sum(|it| it.connections.get()) + given.unwrap_or(0);
        let metric = &metrics::BACKEND_CONNECTIONS_TOTAL;
        out.push(Sample::count(metric, &labels, made));
    }
}

/// How long connects and probes took, by backend or for the pool together.
pub(super) fn times(world: &World, pool: &PoolView, has_workers: bool, out: &mut Vec<Sample>) {
    let probes = world.probes.load();
    let mut all = Times::default();
    let is_each = world.loaded.load().config.admin.histograms == Histograms::Backend;
    for view in &pool.backends {
        let backend = &view.backend;
        for cells in backend.live.cells.iter() {
            cells.connect_duration.add_to(&mut all.connects);
        }
        if let Some(cells) = probes.get(&backend.id) {
            cells.add_durations(&mut all.probes);
        }
        if is_each {
            let labels = [backend.pool.as_str(), backend.name.as_str()];
            std::mem::take(&mut all).sample(labels, has_workers, out);
        }
    }
    if !is_each {
        all.sample([pool.settings.name.as_str(), ""], has_workers, out);
    }
}

#[derive(Default)]
struct Times {
    connects: Totals<Waits>,
    probes: Totals<Waits>,
}

impl Times {
    fn sample(&self, labels: [&str; 2], has_workers: bool, out: &mut Vec<Sample>) {
        let probes = durations(&self.probes);
        let metric = &metrics::PROBE_DURATION;
        out.push(Sample::durations(metric, &labels, probes));
        if has_workers {
            let connects = durations(&self.connects);
            let metric = &metrics::BACKEND_CONNECT_DURATION;
            out.push(Sample::durations(metric, &labels, connects));
        }
    }
}
