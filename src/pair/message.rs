//! What twins tell each other.

use crate::types::{Name, Term};

/// One life of a process: drawn at random when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Boot(pub u64);

/// What a node is to the public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trying to become its holder.
    Claiming,
    /// Giving it away before it ends.
    Draining,
    /// Its holder.
    Holder,
    /// Starting.
    Init,
    /// Ready to take it.
    Standby,
    /// It held the name, and cannot be sure that it still does.
    Unsure,
}

impl Role {
    /// The word in logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Draining => "draining",
            Self::Holder => "holder",
            Self::Init => "init",
            Self::Standby => "standby",
            Self::Unsure => "unsure",
        }
    }

    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Claiming,
        Self::Draining,
        Self::Holder,
        Self::Init,
        Self::Standby,
        Self::Unsure,
    ];
}

/// Whether a person has ordered that nothing moves by itself. The order holds
/// for the whole pair: nodes tell each other, and the newest one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Grows with each order. Of two orders of the same moment on two nodes
    /// the one that freezes counts.
    pub version: u64,
    /// Whether nothing moves.
    pub is_on: bool,
}

impl Hold {
    /// The next order, which beats every one that is known.
    pub(super) const fn next(self, is_on: bool) -> Self {
        Self {
            version: self.version.saturating_add(1),
            is_on,
        }
    }
}

/// What outlives the process, so that a pair that was stopped whole goes on
/// where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest term that was heard of.
    pub term: Term,
    /// The newest order to hold.
    pub hold: Hold,
}

/// An echo that answers nothing, and says that its sender reads [`More`].
/// Version 0.1.0 passes over echoes of what it has not said, and refuses
/// heartbeats that are longer than its own: so nobody is sent more before it
/// has shown that it reads more.
pub const READS_MORE: (Boot, u64) = (Boot(0x7461_6e64_656d_2b31), u64::MAX);

/// What this version says to those that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// The sender's version.
    pub version: Name,
    /// The other nodes that the sender hears and takes for alive, the receiver
    /// not among them.
    pub hears: Vec<Heard>,
}

impl More {
    /// More nodes than a pair may have are not told of.
    pub const MOST_HEARD: usize = 8;
}

/// A node that the sender of a heartbeat hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which.
    pub node: Name,
    /// How many heartbeats it has missed of it, up to now.
    pub misses: u8,
}

/// A sign of life, and what its sender believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sends it.
    pub from: Name,
    /// To whom.
    pub to: Name,
    /// The sender's life.
    pub boot: Boot,
    /// Grows with each heartbeat of a life.
    pub seq: u64,
    /// What the sender is.
    pub role: Role,
    /// The newest term that the sender knows.
    pub term: Term,
    /// Who holds the name, as far as the sender knows.
    pub holder: Option<Name>,
    /// The nonce of that claim; 0 if there is none.
    pub nonce: u64,
    /// Whether its data plane serves clients.
    pub serving: bool,
    /// Whether it has a usable backend.
    pub has_backends: bool,
    /// Whether it hears the receiver.
    pub hears_you: bool,
    /// Whether it cannot reach the receiver's data port.
    pub complains: bool,
    /// The newest order to hold that the sender knows.
    pub hold: Hold,
    /// The last life and number that it has heard from the receiver: proof
    /// that this heartbeat is fresh.
    pub echo: (Boot, u64),
    /// A hash of its configuration.
    pub config: u64,
    /// What older versions do not say, and do not read.
    pub more: Option<More>,
}
