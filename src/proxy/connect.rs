//! From an admitted client to a backend that has accepted it, or to the
//! knowledge that there is none. Nothing has been sent to a backend before the
//! relay begins, so every failure here may be tried again elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mio::{Interest, Token};

use super::compact::Took;
use super::context::{Context, Seen};
use super::session::{Leg, Phase, Session, Step};
use crate::net::dial::{self, Dialed};
use crate::net::proxy_header;
use crate::pool::{Asking, Backend, BackendState, BackendView, Pick, PoolView};
use crate::types::{ConnectFailure, OwnFault, Reason, Sources};

/// The address of clients that have none.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// How often a place may be lost to another worker before the session queues.
const LOST_RACES: u32 = 8;

enum Try {
    /// Established.
    Connected,
    /// Under way.
    Connecting,
    /// It failed; try another.
    Failed,
    /// Another worker took the last place.
    Lost,
    /// This machine lacks what every try needs.
    Lack(Reason),
}

/// Whether a lack of ours concerns the way to one backend only: each has ports,
/// rules of a firewall and addresses to connect from of its own.
const fn is_of_one_way(lack: Reason) -> bool {
    matches!(
        lack,
        Reason::DeniedLocally | Reason::NoSource | Reason::OutOfPorts
    )
}

impl Session {
    /// Finds a backend and begins to connect to it.
    pub(super) fn seek(&mut self, ctx: &mut Context) -> Step {
        self.seek_place(ctx, false)
    }

    /// It has waited for a place for as long as it may.
    pub(super) fn wait_no_longer(&mut self, ctx: &mut Context) -> Step {
        self.leave_queue(ctx);
        self.seek_place(ctx, true)
    }

    fn seek_place(&mut self, ctx: &mut Context, mut has_waited: bool) -> Step {
        let mut lost = 0;
        loop {
            let Some(pool) = ctx.pool_of(&self.door) else {
                return self.give_up(ctx, Reason::NoBackend);
            };
            if self.is_out_of_tries(ctx) {
                return self.end_in_vain(ctx);
            }
            let asking = Asking {
                // Those without an address are all alike to a policy.
                client: self.source().map_or(UNKNOWN, |it| it.ip()),
                tried: self.tried(),
                has_waited,
                now: ctx.now,
            };
            let pick = pool.pick(asking, &mut ctx.turns, &mut ctx.rng);
            let view = match pick {
                Pick::Backend(index) if lost < LOST_RACES => &pool.backends[index],
                // Those who win the races may leave again unseen while this one
                // still runs: it looks again in the next turn.
                Pick::Backend(_) if self.is_queued => {
                    ctx.shared.announce_place_to(ctx.worker);
                    return Step::Stay;
                }
                Pick::Wait if self.is_queued => return Step::Stay,
                Pick::Backend(_) | Pick::Wait if has_waited => {
                    let reason = self.waited_in_vain(&pool);
                    return self.give_up(ctx, reason);
                }
                Pick::Backend(_) | Pick::Wait => {
                    // With no room in the queue, the wait is over at once. With
                    // room, it looks once more: see `Line`.
                    has_waited = !self.join_queue(ctx, &pool);
                    lost = 0;
                    continue;
                }
                Pick::Nobody => return self.end_in_vain(ctx),
            };
            match self.try_backend(ctx, view) {
                Try::Connected => return self.connected(ctx),
                Try::Connecting => return Step::Stay,
                Try::Failed => {}
                Try::Lost => lost += 1,
                Try::Lack(lack) => return self.end_for_lack(ctx, lack),
            }
        }
    }

    /// Why nobody of `pool` has served it, although it has waited.
    fn waited_in_vain(&self, pool: &PoolView) -> Reason {
        let is_full = |it: &BackendView| it.share() > 0 && !self.tried().contains(&it.backend.id);
        if pool.backends.iter().any(is_full) {
            Reason::Limit
        } else {
            self.failure().unwrap_or(Reason::NoBackend)
        }
    }

    /// Every try was in vain, or there was nobody to try.
    fn end_in_vain(&mut self, ctx: &mut Context) -> Step {
        match self.failure() {
            Some(lack) if is_of_one_way(lack) => self.end_for_lack(ctx, lack),
            failure => self.give_up(ctx, failure.unwrap_or(Reason::NoBackend)),
        }
    }

    /// There are backends, and nothing on this machine to reach them with.
    fn end_for_lack(&mut self, ctx: &mut Context, lack: Reason) -> Step {
        ctx.count_rejected(&self.door, lack);
        self.refuse(ctx, lack)
    }

    fn is_out_of_tries(&self, ctx: &Context) -> bool {
        let pool = &self.door.pool;
        let tries = u32::try_from(self.tried().len()).unwrap_or(u32::MAX);
        tries >= pool.connect_tries
            || self
                .first_dial()
                .is_some_and(|first| ctx.now.since(first) >= pool.connect_budget)
    }

    fn try_backend(&mut self, ctx: &Context, view: &BackendView) -> Try {
        if !view.backend.live.places.acquire(view.max_connections) {
            return Try::Lost;
        }
        if !self.tried().is_empty() {
            self.door.pool_live.cells.of(ctx.worker).retries.add(1);
        }
        self.leave_queue(ctx);
        self.is_placed = true;
        self.backend = Some(Arc::clone(&view.backend));
        let turns_away =
            view.state == BackendState::Saturated || view.backend.live.is_refusing(ctx.now);
        if turns_away || self.aside.is_some() {
            self.aside().expects_greeting = turns_away;
        }
        self.phase = Phase::Dialing;
        self.since = ctx.now;
        self.dial(ctx, &view.backend, &view.sources)
    }

    /// The accept queue of a unix socket was full a moment ago, and nothing
    /// tells when there is room: look again. TCP waits likewise, within the
    /// kernel.
    pub(super) fn redial(&mut self, ctx: &mut Context) -> Step {
        let Some(backend) = self.backend.clone() else {
            return Step::End(Reason::Internal);
        };
        match self.dial(ctx, &backend, &Sources::default()) {
            Try::Connected => self.connected(ctx),
            Try::Connecting => Step::Stay,
            Try::Failed | Try::Lost => self.seek(ctx),
            Try::Lack(lack) => self.end_for_lack(ctx, lack),
        }
    }

    /// Begins to connect to `backend`, at which it has a place.
    fn dial(&mut self, ctx: &Context, backend: &Backend, sources: &Sources) -> Try {
        let has_request = !self.up.waiting().is_empty();
        let Some(address) = &backend.address else {
            // The board sends nobody there.
            self.note_failure(ctx, ConnectFailure::Unreachable);
            return Try::Failed;
        };
        let turn = backend.live.next_source(sources);
        let dialed = dial::start(address, (sources, turn), has_request);
        let (mut stream, is_connected) = match dialed {
            Ok(Dialed::Connected(stream)) => (stream, true),
            Ok(Dialed::Connecting(stream)) => (stream, false),
            Err(error) if address.is_unix() && error.kind() == io::ErrorKind::WouldBlock => {
                // The accept queue of a unix socket is full: see `redial()`.
                self.active = ctx.now;
                backend.live.begin(ctx.now);
                return Try::Connecting;
            }
            Err(error) => return self.blame(ctx, &error),
        };
        backend.live.begin(ctx.now);
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let token = Token(self.key.token(true));
        if let Err(error) = ctx.registry.register(&mut stream, token, all) {
            self.leave_backend(ctx);
            let fault = OwnFault::of_lack(&error).unwrap_or(OwnFault::Internal);
            return Try::Lack(fault.into());
        }
        let mut leg = Leg::new(stream);
        leg.ready.write = is_connected;
        self.server = Some(leg);
        if is_connected {
            Try::Connected
        } else {
            Try::Connecting
        }
    }

    /// A connect has failed, at once or later: who is to blame?
    fn blame(&mut self, ctx: &Context, error: &io::Error) -> Try {
        let Some(fault) = OwnFault::of_connect(error) else {
            self.note_failure(ctx, ConnectFailure::of(error));
            return Try::Failed;
        };
        let reason = Reason::from(fault);
        if !is_of_one_way(reason) {
            self.leave_backend(ctx);
            return Try::Lack(reason);
        }
        self.aside().failure = Some(reason);
        self.note_tried();
        self.leave_backend(ctx);
        Try::Failed
    }

    /// An event came while a connect was under way.
    pub(super) fn check_dial(&mut self, ctx: &mut Context) -> Step {
        let Some(server) = &self.server else {
            // Not even begun: see `redial()`.
            return Step::Stay;
        };
        if server.broken || server.ready.hangup {
            let error = match server.stream.take_error() {
                Ok(Some(error)) | Err(error) => error,
                Ok(None) if !server.broken => return self.connected(ctx),
                Ok(None) => io::ErrorKind::ConnectionReset.into(),
            };
            return match self.blame(ctx, &error) {
                Try::Lack(lack) => self.end_for_lack(ctx, lack),
                Try::Failed | Try::Lost | Try::Connected | Try::Connecting => self.seek(ctx),
            };
        }
        if server.ready.write {
            return self.connected(ctx);
        }
        Step::Stay
    }

    pub(super) fn dial_timed_out(&mut self, ctx: &mut Context) -> Step {
        self.note_failure(ctx, ConnectFailure::TimedOut);
        self.seek(ctx)
    }

    /// The backend has been found dead by others: try elsewhere.
    pub(super) fn abandon_dial(&mut self, ctx: &mut Context) -> Step {
        self.note_tried();
        self.leave_backend(ctx);
        self.seek(ctx)
    }

    fn note_failure(&mut self, ctx: &Context, failure: ConnectFailure) {
        self.aside().failure = Some(failure.reason());
        if let Some(backend) = &self.backend {
            backend.live.cells.of(ctx.worker).connect_errors[failure as usize].add(1);
            backend.live.suspect(ctx.now, failure);
            // A refusal is proof; a timeout may be the network's or our own.
            if failure == ConnectFailure::Refused {
                (ctx.shared.on_seen)(backend.id, Seen::Refusal);
            }
        }
        self.note_tried();
        self.leave_backend(ctx);
    }

    /// The present try was in vain.
    fn note_tried(&mut self) {
        let (backend, since) = (self.backend.as_ref().map(|it| it.id), self.since);
        let aside = self.aside();
        aside.first_dial.get_or_insert(since);
        aside.tried.extend(backend);
    }

    /// Gives the backend's place back and closes the socket to it. The session
    /// still knows whom it tried last, for its log line.
    pub(super) fn leave_backend(&mut self, ctx: &Context) {
        self.server = None;
        if !std::mem::take(&mut self.is_placed) {
            return;
        }
        // That was decided for the sessions of this backend.
        self.end_open(ctx);
        if let Some(backend) = &self.backend
            && backend.live.places.release_to(&ctx.shared.line)
        {
            ctx.shared.announce_place();
        }
    }

    fn connected(&mut self, ctx: &mut Context) -> Step {
        let took = ctx.now.since(self.since);
        self.connect = Took::of(took);
        self.phase = Phase::Relaying;
        self.since = ctx.now;
        self.active = ctx.now;
        if let Some(backend) = &self.backend {
            let cells = backend.live.cells.of(ctx.worker);
            cells.connections.add(1);
            cells.connect_duration.observe(took);
            backend.live.trust();
            if backend.is_unix() {
                self.up.has_no_delay();
            }
        }
        if let Some(version) = self.door.pool.send_proxy {
            let header = match self.source() {
                Some(source) => {
                    let destination = self
                        .destination()
                        .or_else(|| self.client.stream.local_addr().ok());
                    proxy_header::encode(version, source, destination.unwrap_or(source))
                }
                None => proxy_header::encode_unknown(version),
            };
            self.up.header(&header);
        }
        self.advance(ctx)
    }

    /// Joins the queue; says whether there was room in it.
    fn join_queue(&mut self, ctx: &mut Context, pool: &PoolView) -> bool {
        let limit = self.door.pool.queue_limit;
        if !self.door.pool_live.queue.acquire(Some(limit)) {
            return false;
        }
        ctx.shared.line.join();
        self.phase = Phase::Queued;
        self.is_queued = true;
        self.since = ctx.now;
        ctx.waiting
            .entry(pool.settings.name.clone())
            .or_default()
            .push_back(self.key);
        true
    }

    /// No longer waits for a place, whatever comes now.
    pub(super) fn leave_queue(&mut self, ctx: &Context) {
        if std::mem::take(&mut self.is_queued) {
            self.door.pool_live.queue.release();
            ctx.shared.line.leave();
            let waited = ctx.now.since(self.since);
            self.aside().queued += waited;
        }
    }

    /// Nobody can serve this client.
    pub(super) fn give_up(&mut self, ctx: &mut Context, reason: Reason) -> Step {
        self.door.pool_live.cells.of(ctx.worker).exhausted.add(1);
        self.refuse(ctx, reason)
    }
}
