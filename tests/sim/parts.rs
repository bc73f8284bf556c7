//! What the world is made of, and what goes wrong in it.

use std::time::Duration;

use tandem::pair::Mode;

/// What kind of pair is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Embedded3,
    Cas2,
    Cas3,
    Lease,
}

impl Kind {
    pub const fn nodes(self) -> usize {
        match self {
            Self::Cas3 | Self::Embedded3 => 3,
            Self::Embedded | Self::Cas2 | Self::Lease => 2,
        }
    }

    pub const fn has_register(self) -> bool {
        !matches!(self, Self::Embedded | Self::Embedded3)
    }

    pub const fn mode(self) -> Mode {
        match self {
            Self::Embedded | Self::Embedded3 => Mode::Embedded,
            Self::Cas2 | Self::Cas3 => Mode::Cas,
            Self::Lease => Mode::Lease {
                ttl: Duration::from_secs(2),
                margin: Duration::from_millis(200),
            },
        }
    }
}

/// The way from one node to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Nothing arrives.
    pub is_cut: bool,
    /// Heartbeats do not arrive, connections do.
    pub is_deaf: bool,
    /// Of a hundred packets so many are lost.
    pub loss: u8,
    /// Of a hundred packets so many arrive twice.
    pub copies: u8,
    /// The delay is drawn up to this.
    pub delay: u64,
}

/// How the register misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whims {
    /// Of a hundred questions so many are never heard.
    pub lost: u8,
    /// Of a hundred answers so many are lost.
    pub unanswered: u8,
    /// Of a hundred writes so many arrive twice.
    pub copies: u8,
    /// Of a hundred reads so many show an older state.
    pub stale: u8,
    /// Questions take up to this long.
    pub slow: u64,
    /// Answers take up to this long.
    pub slow_back: u64,
    /// It is down.
    pub is_down: bool,
    /// Only this node suffers.
    pub only: Option<usize>,
}

/// Something that goes wrong, or right again.
#[derive(Clone, Debug)]
pub enum Fault {
    Backends(usize, bool),
    Boot(usize),
    CutFromRegister(usize, bool),
    HandOver(usize, usize),
    Hang(usize, bool),
    Heal,
    Hold(usize, bool),
    HostDown(usize),
    Kill(usize),
    Link(usize, usize, Link),
    Pause(usize, u64),
    Register(Whims),
    Replay(bool),
    Serving(usize, bool),
    Shutdown(usize),
}
