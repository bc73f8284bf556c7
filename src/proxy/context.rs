//! What a worker's sessions share with each other, and with other workers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use mio::Registry;
use rand::rngs::SmallRng;

use super::compact::UnixBind;
use super::deadline::Wheel;
use super::mailbox::Mailbox;
use super::slab::Key;
use super::sources::Sources;
use crate::clock::Moment;
use crate::event::Sink;
use crate::pool::{BackendId, Door, Line, PerWorker, Place, Places, PoolView, Snapshot, Turns};
use crate::relay::Tools;
use crate::types::{Endpoint, Name, Reason, UnixPath};

/// What a session has seen of a backend that its prober should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It turned clients away before, and has greeted one.
    Greeting,
    /// It has refused a connection, or turned a client away in its own protocol.
    Refusal,
}

/// Called when a session has seen such a thing.
pub type OnSeen = Box<dyn Fn(BackendId, Seen) + Send + Sync>;

/// What all workers share.
pub(super) struct Shared {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) sessions: Places,
    /// Sessions of all pools that wait for a place. One line for all: a reload
    /// may lead a listener's sessions to another pool while they wait, or a
    /// backend under another name.
    pub(super) line: Line,
    pub(super) max_sessions: AtomicU32,
    pub(super) max_refusals: AtomicU32,
    pub(super) log_connections: AtomicBool,
    /// Sessions that ended because the process did.
    pub(super) cut: AtomicU64,
    pub(super) sources: Sources,
    /// Bytes that PROXY headers take which are not whole yet.
    pub(super) headers: AtomicUsize,
    pub(super) on_seen: OnSeen,
    pub(super) sink: Sink,
    pub(super) mailboxes: OnceLock<Vec<Mailbox>>,
    /// When each worker last turned, in microseconds.
    pub(super) turns: PerWorker<AtomicU64>,
}

impl Shared {
    /// Takes a place in the process.
    pub(super) fn acquire(&self) -> bool {
        let limit = self.max_sessions.load(Ordering::Relaxed);
        self.sessions.acquire(Some(limit))
    }

    /// Tells every worker that a backend may have a place free.
    pub(super) fn announce_place(&self) {
        for mailbox in self.mailboxes.get().into_iter().flatten() {
            mailbox.announce_place();
        }
    }

    /// Makes one worker look after those who wait in its next turn.
    pub(super) fn announce_place_to(&self, worker: usize) {
        if let Some(mailbox) = self.mailboxes.get().and_then(|all| all.get(worker)) {
            mailbox.announce_place();
        }
    }
}

/// What a worker's sessions share.
pub(super) struct Context {
    pub(super) worker: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) now: Moment,
    pub(super) rng: SmallRng,
    pub(super) turns: Turns,
    pub(super) tools: Tools,
    pub(super) wheel: Wheel<(Key, Moment)>,
    /// Sessions that have used up their turn and have more to do.
    pub(super) again: Vec<Key>,
    /// Sessions that wait for a place, by pool.
    pub(super) waiting: HashMap<Name, VecDeque<Key>>,
    /// Sessions whose client is being told no.
    pub(super) refusing: u32,
    pub(super) last_id: u64,
    /// The paths that clients have come in by, for those who have no address.
    pub(super) unix_binds: Vec<UnixPath>,
    /// When the last session must have ended, once the process stops.
    pub(super) stop_at: Option<Moment>,
}

impl Context {
    /// The pool that serves `door` now.
    pub(super) fn pool_of(&self, door: &Door) -> Option<Arc<PoolView>> {
        self.snapshot.pool_behind(door).map(Arc::clone)
    }

    /// Sees the newest snapshot from now on; says whether it is another one.
    pub(super) fn refresh(&mut self) -> bool {
        let newest = self.shared.snapshot.load();
        if newest.generation == self.snapshot.generation {
            return false;
        }
        self.snapshot = Arc::clone(&newest);
        true
    }

    /// A number for a new connection: the worker in the upper bits, so that
    /// workers need not ask each other.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        (self.worker as u64 + 1) << 48 | self.last_id
    }

    /// The number by which sessions remember that they came in at `place`;
    /// `None`: it has an address, and so have they.
    pub(super) fn number_unix(&mut self, place: &Place) -> Option<UnixBind> {
        let Endpoint::Unix(path) = &place.bind else {
            return None;
        };
        let known = self.unix_binds.iter().position(|it| it == path);
        let number = known.unwrap_or_else(|| {
            self.unix_binds.push(path.clone());
            self.unix_binds.len() - 1
        });
        u32::try_from(number).ok().map(UnixBind)
    }

    /// Whether so many clients are being told no that further ones are reset.
    pub(super) fn is_refusing_enough(&self) -> bool {
        self.refusing >= self.shared.max_refusals.load(Ordering::Relaxed)
    }

    /// Counts a connection that ends.
    pub(super) fn count_end(&self, door: &Door, reason: Reason) {
        door.live.cells.of(self.worker).finished[reason as usize].add(1);
    }

    /// Counts a connection that is turned away at the door.
    pub(super) fn count_rejected(&self, door: &Door, reason: Reason) {
        door.live.cells.of(self.worker).rejected[reason as usize].add(1);
    }
}
