//! Listening sockets: which are open, which are to be.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use super::closing::Closing;
use crate::clock::Moment;
use crate::event::{Event, Sink};
use crate::net::{defer, listen};
use crate::pool::{ListenerSettings, Place, Plane};
use crate::proxy::{GateId, Workers};
use crate::types::Name;

/// The listening sockets of the process. They belong to places: whatever
/// becomes of the listeners, a place that is wanted keeps its sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: HashMap<Place, Bound>,
    /// Ports of the kernel plane. They are held so that no other process
    /// takes them; nobody listens, so that clients are refused, and do not
    /// hang, if the kernel's rules are gone.
    held: HashMap<Place, OwnedFd>,
    closing: Closing,
    gates: u64,
}

#[derive(Debug)]
struct Bound {
    gate: GateId,
    /// The address with its port, where the file says 0.
    actual: SocketAddr,
    backlog: u32,
    /// Whether the kernel hands over a connection only with its first bytes.
    is_deferred: bool,
    /// Copies of what the workers accept on.
    copies: Vec<TcpListener>,
}

/// Sockets that are open and not yet accepted on.
#[derive(Debug, Default)]
pub(super) struct Opened {
    shared: Vec<(Place, Fresh)>,
    held: Vec<(Name, Place, OwnedFd)>,
}

/// What the workers will accept on, a socket for each.
#[derive(Debug)]
struct Fresh {
    listener: Name,
    actual: SocketAddr,
    backlog: u32,
    is_deferred: bool,
    sockets: Vec<TcpListener>,
    copies: Vec<TcpListener>,
}

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {cause}{hint}")]
pub struct BindError {
    listener: Name,
    address: SocketAddr,
    cause: io::Error,
    hint: &'static str,
}

impl BindError {
    fn new(listener: &Name, address: SocketAddr, cause: io::Error, is_ours: bool) -> Self {
        let hint = if cause.kind() == io::ErrorKind::AddrInUse && is_ours {
            " (tandem itself has it still: take the old listener out, reload, and add the new one \
             some seconds later)"
        } else if cause.kind() == io::ErrorKind::AddrInUse {
            " (another process listens there; `ss -ltnp` shows which)"
        } else if cause.kind() == io::ErrorKind::PermissionDenied {
            " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        } else if cause.kind() == io::ErrorKind::AddrNotAvailable {
            " (this machine does not have that address)"
        } else {
            ""
        };
        Self {
            listener: listener.clone(),
            address,
            cause,
            hint,
        }
    }
}

impl Sockets {
    /// Opens what `listeners` want and is not open yet, for `workers` workers.
    /// Either all of it or nothing; nobody is greeted before it is all of it.
    pub(super) fn open(
        &self,
        listeners: &[ListenerSettings],
        workers: usize,
        sink: &Sink,
    ) -> Result<Opened, BindError> {
        let mut opened = Opened::default();
        for listener in listeners {
            for place in listener.places() {
                let bind = place.bind;
                if self.bound.contains_key(&place) || self.held.contains_key(&place) {
                    continue;
                }
                let is_ours = self.meets(&place);
                let name = &listener.name;
                let result = match listener.plane {
                    Plane::Kernel => {
                        listen::hold(bind).map(|held| opened.held.push((name.clone(), place, held)))
                    }
                    Plane::User => Fresh::bind(bind, listener, workers, is_ours)
                        .map(|fresh| opened.shared.push((place, fresh))),
                };
                match result {
                    Ok(()) => {}
                    Err(error) if is_v6_missing(bind, listener, &error) => {
                        sink.say(Event::Limited {
                            what: format!("listener {name}: no {bind}, this machine has no IPv6"),
                        });
                    }
                    Err(error) => return Err(BindError::new(name, bind, error, is_ours)),
                }
            }
        }
        for (place, fresh) in &opened.shared {
            let name = &fresh.listener;
            let listening = fresh.listen();
            listening.map_err(|error| BindError::new(name, place.bind, error, false))?;
        }
        Ok(opened)
    }

    /// Whether sockets of our own, even if they are closing, share addresses
    /// with `place`.
    fn meets(&self, place: &Place) -> bool {
        let mut all = self.bound.keys().chain(self.held.keys());
        all.any(|it| it.meets(place)) || self.closing.meets(place)
    }

    /// Lets the workers accept on what was opened. The snapshot that they see
    /// must know the listeners already.
    pub(super) fn publish(
        &mut self,
        opened: Opened,
        workers: &Workers,
        sink: &Sink,
    ) -> io::Result<()> {
        for (listener, place, held) in opened.held {
            let address = place.bind;
            sink.say(Event::Listening { listener, address });
            self.held.insert(place, held);
        }
        for (place, fresh) in opened.shared {
            self.gates += 1;
            let gate = GateId(self.gates);
            workers.listen(gate, &place, fresh.sockets)?;
            let bound = Bound {
                gate,
                actual: fresh.actual,
                backlog: fresh.backlog,
                is_deferred: fresh.is_deferred,
                copies: fresh.copies,
            };
            sink.say(Event::Listening {
                listener: fresh.listener,
                address: fresh.actual,
            });
            self.bound.insert(place, bound);
        }
        Ok(())
    }

    /// Begins to close what `listeners` no longer want. Whatever has taken its
    /// place must be open already.
    pub(super) fn retire(
        &mut self,
        listeners: &[ListenerSettings],
        workers: &Workers,
        now: Moment,
    ) -> io::Result<()> {
        let is_wanted = |place: &Place| listeners.iter().any(|it| it.is_at(place));
        self.held.retain(|place, _| is_wanted(place));
        let gone = self.bound.extract_if(|place, _| !is_wanted(place));
        begin_closing(&mut self.closing, gone, workers, now)
    }

    /// Begins to close all that are listened on. What is held for the kernel
    /// stays held until its rules are gone: a successor must not write its own
    /// before.
    pub(super) fn retire_all(&mut self, workers: &Workers, now: Moment) -> io::Result<()> {
        begin_closing(&mut self.closing, self.bound.drain(), workers, now)
    }

    /// Whether somebody may still come out of a socket that is to close.
    pub(super) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// When [`close_done`](Self::close_done) is to be called.
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.closing.next_look()
    }

    /// Closes what nobody waits behind any more.
    pub(super) fn close_done(&mut self, workers: &Workers, now: Moment) -> io::Result<()> {
        let done = self.closing.take_done(now);
        done.into_iter().try_for_each(|gate| workers.unlisten(gate))
    }

    /// Makes sockets that stay open as `listeners` now want them.
    pub(super) fn adjust(&mut self, listeners: &[ListenerSettings]) {
        for listener in listeners {
            for place in listener.places() {
                let Some(bound) = self.bound.get_mut(&place) else {
                    continue;
                };
                if bound.is_deferred != listener.client_first {
                    bound.is_deferred = listener.client_first;
                    for copy in &bound.copies {
                        let _dearer = defer::set_defer_accept(copy, bound.is_deferred);
                    }
                }
                if bound.backlog == listener.backlog {
                    continue;
                }
                bound.backlog = listener.backlog;
                for copy in &bound.copies {
                    // It was accepted once; a kernel that refuses it now keeps
                    // the old length.
                    let _kept = listen::start(copy, bound.backlog);
                }
            }
        }
    }

    /// Where each of `listeners` accepts.
    pub(super) fn addresses(&self, listeners: &[ListenerSettings]) -> Vec<(Name, SocketAddr)> {
        let mut all = Vec::new();
        for listener in listeners {
            for place in listener.places() {
                let bound = self.bound.get(&place).map(|it| it.actual);
                let held = self.held.get(&place).map(|_| place.bind);
                all.extend(bound.or(held).map(|it| (listener.name.clone(), it)));
            }
        }
        all.sort();
        all
    }
}

/// Shuts the sockets of `gone`, which close when nobody waits behind them.
fn begin_closing(
    closing: &mut Closing,
    gone: impl Iterator<Item = (Place, Bound)>,
    workers: &Workers,
    now: Moment,
) -> io::Result<()> {
    for (place, bound) in gone {
        let Bound {
            gate,
            actual,
            copies,
            ..
        } = bound;
        if !closing.begin(gate, place, actual, &copies, now) {
            // The copies go first: when the workers close theirs, the
            // kernel must not go on accepting on nobody's behalf.
            drop(copies);
            workers.unlisten(gate)?;
        }
    }
    Ok(())
}

impl Fresh {
    fn bind(
        bind: SocketAddr,
        listener: &ListenerSettings,
        workers: usize,
        is_shared: bool,
    ) -> io::Result<Self> {
        // Where one of us is already, it is known that no stranger is.
        if !is_shared {
            listen::check_free(bind)?;
        }
        let first = listen::bound(bind)?;
        let actual = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(listen::bound(actual)?);
        }
        let copies = sockets.iter().map(TcpListener::try_clone);
        Ok(Self {
            listener: listener.name.clone(),
            actual,
            backlog: listener.backlog,
            is_deferred: listener.client_first,
            copies: copies.collect::<io::Result<_>>()?,
            sockets,
        })
    }

    fn listen(&self) -> io::Result<()> {
        for socket in &self.sockets {
            if self.is_deferred {
                // Without it clients are served just the same, a little dearer.
                let _dearer = defer::set_defer_accept(socket, true);
            }
            listen::start(socket, self.backlog)?;
        }
        Ok(())
    }
}

/// `:80` means both families; a machine without IPv6 still serves the other.
fn is_v6_missing(bind: SocketAddr, listener: &ListenerSettings, error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    bind.is_ipv6() && bind.ip().is_unspecified() && listener.binds.len() > 1 && missing
}
