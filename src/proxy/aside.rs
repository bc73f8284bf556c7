//! What few sessions need, apart from what all need: a connection that waits
//! for nothing, is refused nothing and came straight from its client is small.

use std::net::SocketAddr;
use std::time::Duration;

use super::compact::{Peer, UnixBind};
use super::context::Context;
use super::refuse::Refusal;
use super::session::Session;
use crate::clock::Moment;
use crate::pool::BackendId;
use crate::types::{BadHeader, Endpoint, Reason};

/// What few sessions need.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// What of the client's PROXY header has come.
    pub(super) header: Vec<u8>,
    /// How much of that counts towards what all headers together may take.
    pub(super) header_held: usize,
    /// What was wrong with it.
    pub(super) bad_header: Option<BadHeader>,
    /// The client, where the peer is not, or is more than an address and a
    /// port.
    pub(super) source: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// The address that the client connected to, if a PROXY header said so.
    pub(super) destination: Option<SocketAddr>,
    /// Backends that were tried in vain.
    pub(super) tried: Vec<BackendId>,
    /// Why the last of them was tried in vain.
    pub(super) failure: Option<Reason>,
    pub(super) first_dial: Option<Moment>,
    /// See `greeting`.
    pub(super) expects_greeting: bool,
    /// How long it has waited for a place.
    pub(super) queued: Duration,
    pub(super) refusal: Option<Refusal>,
}

impl Aside {
    /// Keeps the whole address of a peer.
    pub(super) fn with_peer(whole: SocketAddr) -> Box<Self> {
        Box::new(Self {
            peer: Some(whole),
            ..Self::default()
        })
    }
}

impl Session {
    /// Room for what few sessions need.
    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Who connected to us; `None`: somebody over a unix socket.
    fn peer(&self) -> Option<SocketAddr> {
        let whole = self.aside.as_ref().and_then(|it| it.peer);
        whole.or_else(|| self.short_peer.address())
    }

    /// The client: the peer, or whom its PROXY header names; `None`: nobody
    /// knows its address.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        let named = self.aside.as_ref().and_then(|it| it.source);
        named.or_else(|| self.peer())
    }

    /// Who connected to us, for people: who has no address came in at a bind
    /// that has a name.
    fn peer_shown(&self, ctx: &Context) -> Endpoint {
        match (self.peer(), self.short_peer) {
            (Some(address), _) => Endpoint::Tcp(address),
            (None, Peer::Unix(UnixBind(number))) => {
                Endpoint::Unix(ctx.unix_binds[number as usize].clone())
            }
            (None, Peer::Tcp { ip, port }) => Endpoint::Tcp(SocketAddr::new(ip, port)),
        }
    }

    /// The client for people, and who spoke for it, if somebody did.
    pub(super) fn client_shown(&self, ctx: &Context) -> (Endpoint, Option<Endpoint>) {
        let peer = self.peer_shown(ctx);
        match self.source().map(Endpoint::Tcp) {
            Some(source) if source != peer => (source, Some(peer)),
            Some(_) | None => (peer, None),
        }
    }

    /// The address that the client connected to, if a PROXY header said so.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.aside.as_ref().and_then(|it| it.destination)
    }

    /// Backends that were tried in vain.
    pub(super) fn tried(&self) -> &[BackendId] {
        self.aside.as_ref().map_or(&[], |it| &it.tried)
    }

    /// Why the last of them failed.
    pub(super) fn failure(&self) -> Option<Reason> {
        self.aside.as_ref().and_then(|it| it.failure)
    }

    /// When the first connect began, if there was more than the present one.
    pub(super) fn first_dial(&self) -> Option<Moment> {
        self.aside.as_ref().and_then(|it| it.first_dial)
    }

    /// How long it has waited for a place.
    pub(super) fn queued(&self) -> Duration {
        self.aside.as_ref().map_or(Duration::ZERO, |it| it.queued)
    }
}
