//! The end of a session: give everything back, count it, write its line.

use std::sync::atomic::Ordering;

use super::context::Context;
use super::session::{Leg, Phase, Session};
use crate::event::{Connection, Event};
use crate::net::tune;
use crate::types::{BadHeader, Reason};

impl Session {
    /// Ends the session.
    pub(super) fn finish(mut self, ctx: &mut Context, reason: Reason) {
        self.close_sockets(reason);
        self.note_stall(ctx, false);
        for direction in [&mut self.up, &mut self.down] {
            direction.give_up(&mut ctx.tools.pipes);
        }
        self.let_go_of_header(ctx);
        self.leave_queue(ctx);
        self.leave_backend(ctx);
        if matches!(self.phase, Phase::Refusing) {
            ctx.refusing -= 1;
        }
        self.give_places_back(ctx);
        let duration = ctx.now.since(self.started);
        ctx.count_end(&self.door, reason);
        if let Some(backend) = &self.backend {
            let cells = backend.live.cells.of(ctx.worker);
            cells.finished[reason as usize].add(1);
        }
        let cells = self.door.live.cells.of(ctx.worker);
        cells.duration.observe(duration);
        if reason == Reason::Shutdown {
            ctx.shared.cut.fetch_add(1, Ordering::Relaxed);
        }
        if !ctx.shared.log_connections.load(Ordering::Relaxed) {
            return;
        }
        let backend = self.backend.as_ref();
        let (client, proxy_src) = self.client_shown(ctx);
        ctx.shared.sink.say(Event::Connection(Box::new(Connection {
            id: self.id,
            listener: self.door.listener.name.clone(),
            client,
            proxy_src,
            pool: self.door.pool.name.clone(),
            backend: backend.and_then(|it| Some((it.name.clone(), it.address.clone()?))),
            reason,
            why: self.header_fault().map(BadHeader::as_str),
            bytes_in: self.up.moved(),
            bytes_out: self.down.moved(),
            queue: self.queued(),
            connect: self.connect.duration(),
            first_byte: self.first_byte.duration(),
            duration,
            retries: u32::try_from(self.tried().len()).unwrap_or(u32::MAX),
        })));
    }

    /// Only what both sides closed in order, or what has been answered, ends
    /// with a FIN. Everything else was cut, and must look so on both sides.
    fn close_sockets(&self, reason: Reason) {
        let in_order =
            self.is_answered || matches!(reason, Reason::ClientClosed | Reason::ServerClosed);
        if in_order {
            return;
        }
        let legs = [
            (Some(&self.client), &self.down),
            (self.server.as_ref(), &self.up),
        ];
        for (leg, towards) in legs {
            // Who has been told everything, its end included, may still be
            // reading it out of the kernel's buffer: that is no silence.
            let is_told = reason == Reason::HalfCloseTimeout && towards.is_closed();
            if let Some(Leg { stream, .. }) = leg
                && !is_told
            {
                // It fails only on sockets that are broken already.
                let _already_broken = tune::reset_on_close(stream);
            }
        }
    }

    fn give_places_back(&self, ctx: &Context) {
        if self.places.source
            && let Some(source) = self.source()
        {
            ctx.shared.sources.release(self.door.id, source.ip());
        }
        if self.places.listener {
            self.door.live.places.release();
        }
        if self.places.process {
            ctx.shared.sessions.release();
        }
    }
}
