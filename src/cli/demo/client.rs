//! The client of the demo: resolves the public name and connects, all the
//! time, a new connection for each request, and counts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_server::proto::op::{Message, Query};
use hickory_server::proto::rr::{Name, RData, RecordType};

use crate::clock::{self, Moment};

/// Clients at the same time.
const CLIENTS: usize = 4;
/// The pause between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a request is repeated before it counts as failed.
const TRIES: u32 = 60;
/// The pause before it is.
const BREATH: Duration = Duration::from_millis(20);

/// Where the public name is asked for, and where the web is.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) port: u16,
}

/// What has come of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    /// Those that did not go through at their first try.
    pub(super) repeated: u64,
    pub(super) by_backend: Vec<u64>,
    /// The longest that a request had to wait until it went through.
    pub(super) longest: Duration,
}

#[derive(Debug)]
struct Counts {
    failed: AtomicU64,
    repeated: AtomicU64,
    longest_micros: AtomicU64,
    by_backend: Vec<AtomicU64>,
    is_over: AtomicBool,
    over: (Mutex<()>, Condvar),
}

/// Clients that go on until they are stopped.
pub(super) struct Asker {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Asker {
    pub(super) fn start(target: &Target, backends: usize) -> Self {
        let counts = Arc::new(Counts {
            failed: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            longest_micros: AtomicU64::new(0),
            by_backend: (0..backends).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
            over: (Mutex::new(()), Condvar::new()),
        });
        let threads = (0..CLIENTS).map(|client| {
            let counts = Arc::clone(&counts);
            let target = target.clone();
            std::thread::spawn(move || counts.ask_on(&target, client))
        });
        Self {
            threads: threads.collect(),
            counts,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.counts.tally()
    }

    /// What has come of the requests since `before`.
    pub(super) fn forget_longest(&self) {
        self.counts.longest_micros.store(0, Ordering::Relaxed);
    }

    pub(super) fn wait(&self, how_long: Duration) {
        self.counts.wait(how_long);
    }

    pub(super) fn stop(self) -> Tally {
        self.counts.is_over.store(true, Ordering::Relaxed);
        self.counts.over.1.notify_all();
        for thread in self.threads {
            // A panic has been reported by the panic hook.
            let _reported = thread.join();
        }
        self.counts.tally()
    }
}

impl Counts {
    fn ask_on(&self, target: &Target, client: usize) {
        let mut turn = client;
        while !self.is_over.load(Ordering::Relaxed) {
            let start = clock::now();
            match self.ask(target, &mut turn) {
                Some(letter) => {
                    let index = usize::from(letter.wrapping_sub(b'a'));
                    if let Some(count) = self.by_backend.get(index) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    self.note_wait(start);
                }
                None => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.wait(PAUSE);
        }
    }

    fn note_wait(&self, start: Moment) {
        let took = clock::now().since(start).as_micros();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        self.longest_micros.fetch_max(took, Ordering::Relaxed);
    }

    /// The first letter of an answer. What every browser does with a request
    /// that changes nothing: resolve and ask again.
    fn ask(&self, target: &Target, turn: &mut usize) -> Option<u8> {
        for attempt in 0..TRIES {
            *turn += 1;
            let server = target.servers[*turn % target.servers.len()];
            let address = resolve(server, &target.name);
            let body = address.and_then(|ip| get((ip, target.port).into(), "/"));
            if let Some(letter) = body.ok().and_then(|body| body.first().copied()) {
                if attempt > 0 {
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                }
                return Some(letter);
            }
            self.wait(BREATH);
        }
        None
    }

    fn wait(&self, how_long: Duration) {
        let guard = self.over.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early when it is over.
        let _woken = self.over.1.wait_timeout(guard, how_long);
    }

    fn tally(&self) -> Tally {
        let by_backend = self.by_backend.iter().map(|it| it.load(Ordering::Relaxed));
        let by_backend: Vec<u64> = by_backend.collect();
        let longest = self.longest_micros.load(Ordering::Relaxed);
        Tally {
            ok: by_backend.iter().sum(),
            failed: self.failed.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            by_backend,
            longest: Duration::from_micros(longest),
        }
    }
}

/// The IPv4 address that `server` gives for `name`.
pub(super) fn resolve(server: SocketAddr, name: &str) -> io::Result<Ipv4Addr> {
    let broken = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(server)?;
    let mut question = Message::query();
    let name = Name::from_ascii(name).map_err(|error| broken(&error))?;
    question.add_query(Query::query(name, RecordType::A));
    let bytes = question.to_vec().map_err(|error| broken(&error))?;
    socket.send(&bytes)?;
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer)?;
    let answer = Message::from_vec(&answer[..length]).map_err(|error| broken(&error))?;
    let mut records = answer.answers.iter();
    let found = records.find_map(|it| {
        if let RData::A(ip) = &it.data {
            return Some(ip.0);
        }
        None
    });
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The body of a 200 to a GET over a connection of its own.
pub(super) fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200") => Ok(answer.split_off(end + 4)),
        Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}
