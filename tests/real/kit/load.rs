//! Web clients that never stop: held connections with a request every so
//! often, and fresh ones. They check each answer and remember what failed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{figure, ms, pass};

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// Connections that stay.
    pub(crate) held: usize,
    /// The pause between two requests on each of them.
    pub(crate) held_every: Duration,
    /// Clients that make a new connection for each request.
    pub(crate) fresh: usize,
    /// The pause between two requests of each of them.
    pub(crate) fresh_every: Duration,
    /// How long a client waits for a connection or an answer.
    pub(crate) patience: Duration,
}

impl Plan {
    /// 50 held connections with a request each 100 ms, and 100 new
    /// connections a second.
    pub(crate) const fn usual(target: SocketAddr) -> Self {
        Self {
            target,
            held: 50,
            held_every: ms(100),
            fresh: 10,
            fresh_every: ms(95),
            patience: Duration::from_secs(10),
        }
    }
}

/// What went wrong with one request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// When, since the load began.
    #[expect(dead_code, reason = "it is read in the message of a failed test")]
    pub(crate) at: Duration,
    /// The client's own address, if it got as far as a connection.
    pub(crate) client: Option<SocketAddr>,
    /// The backend that had answered on that connection before, if any.
    pub(crate) backend: Option<String>,
    /// What the client saw.
    pub(crate) fault: Fault,
}

/// What a client can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Connect(String),
    /// The connection ended before the answer did.
    Cut(String),
    /// Nothing for as long as the client waits.
    Silence,
    /// Another answer than expected.
    Wrong(String),
}

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Requests on fresh connections that were answered at the first try.
    pub(crate) fresh_ok: u64,
    /// First tries that failed after the connection was made.
    pub(crate) fresh_failed: Vec<Failure>,
    /// Connections that could not be made.
    pub(crate) unconnected: Vec<Failure>,
    /// Requests that failed again when repeated once.
    pub(crate) failed_twice: Vec<Failure>,
    /// Requests answered on held connections.
    pub(crate) held_ok: u64,
    /// Held connections that broke.
    pub(crate) broken: Vec<Failure>,
    /// Answers on fresh connections by backend.
    pub(crate) by_backend: HashMap<String, u64>,
    /// How long each fresh request took.
    pub(crate) latencies: Vec<Duration>,
}

impl Tally {
    /// The latency that this part (0 to 1) of the fresh requests stayed below.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among some thousand latencies"
    )]
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * part) as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Answers on fresh connections from one backend.
    pub(crate) fn from(&self, backend: &str) -> u64 {
        self.by_backend.get(backend).copied().unwrap_or(0)
    }

    /// Says the figures.
    pub(crate) fn report(&self, test: &str) {
        figure(&format!("{test}.fresh_ok"), self.fresh_ok);
        figure(
            &format!("{test}.fresh_failed_once"),
            self.fresh_failed.len(),
        );
        figure(
            &format!("{test}.fresh_failed_twice"),
            self.failed_twice.len(),
        );
        figure(&format!("{test}.unconnected"), self.unconnected.len());
        figure(&format!("{test}.held_ok"), self.held_ok);
        figure(&format!("{test}.held_broken"), self.broken.len());
        for part in [0.5, 0.99, 1.0] {
            let latency = self.quantile(part);
            figure(
                &format!("{test}.latency_p{}", part * 100.0),
                format!("{latency:?}"),
            );
        }
    }

    /// Nothing failed, at all.
    pub(crate) fn assert_clean(&self) {
        assert!(self.fresh_ok > 0, "the load did nothing: {self:?}");
        let nothing: [(&str, &Vec<Failure>); 4] = [
            ("connections not made", &self.unconnected),
            ("requests failed", &self.fresh_failed),
            ("requests failed twice", &self.failed_twice),
            ("held connections broken", &self.broken),
        ];
        for (what, failures) in nothing {
            let some: Vec<_> = failures.iter().take(5).collect();
            assert!(failures.is_empty(), "{} {what}: {some:?}", failures.len());
        }
    }
}

/// Clients at work.
pub(crate) struct Load {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    plan: Plan,
    start: Instant,
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Self {
        let work = Arc::new(Work {
            plan,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            tally: Mutex::default(),
        });
        let own = Arc::clone(&work);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(all(&own));
        });
        Self {
            work,
            thread: Some(thread),
        }
    }

    /// What has been seen so far.
    pub(crate) fn so_far(&self) -> Tally {
        self.work.tally.lock().expect("no client panics").clone()
    }

    /// What has been seen so far; the count begins anew.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.work.tally.lock().expect("no client panics"))
    }

    /// Lets the load go on for `time`.
    pub(crate) fn go_on(&self, time: Duration) {
        assert!(!self.work.stop.load(Ordering::Relaxed), "it was stopped");
        pass(time);
    }

    /// Lets the last requests end and tells what was seen.
    pub(crate) fn stop(mut self) -> Tally {
        self.work.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "a client panicked");
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.work.stop.store(true, Ordering::Relaxed);
    }
}

async fn all(work: &Arc<Work>) {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..work.plan.fresh {
        clients.spawn(fresh(Arc::clone(work)));
        // Spread, so that the clients do not march in step.
        sleep(ms(3)).await;
    }
    for _ in 0..work.plan.held {
        clients.spawn(held(Arc::clone(work)));
        sleep(ms(2)).await;
    }
    clients.join_all().await;
}

impl Work {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, what: impl FnOnce(&mut Tally)) {
        what(&mut self.tally.lock().expect("no client panics"));
    }

    fn failure(&self, client: Option<SocketAddr>, backend: Option<&str>, fault: Fault) -> Failure {
        Failure {
            at: self.start.elapsed(),
            client,
            backend: backend.map(str::to_owned),
            fault,
        }
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let fault = match timeout(self.plan.patience, TcpStream::connect(self.plan.target)).await {
            Ok(Ok(stream)) => {
                // Only a delay is at stake.
                let _slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => Fault::Connect(error.to_string()),
            Err(_) => Fault::Connect("timed out".to_owned()),
        };
        Err(self.failure(None, None, fault))
    }

    async fn once(&self) -> Result<String, Failure> {
        let mut stream = self.connect().await?;
        let client = stream.local_addr().ok();
        let answer = timeout(self.plan.patience, exchange(&mut stream, true)).await;
        answer
            .unwrap_or(Err(Fault::Silence))
            .map_err(|fault| self.failure(client, None, fault))
    }
}

async fn fresh(work: Arc<Work>) {
    while work.goes_on() {
        let start = Instant::now();
        match work.once().await {
            Ok(backend) => work.note(|it| {
                it.fresh_ok += 1;
                it.latencies.push(start.elapsed());
                *it.by_backend.entry(backend).or_default() += 1;
            }),
            Err(failure) => {
                let again = work.once().await;
                work.note(|it| {
                    match failure.fault {
                        Fault::Connect(_) => it.unconnected.push(failure),
                        Fault::Cut(_) | Fault::Silence | Fault::Wrong(_) => {
                            it.fresh_failed.push(failure);
                        }
                    }
                    it.failed_twice.extend(again.err());
                });
            }
        }
        sleep(work.plan.fresh_every).await;
    }
}

async fn held(work: Arc<Work>) {
    while work.goes_on() {
        let mut stream = match work.connect().await {
            Ok(stream) => stream,
            Err(failure) => {
                work.note(|it| it.unconnected.push(failure));
                sleep(work.plan.held_every).await;
                continue;
            }
        };
        let client = stream.local_addr().ok();
        let mut last: Option<String> = None;
        while work.goes_on() {
            let answer = timeout(work.plan.patience, exchange(&mut stream, false)).await;
            match answer.unwrap_or(Err(Fault::Silence)) {
                Ok(backend) => {
                    work.note(|it| it.held_ok += 1);
                    last = Some(backend);
                }
                Err(fault) => {
                    let failure = work.failure(client, last.as_deref(), fault);
                    work.note(|it| it.broken.push(failure));
                    break;
                }
            }
            sleep(work.plan.held_every).await;
        }
        sleep(ms(20)).await;
    }
}

/// One request; the first word of the answer's body, which is the backend's
/// name.
async fn exchange(stream: &mut TcpStream, is_last: bool) -> Result<String, Fault> {
    let cut = |error: std::io::Error| Fault::Cut(error.to_string());
    let close = if is_last { "Connection: close\r\n" } else { "" };
    let request = format!("GET /name HTTP/1.1\r\nHost: rig\r\n{close}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(cut)?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await.map_err(cut)? == 0 {
            let seen = String::from_utf8_lossy(&bytes);
            return Err(Fault::Cut(format!("end after {seen:?}")));
        }
        let Some(reply) = super::http::parse(&bytes) else {
            continue;
        };
        if reply.status != 200 {
            return Err(Fault::Wrong(reply.head));
        }
        let length = reply
            .header("content-length")
            .and_then(|it| it.parse().ok());
        if length == Some(reply.body.len()) {
            let name = reply.body.split_whitespace().next().unwrap_or("nobody");
            return Ok(name.to_owned());
        }
    }
}
