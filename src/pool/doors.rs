//! Which listener is which, over reloads. Pure.
//!
//! A listener's number follows its addresses: a client that has no backend yet
//! finds its pool by that number, and it was an address that it came to. Its
//! counters follow its name, under which people see them.

use std::sync::{Arc, Weak};

use super::backend::ListenerLive;
use super::settings::ListenerSettings;
use super::snapshot::{Door, ListenerId, ListenerView, PoolView};

/// The listeners, and those before them whose clients are not all served yet.
#[derive(Debug, Default)]
pub(super) struct Doors {
    listeners: Vec<Listener>,
    former: Vec<Former>,
}

#[derive(Debug)]
struct Listener {
    id: ListenerId,
    settings: Arc<ListenerSettings>,
    live: Arc<ListenerLive>,
    /// The view made last.
    view: Option<ListenerView>,
}

/// A listener that is gone.
#[derive(Debug)]
struct Former {
    id: ListenerId,
    /// Alive as long as a client or a socket remembers it.
    door: Weak<Door>,
    /// Who has its addresses now.
    heir: Option<ListenerId>,
    /// The pool that served it last.
    pool: Arc<PoolView>,
}

impl Doors {
    /// Takes new settings.
    pub(super) fn configure(
        &mut self,
        wanted: &[ListenerSettings],
        workers: usize,
        last_id: &mut u64,
    ) {
        let old = std::mem::take(&mut self.listeners);
        let kept = pair_up(&old, wanted);
        for (settings, kept) in wanted.iter().zip(&kept) {
            let before = kept.map(|at| &old[at]);
            let namesake = old.iter().find(|it| it.settings.name == settings.name);
            // Who has only been renamed takes its counters along.
            let is_free = |it: &&Listener| wanted.iter().all(|new| new.name != it.settings.name);
            let live = namesake.or_else(|| before.filter(is_free));
            self.listeners.push(Listener {
                id: before.map_or_else(
                    || {
                        *last_id += 1;
                        ListenerId(*last_id)
                    },
                    |it| it.id,
                ),
                settings: match before {
                    Some(it) if *it.settings == *settings => Arc::clone(&it.settings),
                    _ => Arc::new(settings.clone()),
                },
                live: live.map_or_else(
                    || Arc::new(ListenerLive::new(workers)),
                    |it| Arc::clone(&it.live),
                ),
                view: before.and_then(|it| it.view.clone()),
            });
        }
        let gone = old.into_iter().enumerate();
        let gone = gone.filter(|(at, _)| !kept.contains(&Some(*at)));
        self.part_with(gone.map(|(_, it)| it));
    }

    /// Remembers those that go for as long as their clients do.
    fn part_with(&mut self, gone: impl Iterator<Item = Listener>) {
        self.former.retain(|it| it.door.strong_count() > 0);
        for listener in gone {
            let Some(view) = &listener.view else {
                continue;
            };
            let is_heir = |it: &&Listener| shares_place(&listener.settings, &it.settings);
            let heir = self.listeners.iter().find(is_heir).map(|it| it.id);
            // What it had inherited goes on.
            let mut inherited = self.former.iter_mut();
            while let Some(it) = inherited.find(|it| it.heir == Some(listener.id)) {
                it.heir = heir;
                it.pool = Arc::clone(&view.pool);
            }
            self.former.push(Former {
                id: listener.id,
                door: Arc::downgrade(&view.door),
                heir,
                pool: Arc::clone(&view.pool),
            });
        }
    }

    /// The listeners that have a pool in `pools`.
    pub(super) fn look(&mut self, pools: &[Arc<PoolView>]) -> Vec<ListenerView> {
        let mut views = Vec::new();
        for listener in &mut self.listeners {
            let wanted = &listener.settings.pool;
            let pool = pools.iter().find(|it| it.settings.name == *wanted);
            let view = pool.map(|pool| ListenerView {
                door: listener.door(pool),
                pool: Arc::clone(pool),
            });
            listener.view.clone_from(&view);
            views.extend(view);
        }
        views
    }

    /// The pools for clients of listeners that are gone: that of the heir, or
    /// the one that they came for.
    pub(super) fn look_back(
        &self,
        views: &[ListenerView],
        pools: &[Arc<PoolView>],
    ) -> Vec<(ListenerId, Arc<PoolView>)> {
        let now = |it: &Former| {
            let heir = views.iter().find(|view| Some(view.door.id) == it.heir);
            let name = &it.pool.settings.name;
            let namesake = || pools.iter().find(|pool| pool.settings.name == *name);
            let pool = heir.map(|view| &view.pool).or_else(namesake);
            (it.id, Arc::clone(pool.unwrap_or(&it.pool)))
        };
        self.former.iter().map(now).collect()
    }
}

impl Listener {
    /// The door that sessions keep; a new one only if something about it has
    /// changed.
    fn door(&self, pool: &PoolView) -> Arc<Door> {
        if let Some(ListenerView { door, .. }) = &self.view
            && Arc::ptr_eq(&door.listener, &self.settings)
            && Arc::ptr_eq(&door.live, &self.live)
            && Arc::ptr_eq(&door.pool, &pool.settings)
            && Arc::ptr_eq(&door.pool_live, &pool.live)
        {
            return Arc::clone(door);
        }
        Arc::new(Door {
            id: self.id,
            listener: Arc::clone(&self.settings),
            pool: Arc::clone(&pool.settings),
            live: Arc::clone(&self.live),
            pool_live: Arc::clone(&pool.live),
        })
    }
}

/// For each new listener the place in `old` of the one that it continues.
/// Whoever keeps name and address comes first, then whoever has taken over an
/// address, then whoever has moved to others under its name.
fn pair_up(old: &[Listener], new: &[ListenerSettings]) -> Vec<Option<usize>> {
    let rules: [Rule; 3] = [
        |old, new| is_namesake(old, new) && shares_place(old, new),
        shares_place,
        is_namesake,
    ];
    let mut found = vec![None; new.len()];
    for rule in rules {
        for (at, settings) in new.iter().enumerate() {
            if found[at].is_some() {
                continue;
            }
            let is_free = |it: &usize| !found.contains(&Some(*it));
            let mut free = (0..old.len()).filter(is_free);
            found[at] = free.find(|it| rule(&old[*it].settings, settings));
        }
    }
    found
}

/// Whether the new one continues the old one.
type Rule = fn(&ListenerSettings, &ListenerSettings) -> bool;

fn is_namesake(one: &ListenerSettings, two: &ListenerSettings) -> bool {
    one.name == two.name
}

fn shares_place(one: &ListenerSettings, two: &ListenerSettings) -> bool {
    one.places().any(|place| two.is_at(&place))
}
