//! One client connection from accept to end: `Header -> Silent -> Queued ->
//! Dialing -> Relaying`, or `Refusing` from any of the first four.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;

use super::aside::Aside;
use super::compact::{Peer, Took};
use super::context::Context;
use super::first::SILENCE;
use super::greeting::LOGIN;
use super::slab::Key;
use crate::clock::Moment;
use crate::net::tune;
use crate::pool::{Backend, BackendId, Door};
use crate::relay::{Direction, Ends, Ready, Turn};
use crate::types::{BadHeader, Reason};

/// Bytes that one direction may move before others have their turn.
const TURN_BYTES: usize = 1 << 20;
/// Sockets are tuned when they have lived this long: most never do.
const TUNE_AFTER: Duration = Duration::from_secs(1);

/// Between looks at a unix socket whose accept queue is full.
const REDIAL: Duration = Duration::from_millis(16);

/// What has no time.
pub(super) const NEVER: Moment = Moment::from_micros(u64::MAX);

/// What to do with a session after it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    Stay,
    /// It has more to do at once, after the others had their turn.
    Again,
    /// It has ended.
    End(Reason),
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between two others.
    Entering,
    /// Waiting for the client's PROXY header.
    Header,
    /// Waiting for the client's first bytes, for they come first.
    Silent,
    /// Waiting for a place at a backend.
    Queued,
    /// A connect(2) is under way.
    Dialing,
    /// Moving bytes.
    Relaying,
    /// Telling the client no.
    Refusing,
}

/// A socket and what is known of it.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) stream: TcpStream,
    pub(super) ready: Ready,
    /// The peer has reset it, or it broke otherwise.
    pub(super) broken: bool,
}

impl Leg {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ready: Ready::default(),
            broken: false,
        }
    }

    fn note(&mut self, event: &Event) {
        self.broken |= event.is_error();
        self.ready.hangup |= event.is_read_closed() || event.is_priority();
        self.ready.read |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ready.write |= event.is_writable() || event.is_error();
    }
}

/// Which limits a session counts towards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) process: bool,
    pub(super) listener: bool,
    pub(super) source: bool,
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: Key,
    pub(super) id: u64,
    pub(super) door: Arc<Door>,
    pub(super) client: Leg,
    pub(super) server: Option<Leg>,
    pub(super) backend: Option<Arc<Backend>>,
    /// Who connected to us, see `source()`.
    pub(super) short_peer: Peer,
    /// What few sessions need.
    pub(super) aside: Option<Box<Aside>>,
    pub(super) places: Places,
    /// It counts towards its backend's connections.
    pub(super) is_placed: bool,
    /// It counts towards its pool's queue.
    pub(super) is_queued: bool,
    pub(super) phase: Phase,
    pub(super) up: Direction,
    pub(super) down: Direction,
    pub(super) started: Moment,
    /// When the present phase began; for `Dialing`, the present try.
    pub(super) since: Moment,
    /// When bytes last moved, or a side closed; for `Dialing` without a socket,
    /// when it last tried.
    pub(super) active: Moment,
    /// When the wheel will bring this session up.
    pub(super) armed: Moment,
    /// When it ends whatever happens, and why: only `end_by()`, which moves it
    /// nearer, and `end_open()` touch it.
    end_at: Moment,
    end_for: Reason,
    /// How long the successful connect took, and when the backend first said
    /// something.
    pub(super) connect: Took,
    pub(super) first_byte: Took,
    /// Who closed first.
    closed_first: Option<Reason>,
    /// The backend takes no more; what it said before that still counts.
    server_deaf: bool,
    /// And what it said before was cut, although it may look complete.
    server_cut: bool,
    tuned: bool,
    /// It holds bytes that somebody does not take.
    is_stalled: bool,
    /// It used up its turn, and the next one is on its way.
    pub(super) has_turn: bool,
    /// The client has been told no in its own protocol.
    pub(super) is_answered: bool,
}

impl Session {
    pub(super) fn new(
        key: Key,
        id: u64,
        door: Arc<Door>,
        client: Leg,
        (short_peer, whole): (Peer, Option<SocketAddr>),
    ) -> Self {
        Self {
            key,
            id,
            door,
            client,
            server: None,
            backend: None,
            short_peer,
            aside: whole.map(Aside::with_peer),
            places: Places::default(),
            is_placed: false,
            is_queued: false,
            phase: Phase::Entering,
            // The backend's socket is set up as late as can be.
            up: Direction::lazy(),
            down: Direction::default(),
            started: Moment::START,
            since: Moment::START,
            active: Moment::START,
            armed: NEVER,
            end_at: NEVER,
            end_for: Reason::Internal,
            connect: Took::NOT_YET,
            first_byte: Took::NOT_YET,
            closed_first: None,
            server_deaf: false,
            server_cut: false,
            tuned: false,
            is_stalled: false,
            has_turn: false,
            is_answered: false,
        }
    }

    /// Lets `look` at it. A fault of ours costs this session and no other.
    pub(super) fn guard(
        &mut self,
        ctx: &mut Context,
        look: impl FnOnce(&mut Self, &mut Context) -> Step,
    ) -> Step {
        let step = catch_unwind(AssertUnwindSafe(|| look(self, ctx)));
        step.unwrap_or(Step::End(Reason::Internal))
    }

    /// An event of one of its sockets.
    pub(super) fn on_event(&mut self, ctx: &mut Context, server: bool, event: &Event) -> Step {
        match (server, &mut self.server) {
            (false, _) => self.client.note(event),
            (true, Some(leg)) => leg.note(event),
            // Of a socket that was given up in this very batch.
            (true, None) => return Step::Stay,
        }
        // One turn each: events do not give a busy one more of them.
        if self.has_turn {
            return Step::Stay;
        }
        self.advance(ctx)
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, ctx: &mut Context) -> Step {
        match self.phase {
            Phase::Entering => Step::Stay,
            Phase::Header => self.read_header(ctx),
            Phase::Silent => self.hear_first(ctx),
            Phase::Queued if self.client.broken => Step::End(Reason::ClientReset),
            Phase::Queued => Step::Stay,
            Phase::Dialing if self.client.broken => Step::End(Reason::ClientReset),
            Phase::Dialing => self.check_dial(ctx),
            Phase::Relaying => self.relay(ctx),
            Phase::Refusing => self.go_on_refusing(ctx),
        }
    }

    /// The wheel has brought this session up.
    pub(super) fn on_deadline(&mut self, ctx: &mut Context) -> Step {
        if ctx.now >= self.end_at {
            // Who has not met the backend yet may meet another.
            if self.phase == Phase::Dialing && self.end_for != Reason::Shutdown {
                return self.abandon_dial(ctx);
            }
            return Step::End(self.end_for);
        }
        if matches!(self.phase, Phase::Relaying) && !self.tuned {
            self.tune();
        }
        if ctx.now < self.due() {
            return Step::Stay;
        }
        match self.phase {
            Phase::Entering => Step::Stay,
            Phase::Header => self.bad_header(ctx, BadHeader::Late),
            Phase::Silent => self.end_silence(ctx),
            Phase::Queued => self.wait_no_longer(ctx),
            Phase::Dialing if ctx.now < self.dial_due() => self.redial(ctx),
            Phase::Dialing => self.dial_timed_out(ctx),
            Phase::Relaying if self.up.has_ended() || self.down.has_ended() => {
                Step::End(Reason::HalfCloseTimeout)
            }
            Phase::Relaying => Step::End(Reason::Idle),
            Phase::Refusing => self.refusal_timed_out(),
        }
    }

    /// When to look at this session even if nothing happens.
    pub(super) fn due(&self) -> Moment {
        let pool = &self.door.pool;
        let phase = match self.phase {
            Phase::Entering => NEVER,
            Phase::Header => self.since + self.door.listener.proxy_header_timeout,
            Phase::Silent => {
                let first = self.door.listener.first_byte_timeout;
                let first = first.map_or(NEVER, |limit| self.started + limit);
                first.min(self.since + SILENCE)
            }
            Phase::Queued => self.since + pool.queue_timeout,
            Phase::Dialing if self.server.is_none() => self.dial_due().min(self.active + REDIAL),
            Phase::Dialing => self.dial_due(),
            Phase::Relaying => self.relay_due(),
            Phase::Refusing => self.refused_until(),
        };
        self.end_at.min(phase)
    }

    fn dial_due(&self) -> Moment {
        let pool = &self.door.pool;
        let whole = self.first_dial().unwrap_or(self.since) + pool.connect_budget;
        whole.min(self.since + pool.connect_timeout)
    }

    fn relay_due(&self) -> Moment {
        let pool = &self.door.pool;
        let half_closed = self.up.has_ended() || self.down.has_ended();
        let silence = if half_closed {
            pool.half_close_timeout.or(pool.idle_timeout)
        } else {
            pool.idle_timeout
        };
        let silent = silence.map_or(NEVER, |limit| self.active + limit);
        let first = match self.door.listener.first_byte_timeout {
            Some(limit) if self.up.moved() == 0 && !half_closed => self.started + limit,
            Some(_) | None => NEVER,
        };
        silent.min(first)
    }

    /// When the wheel should bring this session up.
    pub(super) fn next_look(&self) -> Moment {
        if matches!(self.phase, Phase::Relaying) && !self.tuned {
            return self.due().min(self.since + TUNE_AFTER);
        }
        self.due()
    }

    /// Sets what only a long-lived connection needs.
    fn tune(&mut self) {
        self.tuned = true;
        let pool = &self.door.pool;
        let legs = [Some(&self.client), self.server.as_ref()];
        // An option that the kernel refuses costs its protection, not the
        // session.
        let to_unix = self.backend.as_ref().is_some_and(|it| it.is_unix());
        let is_tcp = [self.short_peer.address().is_some(), !to_unix];
        for leg in legs
            .into_iter()
            .zip(is_tcp)
            .filter_map(|(leg, is_tcp)| leg.filter(|_| is_tcp))
        {
            if let Some(keepalive) = pool.keepalive {
                let (idle, interval) = (keepalive.idle, keepalive.interval);
                let _unprotected = tune::keepalive(&leg.stream, idle, interval, keepalive.count);
            }
        }
        if let (Some(limit), Some(server), false) = (pool.tcp_user_timeout, &self.server, to_unix) {
            let _unprotected = tune::user_timeout(&server.stream, limit);
        }
    }

    fn relay(&mut self, ctx: &mut Context) -> Step {
        let before = (self.up.moved(), self.down.moved());
        let ends = (self.up.has_ended(), self.down.has_ended());
        let is_login = before.1 < LOGIN && !self.down.is_stalled();
        let step = self.pump(ctx);
        if is_login && self.down.moved() > before.1 {
            self.hear_login(ctx, before.1);
        }
        // Who closes has said something, and the other side's time to answer
        // begins here, however long both were quiet before.
        if ends != (self.up.has_ended(), self.down.has_ended()) {
            self.active = ctx.now;
        }
        self.account(ctx, before);
        step
    }

    fn pump(&mut self, ctx: &mut Context) -> Step {
        let Some(server) = &mut self.server else {
            return Step::End(Reason::Internal);
        };
        let client = &mut self.client;
        let mut more = false;
        if !self.server_deaf {
            let ends = Ends {
                source: &mut client.stream,
                from: &mut client.ready,
                sink: &mut server.stream,
                to: &mut server.ready,
                is_last: self.down.is_closed(),
                is_cut: false,
            };
            match self.up.run(ends, &mut ctx.tools, TURN_BYTES) {
                Turn::Idle => {}
                Turn::Spent => more = true,
                Turn::SourceBroke(_) => return Step::End(Reason::ClientReset),
                // What the backend said before it closed its ears is still to
                // be told: often it is why it did.
                Turn::SinkBroke(error) => {
                    self.server_deaf = true;
                    self.server_cut = is_cut(&error);
                    self.up.give_up(&mut ctx.tools.pipes);
                }
            }
        }
        let ends = Ends {
            source: &mut server.stream,
            from: &mut server.ready,
            sink: &mut client.stream,
            to: &mut client.ready,
            // Who ends with a reset must have been told everything before.
            is_last: self.up.is_closed() && !self.server_deaf,
            is_cut: self.server_cut,
        };
        match self.down.run(ends, &mut ctx.tools, TURN_BYTES) {
            Turn::Idle => {}
            Turn::Spent => more = true,
            Turn::SourceBroke(_) => return Step::End(Reason::ServerReset),
            Turn::SinkBroke(_) => return Step::End(Reason::ClientReset),
        }
        self.note_stall(ctx, self.up.is_stalled() || self.down.is_stalled());
        if self.closed_first.is_none() {
            if self.up.has_ended() {
                self.closed_first = Some(Reason::ClientClosed);
            } else if self.down.has_ended() {
                self.closed_first = Some(Reason::ServerClosed);
            }
        }
        if self.server_deaf && self.down.is_closed() {
            return Step::End(Reason::ServerReset);
        }
        if self.up.is_closed() && self.down.is_closed() {
            return Step::End(self.closed_first.unwrap_or(Reason::ServerClosed));
        }
        if more {
            return Step::Again;
        }
        // As long as the backend takes nothing, the client is not read, and
        // its reset is met by nobody.
        if self.client.broken {
            return Step::End(Reason::ClientReset);
        }
        Step::Stay
    }

    /// Counts the beginnings and the ends of waits for a reader.
    pub(super) fn note_stall(&mut self, ctx: &Context, is_stalled: bool) {
        if self.is_stalled != is_stalled {
            self.is_stalled = is_stalled;
            let cells = self.door.live.cells.of(ctx.worker);
            let counter = if is_stalled {
                &cells.stalls_begun
            } else {
                &cells.stalls_ended
            };
            counter.add(1);
        }
    }

    /// It ends at `at`, whatever happens until then; an end that is nearer
    /// already stays, whoever has set it.
    pub(super) fn end_by(&mut self, at: Moment, reason: Reason) {
        if at < self.end_at {
            self.end_at = at;
            self.end_for = reason;
        }
    }

    /// It has left the backend that was to end it: of its ends only the
    /// process's own is left.
    pub(super) fn end_open(&mut self, ctx: &Context) {
        self.end_at = ctx.stop_at.unwrap_or(NEVER);
        self.end_for = Reason::Shutdown;
    }

    /// Whether it has, or is about to have, a connection to `backend`.
    pub(super) fn is_at(&self, backend: BackendId) -> bool {
        self.is_placed && self.backend.as_ref().is_some_and(|it| it.id == backend)
    }

    /// Adds what has moved since `before` to the counters, so that long
    /// connections are seen while they last.
    fn account(&mut self, ctx: &Context, before: (u64, u64)) {
        let bytes_in = self.up.moved() - before.0;
        let bytes_out = self.down.moved() - before.1;
        if bytes_in == 0 && bytes_out == 0 {
            return;
        }
        self.active = ctx.now;
        if bytes_out > 0 && !self.first_byte.is_known() {
            self.first_byte = Took::of(ctx.now.since(self.started));
        }
        let cells = self.door.live.cells.of(ctx.worker);
        cells.bytes_in.add(bytes_in);
        cells.bytes_out.add(bytes_out);
        if let Some(backend) = &self.backend {
            let cells = backend.live.cells.of(ctx.worker);
            cells.bytes_in.add(bytes_in);
            cells.bytes_out.add(bytes_out);
        }
    }
}

/// Whether a backend that takes no more has been cut off in what it says, too.
/// One that had closed before it sent its reset is EPIPE to a write (tcp(7)
/// keeps the two apart) or ENOTCONN to shutdown(2); what is read of it then
/// ends in order. After any other error the kernel has said what there was to
/// say, and the next read looks like an end.
fn is_cut(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    )
}

// User memory of an idle connection: this, and one entry on the wheel. (With
// debug assertions mio adds a number to each socket.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Session>() <= 216);
