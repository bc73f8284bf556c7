//! From the kernel's accept queue to an admitted session; and what to do when
//! file descriptors run out.

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::admit;
use super::compact::{Peer, UnixBind};
use super::context::Context;
use super::mailbox::GateId;
use super::session::{Leg, Phase, Session, Step};
use super::slab::{Key, Slab};
use crate::clock::Moment;
use crate::net::listening::Accepting;
use crate::net::tune;
use crate::pool::{ListenerView, Place, Snapshot};
use crate::types::{OwnFault, Reason};

/// Connections taken from one listener before others have their turn.
const BUDGET: usize = 64;
/// How long a listener rests when there is no descriptor for its clients: long
/// enough not to spin, short enough that nobody notices.
const REST: Duration = Duration::from_millis(10);

/// A socket that accepts, and how the listener there was last seen.
pub(super) struct Gate {
    pub(super) id: GateId,
    place: Place,
    socket: Accepting,
    /// Where its clients come from, if it is a unix socket.
    from: Option<UnixBind>,
    view: Option<ListenerView>,
    /// There may be more to accept.
    ready: bool,
    rest_until: Option<Moment>,
}

impl Gate {
    pub(super) fn new(id: GateId, place: Place, socket: Accepting, from: Option<UnixBind>) -> Self {
        Self {
            id,
            place,
            socket,
            from,
            view: None,
            // Connections may have come before the event loop listened.
            ready: true,
            rest_until: None,
        }
    }

    pub(super) fn source(&mut self) -> &mut Accepting {
        &mut self.socket
    }

    pub(super) fn ring(&mut self) {
        self.ready = true;
    }

    /// When it wants to accept: `None`, as soon as the kernel says so.
    pub(super) fn wants(&self) -> Option<Moment> {
        self.ready.then(|| self.rest_until.unwrap_or(Moment::START))
    }

    /// Sees whose clients come in here. The place may be on its way out: then
    /// they are those of the listener that had it last.
    fn look(&mut self, snapshot: &Snapshot) {
        let known = self.view.as_ref().map(|it| it.door.id);
        let view = snapshot.listener_at(&self.place);
        let view = view.or_else(|| snapshot.listener(known?));
        if let Some(view) = view {
            self.view = Some(view.clone());
        }
    }

    /// Who has come in; the second is what the first leaves out. Either it has
    /// an address, or this is a unix socket.
    fn peer_of(&self, address: Option<SocketAddr>) -> Option<(Peer, Option<SocketAddr>)> {
        let unix = || self.from.map(|it| (Peer::Unix(it), None));
        address.map(Peer::of).or_else(unix)
    }

    /// Accepts what it may, and says of each new session what to do with it.
    pub(super) fn accept(
        &mut self,
        ctx: &mut Context,
        spare: &mut Spare,
        slab: &mut Slab<Session>,
        settle: impl Fn(&mut Context, &mut Slab<Session>, Key, Step),
    ) {
        if !self.ready || self.rest_until.is_some_and(|until| ctx.now < until) {
            return;
        }
        self.rest_until = None;
        self.look(&ctx.snapshot);
        let Some(mut view) = self.view.clone() else {
            // The snapshot that knows this place is on its way.
            self.rest_until = Some(ctx.now + REST);
            return;
        };
        for _ in 0..BUDGET {
            match self.socket.accept() {
                Ok((stream, address)) => {
                    // Who connects after a change meets the change.
                    if ctx.refresh() {
                        self.look(&ctx.snapshot);
                        if let Some(newer) = &self.view {
                            view.clone_from(newer);
                        }
                    }
                    let Some(peer) = self.peer_of(address) else {
                        continue;
                    };
                    if let Some((key, step)) = welcome(ctx, slab, &view, stream, peer) {
                        settle(ctx, slab, key, step);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                Err(error) => {
                    if let Some(lack) = OwnFault::of_lack(&error) {
                        spare.shed(&self.socket, ctx, &view, lack.into());
                        self.rest_until = Some(ctx.now + REST);
                        return;
                    }
                    // The client has gone before it was accepted, or the network
                    // reported something about it (accept(2) lists them): next.
                }
            }
        }
    }
}

/// Counts a new client and lets it in, if it may come in.
fn welcome(
    ctx: &mut Context,
    slab: &mut Slab<Session>,
    view: &ListenerView,
    stream: TcpStream,
    peer: (Peer, Option<SocketAddr>),
) -> Option<(Key, Step)> {
    let door = &view.door;
    door.live.cells.of(ctx.worker).accepted.add(1);
    let ip = peer.0.address().map(|it| it.ip());
    let has_header = admit::sends_header(&door.listener, ip);
    if !has_header && !admit::may_enter(&door.listener, ip) {
        turn_away(ctx, view, &stream, Reason::Denied);
        return None;
    }
    let id = ctx.next_id();
    let key = slab.insert(|key| {
        let mut session = Session::new(key, id, Arc::clone(door), Leg::new(stream), peer);
        session.started = ctx.now;
        session.since = ctx.now;
        session.end_open(ctx);
        session
    });
    let session = slab.get_mut(key)?;
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    let token = Token(key.token(false));
    let watched = ctx
        .registry
        .register(&mut session.client.stream, token, all);
    let step = match watched {
        Ok(()) => session.guard(ctx, |session, ctx| session.start(ctx, has_header)),
        Err(error) => {
            let lack = OwnFault::of_lack(&error).unwrap_or(OwnFault::Internal);
            ctx.count_rejected(&session.door, lack.into());
            Step::End(lack.into())
        }
    };
    Some((key, step))
}

/// Ends a connection that never became a session.
fn turn_away(ctx: &Context, view: &ListenerView, stream: &TcpStream, reason: Reason) {
    // It fails only on sockets that are broken already.
    let _already_broken = tune::reset_on_close(stream);
    ctx.count_rejected(&view.door, reason);
    ctx.count_end(&view.door, reason);
}

impl Session {
    fn start(&mut self, ctx: &mut Context, has_header: bool) -> Step {
        self.places.process = ctx.shared.acquire();
        self.places.listener = self.places.process
            && self
                .door
                .live
                .places
                .acquire(self.door.listener.max_connections);
        if !self.places.listener {
            ctx.count_rejected(&self.door, Reason::Limit);
            if has_header {
                return Step::End(Reason::Limit);
            }
            return self.refuse(ctx, Reason::Limit);
        }
        if has_header {
            self.phase = Phase::Header;
            return Step::Stay;
        }
        self.enter(ctx)
    }

    /// It is known who the client is: may it come in, and is there room?
    pub(super) fn enter(&mut self, ctx: &mut Context) -> Step {
        let source = self.source().map(|it| it.ip());
        if !admit::may_enter(&self.door.listener, source) {
            ctx.count_rejected(&self.door, Reason::Denied);
            return Step::End(Reason::Denied);
        }
        if let (Some(limit), Some(source)) = (self.door.listener.max_per_source, source) {
            self.places.source = ctx.shared.sources.acquire(self.door.id, source, limit);
            if !self.places.source {
                ctx.count_rejected(&self.door, Reason::Limit);
                return self.refuse(ctx, Reason::Limit);
            }
        }
        if self.door.listener.client_first && self.up.waiting().is_empty() {
            return self.wait_for_first(ctx);
        }
        self.seek(ctx)
    }
}

/// A descriptor kept back, so that a client can be told to go even when there
/// is none left: without it, it would hang in the accept queue until it gives
/// up by itself.
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn shed(&mut self, socket: &Accepting, ctx: &Context, view: &ListenerView, lack: Reason) {
        for _ in 0..BUDGET {
            self.0 = None;
            let Ok((stream, _)) = socket.accept() else {
                break;
            };
            view.door.live.cells.of(ctx.worker).accepted.add(1);
            turn_away(ctx, view, &stream, lack);
            drop(stream);
            self.0 = File::open("/dev/null").ok();
        }
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }
}
