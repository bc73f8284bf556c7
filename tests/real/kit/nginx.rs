//! A real nginx in a directory of its own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::proc::{Proc, is_root};
use super::{Backend, SOON, ports, wait_until, work_dir};

/// A real nginx; it answers every path but the special ones with its name.
pub(crate) struct Nginx {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    dir: TempDir,
    proc: Option<Proc>,
}

impl Nginx {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, "")
    }

    /// With more words on its `listen` line, like `proxy_protocol`.
    pub(crate) fn start_with(name: &str, listen: &str) -> Self {
        let dir = work_dir();
        let address = ports::free();
        let path = dir.path().display();
        let user = if is_root() { "user root;" } else { "" };
        let temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|it| format!("{it}_temp_path {path}/{it};"))
            .join(" ");
        let config = format!(
            "{user} daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;
worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}
http {{
  {temps}
  log_format rig '$request_uri $status \"$http_user_agent\" $remote_addr';
  access_log {path}/access.log rig;
  keepalive_requests 100000000; default_type text/plain; root {path}/files;
  server {{
    listen {address} backlog=4096 {listen};
    location / {{ return 200 \"{name}\\n\"; }}
    location = /healthz {{ return 200 \"ok\\n\"; }}
    location = /address {{ return 200 \"$proxy_protocol_addr\\n\"; }}
    location /files/ {{ root {path}; }}
  }}
}}\n"
        );
        fs::create_dir(dir.path().join("files")).expect("our own directory");
        fs::write(dir.path().join("nginx.conf"), config).expect("our own directory");
        let mut nginx = Self {
            name: name.to_owned(),
            address,
            dir,
            proc: None,
        };
        nginx.revive();
        nginx
    }

    /// Starts it again on the same address.
    pub(crate) fn revive(&mut self) {
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(self.dir.path())
            .arg("-c")
            .arg(self.dir.path().join("nginx.conf"))
            .args(["-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Debian keeps it where only root's PATH looks.
        command.env("PATH", path_with_sbin());
        self.proc = Some(Proc::spawn(&mut command, "nginx-light"));
        wait_until("nginx serves", SOON, || {
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// `kill -9`, master and worker.
    pub(crate) fn kill(&mut self) {
        drop(self.proc.take());
    }

    /// Master and worker stop answering; the kernel goes on accepting.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// The end of [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// It closes its listening socket, finishes its answers and ends.
    pub(crate) fn quit(&self) {
        self.proc.as_ref().expect("nginx runs").signal(Signal::QUIT);
    }

    fn signal(&self, signal: Signal) {
        self.proc.as_ref().expect("nginx runs").signal_group(signal);
    }

    /// The access log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    /// Forgets what has been logged (nginx appends, so it goes on from there).
    pub(crate) fn clear_log(&self) {
        fs::write(self.dir.path().join("access.log"), "").expect("our own directory");
    }

    /// Makes a file that it serves under /files/.
    pub(crate) fn put(&self, name: &str, body: &str) {
        fs::write(self.dir.path().join("files").join(name), body).expect("our own directory");
    }

    /// Requests in the log that no probe made.
    pub(crate) fn requests(&self) -> usize {
        let log = self.log();
        log.lines().filter(|it| !is_probe(it)).count()
    }

    /// The weight of a backend in lb.yaml, in full.
    pub(crate) fn weighing(&self, weight: u32) -> String {
        format!("{{ address: \"{}\", weight: {weight} }}", self.address)
    }
}

/// Whether a line of the access log is a probe's.
pub(crate) fn is_probe(line: &str) -> bool {
    line.contains("\"tandem")
}

/// PATH with the places where Debian keeps servers.
pub(crate) fn path_with_sbin() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// An nginx and an own backend look alike to lb.yaml.
impl From<&Nginx> for Backend {
    fn from(nginx: &Nginx) -> Self {
        Self::elsewhere(&nginx.name, nginx.address)
    }
}
