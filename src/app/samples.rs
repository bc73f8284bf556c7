//! The world as Prometheus sees it.

mod backend;
mod listener;
mod pair;

use super::ports::LocalPorts;
use super::world::World;
use crate::metrics::{self, Durations, Sample};
use crate::pool::{Plane, PoolView, Scale, Snapshot, Totals};

/// The node for Prometheus.
pub(super) fn samples(world: &World) -> Vec<Sample> {
    let snapshot = world.snapshot.load();
    let loaded = world.loaded.load();
    let mut out = vec![
        Sample::count(&metrics::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1),
        Sample::number(&metrics::START_TIME, &[], world.started.as_secs_f64()),
        Sample::count(&metrics::CONFIG_INFO, &[&loaded.hash], 1),
        Sample::flag(
            &metrics::CONFIG_RELOAD_OK,
            &[],
            world.reload_error().is_none(),
        ),
        Sample::count(&metrics::CONFIG_WAITS, &[], loaded.waiting.len() as u64),
        Sample::number(&metrics::CONFIG_RELOAD_TIME, &[], loaded.at.as_secs_f64()),
        Sample::count(
            &metrics::CONNECTIONS_MAX,
            &[],
            world.workers.max_sessions().into(),
        ),
        Sample::count(&metrics::LOG_DROPPED, &[], world.sink.dropped()),
    ];
    if let Some(twin) = world.twin.get() {
        pair::pair(twin, &mut out);
    }
    let kernel = world.kernel.measured().unwrap_or_default();
    for view in &snapshot.listeners {
        match view.door.listener.plane {
            Plane::Kernel => listener::of_the_kernel(&kernel, view, &mut out),
            Plane::User => listener::of_the_workers(view, &mut out),
        }
    }
    limits(&snapshot, &mut out);
    let ports = LocalPorts::of(&snapshot);
    for pool in &snapshot.pools {
        // What only the workers can count is not shown as a zero.
        let has_workers = has_workers(&snapshot, pool);
        if has_workers {
            backend::work(pool, &mut out);
        }
        backend::pool(pool, &mut out);
        backend::times(world, pool, has_workers, &mut out);
        for view in &pool.backends {
            backend::state(world, view, &mut out);
            if has_workers {
                backend::traffic(view, &mut out);
                backend::ports(&ports, view, &mut out);
            }
            backend::connections(&kernel, view, has_workers, &mut out);
        }
    }
    out
}

/// Whether workers move bytes for this pool: always, unless every listener of
/// it is the kernel's.
fn has_workers(snapshot: &Snapshot, pool: &PoolView) -> bool {
    let mut views = snapshot.listeners.iter();
    let mut planes = views
        .by_ref()
        .filter(|it| it.door.listener.pool == pool.settings.name)
        .map(|it| it.door.listener.plane)
        .peekable();
    planes.peek().is_none() || planes.any(|it| it == Plane::User)
}

/// What limits there are, beside what they limit.
fn limits(snapshot: &Snapshot, out: &mut Vec<Sample>) {
    for view in &snapshot.listeners {
        let listener = &view.door.listener;
        if let Some(most) = listener.max_connections {
            let labels = [listener.name.as_str()];
            let metric = &metrics::LISTENER_CONNECTIONS_MAX;
            out.push(Sample::count(metric, &labels, most.into()));
        }
    }
    for pool in &snapshot.pools {
        let name = pool.settings.name.as_str();
        let most = pool.settings.queue_limit.into();
        out.push(Sample::count(&metrics::POOL_QUEUE_MAX, &[name], most));
        for view in &pool.backends {
            if let Some(most) = view.max_connections {
                let labels = [name, view.backend.name.as_str()];
                let metric = &metrics::BACKEND_CONNECTIONS_MAX;
                out.push(Sample::count(metric, &labels, most.into()));
            }
        }
    }
}

fn durations<S: Scale>(totals: &Totals<S>) -> Durations {
    let below = totals.below();
    Durations {
        buckets: below
            .map(|(bound, count)| (bound.as_secs_f64(), count))
            .collect(),
        above: totals.above(),
        sum: totals.sum().as_secs_f64(),
    }
}
