//! All workers, as the control plane sees them.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use mio::{Poll, Waker};

use super::budget::Budget;
use super::context::{Context, OnSeen, Shared};
use super::deadline::Wheel;
use super::mailbox::{Command, GateId, Mailbox};
use super::sources::Sources;
use super::worker::{BELL, Worker};
use crate::clock::{self, Moment, Seed};
use crate::event::Sink;
use crate::net::listening::Listening;
use crate::pool::{BackendId, Line, PerWorker, Place, Places, Snapshot, Turns};
use crate::relay::{Pipes, Tools};
use crate::types::Reason;

/// One scratch buffer per worker: what one read takes at the most.
const SCRATCH: usize = 64 * 1024;

/// The worker threads.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    count: usize,
}

impl Workers {
    /// Starts `count` workers that see the world as `snapshot` has it and call
    /// `on_seen` with what its prober should know of a backend.
    pub fn start(
        count: usize,
        snapshot: Arc<ArcSwap<Snapshot>>,
        budget: Budget,
        busy_poll: Duration,
        sink: Sink,
        seed: Seed,
        on_seen: OnSeen,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            snapshot,
            sessions: Places::new(),
            line: Line::new(),
            max_sessions: AtomicU32::new(budget.sessions),
            max_refusals: AtomicU32::new(budget.refusals),
            log_connections: AtomicBool::new(true),
            cut: AtomicU64::new(0),
            sources: Sources::default(),
            headers: AtomicUsize::new(0),
            on_seen,
            sink,
            mailboxes: OnceLock::new(),
            turns: PerWorker::new(count),
        });
        let polls = (0..count.max(1))
            .map(|_| Poll::new())
            .collect::<io::Result<Vec<_>>>()?;
        let mailboxes = polls
            .iter()
            .map(|poll| Waker::new(poll.registry(), BELL).map(Mailbox::new))
            .collect::<io::Result<Vec<_>>>()?;
        shared.mailboxes.get_or_init(|| mailboxes);
        let threads = polls
            .into_iter()
            .enumerate()
            .map(|(worker, poll)| {
                let seed = seed.fork(worker as u64);
                let ctx = context(worker, Arc::clone(&shared), &poll, seed, budget)?;
                Builder::new()
                    .name(format!("worker-{worker}"))
                    .spawn(move || Worker::new(poll, ctx, busy_poll).run())
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            shared,
            count: threads.len(),
            threads: Mutex::new(threads),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Client connections now.
    pub fn sessions(&self) -> u32 {
        self.shared.sessions.taken()
    }

    /// Client connections at the same time, at the most.
    pub fn max_sessions(&self) -> u32 {
        self.shared.max_sessions.load(Ordering::Relaxed)
    }

    /// Sets the limits anew; sessions above them go on.
    pub fn set_budget(&self, budget: Budget) {
        self.shared
            .max_sessions
            .store(budget.sessions, Ordering::Relaxed);
        self.shared
            .max_refusals
            .store(budget.refusals, Ordering::Relaxed);
    }

    /// Whether each finished connection has a line in the log.
    pub fn log_connections(&self, yes: bool) {
        self.shared.log_connections.store(yes, Ordering::Relaxed);
    }

    /// Accepts on `sockets`, one for each worker, for whichever listener is at
    /// `place`.
    pub fn listen(&self, gate: GateId, place: &Place, sockets: Vec<Listening>) -> io::Result<()> {
        for (mailbox, socket) in self.mailboxes().iter().zip(sockets) {
            let place = place.clone();
            mailbox.send(Command::Listen {
                gate,
                place,
                socket,
            })?;
        }
        Ok(())
    }

    /// Answers on `sockets`, one for each worker, that the worker lives.
    pub fn attest(&self, sockets: Vec<TcpListener>) -> io::Result<()> {
        for (mailbox, socket) in self.mailboxes().iter().zip(sockets) {
            mailbox.send(Command::Attest { socket })?;
        }
        Ok(())
    }

    /// Closes sockets, after a last look into their accept queues; sessions go
    /// on.
    pub fn unlisten(&self, gate: GateId) -> io::Result<()> {
        self.send_all(|| Command::Unlisten { gate })
    }

    /// Makes `snapshot` what every worker sees, and ends the sessions of the
    /// backends that it shows as `lost`.
    ///
    /// In this order: a worker that reads the second letter sees the snapshot,
    /// too (the letter box has a lock), and looks at it before it obeys. So
    /// whoever picked such a backend is found, and nobody picks it afterwards.
    /// The other way round a session could pick it between the two and stay.
    pub fn show(&self, snapshot: Arc<Snapshot>, lost: &[BackendId]) -> io::Result<()> {
        self.shared.snapshot.store(snapshot);
        for backend in lost {
            self.send_all(|| Command::Kill {
                backend: *backend,
                reason: Reason::BackendDown,
            })?;
        }
        self.wake()
    }

    /// Ends the sessions of a backend at `at`.
    pub fn drain(&self, backend: BackendId, at: Moment) -> io::Result<()> {
        let reason = Reason::Drained;
        self.send_all(|| Command::Drain {
            backend,
            at,
            reason,
        })
    }

    /// Makes every worker see the newest snapshot now.
    pub fn wake(&self) -> io::Result<()> {
        self.mailboxes().iter().try_for_each(Mailbox::wake)
    }

    /// When the worker that has been busy, or hanging, for the longest began
    /// its last turn. [`wake`](Self::wake) makes an idle one turn.
    pub fn oldest_turn(&self) -> Moment {
        let turns = self.shared.turns.iter();
        let oldest = turns.map(|it| it.load(Ordering::Relaxed)).min();
        Moment::from_micros(oldest.unwrap_or(0))
    }

    /// Stops accepting, and ends every session by `at`; a later call can only
    /// bring that nearer.
    pub fn shutdown(&self, at: Moment) -> io::Result<()> {
        self.send_all(|| Command::Shutdown { at })
    }

    /// Waits for the workers to end, and says how many sessions were cut. Call
    /// [`shutdown`](Self::shutdown) before.
    pub fn join(&self) -> u64 {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic has been reported by the panic hook.
            let _reported = thread.join();
        }
        self.shared.cut.load(Ordering::Relaxed)
    }

    fn send_all(&self, command: impl Fn() -> Command) -> io::Result<()> {
        self.mailboxes()
            .iter()
            .try_for_each(|mailbox| mailbox.send(command()))
    }

    fn mailboxes(&self) -> &[Mailbox] {
        self.shared.mailboxes.get().map_or(&[], Vec::as_slice)
    }
}

/// Threads never outlive their handle: a start that fails half-way must not
/// leave them waiting for ever.
impl Drop for Workers {
    fn drop(&mut self) {
        // The bell fails only if the kernel has no memory for it; then there
        // is no use in waiting.
        if self.shutdown(Moment::START).is_ok() {
            self.join();
        }
    }
}

fn context(
    worker: usize,
    shared: Arc<Shared>,
    poll: &Poll,
    seed: Seed,
    budget: Budget,
) -> io::Result<Context> {
    let now = clock::now();
    Ok(Context {
        worker,
        snapshot: shared.snapshot.load_full(),
        shared,
        registry: poll.registry().try_clone()?,
        now,
        rng: seed.rng(),
        turns: Turns::default(),
        tools: Tools {
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            pipes: Pipes::new(budget.pipes as usize),
        },
        wheel: Wheel::new(now),
        again: Vec::new(),
        waiting: std::collections::HashMap::new(),
        refusing: 0,
        last_id: 0,
        unix_binds: Vec::new(),
        stop_at: None,
    })
}
