//! The PROXY header that comes first on connections from listed networks.

use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;

use super::context::Context;
use super::session::{Phase, Session, Step};
use crate::net::proxy_header::{self, Header, Parsed};
use crate::types::{BadHeader, Reason};

/// What the headers that are not whole yet may take of memory, those of the
/// whole process together: a thousand of the longest, or 25,000 with the chain
/// of a client's certificate in them.
const HEADERS: usize = 64 << 20;

impl Session {
    /// Reads the client's PROXY header, as far as it is there.
    pub(super) fn read_header(&mut self, ctx: &mut Context) -> Step {
        let seen = &mut self.aside.get_or_insert_default().header;
        while self.client.ready.read {
            let room = proxy_header::MAX_LENGTH.saturating_sub(seen.len()).max(1);
            let room = room.min(ctx.tools.scratch.len());
            match self.client.stream.read(&mut ctx.tools.scratch[..room]) {
                Ok(0) => return self.bad_header(ctx, BadHeader::Cut),
                Ok(got) => seen.extend_from_slice(&ctx.tools.scratch[..got]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.client.ready.read = false;
                    break;
                }
                Err(_) => return Step::End(Reason::ClientReset),
            }
            match proxy_header::parse(seen) {
                Ok(Parsed::Incomplete) => {}
                Ok(Parsed::Done { header, length }) => {
                    let early = seen.split_off(length);
                    self.up.prefix(&early);
                    self.note_header(ctx, &header);
                    self.phase = Phase::Entering;
                    return self.enter(ctx);
                }
                Err(why) => return self.bad_header(ctx, why),
            }
        }
        if self.hold_header(ctx) {
            return Step::Stay;
        }
        self.bad_header(ctx, BadHeader::NoRoom)
    }

    /// The header cannot be accepted.
    pub(super) fn bad_header(&mut self, ctx: &Context, why: BadHeader) -> Step {
        let cells = self.door.live.cells.of(ctx.worker);
        cells.bad_headers[why as usize].add(1);
        self.aside().bad_header = Some(why);
        // That one is no fault of the header's.
        let reason = if why == BadHeader::NoRoom {
            Reason::Limit
        } else {
            Reason::BadProxyHeader
        };
        ctx.count_rejected(&self.door, reason);
        Step::End(reason)
    }

    /// Counts what is kept of a header that is not whole; says whether all
    /// headers together have room for it.
    fn hold_header(&mut self, ctx: &Context) -> bool {
        let aside = self.aside();
        let more = aside.header.capacity() - aside.header_held;
        aside.header_held += more;
        let before = ctx.shared.headers.fetch_add(more, Ordering::Relaxed);
        more == 0 || before + more <= HEADERS
    }

    /// Nothing is kept of the header any more.
    pub(super) fn let_go_of_header(&mut self, ctx: &Context) {
        if let Some(aside) = &mut self.aside {
            aside.header = Vec::new();
            let held = std::mem::take(&mut aside.header_held);
            ctx.shared.headers.fetch_sub(held, Ordering::Relaxed);
        }
    }

    /// A PROXY header has named the client.
    fn note_header(&mut self, ctx: &Context, header: &Header) {
        self.let_go_of_header(ctx);
        let aside = self.aside();
        aside.source = header.source;
        aside.destination = header.destination;
    }

    /// What was wrong with the header, if something was.
    pub(super) fn header_fault(&self) -> Option<BadHeader> {
        self.aside.as_ref().and_then(|it| it.bad_header)
    }
}
