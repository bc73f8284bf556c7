//! A client that resolves and connects, and what it connects to.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_server::proto::op::{Message, Query};
use hickory_server::proto::rr::{Name, RData, RecordType};

use super::net::enter;
use super::pair::NAME;
use super::{now, since, wait_until};

/// A web server that says `ok`.
pub fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut head = [0; 1024];
                let _gone = stream.read(&mut head);
                let answer =
                    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
                let _gone = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

/// What a server answers for the public name, asked once.
pub fn resolve(server: SocketAddr) -> Option<IpAddr> {
    resolve_name(server, NAME)
}

/// The same of another name.
pub fn resolve_name(server: SocketAddr, name: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let patience = Duration::from_millis(500);
    socket.set_read_timeout(Some(patience)).ok()?;
    socket.connect(server).ok()?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name).ok()?, RecordType::A));
    socket.send(&question.to_vec().ok()?).ok()?;
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer).ok()?;
    let answer = Message::from_vec(&answer[..length]).ok()?;
    answer.answers.iter().find_map(|it| {
        if let RData::A(ip) = &it.data {
            return Some(IpAddr::V4(ip.0));
        }
        None
    })
}

/// A client that connects all the time, and resolves before it does.
pub struct Client {
    over: Arc<AtomicBool>,
    ok: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Client {
    /// A client on the host `space` (or this one) that asks `servers` in turn
    /// and keeps an answer for `keep`.
    pub fn start(
        space: Option<String>,
        servers: Vec<SocketAddr>,
        port: u16,
        keep: Duration,
    ) -> Self {
        let over = Arc::<AtomicBool>::default();
        let ok = Arc::<AtomicU64>::default();
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let (is_over, count, told) = (Arc::clone(&over), Arc::clone(&ok), Arc::clone(&failures));
        let thread = std::thread::spawn(move || {
            enter(space.as_deref());
            let mut turn = 0;
            let mut kept: Option<(Instant, IpAddr)> = None;
            let start = now();
            while !is_over.load(Ordering::Relaxed) {
                turn += 1;
                // As a resolver does: another server if this one is gone.
                let ask = |turn: usize| resolve(servers[turn % servers.len()]);
                let fresh = kept.filter(|(at, _)| since(*at) < keep);
                let address = fresh.map(|(_, ip)| ip);
                let address = address.or_else(|| {
                    let found = ask(turn).or_else(|| ask(turn + 1))?;
                    kept = Some((now(), found));
                    Some(found)
                });
                let what = match address.map(|ip| (ip, get((ip, port).into()))) {
                    None => "no address".to_owned(),
                    Some((ip, Err(error))) => format!("{ip}: {error}"),
                    Some((_, Ok(()))) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        std::thread::park_timeout(Duration::from_millis(2));
                        continue;
                    }
                };
                told.lock()
                    .unwrap()
                    .push(format!("{:?} {what}", since(start)));
            }
        });
        Self {
            over,
            ok,
            failures,
            thread,
        }
    }

    /// How many went well, and what happened to those that did not.
    pub fn stop(self) -> (u64, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let failures = self.failures.lock().unwrap().clone();
        (self.ok.load(Ordering::Relaxed), failures)
    }
}

/// Looks at what a server answers, all the time.
pub struct Watch {
    over: Arc<AtomicBool>,
    /// Each answer that differs from the one before, and when it came.
    seen: Arc<Mutex<Vec<(Instant, IpAddr)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches `server` from the host `space`, or from this one.
    pub fn start(space: Option<String>, server: SocketAddr) -> Self {
        let over = Arc::<AtomicBool>::default();
        let seen = Arc::<Mutex<Vec<(Instant, IpAddr)>>>::default();
        let (is_over, all) = (Arc::clone(&over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            enter(space.as_deref());
            while !is_over.load(Ordering::Relaxed) {
                if let Some(ip) = resolve(server) {
                    let mut all = all.lock().unwrap();
                    if all.last().is_none_or(|(_, it)| *it != ip) {
                        all.push((now(), ip));
                    }
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self {
            over,
            seen,
            thread: Some(thread),
        }
    }

    /// Waits for `ip`, and says how long after `start` it came.
    pub fn wait_for(&self, ip: impl Into<IpAddr>, start: Instant) -> Duration {
        let ip = ip.into();
        wait_until("the answer is the new one", || self.last() == Some(ip));
        let seen = self.seen.lock().unwrap();
        let (at, _) = seen.last().unwrap();
        at.saturating_duration_since(start)
    }

    pub fn last(&self) -> Option<IpAddr> {
        self.seen.lock().unwrap().last().map(|(_, ip)| *ip)
    }

    /// How often the answer has changed, the first one included.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _reported = thread.join();
        }
    }
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr) -> std::io::Result<()> {
    exchange(&TcpStream::connect_timeout(
        &address,
        Duration::from_secs(2),
    )?)
}

/// One request on this connection, which it ends.
pub fn exchange(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    Err(std::io::ErrorKind::InvalidData.into())
}
