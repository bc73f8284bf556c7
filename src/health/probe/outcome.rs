//! What a probe finds.

use std::fmt;
use std::io;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well.
    Pass,
    /// It is well, and asks for no new connections.
    Drain,
    /// It is alive, and has no place for another connection.
    Saturated,
    /// It is not well.
    Fail(Failure),
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In one word, for metrics.
    pub reason: FailureReason,
    /// In a sentence, for people.
    pub detail: String,
}

/// Why a probe failed, in one word. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// It refused our user or password.
    Auth,
    /// It answered something that makes no sense or reports a fault.
    BadAnswer,
    /// The HTTP body lacks the expected text.
    BadBody,
    /// The HTTP status is none of the expected.
    BadStatus,
    /// It closed the connection too early.
    Closed,
    /// Nobody listens there.
    ConnectRefused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The command ended with another status than 0.
    ExitStatus,
    /// MySQL blocks our address after too many errors (1129).
    HostBlocked,
    /// MySQL does not let our address in (1130).
    HostDenied,
    /// A fault of our own.
    Internal,
    /// It reset the connection.
    Reset,
    /// The command could not be started.
    Spawn,
    /// It accepted the connection and did not answer in time.
    Timeout,
    /// TLS failed: no common version, a certificate that is not trusted.
    Tls,
    /// There is no way to its address.
    Unreachable,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Auth,
        Self::BadAnswer,
        Self::BadBody,
        Self::BadStatus,
        Self::Closed,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ExitStatus,
        Self::HostBlocked,
        Self::HostDenied,
        Self::Internal,
        Self::Reset,
        Self::Spawn,
        Self::Timeout,
        Self::Tls,
        Self::Unreachable,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::BadAnswer => "bad_answer",
            Self::BadBody => "bad_body",
            Self::BadStatus => "bad_status",
            Self::Closed => "closed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ExitStatus => "exit_status",
            Self::HostBlocked => "host_blocked",
            Self::HostDenied => "host_denied",
            Self::Internal => "internal",
            Self::Reset => "reset",
            Self::Spawn => "spawn",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Failure {
    /// A failure for `reason`.
    pub fn new(reason: FailureReason, detail: impl fmt::Display) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
        }
    }

    /// What `error`, met while `doing` something on a connection, means.
    pub(super) fn of_io(doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = error.kind();
        let reason = if tls_at_fault(error) {
            FailureReason::Tls
        } else if kind == Kind::UnexpectedEof {
            FailureReason::Closed
        } else if matches!(
            kind,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
        ) {
            FailureReason::Reset
        } else if kind == Kind::TimedOut {
            FailureReason::Timeout
        } else if matches!(kind, Kind::HostUnreachable | Kind::NetworkUnreachable) {
            FailureReason::Unreachable
        } else {
            FailureReason::Internal
        };
        Self::new(reason, format_args!("{doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

fn tls_at_fault(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word() {
        let mut words: Vec<_> = FailureReason::ALL.map(FailureReason::as_str).to_vec();
        words.dedup();
        assert_eq!(words.len(), FailureReason::ALL.len());
        assert!(words.is_sorted());
    }
}
