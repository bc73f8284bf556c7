//! Whose fault an error of the kernel is: ours, or the peer's. The one place
//! where that is decided. Pure.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

/// A lack or a fault of this process or of its machine. It says nothing of the
/// backend that was to be reached, whose verdict stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u8)]
pub enum OwnFault {
    /// This machine does not let us connect: a firewall, a security module.
    #[error("this machine forbids the connection")]
    DeniedLocally,
    /// A fault in this program, or an error that nobody has thought of.
    #[error("a fault of tandem's own")]
    Internal,
    /// The command of a probe is missing or cannot be executed.
    #[error("the command cannot be run")]
    NoCommand,
    /// None of the addresses that a connection is to leave from is one of this
    /// machine's.
    #[error("no address to connect from")]
    NoSource,
    /// No file descriptor is left, in the process or in the system.
    #[error("out of file descriptors")]
    OutOfFds,
    /// The kernel has no memory for it.
    #[error("out of memory")]
    OutOfMemory,
    /// No local port is left for a connection to this address.
    #[error("out of local ports")]
    OutOfPorts,
    /// No further process may be started.
    #[error("out of processes")]
    OutOfProcesses,
}

impl OwnFault {
    /// Every fault, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::DeniedLocally,
        Self::Internal,
        Self::NoCommand,
        Self::NoSource,
        Self::OutOfFds,
        Self::OutOfMemory,
        Self::OutOfPorts,
        Self::OutOfProcesses,
    ];

    /// The word in metrics, logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeniedLocally => "denied_locally",
            Self::Internal => "internal",
            Self::NoCommand => "no_command",
            Self::NoSource => "no_source",
            Self::OutOfFds => "out_of_fds",
            Self::OutOfMemory => "out_of_memory",
            Self::OutOfPorts => "out_of_ports",
            Self::OutOfProcesses => "out_of_processes",
        }
    }

    /// What `error` says that any call may say: nothing is left of what the
    /// kernel shares out. `None`: it says something else.
    pub fn of_lack(error: &io::Error) -> Option<Self> {
        match errno(error)? {
            // ENOSPC comes from epoll(7): its watches are counted per user.
            Errno::MFILE | Errno::NFILE | Errno::NOSPC => Some(Self::OutOfFds),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::OutOfMemory),
            _ => None,
        }
    }

    /// Whether `error`, returned by socket(2), bind(2) or connect(2) or found
    /// on a socket that was connecting, is our own fault. `None`: it is the
    /// peer's, or that of the network between.
    pub fn of_connect(error: &io::Error) -> Option<Self> {
        if error.get_ref().is_some_and(|it| it.is::<NoSource>()) {
            return Some(Self::NoSource);
        }
        match errno(error)? {
            // The second comes from a bind to an address without a port.
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(Self::OutOfPorts),
            Errno::ACCESS | Errno::PERM => Some(Self::DeniedLocally),
            _ => Self::of_lack(error),
        }
    }

    /// Why a command could not be started. It is never the backend's fault.
    pub fn of_spawn(error: &io::Error) -> Self {
        match errno(error) {
            Some(Errno::AGAIN) => Self::OutOfProcesses,
            Some(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::ACCESS
                | Errno::PERM
                | Errno::NOEXEC
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::TXTBSY
                | Errno::TOOBIG,
            ) => Self::NoCommand,
            _ => Self::of_lack(error).unwrap_or(Self::Internal),
        }
    }
}

/// An address to connect from, that the kernel does not let us connect from.
/// The kernel's own error is that of a connect(2) without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// It is not an address of this machine.
    #[error("{0} is not an address of this machine (`source`)")]
    Absent(IpAddr),
    /// It is of the other family.
    #[error("{0} is of another family (`source`)")]
    Family(IpAddr),
}

impl From<NoSource> for io::Error {
    fn from(error: NoSource) -> Self {
        Self::new(io::ErrorKind::AddrNotAvailable, error)
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn faults_are_numbered_as_listed_and_have_their_own_words() {
        let mut words: Vec<_> = OwnFault::ALL.map(OwnFault::as_str).to_vec();
        assert!(words.is_sorted());
        words.dedup();
        assert_eq!(words.len(), OwnFault::ALL.len());
        for (i, fault) in OwnFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, i);
        }
    }

    #[test]
    fn what_this_machine_lacks_is_ours() {
        for (errno, fault) in [
            (Errno::ADDRNOTAVAIL, OwnFault::OutOfPorts),
            (Errno::ADDRINUSE, OwnFault::OutOfPorts),
            (Errno::MFILE, OwnFault::OutOfFds),
            (Errno::NFILE, OwnFault::OutOfFds),
            (Errno::NOSPC, OwnFault::OutOfFds),
            (Errno::NOBUFS, OwnFault::OutOfMemory),
            (Errno::NOMEM, OwnFault::OutOfMemory),
            (Errno::ACCESS, OwnFault::DeniedLocally),
            (Errno::PERM, OwnFault::DeniedLocally),
        ] {
            assert_eq!(OwnFault::of_connect(&error(errno)), Some(fault), "{errno}");
        }
    }

    #[test]
    fn an_address_that_is_not_there_is_no_lack_of_ports() {
        let ip = "192.0.2.77".parse().unwrap();
        for why in [NoSource::Absent(ip), NoSource::Family(ip)] {
            assert_eq!(OwnFault::of_connect(&why.into()), Some(OwnFault::NoSource));
        }
    }

    #[test]
    fn what_the_peer_or_the_network_did_is_theirs() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::NETDOWN,
            Errno::AFNOSUPPORT,
        ] {
            assert_eq!(OwnFault::of_connect(&error(errno)), None, "{errno}");
        }
        let said: io::Error = io::ErrorKind::ConnectionReset.into();
        assert_eq!(OwnFault::of_connect(&said), None);
    }

    #[test]
    fn a_command_that_does_not_start_is_always_ours() {
        for (errno, fault) in [
            (Errno::AGAIN, OwnFault::OutOfProcesses),
            (Errno::NOMEM, OwnFault::OutOfMemory),
            (Errno::MFILE, OwnFault::OutOfFds),
            (Errno::NOENT, OwnFault::NoCommand),
            (Errno::TXTBSY, OwnFault::NoCommand),
            (Errno::IO, OwnFault::Internal),
        ] {
            assert_eq!(OwnFault::of_spawn(&error(errno)), fault, "{errno}");
        }
    }
}
