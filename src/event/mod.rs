//! What happened, as one enum; the one place that turns it into a log line.

mod line;
mod recent;
mod settings;
mod sink;

use std::time::Duration;

use crate::types::{Endpoint, Name, OwnFault, Reason};

pub use settings::{LogFormat, LogSettings};
pub use sink::{LogThread, Sink};

/// Something an operator may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// The admin interface could not do something.
    AdminTrouble {
        /// What.
        what: String,
    },
    /// The probes, or real connections, have changed their mind on a backend.
    Backend {
        /// Its pool.
        pool: Name,
        /// Its name.
        backend: Name,
        /// Where it is.
        address: String,
        /// What it was.
        from: &'static str,
        /// What it is.
        to: &'static str,
        /// Why.
        why: String,
    },
    /// A backend cannot be probed, for a reason of our own; or it can be again.
    Blind {
        /// Its pool.
        pool: Name,
        /// Its name.
        backend: Name,
        /// Why not, in a word and in a sentence; `None`: it can.
        fault: Option<(OwnFault, String)>,
        /// What it was found to be before, and stays.
        state: &'static str,
    },
    /// One effect of a reload.
    Change {
        /// What has changed.
        what: String,
    },
    /// A connection has ended.
    Connection(Box<Connection>),
    /// A limit had to be set lower than asked for.
    Limited {
        /// Which, and what to do about it.
        what: String,
    },
    /// A listener has begun to accept.
    Listening {
        /// Which.
        listener: Name,
        /// Where.
        address: Endpoint,
    },
    /// This node's part in the pair has changed.
    Pair {
        /// What it was.
        from: &'static str,
        /// What it is.
        to: &'static str,
        /// Why.
        why: &'static str,
        /// The newest term that it knows.
        term: u64,
        /// Who holds the public name.
        holder: Option<Name>,
    },
    /// A twin has come or gone, or its configuration differs from ours.
    Twin {
        /// Which.
        node: Name,
        /// What about it.
        what: &'static str,
    },
    /// The number of usable backends of a pool has reached or left zero.
    Pool {
        /// Which.
        pool: Name,
        /// How many can be used.
        usable: usize,
        /// Of how many.
        of: usize,
    },
    /// lb.yaml was read again and is in force.
    Reloaded {
        /// How many effects that had.
        changes: usize,
    },
    /// lb.yaml was read again and is not in force; the old one is.
    ReloadFailed {
        /// What is wrong with it.
        why: String,
    },
    /// A host name of a backend could not be resolved; the last good addresses
    /// stay in use.
    Resolve {
        /// Its pool.
        pool: Name,
        /// Its name.
        backend: Name,
        /// What went wrong.
        why: String,
    },
    /// Connections were turned away since the last such line.
    Shed {
        /// By which listener.
        listener: Name,
        /// Why.
        reason: Reason,
        /// How many.
        count: u64,
    },
    /// The process serves.
    Started {
        /// Its version.
        version: &'static str,
        /// How many worker threads.
        workers: usize,
        /// How many client connections at the same time.
        max_connections: u32,
    },
    /// The process no longer accepts, and waits for its sessions.
    Stopping {
        /// How many there are.
        sessions: u32,
        /// For how long it waits.
        grace: Duration,
    },
    /// The process ends.
    Stopped {
        /// How many sessions were cut.
        cut: u64,
    },
    /// A fault of our own that was survived.
    Trouble {
        /// What.
        what: String,
    },
}

impl Event {
    /// What somebody else may have said: an error, a server's answer, a
    /// setting. All else is names, addresses and words of ours.
    fn free_text(&mut self) -> Option<&mut String> {
        match self {
            Self::AdminTrouble { what }
            | Self::Change { what }
            | Self::Limited { what }
            | Self::Trouble { what } => Some(what),
            Self::Backend { why, .. } | Self::ReloadFailed { why } | Self::Resolve { why, .. } => {
                Some(why)
            }
            Self::Blind { fault, .. } => fault.as_mut().map(|(_, why)| why),
            Self::Connection(_)
            | Self::Listening { .. }
            | Self::Pair { .. }
            | Self::Twin { .. }
            | Self::Pool { .. }
            | Self::Reloaded { .. }
            | Self::Shed { .. }
            | Self::Started { .. }
            | Self::Stopping { .. }
            | Self::Stopped { .. } => None,
        }
    }
}

/// The story of a finished connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its number, unique in the life of the process.
    pub id: u64,
    /// Where it came in.
    pub listener: Name,
    /// The client, as a PROXY header tells or as the socket tells.
    pub client: Endpoint,
    /// The balancer in front of us that sent the PROXY header.
    pub proxy_src: Option<Endpoint>,
    /// The pool.
    pub pool: Name,
    /// The backend that served it, or was tried last.
    pub backend: Option<(Name, Endpoint)>,
    /// Why it ended.
    pub reason: Reason,
    /// The same more closely, in a word, where there is more to say.
    pub why: Option<&'static str>,
    /// Bytes from the client that the backend took.
    pub bytes_in: u64,
    /// Bytes from the backend that the client took.
    pub bytes_out: u64,
    /// How long it waited for a place.
    pub queue: Duration,
    /// How long the successful connect took.
    pub connect: Option<Duration>,
    /// From accept to the backend's first byte.
    pub first_byte: Option<Duration>,
    /// From accept to the end.
    pub duration: Duration,
    /// Backends that were tried in vain.
    pub retries: u32,
}
