//! The sockets of the embedded server, and the limits on their way in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time;

use super::answer::{Table, answer};
use super::counts::{Counters, Silence};
use super::gate::{Gate, gate, truncated};
use super::limiter::{Limiter, Transport, Verdict, prefix};
use super::settings::ServeSettings;
use crate::clock::{self, Seed};
use crate::event::{Event, Sink};
use crate::types::{Name, Reason};

/// No query is longer; one that claims to be is not read.
const MOST_QUERY: usize = 4096;
/// After accept or receive has failed: time for descriptors to come back.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often the log is told what the limits have turned away.
const REPORT: Duration = Duration::from_secs(10);

/// What the tasks of the server share with each other and with its owner.
pub(super) struct Shared {
    /// What is answered.
    pub(super) table: ArcSwapOption<Table>,
    /// What was done.
    pub(super) counters: Counters,
    /// The places for TCP connections.
    pub(super) seats: Arc<Seats>,
    limiter: Mutex<Limiter>,
    turn: AtomicUsize,
    tcp_idle: Duration,
}

/// The places for TCP connections, all together and for each network.
#[derive(Debug)]
pub(super) struct Seats {
    all: u32,
    one_network: u32,
    taken: Mutex<HashMap<u128, u32>>,
}

/// A TCP connection's place; given back when dropped.
struct Seat {
    seats: Arc<Seats>,
    network: u128,
}

/// Answers at every socket until `stopped` resolves.
pub(super) async fn serve(
    sockets: Vec<(UdpSocket, TcpListener)>,
    shared: Arc<Shared>,
    sink: Sink,
    stopped: oneshot::Receiver<()>,
) {
    let mut tasks = JoinSet::new();
    for (datagrams, listener) in sockets {
        if let (Ok(listener), Ok(address)) = (own_name(), datagrams.local_addr()) {
            sink.say(Event::Listening { listener, address });
        }
        tasks.spawn(udp(datagrams, Arc::clone(&shared)));
        tasks.spawn(tcp(listener, Arc::clone(&shared)));
    }
    tasks.spawn(report(shared, sink.clone()));
    tokio::select! {
        // The owner is gone, either way.
        _gone = stopped => {}
        // No task ends by itself. Half a server would be asked for ever and
        // answer half of the time; none makes resolvers turn to the twin.
        _dead = tasks.join_next() => {
            let what = "the DNS server has ended after a fault of its own".to_owned();
            sink.say(Event::Trouble { what });
        }
    }
}

async fn udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = vec![0; MOST_QUERY];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            time::sleep(AFTER_FAILURE).await;
            continue;
        };
        let Some(reply) = shared.answer(&buffer[..length], from, Transport::Udp) else {
            continue;
        };
        // A full send buffer is no reason to let the next one wait.
        if socket.try_send_to(&reply, from).is_err() {
            shared.counters.silent(Silence::Unsent);
        }
    }
}

async fn tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            time::sleep(AFTER_FAILURE).await;
            continue;
        };
        match shared.seats.take(from.ip()) {
            Some(seat) => {
                clients.spawn(client(stream, from, seat, Arc::clone(&shared)));
            }
            None => shared.counters.silent(Silence::TcpLimit),
        }
    }
}

/// One question after the other, until the client closes, dawdles or says
/// something that gets no answer.
async fn client(mut stream: TcpStream, from: SocketAddr, seat: Seat, shared: Arc<Shared>) {
    let mut query = Vec::new();
    loop {
        let read = time::timeout(shared.tcp_idle, read_query(&mut stream, &mut query));
        if !read.await.unwrap_or(false) {
            break;
        }
        let Some(reply) = shared.answer(&query, from, Transport::Tcp) else {
            break;
        };
        let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
        // In one piece: two would be two packets.
        let message = [&length.to_be_bytes(), reply.as_slice()].concat();
        let written = time::timeout(shared.tcp_idle, stream.write_all(&message));
        if !matches!(written.await, Ok(Ok(()))) {
            shared.counters.silent(Silence::Unsent);
            break;
        }
    }
    drop(seat);
}

async fn read_query(stream: &mut TcpStream, query: &mut Vec<u8>) -> bool {
    let Ok(length) = stream.read_u16().await else {
        return false;
    };
    let length = usize::from(length);
    if length > MOST_QUERY {
        return false;
    }
    query.resize(length, 0);
    stream.read_exact(query).await.is_ok()
}

async fn report(shared: Arc<Shared>, sink: Sink) {
    let mut told = 0;
    let mut tick = time::interval(REPORT);
    loop {
        tick.tick().await;
        let limited = shared.counters.limited();
        let (count, Ok(listener)) = (limited - told, own_name()) else {
            continue;
        };
        if count > 0 {
            let reason = Reason::Limit;
            sink.say(Event::Shed {
                listener,
                reason,
                count,
            });
        }
        told = limited;
    }
}

fn own_name() -> Result<Name, crate::types::NameError> {
    Name::new("dns")
}

impl Shared {
    pub(super) fn new(settings: &ServeSettings) -> Self {
        let limiter = Limiter::new(settings.per_source_qps, settings.global_qps, Seed::random());
        Self {
            table: ArcSwapOption::empty(),
            counters: Counters::default(),
            seats: Arc::new(Seats {
                all: settings.tcp_clients,
                one_network: settings.tcp_clients.div_ceil(4),
                taken: Mutex::default(),
            }),
            limiter: Mutex::new(limiter),
            turn: AtomicUsize::new(0),
            tcp_idle: settings.tcp_idle,
        }
    }

    /// The bytes to send back, if any.
    fn answer(&self, raw: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        // Port 0 cannot be answered.
        if gate(raw) == Gate::Drop || from.port() == 0 {
            self.counters.silent(Silence::NoQuery);
            return None;
        }
        let verdict = lock(&self.limiter).take(clock::now(), from.ip(), transport);
        let silence = match verdict {
            Verdict::Answer => return self.look_up(raw, from, transport),
            Verdict::Busy => Silence::GlobalLimit,
            Verdict::Drop => Silence::SourceLimit,
            Verdict::Slip => Silence::ToldTcp,
        };
        self.counters.silent(silence);
        (verdict == Verdict::Slip).then(|| truncated(raw))?
    }

    fn look_up(&self, raw: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let table = self.table.load();
        let look = || answer(table.as_deref(), raw, from, transport, turn);
        // The parser is not ours: should a message make it panic, that costs
        // the answer to this message.
        let Ok(reply) = catch_unwind(AssertUnwindSafe(look)) else {
            self.counters.silent(Silence::Fault);
            return None;
        };
        let reply = reply?;
        self.counters.answered(reply.code);
        Some(reply.bytes)
    }
}

impl Seats {
    /// How many are taken.
    pub(super) fn taken(&self) -> u32 {
        lock(&self.taken).values().sum()
    }

    fn take(self: &Arc<Self>, source: IpAddr) -> Option<Seat> {
        let network = prefix(source);
        let mut taken = lock(&self.taken);
        let all: u32 = taken.values().sum();
        let mine = taken.entry(network).or_default();
        if all >= self.all || *mine >= self.one_network {
            if *mine == 0 {
                taken.remove(&network);
            }
            return None;
        }
        *mine += 1;
        Some(Seat {
            seats: Arc::clone(self),
            network,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        if let Some(mine) = taken.get_mut(&self.network) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// What is locked here is never left half done, so a panic elsewhere does not
/// spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
