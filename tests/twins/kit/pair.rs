use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_server::proto::op::{Message, Query};
use hickory_server::proto::rr::{Name, RData, RecordType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;

pub const NAME: &str = "lb.example.test";

pub fn figure(name: &str, value: impl std::fmt::Display) {
    eprintln!("figure: {name} = {value}");
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub fn since(start: Instant) -> Duration {
    start.elapsed()
}

pub fn pass(time: Duration) {
    let start = now();
    while since(start) < time {
        std::thread::park_timeout(time.saturating_sub(since(start)));
    }
}

pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) -> Duration {
    let start = now();
    while since(start) < SOON {
        if is_true() {
            return since(start);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("not true after {SOON:?}: {what}");
}

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

/// Two nodes of one pair; index 0 is `lb1`.
pub struct Pair {
    pub ips: [Ipv4Addr; 2],
    pub web: u16,
    pub dns: u16,
    dir: TempDir,
    nodes: [Option<Child>; 2],
    /// What stands before the command of each node.
    prefix: [Vec<String>; 2],
}

impl Pair {
    /// A pair at two loopback addresses of its own. `publish` is what stands
    /// under `pair.dns`, with `@DNS` for the port of the embedded server.
    pub fn new(net: u8, publish: &str) -> Self {
        let ips = [Ipv4Addr::new(127, 0, net, 2), Ipv4Addr::new(127, 0, net, 3)];
        Self::at(ips, free_ports(ips), backend(), Default::default(), publish)
    }

    /// A pair at these addresses, each node started through `prefix`.
    pub fn at(
        ips: [Ipv4Addr; 2],
        [web, dns, heartbeat]: [u16; 3],
        backend: SocketAddr,
        prefix: [Vec<String>; 2],
        publish: &str,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let text = format!(
            "pair:\n  name: {NAME}\n  nodes: {{ lb1: {}, lb2: {} }}\n  \
             secret: 0123456789abcdef0123456789abcdef\n  heartbeat: {{ port: {heartbeat} }}\n  \
             dns: {publish}\n\
             listeners:\n  web: {{ bind: \"self:{web}\", pool: web }}\n\
             pools:\n  web:\n    backends: {{ a: \"{}\" }}\n    \
             probe: {{ type: tcp, interval: 200ms }}\n    protocol: http\n\
             process: {{ workers: 2, shutdown_grace: 2s }}\n\
             admin: {{ bind: off, socket: \"{}/${{NODE}}.sock\" }}\n\
             log: {{ format: json, connections: false }}\n",
            ips[0],
            ips[1],
            backend,
            dir.path().display()
        );
        let text = text.replace("@DNS", &dns.to_string());
        fs::write(dir.path().join("lb.yaml"), text).unwrap();
        Self {
            ips,
            web,
            dns,
            dir,
            nodes: [None, None],
            prefix,
        }
    }

    pub fn embedded(net: u8) -> Self {
        Self::new(
            net,
            "{ ttl: 1s, serve: { bind: \":@DNS\", per_source_qps: 100000 } }",
        )
    }

    pub fn start(&mut self, node: usize) {
        let name = format!("lb{}", node + 1);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_tandem").to_owned();
        let words = [self.prefix[node].clone(), vec![program]].concat();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--node", &name, "--config"])
            .arg(self.dir.path().join("lb.yaml"))
            .env("NODE", &name)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[node] = Some(child);
    }

    pub fn start_both(&mut self) {
        self.start(0);
        self.start(1);
        self.settle();
    }

    /// Waits until both agree on a holder and could take each other's place.
    pub fn settle(&self) -> usize {
        wait_until("both agree", || {
            let views = [self.pair(0), self.pair(1)];
            let holders: Vec<&str> = views
                .iter()
                .filter_map(|it| it["holder"].as_str())
                .collect();
            let ready = views.iter().all(|it| it["twins"][0]["ready"] == true);
            holders.len() == 2 && holders[0] == holders[1] && ready && self.is_held_by_one(&views)
        });
        self.holder().unwrap()
    }

    fn is_held_by_one(&self, views: &[Value; 2]) -> bool {
        let is_holder = |it: &&Value| it["role"] == "holder";
        views.iter().filter(is_holder).count() == 1
    }

    pub fn signal(&self, node: usize, signal: Signal) {
        let id = self.nodes[node].as_ref().unwrap().id();
        let pid = Pid::from_raw(id.cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            let _gone = child.kill();
            child.wait().unwrap();
        }
    }

    /// Waits for the end of a node that was told to end.
    pub fn wait(&mut self, node: usize) -> Option<i32> {
        let mut child = self.nodes[node].take().unwrap();
        wait_until("it ends", || child.try_wait().unwrap().is_some());
        child.wait().unwrap().code()
    }

    pub fn admin(&self, node: usize, method: &str, path: &str) -> Value {
        let socket = self.dir.path().join(format!("lb{}.sock", node + 1));
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else {
            return Value::Null;
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let mut answer = String::new();
        if stream.write_all(request.as_bytes()).is_err()
            || stream.read_to_string(&mut answer).is_err()
        {
            return Value::Null;
        }
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    pub fn pair(&self, node: usize) -> Value {
        self.admin(node, "GET", "/v1/pair")
    }

    pub fn term(&self, node: usize) -> u64 {
        self.pair(node)["term"].as_u64().unwrap_or(0)
    }

    pub fn is_holder(&self, node: usize) -> bool {
        self.pair(node)["role"] == "holder"
    }

    pub fn holder(&self) -> Option<usize> {
        (0..2).find(|node| self.is_holder(*node))
    }

    /// What a node's embedded server answers for the public name.
    pub fn answer(&self, node: usize) -> Option<IpAddr> {
        resolve((self.ips[node], self.dns).into())
    }

    pub fn log(&self, node: usize) -> String {
        let path = self.dir.path().join(format!("lb{}.log", node + 1));
        fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..2 {
                eprintln!("lb{} said:\n{}", node + 1, self.log(node));
            }
        }
        self.kill(0);
        self.kill(1);
    }
}

fn free_ports(ips: [Ipv4Addr; 2]) -> [u16; 3] {
    let mut held = Vec::new();
    [(); 3].map(|()| {
        let first = TcpListener::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        held.push((TcpListener::bind((ips[1], port)).unwrap(), first));
        port
    })
}

pub fn resolve(server: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    socket.connect(server).ok()?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(NAME).ok()?, RecordType::A));
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

/// A client that resolves and connects all the time, once for each request.
pub struct Client {
    over: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
    thread: JoinHandle<()>,
}

impl Client {
    pub fn start(servers: Vec<SocketAddr>, port: u16) -> Self {
        let over = Arc::<AtomicBool>::default();
        let counts = Arc::<[AtomicU64; 2]>::default();
        let (is_over, count) = (Arc::clone(&over), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !is_over.load(Ordering::Relaxed) {
                turn += 1;
                // As a resolver does: another server if this one is gone.
                let first = resolve(servers[turn % servers.len()]);
                let address = first.or_else(|| resolve(servers[(turn + 1) % servers.len()]));
                let is_ok = address.is_some_and(|ip| get((ip, port).into()).is_ok());
                count[usize::from(!is_ok)].fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        Self {
            over,
            counts,
            thread,
        }
    }

    /// How many went well, and how many did not.
    pub fn stop(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let [ok, failed] = &*self.counts;
        (ok.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}

pub fn get(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
