//! Listening sockets on their way out. Nobody new comes in (`net::shutter`);
//! those whom the kernel has greeted are met first, and then the sockets close.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Moment;
use crate::net::half_open::half_open;
use crate::net::listening::Listening;
use crate::pool::Place;
use crate::proxy::GateId;

/// The first look comes when a packet that was under way has long been taken.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const NEXT_LOOK: Duration = Duration::from_millis(250);
/// Who is silent is handed over when the kernel repeats its part of the
/// handshake, 1, 3 and 7 seconds after it began.
pub(super) const LIMIT: Duration = Duration::from_secs(8);

/// Sockets that are closing.
#[derive(Debug, Default)]
pub(super) struct Closing(Vec<Leaving>);

#[derive(Debug)]
struct Leaving {
    gate: GateId,
    place: Place,
    /// Where they listen, with the port.
    actual: SocketAddr,
    next_look: Moment,
    until: Moment,
}

impl Closing {
    /// Shuts `copies` of what the workers accept on. Where that cannot be done
    /// (Linux before 5.7), nobody can be waited for: says so.
    pub(super) fn begin(
        &mut self,
        gate: GateId,
        place: Place,
        actual: SocketAddr,
        copies: &[Listening],
        now: Moment,
    ) -> bool {
        let is_shut = copies.iter().all(|copy| copy.shut().is_ok());
        if is_shut {
            for copy in copies {
                let _lost_if_silent = copy.set_deferred(false);
            }
            self.0.push(Leaving {
                gate,
                place,
                actual,
                next_look: now + FIRST_LOOK,
                until: now + LIMIT,
            });
        }
        is_shut
    }

    /// Whether nothing is closing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.0.iter().map(|it| it.next_look).min()
    }

    /// Those that nobody waits behind any more.
    pub(super) fn take_done(&mut self, now: Moment) -> Vec<GateId> {
        let mut done = Vec::new();
        self.0.retain_mut(|it| {
            if now < it.next_look {
                return true;
            }
            it.next_look = now + NEXT_LOOK;
            // A kernel that does not tell must be given the time.
            let is_waited_for = it.is_waited_for().unwrap_or(true);
            let stays = is_waited_for && now < it.until;
            if !stays {
                done.push(it.gate);
            }
            stays
        });
        done
    }

    /// Whether a socket at `place` could still meet one of these.
    pub(super) fn meets(&self, place: &Place) -> bool {
        self.0.iter().any(|it| it.place.meets(place))
    }
}

impl Leaving {
    /// Whether somebody may wait behind these. The kernel does not tell clients
    /// of another socket on the same address from ours, which only makes it
    /// last longer.
    fn is_waited_for(&self) -> std::io::Result<bool> {
        let own = self.actual.ip();
        let waiting = half_open(self.actual)?;
        Ok(own.is_unspecified() && !waiting.is_empty() || waiting.contains(&own))
    }
}
