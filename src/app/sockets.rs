//! Listening sockets: which are open, which are to be.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::closing::Closing;
use crate::clock::Moment;
use crate::event::{Event, Sink};
use crate::net::listen;
use crate::net::listening::Listening;
use crate::net::socket_file::{self, SocketFile};
use crate::pool::{ListenerSettings, Place, Plane};
use crate::proxy::{GateId, Workers};
use crate::types::{Endpoint, Name, UnixAccess, UnixPath};

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
    actual: Endpoint,
    /// Of a unix socket: its file, and who may connect.
    file: Option<SocketFile>,
    access: UnixAccess,
    backlog: u32,
    /// Whether the kernel hands over a connection only with its first bytes.
    is_deferred: bool,
    /// Copies of what the workers accept on.
    copies: Vec<Listening>,
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
    actual: Endpoint,
    file: Option<SocketFile>,
    access: UnixAccess,
    backlog: u32,
    is_deferred: bool,
    sockets: Vec<Listening>,
    copies: Vec<Listening>,
}

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {cause}{hint}")]
pub struct BindError {
    listener: Name,
    address: Endpoint,
    cause: io::Error,
    hint: &'static str,
}

impl BindError {
    fn same_file(listener: &Name, address: &Endpoint, other: &Endpoint) -> Self {
        let what = format!("tandem listens there already, as {other}");
        Self {
            listener: listener.clone(),
            address: address.clone(),
            cause: io::Error::new(io::ErrorKind::AddrInUse, what),
            hint: " (a symbolic link leads from one to the other: name the path as it is there)",
        }
    }

    fn new(listener: &Name, address: &Endpoint, cause: io::Error, is_ours: bool) -> Self {
        let hint = if address.is_unix() {
            unix_hint(cause.kind())
        } else if cause.kind() == io::ErrorKind::AddrInUse && is_ours {
            " (tandem itself has it still: take the old listener out, reload, and add the new one \
             some seconds later)"
        } else {
            listen::hint(cause.kind())
        };
        Self {
            listener: listener.clone(),
            address: address.clone(),
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
                let bind = &place.bind;
                let known = self.bound.get(&place);
                if known.is_some_and(Bound::is_reached) || self.held.contains_key(&place) {
                    continue;
                }
                let is_ours = self.meets(&place);
                let name = &listener.name;
                if let Some(other) = self.same_file(&place, &opened) {
                    return Err(BindError::same_file(name, bind, other));
                }
                let result = match (listener.plane, bind) {
                    (Plane::Kernel, Endpoint::Tcp(address)) => listen::hold(*address)
                        .map(|held| opened.held.push((name.clone(), place.clone(), held))),
                    (Plane::User | Plane::Kernel, _) => {
                        Fresh::bind(bind, listener, workers, is_ours)
                            .map(|fresh| opened.shared.push((place.clone(), fresh)))
                    }
                };
                match result {
                    Ok(()) => {}
                    Err(error) if is_v6_missing(bind, listener, &error) => {
                        sink.say(Event::Limited {
                            what: format!("listener {name}: no {bind}, this machine has no IPv6"),
                        });
                    }
                    // It has clients still, and whoever has put another file in
                    // its place may keep it.
                    Err(error) if known.is_some() => {
                        let error = BindError::new(name, bind, error, false);
                        let what = format!("{error}; its file has gone, and nobody finds it");
                        sink.say(Event::Trouble { what });
                    }
                    Err(error) => return Err(BindError::new(name, bind, error, is_ours)),
                }
            }
        }
        for (place, fresh) in &opened.shared {
            let name = &fresh.listener;
            let listening = fresh.listen();
            listening.map_err(|error| BindError::new(name, &place.bind, error, false))?;
        }
        self.give_files(listeners)?;
        Ok(opened)
    }

    /// Gives the files of sockets that stay to whom `listeners` now want: all
    /// of them or none.
    fn give_files(&self, listeners: &[ListenerSettings]) -> Result<(), BindError> {
        let mut given = Vec::new();
        for listener in listeners {
            for place in listener.places() {
                let Some(bound) = self.bound.get(&place) else {
                    continue;
                };
                let Some(file) = &bound.file else {
                    continue;
                };
                if bound.access == listener.unix || !file.is_in_place() {
                    continue;
                }
                given.push((file, bound.access));
                if let Err(error) = file.give(listener.unix) {
                    for (file, before) in given {
                        // What was allowed before is allowed now.
                        let _kept = file.give(before);
                    }
                    return Err(BindError::new(&listener.name, &place.bind, error, false));
                }
            }
        }
        Ok(())
    }

    /// Whose file, of those that are open or `opened`, is at `place` by another
    /// path. As long as it does not listen it would be taken for a dead one's.
    fn same_file<'s>(&'s self, place: &Place, opened: &'s Opened) -> Option<&'s Endpoint> {
        let Endpoint::Unix(path) = &place.bind else {
            return None;
        };
        let path = path.file()?;
        let bound = self.bound.values().map(|it| (&it.file, &it.actual));
        let fresh = opened.shared.iter().map(|(_, it)| (&it.file, &it.actual));
        let mut all = bound.chain(fresh);
        let is_there = |file: &Option<SocketFile>| file.as_ref().is_some_and(|it| it.is_at(path));
        all.find(|(file, _)| is_there(file)).map(|(_, it)| it)
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
        now: Moment,
    ) -> io::Result<()> {
        let mut lost = Vec::new();
        for (listener, place, held) in opened.held {
            let address = place.bind.clone();
            sink.say(Event::Listening { listener, address });
            self.held.insert(place, held);
        }
        for (place, fresh) in opened.shared {
            self.gates += 1;
            let gate = GateId(self.gates);
            workers.listen(gate, &place, fresh.sockets)?;
            let bound = Bound {
                gate,
                actual: fresh.actual.clone(),
                file: fresh.file,
                access: fresh.access,
                backlog: fresh.backlog,
                is_deferred: fresh.is_deferred,
                copies: fresh.copies,
            };
            sink.say(Event::Listening {
                listener: fresh.listener,
                address: fresh.actual,
            });
            let before = self.bound.insert(place.clone(), bound);
            lost.extend(before.map(|it| (place, it)));
        }
        begin_closing(&mut self.closing, lost.into_iter(), workers, now)
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
                bound.access = listener.unix;
                if bound.is_deferred != listener.client_first {
                    bound.is_deferred = listener.client_first;
                    for copy in &bound.copies {
                        let _dearer = copy.set_deferred(bound.is_deferred);
                    }
                }
                if bound.backlog == listener.backlog {
                    continue;
                }
                bound.backlog = listener.backlog;
                for copy in &bound.copies {
                    // It was accepted once; a kernel that refuses it now keeps
                    // the old length.
                    let _kept = copy.start(bound.backlog);
                }
            }
        }
    }

    /// Where each of `listeners` accepts.
    pub(super) fn addresses(&self, listeners: &[ListenerSettings]) -> Vec<(Name, Endpoint)> {
        let mut all = Vec::new();
        for listener in listeners {
            for place in listener.places() {
                let bound = self.bound.get(&place).map(|it| it.actual.clone());
                let held = self.held.get(&place).map(|_| place.bind.clone());
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
            file,
            copies,
            ..
        } = bound;
        // Before the socket: as long as somebody listens no successor takes the
        // file for its own, and it is ours to remove.
        drop(file);
        let is_waited_for = match actual {
            Endpoint::Tcp(actual) => closing.begin(gate, place, actual, &copies, now),
            // Nobody is half-open: all are in the queue, which the workers empty.
            Endpoint::Unix(_) => {
                for copy in &copies {
                    copy.shut()?;
                }
                false
            }
        };
        if !is_waited_for {
            // The copies go first: when the workers close theirs, the
            // kernel must not go on accepting on nobody's behalf.
            drop(copies);
            workers.unlisten(gate)?;
        }
    }
    Ok(())
}

impl Bound {
    /// Whether new clients find it.
    fn is_reached(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_in_place)
    }
}

impl Fresh {
    fn bind(
        bind: &Endpoint,
        listener: &ListenerSettings,
        workers: usize,
        is_shared: bool,
    ) -> io::Result<Self> {
        let mut file = None;
        let (actual, sockets) = match bind {
            Endpoint::Tcp(address) => bind_tcp(*address, workers, is_shared)?,
            Endpoint::Unix(path) => {
                let made = bind_unix(path, listener.unix, workers)?;
                file = made.1;
                (bind.clone(), made.0)
            }
        };
        let copies = sockets.iter().map(Listening::try_clone);
        Ok(Self {
            listener: listener.name.clone(),
            actual,
            file,
            access: listener.unix,
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
                let _dearer = socket.set_deferred(true);
            }
            socket.start(self.backlog)?;
        }
        Ok(())
    }
}

/// A socket for each worker.
fn bind_tcp(
    bind: SocketAddr,
    workers: usize,
    is_shared: bool,
) -> io::Result<(Endpoint, Vec<Listening>)> {
    // Where one of us is already, it is known that no stranger is.
    if !is_shared {
        listen::check_free(bind)?;
    }
    let first = listen::bound(bind)?;
    let actual = first.local_addr()?;
    let mut sockets = vec![Listening::Tcp(first)];
    for _ in 1..workers {
        sockets.push(Listening::Tcp(listen::bound(actual)?));
    }
    Ok((actual.into(), sockets))
}

/// One socket, which all workers share: unix sockets have no SO_REUSEPORT.
fn bind_unix(
    path: &UnixPath,
    access: UnixAccess,
    workers: usize,
) -> io::Result<(Vec<Listening>, Option<SocketFile>)> {
    let (socket, file) = socket_file::bound(path, access)?;
    let mut sockets = vec![Listening::Unix(socket)];
    for _ in 1..workers {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok((sockets, file))
}

fn unix_hint(kind: io::ErrorKind) -> &'static str {
    let hints = [
        (
            io::ErrorKind::AddrInUse,
            " (another process listens there; `ss -lxp` shows which)",
        ),
        (
            io::ErrorKind::AlreadyExists,
            " (choose another path, or move it away)",
        ),
        (io::ErrorKind::NotFound, " (its directory must exist)"),
        (
            io::ErrorKind::PermissionDenied,
            " (the process must be able to write to its directory; to give it to a group it must be \
             in that, `SupplementaryGroups=` of its unit, and to another user it needs CAP_CHOWN)",
        ),
    ];
    let found = hints.into_iter().find(|(it, _)| *it == kind);
    found.map_or("", |(_, hint)| hint)
}

/// `:80` means both families; a machine without IPv6 still serves the other.
fn is_v6_missing(bind: &Endpoint, listener: &ListenerSettings, error: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(bind) = bind.tcp() else {
        return false;
    };
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    bind.is_ipv6() && bind.ip().is_unspecified() && listener.binds.len() > 1 && missing
}
