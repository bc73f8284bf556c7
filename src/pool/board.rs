//! The single writer of the world: settings and verdicts in, [`Snapshot`]s
//! out. Pure: the task around it is in `app`.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, BackendId, PoolLive};
use super::doors::Doors;
use super::left_over::{self, Left};
use super::settings::{BackendSettings, ListenerSettings, PoolSettings};
use super::snapshot::{BackendView, PoolView, Snapshot};
use super::state::BackendState;
use crate::clock::Moment;
use crate::types::{Endpoint, Name};

/// How often ramping weights are computed anew, at the most.
const RAMP_STEP: Duration = Duration::from_millis(250);

/// Everything that a snapshot is made of.
#[derive(Debug)]
pub struct Board {
    workers: usize,
    generation: u64,
    last_id: u64,
    doors: Doors,
    pools: Vec<Pool>,
}

#[derive(Debug)]
struct Pool {
    settings: Arc<PoolSettings>,
    live: Arc<PoolLive>,
    members: Vec<Member>,
    /// The view made last, as long as nothing has changed.
    view: Option<Arc<PoolView>>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) backend: Arc<Backend>,
    settings: BackendSettings,
    state: BackendState,
    /// When it came into that state.
    since: Moment,
}

/// A pool as it is to be: its settings, and where its backends are now.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The settings.
    pub settings: PoolSettings,
    /// The address of each backend, in the order of the settings; `None`: it has
    /// none yet.
    pub addresses: Vec<Option<Endpoint>>,
}

impl Wanted {
    /// Each backend, and where it is.
    pub(super) fn backends(&self) -> impl Iterator<Item = (&BackendSettings, Option<&Endpoint>)> {
        let addresses = self.addresses.iter().map(Option::as_ref);
        self.settings.backends.iter().zip(addresses)
    }
}

/// What a new configuration means for those who watch over sockets and probes.
#[derive(Debug, Default)]
pub struct Delta {
    /// Backends that are new.
    pub added: Vec<Arc<Backend>>,
    /// Backends that are gone, each with the drain timeout of its pool.
    pub removed: Vec<(Arc<Backend>, Option<Duration>)>,
}

impl Member {
    /// The same server, in this pool and by this name.
    pub(super) fn renamed(self, pool: &Name, name: &Name) -> Self {
        if self.backend.pool == *pool && self.backend.name == *name {
            return self;
        }
        let backend = Arc::new(self.backend.renamed(pool.clone(), name.clone()));
        Self { backend, ..self }
    }
}

impl Board {
    /// An empty world for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            generation: 0,
            last_id: 0,
            doors: Doors::default(),
            pools: Vec::new(),
        }
    }

    /// Takes new settings. Whoever keeps its pool, name and address keeps health,
    /// counters and sessions; whoever only keeps its address, too, by the names
    /// that it has now.
    pub fn configure(
        &mut self,
        listeners: &[ListenerSettings],
        pools: &[Wanted],
        now: Moment,
    ) -> Delta {
        let mut delta = Delta::default();
        let mut old_pools = std::mem::take(&mut self.pools);
        let mut left = Vec::new();
        for pool in &mut old_pools {
            let timeout = pool.settings.drain_timeout;
            let members = std::mem::take(&mut pool.members).into_iter();
            left.extend(members.map(|member| Left { member, timeout }));
        }
        let (kept, left) = left_over::keep(left, pools);
        let mut kept = kept.into_iter();
        for wanted in pools {
            let old = old_pools
                .iter()
                .position(|pool| pool.settings.name == wanted.settings.name)
                .map(|at| old_pools.swap_remove(at));
            let mut pool = self.renew_pool(old, wanted);
            for (settings, address) in wanted.backends() {
                let member = kept.next().flatten().map(|it| Member {
                    settings: settings.clone(),
                    ..it
                });
                pool.members.push(member.unwrap_or_else(|| {
                    let pool = &wanted.settings.name;
                    let backend = self.new_backend(pool, &settings.name, address.cloned());
                    delta.added.push(Arc::clone(&backend));
                    Member {
                        backend,
                        settings: settings.clone(),
                        state: BackendState::Starting,
                        since: now,
                    }
                }));
            }
            self.pools.push(pool);
        }
        let gone = left.into_iter();
        delta.removed = gone.map(|it| (it.member.backend, it.timeout)).collect();
        self.doors
            .configure(listeners, self.workers, &mut self.last_id);
        delta
    }

    /// A pool with new settings, and no members yet.
    fn renew_pool(&self, old: Option<Pool>, wanted: &Wanted) -> Pool {
        let Some(mut pool) = old else {
            return Pool {
                settings: Arc::new(wanted.settings.clone()),
                live: Arc::new(PoolLive::new(self.workers)),
                members: Vec::new(),
                view: None,
            };
        };
        pool.view = None;
        if *pool.settings != wanted.settings {
            pool.settings = Arc::new(wanted.settings.clone());
        }
        pool
    }

    fn new_backend(&mut self, pool: &Name, name: &Name, address: Option<Endpoint>) -> Arc<Backend> {
        self.last_id += 1;
        let id = BackendId(self.last_id);
        let (pool, name) = (pool.clone(), name.clone());
        Arc::new(Backend::new(id, pool, name, address, self.workers))
    }

    /// A prober has found a backend to be in `state`. Returns what it was, or
    /// `None` if it is gone.
    pub fn set_state(
        &mut self,
        id: BackendId,
        state: BackendState,
        now: Moment,
    ) -> Option<BackendState> {
        for pool in &mut self.pools {
            if let Some(member) = pool.members.iter_mut().find(|it| it.backend.id == id) {
                if member.state != state {
                    pool.view = None;
                    member.since = now;
                }
                return Some(std::mem::replace(&mut member.state, state));
            }
        }
        None
    }

    /// Every backend, with the settings of its pool.
    pub fn backends(&self) -> impl Iterator<Item = (&Arc<Backend>, &Arc<PoolSettings>)> {
        self.pools.iter().flat_map(|pool| {
            let members = pool.members.iter();
            members.map(|member| (&member.backend, &pool.settings))
        })
    }

    /// What each backend was found to be, and since when.
    pub fn states(&self) -> impl Iterator<Item = (BackendId, BackendState, Moment)> {
        let members = self.pools.iter().flat_map(|pool| &pool.members);
        members.map(|it| (it.backend.id, it.state, it.since))
    }

    /// The world at `now`. What has not changed since the last one is shared
    /// with it.
    pub fn compose(&mut self, now: Moment) -> Snapshot {
        self.generation += 1;
        for pool in &mut self.pools {
            if pool.view.is_none() || pool.is_ramping(now) || pool.was_ramping() {
                pool.view = Some(Arc::new(pool.look(now)));
            }
        }
        let pools: Vec<_> = self.pools.iter().filter_map(|it| it.view.clone()).collect();
        let listeners = self.doors.look(&pools);
        Snapshot {
            generation: self.generation,
            former: self.doors.look_back(&listeners, &pools),
            listeners,
            pools,
        }
    }

    /// When weights that are growing should be looked at again.
    pub fn next_ramp(&self, now: Moment) -> Option<Moment> {
        let ramping = self.pools.iter().filter(|pool| pool.is_ramping(now));
        let step = |pool: &Pool| (pool.settings.slow_start? / 100).max(RAMP_STEP).into();
        ramping
            .filter_map(step)
            .min()
            .map(|step: Duration| now + step)
    }
}

impl Pool {
    fn is_ramping(&self, now: Moment) -> bool {
        let ramp = self.settings.slow_start;
        self.members.iter().any(|it| it.state.is_ramping(ramp, now))
    }

    /// Whether the last view has weights that are not full yet.
    fn was_ramping(&self) -> bool {
        self.view.as_ref().is_some_and(|view| {
            let is_short = |it: &BackendView| it.effective > 0 && it.effective < it.weight * 1000;
            view.backends.iter().any(is_short)
        })
    }

    fn look(&self, now: Moment) -> PoolView {
        let is_panic = self.is_panic();
        let ramp = self.settings.slow_start;
        let views = self.members.iter().map(|member| {
            let weight = u32::from(member.settings.weight.get());
            // Too few are left to trust the probes: a dead one may be alive,
            // but the living would surely die of the load. Who is full, asks for
            // no connections or has not been probed yet is not dead.
            let may_be_alive = matches!(member.state, BackendState::Down | BackendState::Up { .. });
            let effective = if member.backend.address.is_none() {
                0
            } else if is_panic && may_be_alive {
                weight * 1000
            } else {
                member.state.effective_weight(weight, ramp, now)
            };
            BackendView {
                backend: Arc::clone(&member.backend),
                state: member.state,
                since: member.since,
                weight,
                effective,
                tier: member.settings.tier,
                max_connections: member.settings.max_connections,
                sources: self
                    .settings
                    .sources_of(&member.settings)
                    .towards(member.backend.address.as_ref()),
            }
        });
        let (settings, live) = (Arc::clone(&self.settings), Arc::clone(&self.live));
        PoolView::new(settings, live, views.collect(), is_panic)
    }

    fn is_panic(&self) -> bool {
        let Some(threshold) = self.settings.panic_threshold else {
            return false;
        };
        let wanted = |it: &&Member| it.settings.weight.get() > 0;
        let all = self.members.iter().filter(wanted).count();
        let alive = |it: &&Member| it.state.is_alive();
        let alive = self.members.iter().filter(wanted).filter(alive).count();
        alive * 100 < usize::from(threshold) * all
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
