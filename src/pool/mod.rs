//! The data plane's whole view of the world: one immutable [`Snapshot`].

mod alias;
mod backend;
mod board;
mod counters;
mod doors;
mod histogram;
mod left_over;
mod line;
mod pick;
mod place;
mod settings;
mod snapshot;
mod state;

/// What `line` is made of; `tests/places.rs` puts something else here.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
}

pub use backend::{
    Backend, BackendCells, BackendId, ListenerCells, ListenerLive, PoolCells, PoolLive,
};
pub use board::{Board, Delta, Wanted};
pub use counters::{Cell, PerWorker};
pub use histogram::{Histogram, Lives, Scale, Totals, Waits};
pub use line::{Bell, Line, Places};
pub use pick::{Asking, Pick, Turns};
pub use place::Place;
pub use settings::{
    BackendSettings, Keepalive, ListenerSettings, OnDead, Plane, Policy, PoolSettings, Protocol,
};
pub use snapshot::{BackendView, Door, ListenerId, ListenerView, PoolView, Snapshot};
pub use state::BackendState;

pub use crate::types::ProxyVersion;
