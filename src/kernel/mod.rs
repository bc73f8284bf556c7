//! The kernel plane: listeners whose connections the kernel itself forwards.
//! The control plane writes nftables rules from the same [`Snapshot`] that the
//! workers see, and reads back what the kernel counts.
//!
//! [`Snapshot`]: crate::pool::Snapshot

mod attributes;
mod conntrack;
mod counters;
mod netlink;
mod nft;
mod ruleset;
mod system;

use std::collections::BTreeMap;
use std::io;

pub use nft::{NftError, dry_run, run};
pub use ruleset::{Ruleset, removal};
pub use system::{MissingRight, check_right, forwarding_off};

/// What the kernel has counted, by the numbers of listeners and backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Connections that came in, by listener.
    pub accepted: BTreeMap<u64, u64>,
    /// Connections that were given to a backend, by backend.
    pub given: BTreeMap<u64, u64>,
    /// Connections open now; `None`: conntrack cannot be read.
    pub open: Option<Open>,
}

/// Connections that are open now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// By listener.
    pub listeners: BTreeMap<u64, u32>,
    /// By backend.
    pub backends: BTreeMap<u64, u32>,
}

impl Measured {
    /// Connections of listener number `id`: open now, and all so far, each if it
    /// is known.
    pub fn of_listener(&self, id: u64) -> (Option<u32>, Option<u64>) {
        let accepted = self.accepted.get(&id).copied();
        let open = |it: &Open| it.listeners.get(&id).copied().unwrap_or(0);
        (
            accepted.and_then(|_| Some(open(self.open.as_ref()?))),
            accepted,
        )
    }

    /// The same of backend number `id`.
    pub fn of_backend(&self, id: u64) -> (Option<u32>, Option<u64>) {
        let given = self.given.get(&id).copied();
        let open = |it: &Open| it.backends.get(&id).copied().unwrap_or(0);
        (given.and_then(|_| Some(open(self.open.as_ref()?))), given)
    }
}

impl Open {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.listeners.values().map(|&it| u64::from(it)).sum()
    }
}

/// Asks the kernel what it has counted for `ruleset` in `table`. Blocks for as
/// long as the kernel takes to walk its connections.
pub fn measure(table: &str, ruleset: &Ruleset) -> io::Result<Measured> {
    let mut measured = Measured::default();
    for (name, packets) in counters::read(table)? {
        // Only the first packet of a connection passes these rules.
        let numbers = name.split_at_checked(1);
        let (map, number) = match numbers {
            Some(("b", number)) => (&mut measured.given, number),
            Some(("l", number)) => (&mut measured.accepted, number),
            Some(_) | None => continue,
        };
        if let Ok(number) = number.parse() {
            map.insert(number, packets);
        }
    }
    measured.open = open(ruleset).ok();
    Ok(measured)
}

/// Asks the kernel which connections of `ruleset` are open.
pub fn open(ruleset: &Ruleset) -> io::Result<Open> {
    let mut open = Open::default();
    conntrack::each(|flow| {
        if let Some((listener, backend)) = ruleset.owner(flow.to, flow.from) {
            *open.listeners.entry(listener).or_default() += 1;
            if let Some(backend) = backend {
                *open.backends.entry(backend).or_default() += 1;
            }
        }
    })?;
    Ok(open)
}
