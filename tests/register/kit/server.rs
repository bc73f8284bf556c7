//! A real DNS server with a folder of its own.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::SOON;

/// The zone that the tests may update.
pub(crate) const ZONE: &str = "example.test";
/// The key that may update it.
pub(crate) const KEY: &str = "tandem-key";
/// Its secret, for tests only.
pub(crate) const SECRET: &str = "dGFuZGVtIHRlc3RzIG9ubHkgLSBub3QgYSBzZWNyZXQ=";
/// A key that the server knows and that may do nothing.
pub(crate) const POOR_KEY: &str = "poor-key";

const ZONE_FILE: &str = "$ORIGIN example.test.
$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 1
@ IN NS ns
ns IN A 127.0.0.1
www IN A 192.0.2.80
alias IN CNAME www
";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Knot,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind9",
            Self::Knot => "knot",
        }
    }
}

/// A running server; it dies with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    kind: Kind,
    /// What stands before its command, and before those that ask it.
    prefix: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_on(kind, IpAddr::from([127, 0, 0, 1]))
    }

    pub(crate) fn start_on(kind: Kind, ip: IpAddr) -> Self {
        Self::start_at(kind, free_port(ip), Vec::new(), "")
    }

    /// Starts it at `address`, through `prefix`, with `more` in its zone.
    pub(crate) fn start_at(
        kind: Kind,
        address: SocketAddr,
        prefix: Vec<String>,
        more: &str,
    ) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("tandem-register-")
            .tempdir()
            .expect("a temporary directory can be made");
        write(dir.path(), "zone", &format!("{ZONE_FILE}{more}"));
        // knot makes its files but not their folder, and then refuses updates.
        fs::create_dir(dir.path().join("db")).expect("our own directory");
        let path = dir.path().display().to_string();
        let config = match kind {
            Kind::Bind => bind_config(&path, address),
            Kind::Knot => knot_config(&path, address),
        };
        write(dir.path(), "config", &config);
        let mut server = Self {
            address,
            kind,
            prefix,
            dir,
            child: None,
        };
        server.revive();
        server
    }

    /// Starts it again on what it left on its disk.
    pub(crate) fn revive(&mut self) {
        let config = self.dir.path().join("config");
        let log = File::create(self.dir.path().join("log")).expect("our own directory");
        let mut command = match self.kind {
            Kind::Bind => {
                let family = if self.address.is_ipv6() { "-6" } else { "-4" };
                let mut named = self.command("named");
                named.args(["-g", family, "-n", "2", "-c"]).arg(config);
                named
            }
            Kind::Knot => {
                let mut knotd = self.command("knotd");
                knotd.arg("-c").arg(config);
                knotd
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file of ours"))
            .stderr(log)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|error| {
            let package = self.kind.name();
            panic!("{package} does not start ({error}); install {package}")
        });
        self.child = Some(child);
        let start = Instant::now();
        while self.dig("SOA", ZONE).is_empty() {
            assert!(start.elapsed() < SOON, "no answer: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn command(&self, program: &str) -> Command {
        let Some((first, rest)) = self.prefix.split_first() else {
            return Command::new(program);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_raw(child.id().cast_signed()).expect("an id above 0");
            // A group that is gone already has got what it should.
            let _gone = kill_process_group(pid, Signal::KILL);
            child.wait().expect("a child can be waited for");
        }
    }

    /// Stops it where it stands, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("an id above 0");
        kill_process_group(pid, signal).expect("our own child");
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What it answers to anybody, sorted: its values, one each.
    pub(crate) fn dig(&self, kind: &str, name: &str) -> Vec<String> {
        let output = self
            .command("dig")
            .args([&format!("@{}", self.address.ip()), "-p"])
            .arg(self.address.port().to_string())
            .args(["+short", "+norecurse", "+tries=1", "+time=2", kind, name])
            .output()
            .unwrap_or_else(|error| panic!("no dig ({error}); install bind9-dnsutils"));
        if !output.status.success() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|it| !it.starts_with(';'));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// A and AAAA, sorted.
    pub(crate) fn addresses(&self, name: &str) -> Vec<String> {
        let mut all = self.dig("A", name);
        all.extend(self.dig("AAAA", name));
        all
    }

    /// Does something to the zone that tandem would not do.
    pub(crate) fn by_hand(&self, changes: &str) {
        let script = format!(
            "server {} {}\nzone {ZONE}\n{changes}\nsend\n",
            self.address.ip(),
            self.address.port()
        );
        write(self.dir.path(), "script", &script);
        let output = self
            .command("nsupdate")
            .arg("-y")
            .arg(format!("hmac-sha256:{KEY}:{SECRET}"))
            .arg(self.dir.path().join("script"))
            .output()
            .unwrap_or_else(|error| panic!("no nsupdate ({error}); install bind9-dnsutils"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nsupdate: {said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that neither UDP nor TCP uses.
fn free_port(ip: IpAddr) -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((ip, 0)).expect("the loopback has a free port");
        let address = tcp.local_addr().expect("a bound socket");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("our own directory");
}

fn bind_config(path: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    let listen = match ip {
        IpAddr::V4(_) => format!("listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};"),
        IpAddr::V6(_) => format!("listen-on-v6 port {port} {{ {ip}; }}; listen-on {{ none; }};"),
    };
    format!(
        "options {{
  directory \"{path}\"; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\";
  {listen} recursion no; notify no; dnssec-validation no;
  managed-keys-directory \"{path}\"; lock-file none;
}};
controls {{ }};
key {KEY} {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
key {POOR_KEY} {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
zone {ZONE} {{ type primary; file \"{path}/zone\"; 
  update-policy {{ grant {KEY} zonesub A AAAA TXT; }}; }};\n"
    )
}

fn knot_config(path: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "server:
  rundir: {path}
  listen: {ip}@{port}
  udp-workers: 2
  tcp-workers: 2
  background-workers: 2
database:
  storage: {path}/db
log:
  - target: stderr
    any: info
key:
  - id: {KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
  - id: {POOR_KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: tandem
    key: {KEY}
    action: update
zone:
  - domain: {ZONE}
    file: {path}/zone
    acl: tandem
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all\n"
    )
}
