use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem::clock::{self, Seed};
use tandem::event::Sink;
use tandem::net::listen;
use tandem::net::listening::Listening;
use tandem::net::socket_file;
use tandem::pool::{
    BackendId, BackendSettings, BackendState, Board, ListenerSettings, PoolSettings, Protocol,
    Snapshot, Wanted,
};
use tandem::proxy::{Budget, GateId, Seen, Workers};
use tandem::types::{Address, BadHeader, ConnectFailure, Endpoint, Name, Reason};

/// Whatever takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub struct Plan {
    pub pool: PoolSettings,
    pub listener: ListenerSettings,
    pub workers: usize,
    pub sessions: u32,
    pub pipes: u32,
    pub busy_poll: Duration,
}

impl Plan {
    pub fn new(protocol: Protocol, backends: &[SocketAddr]) -> Self {
        let backends = (b'a'..).zip(backends).map(|(letter, address)| {
            let name = name(&char::from(letter).to_string());
            BackendSettings::new(name, Address::Ip(*address))
        });
        let any = "127.0.0.1:0".parse().unwrap();
        Self {
            pool: PoolSettings::new(name("pool"), protocol, backends.collect()),
            listener: ListenerSettings::new(name("front"), any, name("pool")),
            workers: 2,
            sessions: 10_000,
            pipes: 8,
            busy_poll: Duration::ZERO,
        }
    }
}

/// Running workers with one listener and one pool.
pub struct Plane {
    pub workers: Workers,
    pub front: SocketAddr,
    pub board: Board,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub ids: Vec<BackendId>,
    pub refused: Arc<AtomicU64>,
    pub greeted: Arc<AtomicU64>,
}

impl Plane {
    pub fn start(plan: Plan) -> Self {
        let snapshot = Arc::<ArcSwap<Snapshot>>::default();
        let refused = Arc::new(AtomicU64::new(0));
        let greeted = Arc::new(AtomicU64::new(0));
        let counters = (Arc::clone(&refused), Arc::clone(&greeted));
        let budget = Budget {
            sessions: plan.sessions,
            refusals: 16,
            pipes: plan.pipes,
            is_clamped: false,
        };
        let workers = Workers::start(
            plan.workers,
            Arc::clone(&snapshot),
            budget,
            plan.busy_poll,
            Sink::nowhere(),
            Seed(7),
            Box::new(move |_, seen| {
                let counter = match seen {
                    Seen::Refusal => &counters.0,
                    Seen::Greeting => &counters.1,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        )
        .unwrap();
        let mut board = Board::new(plan.workers);
        let addresses = plan.pool.backends.iter().map(|it| match &it.address {
            Address::Ip(address) => Endpoint::Tcp(*address),
            Address::Unix(path) => Endpoint::Unix(path.clone()),
            Address::Host { .. } => panic!("tests use addresses"),
        });
        let wanted = Wanted {
            addresses: addresses.map(Some).collect(),
            settings: plan.pool,
        };
        let listeners = [plan.listener];
        let delta = board.configure(&listeners, &[wanted], clock::now());
        let ids: Vec<BackendId> = delta.added.iter().map(|it| it.id).collect();
        let up = BackendState::Up { ramp_from: None };
        for id in &ids {
            board.set_state(*id, up, clock::now());
        }
        snapshot.store(Arc::new(board.compose(clock::now())));
        let bind = listeners[0].binds[0].tcp().expect("an address first");
        let first = listen::shared(bind, 128).unwrap();
        let front = first.local_addr().unwrap();
        let mut sockets = vec![Listening::Tcp(first)];
        for _ in 1..plan.workers {
            sockets.push(Listening::Tcp(listen::shared(front, 128).unwrap()));
        }
        let place = listeners[0].places().next().unwrap();
        workers.listen(GateId(1), &place, sockets).unwrap();
        listen_at_paths(&workers, &listeners[0], plan.workers);
        Self {
            workers,
            front,
            board,
            snapshot,
            ids,
            refused,
            greeted,
        }
    }

    pub fn set_state(&mut self, index: usize, state: BackendState) {
        self.board.set_state(self.ids[index], state, clock::now());
        self.show(&[]);
    }

    /// It no longer answers its probes.
    pub fn lose(&mut self, index: usize) {
        let id = self.ids[index];
        self.board.set_state(id, BackendState::Down, clock::now());
        self.show(&[id]);
    }

    fn show(&mut self, lost: &[BackendId]) {
        let snapshot = self.board.compose(clock::now());
        self.workers.show(Arc::new(snapshot), lost).unwrap();
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.front).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn finished(&self, reason: Reason) -> u64 {
        let snapshot = self.snapshot.load();
        let cells = &snapshot.listeners[0].door.live.cells;
        cells.sum(|it| it.finished[reason as usize].get())
    }

    pub fn accepted(&self) -> u64 {
        let snapshot = self.snapshot.load();
        let cells = &snapshot.listeners[0].door.live.cells;
        cells.sum(|it| it.accepted.get())
    }

    pub fn rejected(&self, reason: Reason) -> u64 {
        let snapshot = self.snapshot.load();
        let cells = &snapshot.listeners[0].door.live.cells;
        cells.sum(|it| it.rejected[reason as usize].get())
    }

    pub fn bad_headers(&self, why: BadHeader) -> u64 {
        let snapshot = self.snapshot.load();
        let cells = &snapshot.listeners[0].door.live.cells;
        cells.sum(|it| it.bad_headers[why as usize].get())
    }

    pub fn open(&self) -> u32 {
        self.snapshot.load().listeners[0].door.live.open()
    }

    pub fn active(&self, index: usize) -> u32 {
        self.snapshot.load().pools[0].backends[index]
            .backend
            .live
            .active()
    }

    /// Connects to a backend that failed so.
    pub fn connect_errors(&self, index: usize, failure: ConnectFailure) -> u64 {
        let snapshot = self.snapshot.load();
        let cells = &snapshot.pools[0].backends[index].backend.live.cells;
        cells.sum(|it| it.connect_errors[failure as usize].get())
    }

    pub fn queued(&self) -> u32 {
        self.snapshot.load().pools[0].live.queued()
    }
}

/// Listens at those binds that are paths.
fn listen_at_paths(workers: &Workers, listener: &ListenerSettings, count: usize) {
    for (at, place) in (2..).zip(listener.places()) {
        let Endpoint::Unix(path) = &place.bind else {
            continue;
        };
        let (socket, file) = socket_file::bound(path, listener.unix).unwrap();
        // The directory goes with the test.
        std::mem::forget(file);
        let socket = Listening::Unix(socket);
        socket.start(128).unwrap();
        let sockets = (0..count).map(|_| socket.try_clone().unwrap());
        workers
            .listen(GateId(at), &place, sockets.collect())
            .unwrap();
    }
}

/// Nothing may be left when a test is over: every place has been given back.
impl Drop for Plane {
    fn drop(&mut self) {
        self.workers.shutdown(clock::now()).unwrap();
        self.workers.join();
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.workers.sessions(), 0);
        assert_eq!(self.open(), 0);
        assert_eq!(self.queued(), 0);
        for index in 0..self.ids.len() {
            assert_eq!(self.active(index), 0);
        }
        let finished: u64 = Reason::ALL.into_iter().map(|it| self.finished(it)).sum();
        assert_eq!(
            self.accepted(),
            finished,
            "each connection ends with one reason"
        );
        assert_eq!(self.finished(Reason::Internal), 0);
    }
}

/// Waits for `what` to become true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = clock::now() + PATIENCE;
    while clock::now() < until {
        if is_true() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("not true after {PATIENCE:?}: {what}");
}

/// A server that hands each connection to `serve` in a thread of its own.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that sends back what it gets, and closes when the client has.
pub fn echo() -> SocketAddr {
    server(|mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let _cut = std::io::copy(&mut stream, &mut writer);
    })
}

/// A server that greets with `text` and then waits for the end.
pub fn greeter(text: &'static str) -> SocketAddr {
    server(move |mut stream| {
        stream.write_all(text.as_bytes()).unwrap();
        let _cut = stream.read_to_end(&mut Vec::new());
    })
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub fn read_some(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads to the end; says what came and whether the end was a reset.
pub fn read_all(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, true),
        Err(error) => panic!("{error}"),
    }
}
