//! The world as people see it.

use super::twin::Twin;
use super::world::World;
use crate::clock;
use crate::health::LastProbe;
use crate::pool::{BackendView, ListenerView, PoolView};
use crate::status::{
    AdminStatus, BackendStatus, BindStatus, ConfigStatus, ListenerStatus, PoolStatus, ProbeStatus,
    Status,
};

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
            waits_for_restart: loaded
                .waiting
                .iter()
                .map(|it| world.sink.clean(it))
                .collect(),
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
    let (open, accepted) = kernel.of_listener(view.door.id.0);
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
    let (open, given) = kernel.of_backend(view.backend.id.0);
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
        out: (view.weight == 0).then(|| "weight 0".to_owned()),
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
