//! What the control plane may ask of a worker.

use std::io;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use mio::Waker;

use crate::clock::Moment;
use crate::net::listening::Listening;
use crate::pool::{BackendId, Bell, Place};
use crate::types::Reason;

/// One wish of the control plane.
#[derive(Debug)]
pub(super) enum Command {
    /// Let the sessions of a backend go on until `at`, then end them.
    Drain {
        backend: BackendId,
        at: Moment,
        reason: Reason,
    },
    /// End the sessions of a backend now.
    Kill { backend: BackendId, reason: Reason },
    /// Accept on this socket.
    Listen {
        gate: GateId,
        place: Place,
        socket: Listening,
    },
    /// Answer those who ask on this socket whether the worker lives.
    Attest { socket: TcpListener },
    /// Stop accepting, end every session by `at`, then return.
    Shutdown { at: Moment },
    /// Accept what waits in the kernel's queue, then close the socket.
    Unlisten { gate: GateId },
}

/// Which sockets, one of each worker, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateId(pub u64);

/// A worker's letter box, and the bell beside it.
#[derive(Debug)]
pub(super) struct Mailbox {
    commands: Mutex<Vec<Command>>,
    /// A place at a backend may be free: look after those who wait.
    place_free: Bell,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            commands: Mutex::default(),
            place_free: Bell::new(),
            waker,
        }
    }

    pub(super) fn send(&self, command: Command) -> io::Result<()> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command);
        self.waker.wake()
    }

    /// Makes the worker look around: there is a new snapshot.
    pub(super) fn wake(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Says that a place is free. Rings once, however often it is said.
    pub(super) fn announce_place(&self) {
        if self.place_free.ring() {
            // A bell that cannot ring (no memory in the kernel) costs a wait
            // until the queue's deadline.
            let _waits_longer = self.waker.wake();
        }
    }

    pub(super) fn take(&self) -> (Vec<Command>, bool) {
        let commands =
            std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner));
        (commands, self.place_free.has_rung())
    }
}
