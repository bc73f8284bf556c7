//! Listening sockets: which are open, which are to be.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use crate::event::{Event, Sink};
use crate::net::{defer, listen};
use crate::pool::{ListenerSettings, Plane, Snapshot};
use crate::proxy::Workers;
use crate::types::Name;

type Key = (Name, SocketAddr);

/// The listening sockets of the process.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: HashMap<Key, Bound>,
    /// Ports of the kernel plane. They are held so that no other process
    /// takes them; nobody listens, so that clients are refused, and do not
    /// hang, if the kernel's rules are gone.
    held: HashMap<Key, OwnedFd>,
}

#[derive(Debug)]
struct Bound {
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
    shared: Vec<(Key, Bound, Vec<TcpListener>)>,
    held: Vec<(Key, OwnedFd)>,
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
    fn new(listener: &Name, address: SocketAddr, cause: io::Error) -> Self {
        let hint = if cause.kind() == io::ErrorKind::AddrInUse {
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
    /// Either all of it or nothing.
    pub(super) fn open(
        &self,
        listeners: &[ListenerSettings],
        workers: usize,
        sink: &Sink,
    ) -> Result<Opened, BindError> {
        let mut opened = Opened::default();
        for listener in listeners {
            for bind in &listener.binds {
                let key = (listener.name.clone(), *bind);
                if self.bound.contains_key(&key) || self.held.contains_key(&key) {
                    continue;
                }
                let is_ours = self.bound.keys().any(|(_, other)| other == bind);
                let result = match listener.plane {
                    Plane::Kernel => listen::hold(*bind).map(|held| opened.held.push((key, held))),
                    Plane::User => open_one(*bind, listener, workers, is_ours)
                        .map(|(bound, sockets)| opened.shared.push((key, bound, sockets))),
                };
                match result {
                    Ok(()) => {}
                    Err(error) if is_v6_missing(*bind, listener, &error) => {
                        sink.say(Event::Limited {
                            what: format!(
                                "listener {}: no {bind}, this machine has no IPv6",
                                listener.name
                            ),
                        });
                    }
                    Err(error) => return Err(BindError::new(&listener.name, *bind, error)),
                }
            }
        }
        Ok(opened)
    }

    /// Lets the workers accept on what was opened. `snapshot` must know the
    /// listeners already.
    pub(super) fn publish(
        &mut self,
        opened: Opened,
        snapshot: &Snapshot,
        workers: &Workers,
        sink: &Sink,
    ) -> io::Result<()> {
        for ((name, address), held) in opened.held {
            sink.say(Event::Listening {
                listener: name.clone(),
                address,
            });
            self.held.insert((name, address), held);
        }
        for ((name, bind), bound, sockets) in opened.shared {
            let mut views = snapshot.listeners.iter();
            let Some(view) = views.find(|view| view.door.listener.name == name) else {
                continue;
            };
            workers.listen(view.door.id, bind, sockets)?;
            sink.say(Event::Listening {
                listener: name.clone(),
                address: bound.actual,
            });
            self.bound.insert((name, bind), bound);
        }
        Ok(())
    }

    /// Closes what `listeners` no longer want. `before` must still know the
    /// listeners that go.
    pub(super) fn retire(
        &mut self,
        listeners: &[ListenerSettings],
        before: &Snapshot,
        workers: &Workers,
    ) -> io::Result<()> {
        let is_wanted = |(name, bind): &Key| {
            let mut wanted = listeners.iter();
            wanted.any(|it| it.name == *name && it.binds.contains(bind))
        };
        self.held.retain(|key, _| is_wanted(key));
        let gone: Vec<Key> = self
            .bound
            .keys()
            .filter(|key| !is_wanted(key))
            .cloned()
            .collect();
        for key in gone {
            // The copies go first: when the workers close theirs, the kernel
            // must not go on accepting on nobody's behalf.
            self.bound.remove(&key);
            let (name, bind) = key;
            let mut views = before.listeners.iter();
            if let Some(view) = views.find(|view| view.door.listener.name == name) {
                workers.unlisten(view.door.id, bind)?;
            }
        }
        Ok(())
    }

    /// Makes sockets that stay open as `listeners` now want them.
    pub(super) fn adjust(&mut self, listeners: &[ListenerSettings]) {
        for listener in listeners {
            for bind in &listener.binds {
                let Some(bound) = self.bound.get_mut(&(listener.name.clone(), *bind)) else {
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
                    let length = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
                    // It was accepted once; a kernel that refuses it now keeps
                    // the old length.
                    let _kept = rustix::net::listen(copy, length);
                }
            }
        }
    }

    /// From now on the kernel hands over connections that have said nothing
    /// yet; those that wait with it already, when it next repeats its part of
    /// their handshake (after 1, 3 and 7 seconds).
    pub(super) fn meet_silent(&mut self) {
        for bound in self.bound.values_mut() {
            if std::mem::take(&mut bound.is_deferred) {
                for copy in &bound.copies {
                    let _lost_if_silent = defer::set_defer_accept(copy, false);
                }
            }
        }
    }

    /// Where each listener accepts.
    pub(super) fn addresses(&self) -> Vec<(Name, SocketAddr)> {
        let mut all: Vec<_> = self
            .bound
            .iter()
            .map(|((name, _), bound)| (name.clone(), bound.actual))
            .chain(self.held.keys().cloned())
            .collect();
        all.sort();
        all
    }

    /// Lets go of all that are listened on. What is held for the kernel stays
    /// held until its rules are gone: a successor must not write its own
    /// before.
    pub(super) fn clear(&mut self) {
        self.bound.clear();
    }
}

fn open_one(
    bind: SocketAddr,
    listener: &ListenerSettings,
    workers: usize,
    is_ours: bool,
) -> io::Result<(Bound, Vec<TcpListener>)> {
    if !is_ours {
        listen::check_free(bind)?;
    }
    let backlog = listener.backlog;
    let first = listen::shared(bind, backlog)?;
    let actual = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(listen::shared(actual, backlog)?);
    }
    let copies = sockets
        .iter()
        .map(TcpListener::try_clone)
        .collect::<io::Result<_>>()?;
    let is_deferred = listener.client_first;
    if is_deferred {
        for socket in &sockets {
            // Without it clients are served just the same, a little dearer.
            let _dearer = defer::set_defer_accept(socket, true);
        }
    }
    let bound = Bound {
        actual,
        backlog,
        is_deferred,
        copies,
    };
    Ok((bound, sockets))
}

/// `:80` means both families; a machine without IPv6 still serves the other.
fn is_v6_missing(bind: SocketAddr, listener: &ListenerSettings, error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    bind.is_ipv6() && bind.ip().is_unspecified() && listener.binds.len() > 1 && missing
}
