use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::answer::Table;
use super::counts::Counts;
use super::records::Zone;
use super::serve::{Shared, lock, serve};
use super::settings::ServeSettings;
use crate::event::Sink;
use crate::net::listen;

/// Connections that may wait to be accepted: each is, and somebody idle makes
/// place.
const BACKLOG: u32 = 1024;
/// Datagrams that may wait while the thread is not scheduled: about 1,000.
const RECEIVE_BUFFER: usize = 512 * 1024;
/// With port 0 the UDP port that the system chose may be taken for TCP.
const PORT_TRIES: usize = 16;

/// The authoritative server for the public name. It has one thread of its own,
/// so that a flood of queries costs one core and nobody else's time.
///
/// Until the first [`Dns::publish`] it answers SERVFAIL, which makes resolvers
/// ask the twin. It ends when it is dropped.
pub struct Dns {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Dns {
    /// Binds every address of `settings`, UDP and TCP, and begins to answer.
    pub fn start(settings: &ServeSettings, sink: Sink) -> io::Result<Self> {
        if settings.binds.is_empty() || settings.nodes.is_empty() {
            let what = "dns: there is no address to answer at, or no node to answer with";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut all = Vec::with_capacity(settings.binds.len());
        for bind in &settings.binds {
            all.push(bind_both(*bind).map_err(|error| explain(*bind, &error))?);
        }
        let addresses = all
            .iter()
            .map(|it| it.udp.local_addr())
            .collect::<io::Result<Vec<_>>>()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::new(settings));
        let (stop, stopped) = oneshot::channel();
        let sockets = {
            let _entered = runtime.enter();
            let to_tokio = |it: Sockets| -> io::Result<_> {
                let udp = tokio::net::UdpSocket::from_std(it.udp)?;
                Ok((udp, tokio::net::TcpListener::from_std(it.tcp)?))
            };
            all.into_iter()
                .map(to_tokio)
                .collect::<io::Result<Vec<_>>>()?
        };
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || runtime.block_on(serve(sockets, state, sink, stopped)))?;
        Ok(Self {
            shared,
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Answers from `zone` from now on: the next query sees it.
    pub fn publish(&self, zone: Zone) {
        self.shared.table.store(Some(Arc::new(Table::new(zone))));
    }

    /// What it answers; none before the first [`Dns::publish`].
    pub fn show(&self) -> Option<Zone> {
        let table = self.shared.table.load();
        table.as_ref().map(|table| table.zone().clone())
    }

    /// Where it answers, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it still answers; after a fault of its own it does not.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| !it.is_finished())
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let clients = lock(&self.shared.seats).taken();
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        self.shared.counters.read(clients)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _reported = thread.join();
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Dns");
        it.field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

fn bind_both(address: SocketAddr) -> io::Result<Sockets> {
    if address.ip().is_unspecified() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an answer must leave from the address that was asked; \
             name each address of this machine instead",
        ));
    }
    let mut tries = 1..=PORT_TRIES;
    loop {
        let last = address.port() != 0 || tries.next().is_none();
        let udp = bind_udp(address)?;
        let tcp = udp.local_addr().and_then(|same| {
            listen::check_free(same)?;
            listen::shared(same, BACKLOG)
        });
        match tcp {
            Ok(tcp) => return Ok(Sockets { udp, tcp }),
            Err(error) if last => return Err(error),
            Err(_) => {}
        }
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may grant less; then a burst loses some queries.
    let _granted = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let hint = if error.kind() == io::ErrorKind::AddrInUse {
        " (another process answers there, systemd-resolved or another name server; \
         `ss -lntup` shows which)"
    } else {
        listen::hint(error.kind())
    };
    let what = format!("dns: cannot answer at {address}: {error}{hint}");
    io::Error::new(error.kind(), what)
}
