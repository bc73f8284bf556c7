//! The immutable present: what the workers see of the world, built whole.

use std::sync::Arc;

use super::alias::Alias;
use super::backend::{Backend, ListenerLive, PoolLive};
use super::place::Place;
use super::settings::{ListenerSettings, PoolSettings};
use super::state::BackendState;
use crate::clock::Moment;
use crate::types::Sources;

/// Which listener, for the life of the process. A listener that keeps an
/// address, or else its name, over a reload keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

/// Everything a worker knows. Replaced as a whole, never changed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each snapshot.
    pub generation: u64,
    /// The listeners, in the order of the file.
    pub listeners: Vec<ListenerView>,
    /// The pools, in the order of the file.
    pub pools: Vec<Arc<PoolView>>,
    /// Listeners that are gone, whose clients are not all served yet, and the
    /// pools for those.
    pub(super) former: Vec<(ListenerId, Arc<PoolView>)>,
}

impl Snapshot {
    /// The listener with this number, if it still exists.
    pub fn listener(&self, id: ListenerId) -> Option<&ListenerView> {
        self.listeners.iter().find(|view| view.door.id == id)
    }

    /// The listener that takes the clients at `place`.
    pub fn listener_at(&self, place: &Place) -> Option<&ListenerView> {
        let mut views = self.listeners.iter();
        views.find(|view| view.door.listener.is_at(place))
    }

    /// The pool for clients that came by `door`: reloads may have changed it,
    /// or taken the listener away.
    pub fn pool_behind(&self, door: &Door) -> Option<&Arc<PoolView>> {
        if let Some(view) = self.listener(door.id) {
            return Some(&view.pool);
        }
        let former = self.former.iter().find(|(id, _)| *id == door.id);
        let name = &door.pool.name;
        former.map_or_else(
            || self.pools.iter().find(|it| it.settings.name == *name),
            |(_, pool)| Some(pool),
        )
    }
}

/// A listener and the pool that serves it now.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// What a session keeps of its listener for life.
    pub door: Arc<Door>,
    /// The pool, with its backends of this moment.
    pub pool: Arc<PoolView>,
}

/// What a session keeps of its listener for life: settings and counters, but
/// not the backends, so that old sessions do not keep old worlds in memory.
#[derive(Debug)]
pub struct Door {
    /// Which listener.
    pub id: ListenerId,
    /// Its settings when the session began.
    pub listener: Arc<ListenerSettings>,
    /// Its pool's settings when the session began.
    pub pool: Arc<PoolSettings>,
    /// Its counters.
    pub live: Arc<ListenerLive>,
    /// Its pool's counters.
    pub pool_live: Arc<PoolLive>,
}

/// A pool at this moment.
#[derive(Debug)]
pub struct PoolView {
    /// The rules of its use.
    pub settings: Arc<PoolSettings>,
    /// Its counters.
    pub live: Arc<PoolLive>,
    /// Its backends, in the order of the file.
    pub backends: Vec<BackendView>,
    /// Those that may be chosen, tier by tier.
    pub(super) tiers: Vec<Tier>,
    /// Those that are full or cannot be probed, tier by tier: the last choice.
    pub(super) last: Vec<Tier>,
    /// Whether the dead are used too, because too few live.
    pub panic: bool,
}

/// A backend at this moment.
#[derive(Clone, Debug)]
pub struct BackendView {
    /// Who it is.
    pub backend: Arc<Backend>,
    /// What is known of it.
    pub state: BackendState,
    /// Since when.
    pub since: Moment,
    /// The configured weight.
    pub weight: u32,
    /// The weight now, in thousandths of a unit; 0: not to be chosen.
    pub effective: u32,
    /// Lower tiers are used first.
    pub tier: u8,
    /// Connections at the same time.
    pub max_connections: Option<u32>,
    /// Where connections to it leave from.
    pub sources: Sources,
}

/// The backends of one tier that may be chosen.
#[derive(Debug)]
pub(super) struct Tier {
    /// Indices into [`PoolView::backends`].
    pub(super) members: Vec<u32>,
    pub(super) alias: Alias,
}

impl PoolView {
    /// A pool with the tiers built from the backends' effective weights.
    pub fn new(
        settings: Arc<PoolSettings>,
        live: Arc<PoolLive>,
        backends: Vec<BackendView>,
        panic: bool,
    ) -> Self {
        let mut levels: Vec<u8> = backends.iter().map(|b| b.tier).collect();
        levels.sort_unstable();
        levels.dedup();
        let tiers = |fits: fn(&BackendView) -> bool| {
            let levels = levels.iter();
            let tiers = levels.filter_map(|level| Tier::new(&backends, *level, fits));
            tiers.collect()
        };
        Self {
            tiers: tiers(|it| it.effective > 0),
            last: tiers(BackendView::is_last_choice),
            settings,
            live,
            backends,
            panic,
        }
    }

    /// Whether clients are sent to anybody of whom something is known: a node
    /// that cannot probe is no better than one whose backends are dead.
    pub fn can_serve(&self) -> bool {
        let mut backends = self.backends.iter();
        backends.any(|it| it.share() > 0 && it.state != BackendState::Unknown)
    }

    /// How many backends may be chosen.
    pub fn usable(&self) -> usize {
        self.tiers.iter().map(|tier| tier.members.len()).sum()
    }
}

impl BackendView {
    /// Whether it has said that it is full, or cannot be probed: it is chosen
    /// where there is no other.
    pub fn is_last_choice(&self) -> bool {
        let is_last = matches!(self.state, BackendState::Saturated | BackendState::Unknown);
        is_last && self.effective == 0 && self.weight > 0
    }

    /// Its weight among those of its kind, in thousandths of a unit.
    pub fn share(&self) -> u32 {
        if self.is_last_choice() {
            self.weight * 1000
        } else {
            self.effective
        }
    }
}

impl Tier {
    fn new(backends: &[BackendView], level: u8, fits: fn(&BackendView) -> bool) -> Option<Self> {
        let members: Vec<u32> = (0u32..)
            .zip(backends)
            .filter(|(_, b)| b.tier == level && fits(b))
            .map(|(i, _)| i)
            .collect();
        if members.is_empty() {
            return None;
        }
        let weights: Vec<u32> = members
            .iter()
            .map(|&i| backends[i as usize].share())
            .collect();
        Some(Self {
            alias: Alias::new(&weights),
            members,
        })
    }
}
