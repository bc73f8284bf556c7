//! Client | balancer | backends, each in a network namespace of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes; only a hang reaches it.
pub const SOON: Duration = Duration::from_secs(20);

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

pub fn run(words: &str) -> Output {
    let mut words = words.split(' ');
    let program = words.next().unwrap();
    let done = Command::new(program)
        .args(words)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output();
    done.unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)"))
}

pub fn must(words: &str) {
    let done = run(words);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words}: {said} (needs root)");
}

/// Runs `what` in a network namespace. Sockets that it opens stay there.
pub fn within<T: Send>(space: &str, what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = File::open(format!("/run/netns/{space}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            what()
        });
        inside.join().unwrap()
    })
}

/// A client `c`, a balancer `l` and backends `b1`, `b2`, ...
pub struct Net {
    tag: String,
    number: u8,
    backends: u8,
}

impl Net {
    pub fn new(number: u8, backends: u8) -> Self {
        let tag = format!("tdk{}n{number}", std::process::id() % 10_000);
        let net = Self {
            tag,
            number,
            backends,
        };
        for host in net.hosts() {
            must(&format!("ip netns add {}", net.space(&host)));
            must(&format!("ip -n {} link set lo up", net.space(&host)));
        }
        let lb = net.space("l");
        must(&format!("ip -n {lb} link add br0 type bridge"));
        for host in net.hosts().into_iter().filter(|it| it != "l") {
            let space = net.space(&host);
            must(&format!(
                "ip -n {lb} link add {host} type veth peer name eth0 netns {space}"
            ));
            if host != "c" {
                must(&format!("ip -n {lb} link set {host} master br0"));
            }
            must(&format!("ip -n {lb} link set {host} up"));
            must(&format!("ip -n {space} link set eth0 up"));
        }
        must(&format!("ip -n {lb} link set br0 up"));
        must(&format!("ip -n {lb} addr add {}/24 dev c", net.lb()));
        let inner = net.inner(1);
        must(&format!("ip -n {lb} addr add {inner}/24 dev br0"));
        let client = net.space("c");
        must(&format!(
            "ip -n {client} addr add 10.91.{number}.2/24 dev eth0"
        ));
        must(&format!(
            "ip -n {client} route add default via {}",
            net.lb()
        ));
        for at in 1..=backends {
            let (space, own) = (net.space(&format!("b{at}")), net.backend(at).ip());
            must(&format!("ip -n {space} addr add {own}/24 dev eth0"));
            must(&format!("ip -n {space} route add default via {inner}"));
        }
        net.forward(true);
        net
    }

    fn hosts(&self) -> Vec<String> {
        let backends = (1..=self.backends).map(|at| format!("b{at}"));
        ["c".to_owned(), "l".to_owned()]
            .into_iter()
            .chain(backends)
            .collect()
    }

    pub fn space(&self, host: &str) -> String {
        format!("{}{host}", self.tag)
    }

    /// Switches forwarding in the balancer's namespace.
    pub fn forward(&self, on: bool) {
        let value = u8::from(on);
        let lb = self.space("l");
        must(&format!(
            "ip netns exec {lb} sysctl -qw net.ipv4.ip_forward={value}"
        ));
    }

    /// Lets clients and balancer use nearly every port.
    pub fn widen_ports(&self) {
        for host in ["c", "l"] {
            let space = self.space(host);
            let set = "/proc/sys/net/ipv4/ip_local_port_range";
            within(&space, || fs::write(set, "1024 65535")).unwrap();
        }
    }

    /// Where clients reach the balancer.
    pub fn lb(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 91, self.number, 1)
    }

    fn inner(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 92, self.number, host)
    }

    pub fn backend(&self, at: u8) -> SocketAddr {
        (self.inner(10 + at), 8080).into()
    }

    pub fn nft(&self, words: &str) -> String {
        let done = run(&format!("ip netns exec {} nft {words}", self.space("l")));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "nft {words}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// The tables of tandem in the balancer's namespace.
    pub fn tables(&self) -> Vec<String> {
        let tables = self.nft("list tables");
        let names = tables
            .lines()
            .filter_map(|it| it.strip_prefix("table inet "));
        let ours = names.filter(|it| it.starts_with("tandem_"));
        ours.map(str::to_owned).collect()
    }

    /// Connects as the client does.
    pub fn connect(&self, port: u16) -> std::io::Result<Talk> {
        self.connect_from("c", (self.lb(), port).into())
    }

    pub fn connect_from(&self, host: &str, to: SocketAddr) -> std::io::Result<Talk> {
        let stream = within(&self.space(host), || {
            TcpStream::connect_timeout(&to, Duration::from_secs(3))
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        Ok(Talk(stream))
    }

    /// Makes `count` connections one after the other, and says who served how
    /// many of them.
    pub fn survey(&self, port: u16, count: usize) -> BTreeMap<String, usize> {
        let to = SocketAddr::from((self.lb(), port));
        within(&self.space("c"), || {
            let mut served = BTreeMap::new();
            for _ in 0..count {
                let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                let name = Talk(stream).ask().unwrap();
                *served.entry(name).or_default() += 1;
            }
            served
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in self.hosts() {
            let _gone = run(&format!("ip netns del {}", self.space(&host)));
        }
    }
}

/// A connection to a backend that names itself when asked.
pub struct Talk(pub TcpStream);

impl Talk {
    pub fn ask(&mut self) -> std::io::Result<String> {
        self.0.write_all(b"?\n")?;
        let mut name = String::new();
        BufReader::new(&self.0).read_line(&mut name)?;
        if name.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(name.trim().to_owned())
    }
}

/// A server that says its name once for each line.
pub struct Backend {
    space: String,
    address: SocketAddr,
    name: String,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    pub fn start(net: &Net, at: u8) -> Self {
        Self::start_at(net, at, net.backend(at))
    }

    pub fn start_at(net: &Net, at: u8, address: SocketAddr) -> Self {
        let mut backend = Self {
            space: net.space(&format!("b{at}")),
            address,
            name: format!("b{at}"),
            stop: Arc::default(),
            thread: None,
        };
        backend.up();
        backend
    }

    pub fn all(net: &Net) -> Vec<Self> {
        (1..=net.backends).map(|at| Self::start(net, at)).collect()
    }

    /// Listens again.
    pub fn up(&mut self) {
        let address = self.address;
        let listener = within(&self.space, || TcpListener::bind(address)).unwrap();
        self.stop.store(false, Ordering::Relaxed);
        let (stop, name) = (Arc::clone(&self.stop), self.name.clone());
        self.thread = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let name = name.clone();
                std::thread::spawn(move || serve(&stream, &name));
            }
        }));
    }

    /// Stops listening; connections live.
    pub fn down(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let address = self.address;
        // It waits for one more connection, to see that it is to stop.
        let _woken = within(&self.space, || TcpStream::connect(address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.down();
        }
    }
}

fn serve(mut stream: &TcpStream, name: &str) {
    let _old_is_fine = stream.set_nodelay(true);
    let lines = BufReader::new(stream).lines();
    for _ in lines.map_while(Result::ok) {
        if stream.write_all(format!("{name}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// One tandem in the balancer's namespace.
pub struct Tandem {
    dir: TempDir,
    space: String,
    child: Option<Child>,
}

impl Tandem {
    /// A tandem that has not been started.
    pub fn new(net: &Net, config: &str) -> Self {
        let it = Self {
            dir: TempDir::new().unwrap(),
            space: net.space("l"),
            child: None,
        };
        it.write(config);
        it
    }

    /// A tandem that is ready.
    pub fn start(net: &Net, config: &str) -> Self {
        let mut it = Self::new(net, config);
        it.launch();
        it.wait_ready();
        it
    }

    pub fn write(&self, config: &str) {
        let text = format!(
            "{config}process: {{ workers: 1, shutdown_grace: 10s }}\n\
             admin: {{ bind: off, socket: \"{}/admin.sock\" }}\n\
             log: {{ format: json, connections: false }}\n",
            self.dir.path().display()
        );
        fs::write(self.dir.path().join("lb.yaml"), text).unwrap();
    }

    /// A folder that every user may use, with a copy of the program in it.
    pub fn open_to_all(&self) {
        let copy = self.dir.path().join("tandem");
        fs::copy(env!("CARGO_BIN_EXE_tandem"), &copy).unwrap();
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(self.dir.path(), all).unwrap();
    }

    /// The command that runs it, with `between` before the program.
    pub fn command(&self, between: &[&str]) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let mut command = Command::new("ip");
        let program = self.dir.path().join("tandem");
        let program = if program.exists() {
            program
        } else {
            env!("CARGO_BIN_EXE_tandem").into()
        };
        command
            .args(["netns", "exec", &self.space])
            .args(between)
            .arg(program)
            .args(["run", "--config"])
            .arg(self.dir.path().join("lb.yaml"))
            .stdin(Stdio::null())
            .stderr(log);
        command
    }

    pub fn launch(&mut self) {
        self.child = Some(self.command(&[]).spawn().unwrap());
    }

    pub fn wait_ready(&self) {
        wait_until("tandem is ready", || {
            self.get("/readyz")
                .is_some_and(|it| it.starts_with("HTTP/1.1 200"))
        });
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn ask(&self, request: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.dir.path().join("admin.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub fn get(&self, path: &str) -> Option<String> {
        self.ask(&format!("GET {path}"))
    }

    /// The status of a reload, and what it says.
    pub fn reload(&self) -> (bool, String) {
        let answer = self.ask("POST /v1/reload").unwrap();
        (answer.starts_with("HTTP/1.1 200"), answer)
    }

    pub fn status(&self) -> Value {
        let answer = self.get("/v1/status").unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    pub fn state(&self, backend: &str) -> String {
        let status = self.status();
        let backends = status["pools"][0]["backends"].as_array().unwrap();
        let found = backends.iter().find(|it| it["name"] == backend).unwrap();
        found["state"].as_str().unwrap().to_owned()
    }

    /// One line of `/metrics`, if it is there.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.get("/metrics").unwrap();
        let mut lines = page.lines();
        lines.find_map(|it| it.strip_prefix(series)?.trim().parse().ok())
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        wait_until("tandem ends", || child.try_wait().unwrap().is_some());
        child.wait().unwrap()
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
    }
}

impl Drop for Tandem {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the log of tandem:\n{}", self.log());
        }
    }
}
