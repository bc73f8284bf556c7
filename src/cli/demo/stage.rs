//! The processes of the demo: three web servers, two balancers.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, io};

use hyper::Method;

use super::client::{self, Target};
use crate::cli::client as admin;
use crate::clock::{self, Seed};
use crate::status::PairStatus;

/// The three backends.
pub(super) const BACKENDS: [&str; 3] = ["a", "b", "c"];
/// The two balancers, and their addresses.
pub(super) const NODES: [(&str, Ipv4Addr); 2] = [
    ("lb1", Ipv4Addr::new(127, 0, 0, 2)),
    ("lb2", Ipv4Addr::new(127, 0, 0, 3)),
];
/// The name that clients ask for.
const NAME: &str = "lb.example.com";
/// How long everything may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child process that ends with us.
pub(super) struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The processes of the show.
pub(super) struct Stage {
    nodes: Vec<Option<Kept>>,
    backends: Vec<Option<Kept>>,
    addresses: Vec<SocketAddr>,
    pub(super) target: Target,
    folder: Folder,
}

/// A folder of our own, gone when the show is over.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub(super) fn set() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("tandem-demo-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let folder = Folder(folder);
        let addresses = free_addresses(BACKENDS.len())?;
        let [web, dns, heartbeat] = free_ports()?;
        let servers = NODES.map(|(_, ip)| SocketAddr::from((ip, dns)));
        let mut stage = Self {
            nodes: Vec::new(),
            backends: Vec::new(),
            target: Target {
                name: NAME.to_owned(),
                servers: servers.to_vec(),
                port: web,
            },
            addresses,
            folder,
        };
        stage.write_config(web, dns, heartbeat)?;
        for index in 0..BACKENDS.len() {
            let backend = stage.start_backend(index)?;
            stage.backends.push(Some(backend));
        }
        for index in 0..NODES.len() {
            let node = stage.start_node(index)?;
            stage.nodes.push(Some(node));
        }
        stage.wait_until_ready()?;
        Ok(stage)
    }

    fn write_config(&self, web: u16, dns: u16, heartbeat: u16) -> io::Result<()> {
        let pairs = BACKENDS.iter().zip(&self.addresses);
        let backends: Vec<String> = pairs.map(|(name, at)| format!("{name}: {at}")).collect();
        let nodes: Vec<String> = NODES
            .iter()
            .map(|(name, ip)| format!("{name}: {ip}"))
            .collect();
        // Anybody could read it: it keeps strangers out of a demo only.
        let secret = format!("{:016x}", Seed::random().0).repeat(2);
        let text = format!(
            "pair:\n  name: {NAME}\n  nodes: {{ {} }}\n  secret: \"{secret}\"\n  \
             heartbeat: {{ port: {heartbeat} }}\n  \
             dns: {{ ttl: 1s, serve: {{ bind: \":{dns}\", per_source_qps: 100000 }} }}\n\
             listeners:\n  web: {{ bind: \"self:{web}\", pool: web }}\n\
             pools:\n  web:\n    backends: {{ {} }}\n    \
             probe: {{ type: http, path: /healthz, interval: 500ms, timeout: 400ms }}\n\
             process: {{ shutdown_grace: 2s }}\n\
             admin: {{ bind: off, socket: \"{}/${{TANDEM_DEMO}}.sock\" }}\n\
             log: {{ connections: false }}\n",
            nodes.join(", "),
            backends.join(", "),
            self.folder.0.display(),
        );
        let mut file = fs::File::create(self.config())?;
        file.write_all(text.as_bytes())
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.0.join("lb.yaml")
    }

    pub(super) fn socket(&self, node: usize) -> PathBuf {
        self.folder.0.join(format!("{}.sock", NODES[node].0))
    }

    pub(super) fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].as_ref().map(|it| it.0.id())
    }

    pub(super) fn addresses(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(" ")
    }

    pub(super) fn kill_backend(&mut self, index: usize) {
        self.backends[index] = None;
    }

    pub(super) fn revive_backend(&mut self, index: usize) -> io::Result<()> {
        self.backends[index] = Some(self.start_backend(index)?);
        Ok(())
    }

    pub(super) fn kill_node(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    pub(super) fn revive_node(&mut self, index: usize) -> io::Result<()> {
        self.nodes[index] = Some(self.start_node(index)?);
        Ok(())
    }

    /// Who holds the name, as the living nodes see it.
    pub(super) fn holder(&self) -> Option<usize> {
        let mut living = (0..NODES.len()).filter(|index| self.nodes[*index].is_some());
        let holder = living.find_map(|index| self.pair(index)?.holder)?;
        NODES.iter().position(|(name, _)| **name == holder)
    }

    pub(super) fn pair(&self, node: usize) -> Option<PairStatus> {
        let body = admin::ask(&self.socket(node), Method::GET, "/v1/pair").ok()?;
        serde_json::from_slice(&body).ok()
    }

    /// Gives the name to the other node.
    pub(super) fn hand_over(&self, from: usize) -> io::Result<()> {
        let asked = admin::ask(&self.socket(from), Method::POST, "/v1/pair/handover");
        asked.map(|_| ()).map_err(io::Error::other)
    }

    /// Whether a process has ended that should not have.
    pub(super) fn check(&mut self) -> io::Result<()> {
        for (node, (name, _)) in self.nodes.iter_mut().zip(NODES) {
            if let Some(node) = node
                && node.0.try_wait()?.is_some()
            {
                return Err(io::Error::other(format!("{name} ended by itself")));
            }
        }
        Ok(())
    }

    fn start_backend(&self, index: usize) -> io::Result<Kept> {
        let (name, address) = (BACKENDS[index], self.addresses[index]);
        let child = Command::new(env::current_exe()?)
            .args(["demo-backend", name, &address.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        let kept = Kept(child);
        let is_up = || TcpStream::connect(address).is_ok();
        wait_for(is_up, || format!("backend {name} does not come up"))?;
        Ok(kept)
    }

    fn start_node(&self, index: usize) -> io::Result<Kept> {
        let name = NODES[index].0;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.0.join(format!("{name}.log")))?;
        Command::new(env::current_exe()?)
            .args(["run", "--node", name, "--config"])
            .arg(self.config())
            .env("TANDEM_DEMO", name)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map(Kept)
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        let is_ready = || {
            let server = self.target.servers.first();
            let address = server.and_then(|it| client::resolve(*it, NAME).ok());
            address.is_some_and(|ip| client::get((ip, self.target.port).into(), "/").is_ok())
                && (0..NODES.len()).all(|node| {
                    let pair = self.pair(node);
                    pair.is_some_and(|it| it.holder.is_some() && it.twins.iter().all(|it| it.ready))
                })
        };
        wait_for(is_ready, || {
            let logs = NODES.map(|(name, _)| {
                let path = self.folder.0.join(format!("{name}.log"));
                fs::read_to_string(path).unwrap_or_default()
            });
            format!("the balancers do not come up:\n{}", logs.join("\n"))
        })
    }

    /// Ends without ending the processes.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

fn wait_for(is_true: impl Fn() -> bool, what: impl Fn() -> String) -> io::Result<()> {
    let until = clock::now() + PATIENCE;
    while clock::now() < until {
        if is_true() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Err(io::Error::other(what()))
}

/// Addresses on the loopback interface that nobody uses now.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// Ports that are free at the addresses of both nodes.
fn free_ports() -> io::Result<[u16; 3]> {
    let mut ports = [0; 3];
    let mut held = Vec::new();
    for port in &mut ports {
        let first = TcpListener::bind((NODES[0].1, 0))?;
        *port = first.local_addr()?.port();
        held.push((TcpListener::bind((NODES[1].1, *port))?, first));
    }
    Ok(ports)
}
