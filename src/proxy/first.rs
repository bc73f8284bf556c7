//! Where the client speaks first: its first bytes are read before a backend is
//! chosen, so that what it says leaves together with the handshake, and who
//! says nothing for a moment costs no backend anything.
//!
//! A client that goes on saying nothing may be one that waits for the server:
//! what its pool speaks may have been inferred wrongly. So it meets a backend
//! after a short silence, whatever was inferred.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use super::context::Context;
use super::session::{Phase, Session, Step};
use crate::types::Reason;

/// How long a client may say nothing until a backend is chosen for it all the
/// same: far longer than a request takes to follow its handshake. The kernel
/// has waited for a second before that (`net::defer`).
pub(super) const SILENCE: Duration = Duration::from_millis(500);

impl Session {
    /// Waits for the client's first bytes; the kernel has mostly waited for
    /// them already.
    pub(super) fn wait_for_first(&mut self, ctx: &mut Context) -> Step {
        self.phase = Phase::Silent;
        self.since = ctx.now;
        self.client.ready.read = true;
        self.hear_first(ctx)
    }

    /// The client has been silent for long enough.
    pub(super) fn end_silence(&mut self, ctx: &mut Context) -> Step {
        if ctx.now < self.since + SILENCE {
            return Step::End(Reason::Idle);
        }
        self.phase = Phase::Entering;
        self.seek(ctx)
    }

    /// Reads the client's first bytes, if they are there.
    pub(super) fn hear_first(&mut self, ctx: &mut Context) -> Step {
        while self.client.ready.read {
            match self.client.stream.read(&mut ctx.tools.scratch) {
                Ok(0) => return Step::End(Reason::ClientClosed),
                Ok(got) => {
                    self.client.ready.read =
                        got == ctx.tools.scratch.len() || self.client.ready.hangup;
                    self.up.prefix(&ctx.tools.scratch[..got]);
                    self.phase = Phase::Entering;
                    return self.seek(ctx);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.client.ready.read = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Step::End(Reason::ClientReset),
            }
        }
        if self.client.broken {
            return Step::End(Reason::ClientReset);
        }
        Step::Stay
    }
}
