//! A backend as the data plane knows it: who it is, and its live counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::counters::{Cell, PerWorker};
use super::histogram::{Histogram, Lives, Waits};
use super::line::Places;
use super::settings::PoolSettings;
use crate::clock::Moment;
use crate::types::{BadHeader, ConnectFailure, Endpoint, Name, Reason, Sources};

/// Which backend, for the life of the process. A backend that stays where it is
/// keeps its number, whatever a reload calls it or its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u64);

/// One server behind us: who it is, and its live counters. Its weight and state
/// are in the [`Snapshot`](super::Snapshot).
#[derive(Debug)]
pub struct Backend {
    /// Its number.
    pub id: BackendId,
    /// The pool it serves.
    pub pool: Name,
    /// Its name in the pool.
    pub name: Name,
    /// Where it is; `None`: its host name has never been found. Nobody is sent
    /// there.
    pub address: Option<Endpoint>,
    /// Its counters. They outlive its names: see [`Backend::renamed`].
    pub live: Arc<BackendLive>,
}

/// Live counters of a backend.
#[derive(Debug)]
pub struct BackendLive {
    /// What workers count.
    pub cells: PerWorker<BackendCells>,
    /// Connections open or being made, of all workers.
    pub places: Places,
    /// Whose turn it is of several addresses to connect from.
    source_turn: AtomicUsize,
    /// Until when it is avoided, in microseconds, times two; plus one if it has
    /// refused a connection, or every client in its own protocol.
    suspicion: AtomicU64,
    /// Connections that failed since the last one that did not.
    strikes: AtomicU32,
}

/// What each worker counts of a backend.
#[derive(Debug, Default)]
pub struct BackendCells {
    /// Connections made.
    pub connections: Cell,
    /// Time from connect(2) to an established connection.
    pub connect_duration: Histogram<Waits>,
    /// Bytes sent to it.
    pub bytes_in: Cell,
    /// Bytes received from it.
    pub bytes_out: Cell,
    /// Finished connections of clients that came to it last, by [`Reason`].
    pub finished: [Cell; Reason::ALL.len()],
    /// Connections that could not be made, by [`ConnectFailure`].
    pub connect_errors: [Cell; ConnectFailure::ALL.len()],
}

impl Backend {
    /// A backend nobody has connected to yet.
    pub fn new(
        id: BackendId,
        pool: Name,
        name: Name,
        address: Option<Endpoint>,
        workers: usize,
    ) -> Self {
        Self {
            id,
            pool,
            name,
            address,
            live: Arc::new(BackendLive::new(workers)),
        }
    }

    /// The same server, by other names. Sessions that began before go on under
    /// the old ones, and count where the new ones count.
    pub fn renamed(&self, pool: Name, name: Name) -> Self {
        Self {
            id: self.id,
            pool,
            name,
            address: self.address.clone(),
            live: Arc::clone(&self.live),
        }
    }

    /// Where it is, for people: its address, or else its host name.
    pub fn whereabouts(&self, pool: &PoolSettings) -> String {
        if let Some(address) = &self.address {
            return address.to_string();
        }
        let mut all = pool.backends.iter();
        let configured = all.find(|it| it.name == self.name);
        configured.map_or_else(String::new, |it| it.address.to_string())
    }

    /// Whether it is reached over a unix socket.
    pub fn is_unix(&self) -> bool {
        self.address.as_ref().is_some_and(Endpoint::is_unix)
    }

    /// Its IP address and port, if it has such.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.address.as_ref()?.tcp()
    }
}

impl BackendLive {
    /// For how long a backend is avoided, where another can serve, after a
    /// connection to it failed: until the next probe has had its say. Doubles
    /// with each failure, for probes may see another port than clients do.
    pub const SUSPICION: Duration = Duration::from_secs(2);
    /// The longest suspicion is 32 times that: about a minute.
    const MOST_DOUBLINGS: u32 = 5;

    fn new(workers: usize) -> Self {
        Self {
            cells: PerWorker::new(workers),
            places: Places::new(),
            source_turn: AtomicUsize::new(0),
            suspicion: AtomicU64::new(0),
            strikes: AtomicU32::new(0),
        }
    }

    /// Connections open or being made, of all workers.
    pub fn active(&self) -> u32 {
        self.places.taken()
    }

    /// Which of `sources` the next connection to it leaves from.
    pub fn next_source(&self, sources: &Sources) -> usize {
        if sources.len() < 2 {
            return 0;
        }
        self.source_turn.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to it failed at `now`: avoid it for a while.
    pub fn suspect(&self, now: Moment, failure: ConnectFailure) {
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed);
        let suspicion = Self::SUSPICION * (1 << strikes.min(Self::MOST_DOUBLINGS));
        self.avoid(now + suspicion, failure == ConnectFailure::Refused);
    }

    /// It has greeted a client with an error that is for everybody: avoid it for
    /// a moment. That it takes connections says nothing against this.
    pub fn turned_away(&self, now: Moment) {
        self.avoid(now + Self::SUSPICION, true);
    }

    /// A connection to it begins. After failures it is a trial, and until its
    /// verdict the others go elsewhere: one client waits, not all.
    pub fn begin(&self, now: Moment) {
        if self.strikes.load(Ordering::Relaxed) > 0 {
            let has_refused = self.suspicion.load(Ordering::Relaxed) & 1 == 1;
            self.avoid(now + Self::SUSPICION, has_refused);
        }
    }

    fn avoid(&self, until: Moment, has_refused: bool) {
        let until = until.as_micros() << 1 | u64::from(has_refused);
        self.suspicion.store(until, Ordering::Relaxed);
    }

    /// It has taken a connection.
    pub fn trust(&self) {
        if self.strikes.load(Ordering::Relaxed) != 0 {
            self.clear();
        }
    }

    /// It has served a client or passed a probe: there is no reason left to
    /// avoid it.
    pub fn clear(&self) {
        self.strikes.store(0, Ordering::Relaxed);
        self.suspicion.store(0, Ordering::Relaxed);
    }

    /// Whether it is to be avoided where another of its tier can serve.
    pub fn is_suspect(&self, now: Moment) -> bool {
        now.as_micros() < self.suspicion.load(Ordering::Relaxed) >> 1
    }

    /// Whether it is to be avoided where any other can serve. A connect that
    /// takes too long may be the network's fault or chance; a refusal is a fact.
    pub fn is_refusing(&self, now: Moment) -> bool {
        let suspicion = self.suspicion.load(Ordering::Relaxed);
        suspicion & 1 == 1 && now.as_micros() < suspicion >> 1
    }
}

/// Live counters of a pool.
#[derive(Debug)]
pub struct PoolLive {
    /// What workers count.
    pub cells: PerWorker<PoolCells>,
    /// Sessions that wait for a place at a backend, of all workers.
    pub queue: Places,
}

/// What each worker counts of a pool.
#[derive(Debug, Default)]
pub struct PoolCells {
    /// Sessions that found nobody to serve them.
    pub exhausted: Cell,
    /// Attempts on another backend after a failed one.
    pub retries: Cell,
}

impl PoolLive {
    /// Counters at zero.
    pub fn new(workers: usize) -> Self {
        Self {
            cells: PerWorker::new(workers),
            queue: Places::new(),
        }
    }

    /// Sessions that wait for a place, of all workers.
    pub fn queued(&self) -> u32 {
        self.queue.taken()
    }
}

/// Live counters of a listener.
#[derive(Debug)]
pub struct ListenerLive {
    /// What workers count.
    pub cells: PerWorker<ListenerCells>,
    /// Connections open now, of all workers.
    pub places: Places,
}

/// What each worker counts of a listener.
#[derive(Debug, Default)]
pub struct ListenerCells {
    /// Connections accepted.
    pub accepted: Cell,
    /// Bytes from clients.
    pub bytes_in: Cell,
    /// Bytes to clients.
    pub bytes_out: Cell,
    /// Times that a connection began to hold bytes its reader did not take.
    pub stalls_begun: Cell,
    /// Times that it was rid of them.
    pub stalls_ended: Cell,
    /// How long finished connections lived.
    pub duration: Histogram<Lives>,
    /// Finished connections, by [`Reason`].
    pub finished: [Cell; Reason::ALL.len()],
    /// Connections turned away at the door, by [`Reason`].
    pub rejected: [Cell; Reason::ALL.len()],
    /// PROXY headers that were not accepted, by [`BadHeader`].
    pub bad_headers: [Cell; BadHeader::ALL.len()],
}

impl ListenerLive {
    /// Counters at zero.
    pub fn new(workers: usize) -> Self {
        Self {
            cells: PerWorker::new(workers),
            places: Places::new(),
        }
    }

    /// Connections open now, of all workers.
    pub fn open(&self) -> u32 {
        self.places.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let backend = BackendLive::new(1);
        assert!(backend.places.acquire(Some(1)));
        assert!(!backend.places.acquire(Some(1)));
        assert_eq!(backend.active(), 1);
        backend.places.release();
        assert!(backend.places.acquire(Some(1)));
    }

    #[test]
    fn suspicion_passes() {
        let backend = BackendLive::new(1);
        let now = Moment::from_micros(5);
        backend.suspect(now, ConnectFailure::TimedOut);
        assert!(backend.is_suspect(now) && !backend.is_refusing(now));
        assert!(!backend.is_suspect(now + BackendLive::SUSPICION));
        backend.suspect(now, ConnectFailure::Refused);
        assert!(backend.is_suspect(now) && backend.is_refusing(now));
        assert!(!backend.is_refusing(now + BackendLive::SUSPICION * 2));
        backend.trust();
        assert!(!backend.is_suspect(now));
    }

    #[test]
    fn who_turns_clients_away_is_avoided_although_it_takes_connections() {
        let backend = BackendLive::new(1);
        let now = Moment::from_micros(5);
        backend.turned_away(now);
        backend.begin(now);
        backend.trust();
        assert!(backend.is_suspect(now) && backend.is_refusing(now));
        assert!(!backend.is_refusing(now + BackendLive::SUSPICION));
        backend.clear();
        assert!(!backend.is_suspect(now));
    }

    #[test]
    fn suspicion_doubles_and_a_trial_is_one_clients() {
        let backend = BackendLive::new(1);
        let now = Moment::from_micros(5);
        backend.begin(now);
        assert!(!backend.is_suspect(now), "nothing has failed yet");
        backend.suspect(now, ConnectFailure::TimedOut);
        backend.suspect(now, ConnectFailure::TimedOut);
        let later = now + BackendLive::SUSPICION * 2;
        assert!(backend.is_suspect(later - Duration::from_micros(1)));
        assert!(!backend.is_suspect(later));
        backend.begin(later);
        assert!(backend.is_suspect(later), "the trial is under way");
        for _ in 0..99 {
            backend.suspect(now, ConnectFailure::TimedOut);
        }
        assert!(!backend.is_suspect(now + BackendLive::SUSPICION * 32));
        backend.trust();
        backend.begin(now);
        assert!(!backend.is_suspect(now));
    }
}
