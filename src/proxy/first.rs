//! Where the client speaks first: its first bytes are read before a backend is
//! chosen, so a silent client costs no backend anything, and what it says
//! leaves together with the handshake.

use std::io::{ErrorKind, Read};

use super::context::Context;
use super::session::{Phase, Session, Step};
use crate::types::Reason;

impl Session {
    /// Waits for the client's first bytes; the kernel has mostly waited for
    /// them already.
    pub(super) fn wait_for_first(&mut self, ctx: &mut Context) -> Step {
        self.phase = Phase::Silent;
        self.since = ctx.now;
        self.client.ready.read = true;
        self.hear_first(ctx)
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
