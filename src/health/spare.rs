//! File descriptors kept back for probes. They are really open, so that a
//! limit that is lowered while we run, or a leak elsewhere, does not blind the
//! probes: one that finds none left closes some of these and tries again.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// Descriptors held for all probes together.
pub const SPARE: usize = 16;

/// What a probe over a connection opens: a socket, and a file of certificates
/// at its first use.
pub(super) const OF_SOCKET: usize = 2;

/// What starting a command opens: its input, two pipes, the pipe over which it
/// tells that it could not be started, and the handle that tells of its end.
pub(super) const OF_COMMAND: usize = 8;

/// Open descriptors that nobody needs yet.
#[derive(Debug, Default)]
pub struct Spare {
    held: Mutex<Vec<OwnedFd>>,
}

impl Spare {
    /// Holds [`SPARE`] descriptors, or as many as there are.
    pub fn hold() -> Self {
        let spare = Self::default();
        spare.refill();
        spare
    }

    /// Closes `count` descriptors for somebody who needs as many at once. Says
    /// whether there were so many.
    pub(super) fn lend(&self, count: usize) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = held.len().checked_sub(count) else {
            return false;
        };
        held.truncate(rest);
        true
    }

    /// Takes back what was lent, as far as it is to be had.
    pub(super) fn refill(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.len() < SPARE {
            let more = match held.last() {
                Some(one) => one.try_clone(),
                None => File::open("/dev/null").map(OwnedFd::from),
            };
            match more {
                Ok(more) => held.push(more),
                // Later: after each probe it is tried again.
                Err(_none_left) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(spare: &Spare) -> usize {
        spare.held.lock().unwrap().len()
    }

    #[test]
    fn what_is_lent_comes_back() {
        let spare = Spare::hold();
        assert_eq!(held(&spare), SPARE);
        assert!(spare.lend(OF_COMMAND) && spare.lend(OF_COMMAND));
        assert!(!spare.lend(1), "nothing is left to lend");
        spare.refill();
        assert_eq!(held(&spare), SPARE);
    }
}
