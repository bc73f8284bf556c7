//! The sockets of the embedded server, and the limits on their way in.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time;

use super::answer::{Table, answer};
use super::counts::{Counters, Silence};
use super::gate::{Gate, gate, truncated};
use super::limiter::{Limiter, Transport, Verdict};
use super::seats::Seats;
use super::settings::ServeSettings;
use super::tcp::tcp;
use crate::clock::{self, Seed};
use crate::event::{Event, Sink};
use crate::types::{Name, Reason};

/// No query is longer; one that claims to be is not read.
pub(super) const MOST_QUERY: usize = 4096;
/// After accept or receive has failed: time for descriptors to come back.
pub(super) const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often the log is told what the limits have turned away.
const REPORT: Duration = Duration::from_secs(10);

/// What the tasks of the server share with each other and with its owner.
pub(super) struct Shared {
    /// What is answered.
    pub(super) table: ArcSwapOption<Table>,
    /// What was done.
    pub(super) counters: Counters,
    /// The places for TCP connections.
    pub(super) seats: Mutex<Seats<Arc<Notify>>>,
    limiter: Mutex<Limiter>,
    turn: AtomicUsize,
    pub(super) tcp_idle: Duration,
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
            let address = address.into();
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
            seats: Mutex::new(Seats::new(settings.tcp_clients)),
            limiter: Mutex::new(limiter),
            turn: AtomicUsize::new(0),
            tcp_idle: settings.tcp_idle,
        }
    }

    /// The bytes to send back, if any.
    pub(super) fn answer(
        &self,
        raw: &[u8],
        from: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
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

/// What is locked here is never left half done, so a panic elsewhere does not
/// spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
