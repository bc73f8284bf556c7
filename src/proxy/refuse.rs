//! What a client hears when nobody can serve it: the truth, at once, in its
//! own protocol.
//!
//! An answer that is followed by a close with unread bytes in the socket is
//! lost to the reset that the kernel sends then. So an HTTP request is read
//! before it is answered, and after the answer the client has a moment to go.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::context::Context;
use super::session::{NEVER, Phase, Session, Step};
use crate::clock::Moment;
use crate::net::http1::{self, Head};
use crate::net::mysql;
use crate::pool::Protocol;
use crate::types::Reason;

/// How long a client may take to send the request that will be refused.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to go once it has its answer.
const LINGER: Duration = Duration::from_secs(1);
/// What a client may still send meanwhile.
const LINGER_BYTES: usize = 64 * 1024;
/// Longer than it takes to find a recovered backend.
const RETRY_AFTER_S: u32 = 2;
/// ER_CON_COUNT_ERROR: the one error that every client library expects before
/// the greeting, and treats as worth another try.
const MYSQL_BUSY: u16 = 1040;

/// A client that is being told no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) until: Moment,
    head: Vec<u8>,
    /// Bytes read since the answer; `None`: not answered yet.
    lingered: Option<usize>,
}

impl Session {
    /// Tells the client that it cannot be served, and ends with `reason`.
    pub(super) fn refuse(&mut self, ctx: &mut Context, reason: Reason) -> Step {
        self.leave_queue(ctx);
        self.leave_backend(ctx);
        let protocol = self.door.pool.protocol;
        if protocol == Protocol::Tcp || self.client.broken || ctx.is_refusing_enough() {
            return Step::End(reason);
        }
        ctx.refusing += 1;
        let head = self.up.waiting().to_vec();
        self.phase = Phase::Refusing;
        self.aside().refusal = Some(Refusal {
            reason,
            until: ctx.now + HEAD_TIMEOUT,
            head,
            lingered: None,
        });
        if protocol == Protocol::Mysql {
            let is_full = matches!(
                reason,
                Reason::Limit | Reason::OutOfFds | Reason::OutOfMemory | Reason::OutOfPorts
            );
            let why = if is_full {
                "too many connections"
            } else {
                "no backend can serve"
            };
            let text = format!(
                "tandem: {why} (pool {}, {})",
                self.door.pool.name,
                reason.as_str()
            );
            return self.answer(ctx, &mysql::err_packet(MYSQL_BUSY, &text));
        }
        self.go_on_refusing(ctx)
    }

    /// The client has sent something, or has gone.
    pub(super) fn go_on_refusing(&mut self, ctx: &mut Context) -> Step {
        let Some(refusal) = self.refusal() else {
            return Step::Stay;
        };
        let reason = refusal.reason;
        // What was read before may say it all already.
        if refusal.lingered.is_none() {
            match Head::of(&refusal.head) {
                Head::Incomplete => {}
                Head::Complete { .. } | Head::TooLong => return self.answer_http(ctx),
                Head::NotHttp => return Step::End(reason),
            }
        }
        while self.client.ready.read {
            let got = match self.client.stream.read(&mut ctx.tools.scratch) {
                Ok(0) => return Step::End(reason),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.client.ready.read = false;
                    break;
                }
                Err(_) => return Step::End(reason),
            };
            let Some(refusal) = self.refusal() else {
                return Step::Stay;
            };
            if let Some(lingered) = &mut refusal.lingered {
                *lingered += got;
                if *lingered > LINGER_BYTES {
                    return Step::End(reason);
                }
            } else {
                refusal.head.extend_from_slice(&ctx.tools.scratch[..got]);
                match Head::of(&refusal.head) {
                    Head::Incomplete => {}
                    Head::Complete { .. } | Head::TooLong => return self.answer_http(ctx),
                    Head::NotHttp => return Step::End(reason),
                }
            }
        }
        Step::Stay
    }

    fn answer_http(&mut self, ctx: &mut Context) -> Step {
        let answer = http1::refusal(RETRY_AFTER_S, self.door.pool.name.as_str());
        self.answer(ctx, &answer)
    }

    /// Says `bytes` and that this is all.
    fn answer(&mut self, ctx: &mut Context, bytes: &[u8]) -> Step {
        let Some(refusal) = self.aside.as_mut().and_then(|it| it.refusal.as_mut()) else {
            return Step::Stay;
        };
        // Nothing has been sent on this connection: the kernel's buffer takes
        // a few hundred bytes, or the connection is broken.
        let said = self.client.stream.write_all(bytes);
        if said.is_err() || self.client.stream.shutdown(Shutdown::Write).is_err() {
            return Step::End(refusal.reason);
        }
        refusal.lingered = Some(0);
        refusal.until = ctx.now + LINGER;
        refusal.head = Vec::new();
        self.is_answered = true;
        self.go_on_refusing(ctx)
    }

    fn refusal(&mut self) -> Option<&mut Refusal> {
        self.aside.as_mut()?.refusal.as_mut()
    }

    /// Until when a refused client may take its time.
    pub(super) fn refused_until(&self) -> Moment {
        let refusal = self.aside.as_ref().and_then(|it| it.refusal.as_ref());
        refusal.map_or(NEVER, |it| it.until)
    }

    pub(super) fn refusal_timed_out(&mut self) -> Step {
        self.refusal().map_or(Step::Stay, |it| Step::End(it.reason))
    }
}
