//! The register: the one place outside of the pair that says who holds the
//! public name, and changes only by comparing and swapping.

use std::net::IpAddr;
use std::pin::Pin;

use crate::types::{Name, Registered};

/// A call that is under way. Dropping it leaves open what it has done.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A register, and the public record that changes in the same act.
///
/// Every call ends by a deadline of its own, and none repeats a change: what
/// a lost answer leaves open is settled by [`read`](Self::read) and
/// [`settle`], for only the caller knows what it has seen since.
pub trait Register: Send + Sync {
    /// What the register says now, from the source itself and no copy.
    fn read(&self) -> Pending<'_, Result<Option<Registered>, RegisterError>>;

    /// In one act, and only if the register says `expect` at that moment:
    /// writes `new` into it and `addresses` into the public name.
    ///
    /// `new` must be newer than `expect`: a higher term, or a later beat of
    /// the same claim. `addresses` must not be empty, for the public name
    /// never loses its last record. Else nothing is sent.
    fn write<'a>(
        &'a self,
        expect: Option<&'a Registered>,
        new: &'a Registered,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, WriteResult>;

    /// Gives the own name of `node` these addresses, unless it belongs to
    /// somebody else. Can be repeated.
    fn put_own<'a>(
        &'a self,
        node: &'a Name,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, Result<(), RegisterError>>;

    /// Removes the own name of `node` if it has these addresses and no
    /// others, and `node` wrote it. Can be repeated.
    fn forget<'a>(
        &'a self,
        node: &'a Name,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, Result<Forgotten, RegisterError>>;
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// It is written.
    Won,
    /// The register said something else. Read before believing that somebody
    /// else won: a network that delivers a datagram twice makes the second
    /// copy lose against the first, and knot lets a write lose against one of
    /// the same batch that then fails.
    Lost,
    /// Nobody can tell, except by a read. The write may even happen later.
    Unknown(RegisterError),
}

/// What became of a [`Register::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// The own name is gone.
    Removed,
    /// It is gone already, has other addresses or is not the node's.
    Kept,
}

/// What a read says of a write whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in force, or was and the same claim has beaten since.
    Mine,
    /// Nothing has changed. It may still happen, late; a new write with the
    /// same expectation is safe, as only one of the two can win.
    Open,
    /// Something else is in force.
    Others,
}

/// Whether the write of `new` over `expect` happened, by what was read later.
pub fn settle(read: Option<&Registered>, expect: Option<&Registered>, new: &Registered) -> Settled {
    match read {
        Some(now) if now.claim == new.claim && now.beat >= new.beat => Settled::Mine,
        now if now == expect => Settled::Open,
        Some(_) | None => Settled::Others,
    }
}

/// Whether `new` may follow `expect`.
pub fn is_newer(expect: Option<&Registered>, new: &Registered) -> bool {
    expect.is_none_or(|old| {
        new.claim.term > old.claim.term || (new.claim == old.claim && new.beat > old.beat)
    })
}

/// Why a register could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The server does not know the key.
    #[error("the server does not know the key (BADKEY)")]
    BadKey,
    /// An answer that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    BadReply(String),
    /// The server has another secret for the key.
    #[error("the server finds our signature wrong (BADSIG)")]
    BadSignature,
    /// The clocks differ too much.
    #[error("our clock and the server's differ by {0} s (BADTIME)")]
    BadTime(u64),
    /// The public name is an alias, which cannot have addresses beside it.
    #[error("{0} is an alias (CNAME)")]
    Cname(String),
    /// The server closed the connection instead of answering.
    #[error("the server closed the connection without an answer")]
    Closed,
    /// The server cannot read our message.
    #[error("the server cannot read our message (FORMERR)")]
    FormErr,
    /// The own name has addresses that we did not write.
    #[error("{0} has addresses that tandem did not write")]
    Foreign(String),
    /// The record of the register has another text than ours.
    #[error("{name} says {text:?}, which tandem did not write")]
    Garbled {
        /// The record's name.
        name: String,
        /// Its text.
        text: String,
    },
    /// There is no address to publish. Nothing was sent.
    #[error("there is no address to publish")]
    NoAddress,
    /// The server is not responsible for the zone, or takes no such key.
    #[error("the server is not responsible for the zone, or not for us (NOTAUTH)")]
    NotAuth,
    /// The server knows no updates.
    #[error("the server knows no updates (NOTIMP)")]
    NotImplemented,
    /// What was to be written is older than what it replaces. Nothing was sent.
    #[error("a register never goes back in terms or beats")]
    NotNewer,
    /// The server answers out of a cache.
    #[error("the server answers out of a cache, not out of the zone")]
    NotPrimary,
    /// A name is outside of the zone.
    #[error("{0} is outside of the zone (NOTZONE)")]
    NotZone(String),
    /// The server does not allow it.
    #[error("the server does not allow it (REFUSED)")]
    Refused,
    /// The server failed.
    #[error("the server failed (SERVFAIL)")]
    ServerFailed,
    /// There was no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is not signed, though our question was.
    #[error("the answer is not signed; it may be anybody's (it says {0})")]
    Unsigned(String),
    /// Our message cannot be written. Nothing was sent.
    #[error("our message cannot be written: {0}")]
    Unwritable(String),
}

impl RegisterError {
    /// What to do about it.
    pub const fn what_to_do(&self) -> &'static str {
        match self {
            Self::BadKey => "give the key the same name and algorithm here and on the server",
            Self::BadReply(_) => "check that a DNS server is at this address",
            Self::BadSignature => "give the key the same secret here and on the server",
            Self::BadTime(_) => "set both clocks right, with NTP for instance",
            Self::Cname(_) => "remove the CNAME, or choose another public name",
            Self::Closed => "look into the server's log; it may limit connections",
            Self::FormErr => "look into the server's log, and report this",
            Self::Foreign(_) => "remove these addresses, or give the node another name",
            Self::Garbled { .. } => "remove this record, or choose another public name",
            Self::NoAddress => "give the node an address to publish",
            Self::NotAuth => {
                "give the zone and its primary server; allow this key to update the zone"
            }
            Self::NotImplemented => "give the address of a server that takes updates (RFC 2136)",
            Self::NotNewer => "read the register again; if this repeats, report it",
            Self::NotPrimary => "give the address of the zone's primary server, not of a resolver",
            Self::NotZone(_) => "give the zone that the name is in",
            Self::Refused => {
                "allow the key to update the zone (bind: update-policy or allow-update; knot: acl)"
            }
            Self::ServerFailed => "look into the server's log; its disk or journal may be at fault",
            Self::TimedOut => {
                "check the server's address, the firewall (UDP and TCP 53), and that it answers \
                 from the address it is asked at"
            }
            Self::Unreachable(_) => "check that the server runs, its address, and the route to it",
            Self::Unsigned(_) => "give the server the key, too; look into the server's log",
            Self::Unwritable(_) => "publish fewer addresses, or choose shorter names",
        }
    }

    /// Whether the same call may succeed later without anybody's doing.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::BadReply(_)
            | Self::BadTime(_)
            | Self::Closed
            | Self::NotNewer
            | Self::ServerFailed
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::Unsigned(_) => true,
            Self::BadKey
            | Self::BadSignature
            | Self::Cname(_)
            | Self::FormErr
            | Self::Foreign(_)
            | Self::Garbled { .. }
            | Self::NoAddress
            | Self::NotAuth
            | Self::NotImplemented
            | Self::NotPrimary
            | Self::NotZone(_)
            | Self::Refused
            | Self::Unwritable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Claim, Term};

    fn at(term: u64, nonce: u64, beat: u64) -> Registered {
        let holder = Name::new("lb1").unwrap();
        let claim = Claim {
            term: Term(term),
            holder,
            nonce,
        };
        Registered { claim, beat }
    }

    #[test]
    fn a_read_settles_a_lost_answer() {
        let (old, new) = (at(1, 1, 5), at(2, 2, 0));
        assert_eq!(settle(Some(&new), Some(&old), &new), Settled::Mine);
        assert_eq!(settle(Some(&at(2, 2, 9)), Some(&old), &new), Settled::Mine);
        assert_eq!(settle(Some(&old), Some(&old), &new), Settled::Open);
        assert_eq!(settle(None, None, &new), Settled::Open);
        assert_eq!(
            settle(Some(&at(2, 3, 0)), Some(&old), &new),
            Settled::Others
        );
        assert_eq!(
            settle(Some(&at(1, 1, 6)), Some(&old), &new),
            Settled::Others
        );
        assert_eq!(settle(None, Some(&old), &new), Settled::Others);
    }

    #[test]
    fn a_beat_is_settled_by_its_number() {
        let (old, new) = (at(2, 2, 7), at(2, 2, 8));
        assert_eq!(settle(Some(&old), Some(&old), &new), Settled::Open);
        assert_eq!(settle(Some(&new), Some(&old), &new), Settled::Mine);
    }

    #[test]
    fn a_register_never_goes_back() {
        assert!(is_newer(None, &at(1, 1, 0)));
        assert!(is_newer(Some(&at(1, 1, 9)), &at(2, 2, 0)));
        assert!(is_newer(Some(&at(1, 1, 9)), &at(1, 1, 10)));
        assert!(!is_newer(Some(&at(1, 1, 9)), &at(1, 1, 9)));
        assert!(!is_newer(Some(&at(1, 1, 9)), &at(1, 2, 10)));
        assert!(!is_newer(Some(&at(2, 1, 0)), &at(1, 1, 1)));
    }

    #[test]
    fn every_register_can_stand_behind_one_pointer() {
        fn _one(_: Box<dyn Register>) {}
    }
}
