use std::io;

use super::OwnFault;

/// Why a session ended. A closed set of plain words, the same in log lines and
/// in metrics; each session ends with exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The backend died, and its pool resets the sessions of the dead.
    BackendDown,
    /// The client's PROXY header was missing, broken or late.
    BadProxyHeader,
    /// The client closed first, in order.
    ClientClosed,
    /// The client reset the connection.
    ClientReset,
    /// The last backend that was tried refused the connection.
    ConnectRefused,
    /// The last backend that was tried did not answer in time.
    ConnectTimeout,
    /// The last backend that was tried could not be reached.
    ConnectUnreachable,
    /// The client's address is not allowed on this listener.
    Denied,
    /// This machine did not let us connect: a firewall, a security module.
    DeniedLocally,
    /// The backend was drained, and the drain deadline passed.
    Drained,
    /// One side closed, and the other was silent for too long after it.
    HalfCloseTimeout,
    /// Neither side said anything for the idle timeout.
    Idle,
    /// A fault of our own; the log line says more.
    Internal,
    /// A connection limit (process, listener or source) was reached.
    Limit,
    /// No backend could be used.
    NoBackend,
    /// None of the addresses in `source` is one of this machine's.
    NoSource,
    /// The process, or the system, ran out of file descriptors.
    OutOfFds,
    /// The kernel had no memory for another connection.
    OutOfMemory,
    /// No local port was left for a connection to any of the backends that were
    /// tried.
    OutOfPorts,
    /// The backend closed first, in order.
    ServerClosed,
    /// The backend reset the connection.
    ServerReset,
    /// The balancer stopped, and the grace period passed.
    Shutdown,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::BackendDown,
        Self::BadProxyHeader,
        Self::ClientClosed,
        Self::ClientReset,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectUnreachable,
        Self::Denied,
        Self::DeniedLocally,
        Self::Drained,
        Self::HalfCloseTimeout,
        Self::Idle,
        Self::Internal,
        Self::Limit,
        Self::NoBackend,
        Self::NoSource,
        Self::OutOfFds,
        Self::OutOfMemory,
        Self::OutOfPorts,
        Self::ServerClosed,
        Self::ServerReset,
        Self::Shutdown,
    ];

    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackendDown => "backend_down",
            Self::BadProxyHeader => "bad_proxy_header",
            Self::ClientClosed => "client_closed",
            Self::ClientReset => "client_reset",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::Denied => "denied",
            Self::DeniedLocally => "denied_locally",
            Self::Drained => "drained",
            Self::HalfCloseTimeout => "half_close_timeout",
            Self::Idle => "idle",
            Self::Internal => "internal",
            Self::Limit => "limit",
            Self::NoBackend => "no_backend",
            Self::NoSource => "no_source",
            Self::OutOfFds => "out_of_fds",
            Self::OutOfMemory => "out_of_memory",
            Self::OutOfPorts => "out_of_ports",
            Self::ServerClosed => "server_closed",
            Self::ServerReset => "server_reset",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<OwnFault> for Reason {
    fn from(fault: OwnFault) -> Self {
        match fault {
            OwnFault::DeniedLocally => Self::DeniedLocally,
            OwnFault::NoSource => Self::NoSource,
            OwnFault::OutOfFds => Self::OutOfFds,
            OwnFault::OutOfMemory => Self::OutOfMemory,
            OwnFault::OutOfPorts => Self::OutOfPorts,
            OwnFault::Internal | OwnFault::NoCommand | OwnFault::OutOfProcesses => Self::Internal,
        }
    }
}

/// Why a connection to a backend could not be made. What is our own fault is
/// none of these: see [`OwnFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum ConnectFailure {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer within the connect timeout.
    #[error("connect timed out")]
    TimedOut,
    /// No route, or the network is down.
    #[error("unreachable")]
    Unreachable,
}

impl ConnectFailure {
    /// Every failure, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Refused, Self::TimedOut, Self::Unreachable];

    /// What `error`, returned by connect(2), means.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, TimedOut};
        let kind = error.kind();
        // A reset during the handshake says the same as a refusal, and so does
        // a unix socket that has no file.
        if matches!(kind, ConnectionRefused | ConnectionReset | NotFound) {
            Self::Refused
        } else if kind == TimedOut {
            Self::TimedOut
        } else {
            Self::Unreachable
        }
    }

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
        }
    }

    /// How a session ends whose last try failed so.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectRefused,
            Self::TimedOut => Reason::ConnectTimeout,
            Self::Unreachable => Reason::ConnectUnreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_listed() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        for (i, failure) in ConnectFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, i);
        }
    }
}
