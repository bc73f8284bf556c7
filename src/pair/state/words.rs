//! What the election is told, and what it asks for.

use crate::pair::{Heartbeat, Role};
use crate::types::{Claim, Name, Registered, Term};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What this node can do for clients has been looked at.
    Fitness(Fitness),
    /// A heartbeat has arrived whose signature is right.
    Heard(Heartbeat),
    /// A person has asked for something.
    Order(Order),
    /// A connection to the data port of a twin was tried.
    Probed {
        /// Whose.
        node: Name,
        /// How it went.
        probe: Probe,
    },
    /// The register was read; the answer to one [`Action::Read`].
    Read(Result<Option<Registered>, ReadError>),
    /// The process is to end: give the name away, then drain.
    Shutdown,
    /// The deadline has come.
    Tick,
    /// The register was to be written; the answer to one [`Action::Write`].
    Wrote(Wrote),
}

/// What a node can do for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitness {
    /// Its listeners accept.
    pub serving: bool,
    /// It has a usable backend.
    pub has_backends: bool,
}

/// What a person may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The name shall go to a node, by plan.
    Handover {
        /// Which.
        to: Name,
    },
    /// Nothing shall move by itself until this is taken back, on no node. What a
    /// person orders still happens, so does the hand-over of a process that
    /// ends, and a name that nobody holds is claimed.
    Hold(bool),
}

/// How a connection to a data port went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It was accepted.
    Ok,
    /// Nobody listens there.
    Refused,
    /// No answer within the deadline.
    TimedOut,
}

/// The register could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the register could not be read")]
pub struct ReadError;

/// How a write to the register went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The register held something else than expected.
    Lost,
    /// No answer, or one that does not say: it may have been done, and may
    /// still be done later.
    Unknown,
    /// It was done.
    Won,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the record of a node that has been dead for long.
    Forget(Name),
    /// Connect to the data port of a twin; to be answered by
    /// [`Event::Probed`].
    Probe(Name),
    /// There is a new claim; whoever answers for the name says so from now on.
    Publish(Claim),
    /// Read the register; to be answered by exactly one [`Event::Read`].
    Read,
    /// An order cannot be carried out.
    Refuse(Refusal),
    /// Send a heartbeat.
    Send(Heartbeat),
    /// The role has changed.
    Tell(Transition),
    /// Change the register if it is still as expected; to be answered by
    /// exactly one [`Event::Wrote`].
    Write {
        /// What it must hold.
        expect: Option<Registered>,
        /// What it shall hold.
        new: Registered,
    },
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the holder can give the name away.
    #[error("this node does not hold the name")]
    NotHolder,
    /// The node could not take it.
    #[error("{0} is not heard, not reached, not serving, or reaches no backend")]
    NotReady(Name),
}

/// A change of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What the node was.
    pub from: Role,
    /// What it is.
    pub to: Role,
    /// Why.
    pub why: Why,
    /// The newest term that it knows.
    pub term: Term,
}

/// Why a role changes: a closed set of plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The name was given away because the twin cannot reach our data port.
    Complaint,
    /// The name came by a hand-over.
    Given,
    /// Neither the register nor a twin was heard for a while.
    Isolated,
    /// The lease ran out.
    LeaseOver,
    /// Somebody else was faster, or it cannot be known.
    NotWon,
    /// A newer claim is known.
    NewerClaim,
    /// The name was given away because all our backends are gone, and the
    /// twin's are not.
    NoBackends,
    /// The twin's data plane is dead.
    TwinHung,
    /// A person has ordered it.
    Ordered,
    /// The register or the twins still name us after an earlier life.
    OwnName,
    /// This process stood still for a while.
    Paused,
    /// The name goes back to the preferred node.
    Preferred,
    /// The process ends.
    Shutdown,
    /// What was in doubt is certain again.
    StillMine,
    /// Nothing was heard for a while of a holder that is not in our lb.yaml.
    StrangerGone,
    /// The twin is silent and does not answer.
    TwinSilent,
    /// The twin is silent, and its data port refuses connections.
    TwinRefuses,
    /// The twin says that it cannot serve.
    TwinUnfit,
    /// Nobody held the name.
    Unclaimed,
    /// The name was given away because our listeners do not accept.
    Unfit,
    /// The node has looked around after its start.
    Started,
    /// The write to the register was done.
    Won,
}

impl Why {
    /// Whether a node that has just moved the name waits before it moves it
    /// for this reason: the holder may still serve. One that is dead for
    /// certain, or says that it cannot serve, is replaced at once.
    pub(super) const fn is_damped(self) -> bool {
        matches!(
            self,
            Self::Complaint
                | Self::NoBackends
                | Self::Preferred
                | Self::StrangerGone
                | Self::TwinHung
        )
    }

    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complaint => "complaint",
            Self::Given => "given",
            Self::Isolated => "isolated",
            Self::LeaseOver => "lease_over",
            Self::NewerClaim => "newer_claim",
            Self::NoBackends => "no_backends",
            Self::NotWon => "not_won",
            Self::Ordered => "ordered",
            Self::OwnName => "own_name",
            Self::Paused => "paused",
            Self::Preferred => "preferred",
            Self::Shutdown => "shutdown",
            Self::Started => "started",
            Self::StillMine => "still_mine",
            Self::StrangerGone => "stranger_gone",
            Self::TwinHung => "twin_hung",
            Self::TwinRefuses => "twin_refuses",
            Self::TwinSilent => "twin_silent",
            Self::TwinUnfit => "twin_unfit",
            Self::Unclaimed => "unclaimed",
            Self::Unfit => "unfit",
            Self::Won => "won",
        }
    }
}
