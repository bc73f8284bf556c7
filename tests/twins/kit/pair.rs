use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{backend, resolve};
use super::wait_until;
use crate::server::{KEY, SECRET, Server, ZONE};

/// The public name.
pub const NAME: &str = "lb.example.test";
/// What heartbeats are signed with.
pub const PAIR_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What stands under `pair.dns` to answer for the name oneself.
pub const EMBEDDED: &str = "{ ttl: 1s, serve: { bind: \":@DNS\", per_source_qps: 100000 } }";

/// What stands under `pair.dns` to keep the name in `server`; `more` is put
/// beside it.
pub fn in_register(server: &Server, more: &str) -> String {
    format!(
        "{{ ttl: 1s, {more} rfc2136: {{ server: \"{}\", zone: {ZONE}, key: {KEY}, secret: \"{SECRET}\" }} }}",
        server.address
    )
}

/// Two nodes of one pair; index 0 is `lb1`.
pub struct Pair {
    pub ips: [Ipv4Addr; 2],
    pub web: u16,
    pub dns: u16,
    dir: TempDir,
    names: [String; 2],
    nodes: [Option<Child>; 2],
    /// What stands before the command of each node.
    prefix: [Vec<String>; 2],
}

impl Pair {
    /// A pair at two loopback addresses of its own. `publish` is what stands
    /// under `pair.dns`, with `@DNS` for the port of the embedded server.
    pub fn new(net: u8, publish: &str) -> Self {
        let ips = loopback(net);
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
             secret: {PAIR_SECRET}\n  heartbeat: {{ port: {heartbeat} }}\n  \
             dns: {publish}\n\
             listeners:\n  web: {{ bind: \"self:{web}\", pool: web }}\n\
             pools:\n  web:\n    backends: {{ a: \"{}\" }}\n    \
             probe: {{ type: tcp, interval: 200ms }}\n    protocol: http\n\
             process: {{ workers: 2, shutdown_grace: 2s, state_dir: \"state-${{NODE}}\" }}\n\
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
            names: ["lb1", "lb2"].map(str::to_owned),
            nodes: [None, None],
            prefix,
        }
    }

    pub fn embedded(net: u8) -> Self {
        Self::new(net, EMBEDDED)
    }

    /// Gives a node another name, before it starts.
    pub fn rename(&mut self, node: usize, name: &str) {
        let old = std::mem::replace(&mut self.names[node], name.to_owned());
        self.edit(&format!("{old}:"), &format!("{name}:"));
    }

    /// Changes the file that both nodes read.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.dir.path().join("lb.yaml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replace(from, to)).unwrap();
    }

    pub fn start(&mut self, node: usize) {
        let name = self.names[node].clone();
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

    /// Starts the nodes that do not run.
    pub fn start_dead(&mut self) {
        for node in 0..2 {
            if self.nodes[node].is_none() {
                self.start(node);
            }
        }
    }

    pub fn start_both(&mut self) {
        self.start(0);
        self.start(1);
        self.settle();
    }

    /// Waits until both agree on a holder, could take each other's place, and
    /// know a backend that lives.
    pub fn settle(&self) -> usize {
        let holder = self.agree();
        wait_until("both have backends", || {
            (0..2).all(|node| self.pair(node)["twins"][0]["has_backends"] == true)
        });
        holder
    }

    /// The same, without a look at backends.
    pub fn agree(&self) -> usize {
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

    /// Somebody who asks a node's admin.
    pub fn asker(&self, node: usize) -> Asker {
        Asker(self.dir.path().join(format!("{}.sock", self.names[node])))
    }

    pub fn admin(&self, node: usize, method: &str, path: &str) -> Value {
        let answer = self.asker(node).ask(method, path);
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    pub fn metric(&self, node: usize, series: &str) -> f64 {
        self.asker(node).metric(series)
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

    /// What a node has written down for its next life.
    pub fn state(&self, node: usize) -> Value {
        let name = &self.names[node];
        let file = format!("state-{name}/pair-{name}.json");
        let text = fs::read(self.dir.path().join(file)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    pub fn log(&self, node: usize) -> String {
        let path = self.dir.path().join(format!("{}.log", self.names[node]));
        fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..2 {
                eprintln!("{} said:\n{}", self.names[node], self.log(node));
            }
        }
        self.kill(0);
        self.kill(1);
    }
}

/// Asks the admin of one node.
pub struct Asker(pub PathBuf);

impl Asker {
    /// The body of the answer; empty if there is none.
    pub fn ask(&self, method: &str, path: &str) -> String {
        self.try_ask(method, path).unwrap_or_default()
    }

    fn try_ask(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n");
        Ok(body.map_or(String::new(), |(_, body)| body.to_owned()))
    }

    /// The value of a series in the node's metrics, with all its labels but
    /// `pair`: all are of one pair.
    pub fn metric(&self, series: &str) -> f64 {
        let pair = format!("pair=\"{NAME}\"");
        let text = self.ask("GET", "/metrics");
        let text = text.replace(&format!("{{{pair}}}"), "");
        let text = text.replace(&format!("{pair},"), "");
        let mut lines = text.lines();
        let value = lines.find_map(|it| it.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |it| it.parse().unwrap())
    }

    pub fn pair(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/v1/pair")).unwrap_or(Value::Null)
    }
}

/// Two loopback addresses that no other test uses.
pub fn loopback(net: u8) -> [Ipv4Addr; 2] {
    [2, 3].map(|host| Ipv4Addr::new(127, 0, net, host))
}

/// Ports that are free at both: for clients, DNS and heartbeats.
pub fn free_ports(ips: [Ipv4Addr; 2]) -> [u16; 3] {
    let mut held = Vec::new();
    [(); 3].map(|()| {
        let first = TcpListener::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        held.push((TcpListener::bind((ips[1], port)).unwrap(), first));
        port
    })
}
