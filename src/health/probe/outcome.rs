//! What a probe finds.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::types::{ConnectFailure, OwnFault};

use super::tls_words::in_words;

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
    /// We could not look, for a reason of our own: nothing is known of it.
    Unknown(Blindness),
}

impl Outcome {
    /// The same, without a word that is not our own.
    pub(super) fn hushed(self) -> Self {
        match self {
            Self::Fail(failure) => Self::Fail(failure.hushed()),
            Self::Unknown(blindness) => Self::Unknown(Blindness {
                // The error may name the command, which a secret is part of.
                detail: blindness.fault.to_string(),
                ..blindness
            }),
            Self::Pass | Self::Drain | Self::Saturated => self,
        }
    }
}

/// Why nothing could be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blindness {
    /// In one word, for metrics.
    pub fault: OwnFault,
    /// In a sentence, for people.
    pub detail: String,
}

/// Why a probe came to an end before it could pass.
#[derive(Debug)]
pub(super) enum Stop {
    /// Because of the backend, or of the network on the way to it.
    Theirs(Failure),
    /// Because of us.
    Ours(Blindness),
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
    /// It reset the connection.
    Reset,
    /// It accepted the connection and did not answer in time.
    Timeout,
    /// TLS failed: no common version, a certificate that is not trusted.
    Tls,
    /// There is no way to its address.
    Unreachable,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
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
        Self::Reset,
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
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Failure {
    /// The same, without what the backend or a command said.
    fn hushed(self) -> Self {
        let words = match self.reason {
            FailureReason::Auth => "it refused the user or the password",
            FailureReason::BadAnswer => "the answer is not the expected one",
            FailureReason::BadBody => "the body lacks the expected text",
            FailureReason::ExitStatus => "the command ended with another status than 0",
            FailureReason::HostBlocked => "it blocks our address after too many errors",
            FailureReason::HostDenied => "it does not let our address in",
            FailureReason::Tls => "TLS failed",
            // They are told in words of ours, and of the system's.
            FailureReason::BadStatus
            | FailureReason::Closed
            | FailureReason::ConnectRefused
            | FailureReason::ConnectTimeout
            | FailureReason::Reset
            | FailureReason::Timeout
            | FailureReason::Unreachable => return self,
        };
        let why = "its words are not shown: a secret too short to be found may be among them";
        Self::new(self.reason, format_args!("{words} ({why})"))
    }

    /// A failure for `reason`.
    pub fn new(reason: FailureReason, detail: impl fmt::Display) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
        }
    }
}

impl Stop {
    /// Ours, for this reason.
    pub(super) fn ours(fault: OwnFault, detail: impl fmt::Display) -> Self {
        Self::Ours(Blindness {
            fault,
            detail: detail.to_string(),
        })
    }

    /// What `error`, returned by a connect to an address, means.
    pub(super) fn of_connect(address: impl fmt::Display, error: &io::Error) -> Self {
        let detail = format_args!("connect to {address}: {error}");
        if let Some(fault) = OwnFault::of_connect(error) {
            return Self::ours(fault, detail);
        }
        let reason = match ConnectFailure::of(error) {
            ConnectFailure::Refused => FailureReason::ConnectRefused,
            ConnectFailure::TimedOut => FailureReason::ConnectTimeout,
            ConnectFailure::Unreachable => FailureReason::Unreachable,
        };
        Failure::new(reason, detail).into()
    }

    /// What `error`, met while `doing` something on a connection, means.
    pub(super) fn of_io(doing: &str, error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|it| it.downcast_ref());
        if let Some(words) = tls.map(in_words) {
            return Failure::new(FailureReason::Tls, words).into();
        }
        let detail = format_args!("{doing}: {error}");
        if let Some(fault) = OwnFault::of_connect(error) {
            return Self::ours(fault, detail);
        }
        match reason_of(error) {
            Some(reason) => Failure::new(reason, detail).into(),
            None => Self::ours(OwnFault::Internal, detail),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Theirs(failure)
    }
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Theirs(failure) => Self::Fail(failure),
            Stop::Ours(blindness) => Self::Unknown(blindness),
        }
    }
}

/// What `error` says of the peer or of the way to it; `None`: nothing.
fn reason_of(error: &io::Error) -> Option<FailureReason> {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    if matches!(kind, Kind::UnexpectedEof | Kind::WriteZero) {
        return Some(FailureReason::Closed);
    }
    if matches!(
        kind,
        Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::BrokenPipe
            | Kind::NotConnected
    ) {
        return Some(FailureReason::Reset);
    }
    if kind == Kind::TimedOut {
        return Some(FailureReason::Timeout);
    }
    let no_way = [
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::NETDOWN,
        Errno::HOSTDOWN,
        // An IPv6 address on a machine without IPv6.
        Errno::AFNOSUPPORT,
    ];
    let code = error.raw_os_error();
    let is_no_way = no_way.iter().any(|it| Some(it.raw_os_error()) == code);
    is_no_way.then_some(FailureReason::Unreachable)
}

impl fmt::Display for Blindness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
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

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn what_we_lack_blinds_and_what_they_do_fails() {
        for errno in [
            Errno::MFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::PERM,
        ] {
            for stop in [
                Stop::of_connect("a", &error(errno)),
                Stop::of_io("read", &error(errno)),
            ] {
                assert!(matches!(stop, Stop::Ours(_)), "{stop:?}");
            }
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::TIMEDOUT,
            Errno::AFNOSUPPORT,
            Errno::PIPE,
        ] {
            for stop in [
                Stop::of_connect("a", &error(errno)),
                Stop::of_io("read", &error(errno)),
            ] {
                assert!(matches!(stop, Stop::Theirs(_)), "{stop:?}");
            }
        }
        let Stop::Ours(blindness) = Stop::of_io("read", &error(Errno::BADF)) else {
            panic!("nobody else closes our descriptors");
        };
        assert_eq!(blindness.fault, OwnFault::Internal);
    }
}
