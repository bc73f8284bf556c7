//! The client of the demo: asks all the time, a new connection for each
//! request, and counts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients at the same time.
const CLIENTS: usize = 4;
/// The pause between two requests of one client.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What has come of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    /// Asked a second time, because the first was cut short.
    pub(super) repeated: u64,
    pub(super) by_backend: Vec<u64>,
}

#[derive(Debug)]
struct Counts {
    failed: AtomicU64,
    repeated: AtomicU64,
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
    pub(super) fn start(front: SocketAddr, backends: usize) -> Self {
        let counts = Arc::new(Counts {
            failed: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            by_backend: (0..backends).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
            over: (Mutex::new(()), Condvar::new()),
        });
        let threads = (0..CLIENTS).map(|_| {
            let counts = Arc::clone(&counts);
            std::thread::spawn(move || counts.ask_on(front))
        });
        Self {
            threads: threads.collect(),
            counts,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.counts.tally()
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
    fn ask_on(&self, front: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut answer = get(front, "/");
            if answer.is_err() {
                // What every browser does with a request that changes nothing.
                self.repeated.fetch_add(1, Ordering::Relaxed);
                answer = get(front, "/");
            }
            let index = answer.ok().and_then(|body| body.first().copied());
            let index = index.and_then(|letter| letter.checked_sub(b'a'));
            match index.and_then(|index| self.by_backend.get(usize::from(index))) {
                Some(count) => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.wait(PAUSE);
        }
    }

    fn wait(&self, how_long: Duration) {
        let guard = self.over.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early when it is over.
        let _woken = self.over.1.wait_timeout(guard, how_long);
    }

    fn tally(&self) -> Tally {
        let by_backend = self.by_backend.iter().map(|it| it.load(Ordering::Relaxed));
        let by_backend: Vec<u64> = by_backend.collect();
        Tally {
            ok: by_backend.iter().sum(),
            failed: self.failed.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            by_backend,
        }
    }
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
