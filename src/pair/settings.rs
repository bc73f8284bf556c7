//! How the pair keeps time and what it may do, with defaults.

use std::time::Duration;

use crate::types::Name;

/// What keeps two nodes from holding the name at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A register outside that changes by compare-and-swap: each term has one
    /// holder, always.
    Cas,
    /// Nothing: each node answers for the name itself. Cut off from each other
    /// both may hold it; the older claim ends when they meet again.
    #[default]
    Embedded,
    /// As `Cas`, and besides never two that are exclusive at the same instant.
    Lease {
        /// How long a renewal is good for.
        ttl: Duration,
        /// What the two clocks may drift apart within `ttl`.
        margin: Duration,
    },
}

/// Whether the name goes back to a node that has recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// The name stays where it is: each move costs its clients something.
    #[default]
    Never,
    /// The holder gives it to `node` once that has been well for `after`.
    Prefer {
        /// Who shall have the name.
        node: Name,
        /// How long it must have been well.
        after: Duration,
    },
}

/// When to speak, to look, and to make up one's mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between heartbeats, and between two steps of the election.
    pub heartbeat: Duration,
    /// Missed heartbeats before refused connections count as a death.
    pub misses_refused: u32,
    /// Refused connections in a row that, with the misses, are a death.
    pub refusals: u32,
    /// Missed heartbeats before connections without answer count as a death.
    pub misses_dead: u32,
    /// Failed connections in a row that, with the misses, are a death.
    pub probe_failures: u32,
    /// Failed connections in a row after which a node complains to a twin that
    /// it hears.
    pub probes_complain: u32,
    /// Failed connections in a row after which a node that still sends
    /// heartbeats has a dead data plane.
    pub probes_hung: u32,
    /// Time between connections to the data port of a twin that is well.
    pub probe_every: Duration,
    /// The deadline of such a connection.
    pub probe_timeout: Duration,
    /// How long a starting node listens before it claims an unclaimed name.
    pub start_grace: Duration,
    /// How much later each further candidate claims.
    pub rank_step: Duration,
    /// How long a node must say that it cannot serve until others act on it.
    pub unfit_after: Duration,
    /// How long a holder without backends looks at a twin with some until it
    /// gives the name away.
    pub sick_after: Duration,
    /// How long a twin must complain until the holder gives the name away.
    pub complaint_after: Duration,
    /// The wait between two automatic moves by one node.
    pub hold_least: Duration,
    /// The longest such wait: it doubles with each move.
    pub hold_most: Duration,
    /// Moves older than this are forgiven.
    pub hold_memory: Duration,
    /// How long a node is dead until its own record goes, too.
    pub forget_after: Duration,
    /// Time between reads of the register when all is well.
    pub read_every: Duration,
    /// Time between reads of the register while the holder is in doubt.
    pub read_doubt: Duration,
    /// Time between beats of a holder that its twins may not hear.
    pub beat_every: Duration,
    /// After how long a lonely holder beats only every `read_every`.
    pub beat_slow_after: Duration,
    /// How long the register must show no beat, from the first doubt on.
    pub beat_absent: Duration,
    /// How long beats that were seen must have stopped.
    pub beat_stopped: Duration,
    /// How long a holder may hear neither the register nor a twin.
    pub isolation: Duration,
    /// How long the register must show an older state until that is believed.
    pub odd_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            // Twenty a second: a death shows within a blink, 64 bytes each.
            heartbeat: Duration::from_millis(50),
            // One lost packet is not a death, not even with a refusal.
            misses_refused: 2,
            // A process that restarts its listener refuses once.
            refusals: 2,
            // Half a second: longer than a scheduler's or a VM's hiccup.
            misses_dead: 10,
            // A lost SYN is sent again only after a second; three are no chance.
            probe_failures: 3,
            // At a loss of 20 % each way one in 160 runs of five fails, and the
            // complaint must last.
            probes_complain: 5,
            // The holder hears the complaint first and has time to act on it.
            probes_hung: 12,
            // Two connections a second are no load.
            probe_every: Duration::from_millis(500),
            // A LAN answers within 1 ms, another region within 150 ms.
            probe_timeout: Duration::from_millis(200),
            // Both nodes of a rack that gets its power back meet within it.
            start_grace: Duration::from_millis(1500),
            // Three heartbeats: the claim before is heard by then.
            rank_step: Duration::from_millis(150),
            // Three heartbeats: the holder's own hand-over arrives first.
            unfit_after: Duration::from_millis(150),
            // A twin's probes need that long to see the same backends die.
            sick_after: Duration::from_secs(1),
            // Long enough that the twin is sure, short for its clients.
            complaint_after: Duration::from_secs(1),
            // Ping-pong costs at most one move per wait.
            hold_least: Duration::from_secs(3),
            // Whoever moves that often waits for a person.
            hold_most: Duration::from_mins(1),
            // Two deaths within ten minutes have one cause.
            hold_memory: Duration::from_mins(10),
            // A reboot or an upgrade is over by then.
            forget_after: Duration::from_mins(10),
            // Finds a record that a person changed by hand.
            read_every: Duration::from_secs(2),
            // Four reads until a death is decided.
            read_doubt: Duration::from_millis(150),
            // Two beats until a death is decided.
            beat_every: Duration::from_millis(300),
            // A twin that is gone for that long needs no quick answer.
            beat_slow_after: Duration::from_secs(100),
            // Two beats and the way to the register.
            beat_absent: Duration::from_millis(600),
            // Five beats: a register may be slow now and then.
            beat_stopped: Duration::from_millis(1600),
            // The twin has decided by then.
            isolation: Duration::from_millis(1500),
            // Longer than a secondary lags behind its primary.
            odd_after: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Missed heartbeats from which on a twin is in doubt.
    pub(super) const fn misses_doubt(&self) -> u32 {
        self.misses_dead / 2
    }

    /// A pause of our own after which the others may have given us up.
    pub(super) const fn pause(&self) -> Duration {
        self.heartbeat.saturating_mul(self.misses_doubt())
    }

    /// A step that comes later than this after the one before: what was seen
    /// (or not) before it proves nothing.
    pub(super) const fn late(&self) -> Duration {
        self.heartbeat.saturating_mul(4)
    }
}

/// The rules of the election, each of which a test may switch off to see that
/// the simulator misses it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of independent switches"
)]
pub struct Rules {
    /// Silence alone is no death.
    pub two_kinds: bool,
    /// A silent node that another one hears is not dead.
    pub hearsay: bool,
    /// Nodes that lb.yaml does not name are heard.
    pub strangers: bool,
    /// Of two claims with one term the better rank wins.
    pub tie_break: bool,
    /// A functional holder keeps the name.
    pub no_preemption: bool,
    /// A new life must prove that it is not a recording.
    pub fresh_lives: bool,
    /// Failed probes during silence are forgotten when heartbeats return.
    pub return_resets: bool,
    /// Moves are damped.
    pub damping: bool,
    /// Who gives the name away chooses a new term.
    pub hand_over_new_term: bool,
    /// A node without usable backends does not take the name.
    pub fit_to_claim: bool,
    /// A write without answer may have failed.
    pub unknown_is_unknown: bool,
    /// Beats in the register are a sign of life.
    pub beats_count: bool,
    /// A challenger waits for the whole lease.
    pub lease_waits: bool,
    /// A lease counts from before its renewal was sent.
    pub lease_from_send: bool,
    /// A holder stops being exclusive before it hands over.
    pub drop_first: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            two_kinds: true,
            hearsay: true,
            strangers: true,
            tie_break: true,
            no_preemption: true,
            fresh_lives: true,
            return_resets: true,
            damping: true,
            hand_over_new_term: true,
            fit_to_claim: true,
            unknown_is_unknown: true,
            beats_count: true,
            lease_waits: true,
            lease_from_send: true,
            drop_first: true,
        }
    }
}
