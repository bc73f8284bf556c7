//! The world as people and Prometheus see it.

use std::time::Duration;

use super::ports::LocalPorts;
use super::registry::Registry;
use super::twin::Twin;
use super::world::World;
use crate::clock;
use crate::health::{LastProbe, ProbeCells};
use crate::kernel::{Measured, Open};
use crate::metrics::{self, Durations, Sample};
use crate::pair::Role;
use crate::pool::{
    BUCKETS, BackendState, BackendView, ListenerView, Plane, PoolView, Snapshot, Totals,
};
use crate::status::{
    AdminStatus, BackendStatus, BindStatus, ConfigStatus, ListenerStatus, PoolStatus, ProbeStatus,
    Status,
};
use crate::types::{BadHeader, ConnectFailure, Reason};

/// What turns a client away before any backend has a say.
const REJECTIONS: [Reason; 8] = [
    Reason::BadProxyHeader,
    Reason::Denied,
    Reason::DeniedLocally,
    Reason::Limit,
    Reason::NoSource,
    Reason::OutOfFds,
    Reason::OutOfMemory,
    Reason::OutOfPorts,
];

/// The node for people.
pub(super) fn status(world: &World) -> Status {
    let snapshot = world.snapshot.load();
    let loaded = world.loaded.load();
    let socket = loaded.config.admin.socket.as_ref();
    let socket = socket.map(|it| it.path().display().to_string());
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: world.started.as_secs(),
        uptime_seconds: clock::now().as_micros() / 1_000_000,
        ready: world.is_ready(),
        workers: world.workers.count(),
        connections: world.workers.sessions(),
        max_connections: world.workers.max_sessions(),
        config: ConfigStatus {
            file: loaded.source.file.display().to_string(),
            hash: loaded.hash.clone(),
            loaded: loaded.at.as_secs(),
            last_error: world.reload_error(),
        },
        admin: AdminStatus {
            bind: world.admin_bind.get().copied(),
            socket: socket.map(|it| world.sink.clean(&it)),
        },
        pair: world.twin.get().and_then(Twin::status),
        listeners: snapshot
            .listeners
            .iter()
            .map(|view| listener_status(world, view))
            .collect(),
        pools: snapshot
            .pools
            .iter()
            .map(|pool| pool_status(world, pool))
            .collect(),
    }
}

fn listener_status(world: &World, view: &ListenerView) -> ListenerStatus {
    let door = &view.door;
    let binds = world.binds.load();
    let kernel = world.kernel.measured().unwrap_or_default();
    let (open, accepted) = of_listener(&kernel, view);
    ListenerStatus {
        name: door.listener.name.to_string(),
        pool: door.listener.pool.to_string(),
        binds: binds
            .iter()
            .filter(|(name, _)| *name == door.listener.name)
            .map(|(_, address)| BindStatus {
                address: address.to_string(),
            })
            .collect(),
        connections: door.live.open() + open.unwrap_or(0),
        connections_total: door.live.cells.sum(|cells| cells.accepted.get())
            + accepted.unwrap_or(0),
    }
}

fn pool_status(world: &World, pool: &PoolView) -> PoolStatus {
    let backend = |view: &BackendView| backend_status(world, pool, view);
    PoolStatus {
        name: pool.settings.name.to_string(),
        policy: pool.settings.policy.as_str().to_owned(),
        protocol: pool.settings.protocol.as_str().to_owned(),
        usable: pool.usable(),
        panic: pool.panic,
        queued: pool.live.queued(),
        backends: pool.backends.iter().map(backend).collect(),
    }
}

fn backend_status(world: &World, pool: &PoolView, view: &BackendView) -> BackendStatus {
    let backend = &view.backend;
    let now = clock::now();
    let kernel = world.kernel.measured().unwrap_or_default();
    let (open, given) = of_backend(&kernel, view);
    let probes = world.probes.load();
    let last = probes.get(&backend.id).and_then(|cells| cells.last());
    let probe = |last: LastProbe| ProbeStatus {
        outcome: last.outcome.to_owned(),
        detail: last.detail.map(|it| world.sink.clean(&it)),
        duration_ms: last.took.as_secs_f64() * 1000.0,
        age_seconds: now.since(last.at).as_secs_f64(),
    };
    BackendStatus {
        name: backend.name.to_string(),
        address: backend.whereabouts(&pool.settings),
        state: view.state.as_str().to_owned(),
        state_seconds: now.since(view.since).as_secs(),
        weight: view.weight,
        effective_weight: f64::from(view.effective) / 1000.0,
        tier: view.tier,
        connections: backend.live.active() + open.unwrap_or(0),
        max_connections: view.max_connections,
        connections_total: backend.live.cells.sum(|cells| cells.connections.get())
            + given.unwrap_or(0),
        last_probe: last.map(probe),
    }
}

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
        Sample::number(&metrics::CONFIG_RELOAD_TIME, &[], loaded.at.as_secs_f64()),
        Sample::count(
            &metrics::CONNECTIONS_MAX,
            &[],
            world.workers.max_sessions().into(),
        ),
        Sample::count(&metrics::LOG_DROPPED, &[], world.sink.dropped()),
    ];
    if let Some(twin) = world.twin.get() {
        pair_samples(twin, &mut out);
    }
    let kernel = world.kernel.measured().unwrap_or_default();
    for view in &snapshot.listeners {
        match view.door.listener.plane {
            Plane::Kernel => kernel_samples(&kernel, view, &mut out),
            Plane::User => listener_samples(view, &mut out),
        }
    }
    limit_samples(&snapshot, &mut out);
    let ports = LocalPorts::of(&snapshot);
    for pool in &snapshot.pools {
        // What only the workers can count is not shown as a zero.
        let has_workers = has_workers(&snapshot, pool);
        if has_workers {
            work_samples(pool, &mut out);
        }
        pool_samples(world, pool, &mut out);
        for view in &pool.backends {
            backend_samples(world, view, &mut out);
            if has_workers {
                traffic_samples(view, &mut out);
                port_samples(&ports, view, &mut out);
            }
            connection_samples(&kernel, view, has_workers, &mut out);
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

/// Connections of a listener that the kernel knows: open ones, and all so far.
fn of_listener(kernel: &Measured, view: &ListenerView) -> (Option<u32>, Option<u64>) {
    let id = view.door.id.0;
    let accepted = kernel.accepted.get(&id).copied();
    let open = |it: &Open| it.listeners.get(&id).copied().unwrap_or(0);
    (
        accepted.and_then(|_| Some(open(kernel.open.as_ref()?))),
        accepted,
    )
}

/// The same of a backend.
fn of_backend(kernel: &Measured, view: &BackendView) -> (Option<u32>, Option<u64>) {
    let id = view.backend.id.0;
    let given = kernel.given.get(&id).copied();
    let open = |it: &Open| it.backends.get(&id).copied().unwrap_or(0);
    (given.and_then(|_| Some(open(kernel.open.as_ref()?))), given)
}

fn kernel_samples(kernel: &Measured, view: &ListenerView, out: &mut Vec<Sample>) {
    let labels = [view.door.listener.name.as_str()];
    let (open, accepted) = of_listener(kernel, view);
    let accepted =
        accepted.map(|it| Sample::count(&metrics::LISTENER_CONNECTIONS_TOTAL, &labels, it));
    let open = open.map(|it| Sample::count(&metrics::LISTENER_CONNECTIONS, &labels, u64::from(it)));
    out.extend(accepted.into_iter().chain(open));
}

/// Connections of a backend, whoever made them.
fn connection_samples(
    kernel: &Measured,
    view: &BackendView,
    has_workers: bool,
    out: &mut Vec<Sample>,
) {
    let backend = &view.backend;
    let labels = [backend.pool.as_str(), backend.name.as_str()];
    let (open, given) = of_backend(kernel, view);
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

/// What limits there are, beside what they limit.
fn limit_samples(snapshot: &Snapshot, out: &mut Vec<Sample>) {
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

fn pair_samples(twin: &Twin, out: &mut Vec<Sample>) {
    let record = twin.record();
    if let Some(view) = twin.view() {
        for role in Role::ALL {
            let labels = [role.as_str()];
            out.push(Sample::flag(
                &metrics::PAIR_ROLE,
                &labels,
                view.role == role,
            ));
        }
        let drifted = view.twins.iter().any(|it| it.is_up && it.has_drifted);
        out.extend([
            Sample::count(&metrics::PAIR_TERM, &[], view.term.0),
            Sample::flag(&metrics::PAIR_CONFIG_DRIFT, &[], drifted),
            Sample::flag(&metrics::DNS_HOLDS_NAME, &[], view.role == Role::Holder),
        ]);
        for it in &view.twins {
            let labels = [it.name.as_str()];
            out.push(Sample::flag(&metrics::PAIR_TWIN_UP, &labels, it.is_up));
            if let Some(rtt) = twin.link().rtt(&it.name).filter(|_| it.is_up) {
                let rtt = rtt.as_secs_f64();
                out.push(Sample::number(&metrics::PAIR_RTT, &labels, rtt));
            }
        }
    }
    for ((to, why), count) in record.transitions() {
        out.push(Sample::count(&metrics::PAIR_TRANSITIONS, &[to, why], count));
    }
    let (sent, received) = twin.link().traffic();
    out.extend([
        Sample::count(&metrics::PAIR_HEARTBEATS, &["sent"], sent),
        Sample::count(&metrics::PAIR_HEARTBEATS, &["received"], received),
        Sample::count(&metrics::STALE_RESOLVER, &[], record.stale()),
    ]);
    let old = [("old", twin.old_heartbeats())];
    for (why, count) in twin.link().dropped().chain(old) {
        out.push(Sample::count(&metrics::PAIR_DROPPED, &[why], count));
    }
    for it in twin.observed() {
        let server = it.server.to_string();
        let labels = [server.as_str()];
        out.push(Sample::flag(
            &metrics::DNS_OBSERVED_MATCH,
            &labels,
            it.matches,
        ));
    }
    if let Some(registry) = twin.registry() {
        out.push(Sample::durations(
            &metrics::DNS_UPDATE_DURATION,
            &["rfc2136"],
            durations(&registry.durations()),
        ));
    }
    for (result, count) in twin.registry().into_iter().flat_map(Registry::reads) {
        let labels = ["rfc2136", result];
        out.push(Sample::count(&metrics::DNS_READS, &labels, count));
    }
    for (result, count) in twin.registry().into_iter().flat_map(Registry::updates) {
        let labels = ["rfc2136", result];
        out.push(Sample::count(&metrics::DNS_UPDATES, &labels, count));
    }
    if let Some(dns) = twin.dns() {
        let counts = dns.counts();
        for (word, count) in counts.answers.iter().chain(&counts.unanswered) {
            out.push(Sample::count(&metrics::DNS_QUERIES, &[word], *count));
        }
    }
}

fn listener_samples(view: &ListenerView, out: &mut Vec<Sample>) {
    let live = &view.door.live;
    let name = view.door.listener.name.as_str();
    let pool = view.door.listener.pool.as_str();
    let cells = &live.cells;
    // In this order: whoever stalls in between is not counted below zero.
    let ended = cells.sum(|it| it.stalls_ended.get());
    let begun = cells.sum(|it| it.stalls_begun.get());
    out.extend([
        Sample::count(
            &metrics::LISTENER_CONNECTIONS_TOTAL,
            &[name],
            cells.sum(|it| it.accepted.get()),
        ),
        Sample::count(&metrics::LISTENER_CONNECTIONS, &[name], live.open().into()),
        Sample::count(
            &metrics::LISTENER_STALLED,
            &[name],
            begun.saturating_sub(ended),
        ),
        Sample::count(
            &metrics::BYTES,
            &[name, "in"],
            cells.sum(|it| it.bytes_in.get()),
        ),
        Sample::count(
            &metrics::BYTES,
            &[name, "out"],
            cells.sum(|it| it.bytes_out.get()),
        ),
    ]);
    for reason in Reason::ALL {
        let count = cells.sum(|it| it.finished[reason as usize].get());
        let labels = [name, pool, reason.as_str()];
        out.push(Sample::count(
            &metrics::CONNECTIONS_FINISHED,
            &labels,
            count,
        ));
    }
    for reason in REJECTIONS {
        let count = cells.sum(|it| it.rejected[reason as usize].get());
        let labels = [name, reason.as_str()];
        out.push(Sample::count(&metrics::LISTENER_REJECTED, &labels, count));
    }
    // Nobody else sends any.
    if !view.door.listener.accept_proxy.is_empty() {
        for why in BadHeader::ALL {
            let count = cells.sum(|it| it.bad_headers[why as usize].get());
            let labels = [name, why.as_str()];
            out.push(Sample::count(&metrics::PROXY_HEADER_ERRORS, &labels, count));
        }
    }
    let mut total = Totals::default();
    cells.iter().for_each(|it| it.duration.add_to(&mut total));
    let durations = durations(&total);
    out.push(Sample::durations(
        &metrics::CONNECTION_DURATION,
        &[name],
        durations,
    ));
}

/// What the workers count of a pool.
fn work_samples(pool: &PoolView, out: &mut Vec<Sample>) {
    let name = pool.settings.name.as_str();
    let cells = &pool.live.cells;
    let retries = cells.sum(|it| it.retries.get());
    let exhausted = cells.sum(|it| it.exhausted.get());
    out.extend([
        Sample::count(&metrics::BACKEND_RETRIES, &[name], retries),
        Sample::count(&metrics::POOL_EXHAUSTED, &[name], exhausted),
        Sample::count(&metrics::POOL_QUEUED, &[name], pool.live.queued().into()),
    ]);
    let mut connects = Totals::default();
    for it in cells.iter() {
        it.connect_duration.add_to(&mut connects);
    }
    out.push(Sample::durations(
        &metrics::BACKEND_CONNECT_DURATION,
        &[name],
        durations(&connects),
    ));
}

fn pool_samples(world: &World, pool: &PoolView, out: &mut Vec<Sample>) {
    let name = pool.settings.name.as_str();
    out.extend([
        Sample::flag(&metrics::POOL_PANIC, &[name], pool.panic),
        Sample::count(&metrics::POOL_USABLE, &[name], pool.usable() as u64),
    ]);
    let mut probed = Totals::default();
    let probes = world.probes.load();
    for view in &pool.backends {
        if let Some(cells) = probes.get(&view.backend.id) {
            cells.add_durations(&mut probed);
        }
    }
    out.push(Sample::durations(
        &metrics::PROBE_DURATION,
        &[name],
        durations(&probed),
    ));
}

fn backend_samples(world: &World, view: &BackendView, out: &mut Vec<Sample>) {
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
        probe_samples(pool, name, cells, out);
    }
}

fn port_samples(ports: &LocalPorts<'_>, view: &BackendView, out: &mut Vec<Sample>) {
    let backend = &view.backend;
    let labels = [backend.pool.as_str(), backend.name.as_str()];
    if let Some(most) = ports.most(view) {
        let used = ports.used(view);
        out.push(Sample::count(&metrics::BACKEND_PORTS_USED, &labels, used));
        out.push(Sample::count(&metrics::BACKEND_PORTS_MAX, &labels, most));
    }
}

/// What the workers count of a backend.
fn traffic_samples(view: &BackendView, out: &mut Vec<Sample>) {
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

fn probe_samples(pool: &str, name: &str, cells: &ProbeCells, out: &mut Vec<Sample>) {
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

fn durations(totals: &Totals) -> Durations {
    let bound = |micros: u64| Duration::from_micros(micros).as_secs_f64();
    let (below, above) = totals.buckets.split_at(BUCKETS.len());
    Durations {
        buckets: BUCKETS
            .iter()
            .zip(below)
            .map(|(&micros, &count)| (bound(micros), count))
            .collect(),
        above: above.iter().sum(),
        sum: Duration::from_micros(totals.sum_micros).as_secs_f64(),
    }
}
