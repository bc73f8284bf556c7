//! A real MariaDB with a data directory of its own.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::nginx::path_with_sbin;
use super::proc::{Proc, is_root};
use super::{SOON, output, ports, said, wait_until, work_dir};

const PACKAGE: &str = "mariadb-server";

/// A real MariaDB. `root` has no password and comes over its socket; `app`
/// and `tandem` (password `secret`) come over TCP.
pub(crate) struct Mariadb {
    pub(crate) address: SocketAddr,
    options: Vec<String>,
    dir: TempDir,
    proc: Option<Proc>,
}

impl Mariadb {
    /// Makes a data directory and starts a server with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on(IpAddr::from([127, 0, 0, 1]), options)
    }

    /// The same on another address.
    pub(crate) fn start_on(ip: IpAddr, options: &[&str]) -> Self {
        let dir = work_dir();
        let mut install = Command::new("mariadb-install-db");
        install
            .arg("--no-defaults")
            .arg(format!("--datadir={}/data", dir.path().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(user())
            .env("PATH", path_with_sbin());
        if is_root() {
            give_to_mysql(&dir);
        }
        let made = output(&mut install, PACKAGE);
        assert!(made.status.success(), "no data directory: {}", said(&made));
        let mut server = Self {
            address: SocketAddr::new(ip, ports::free().port()),
            options: options.iter().map(|&it| it.to_owned()).collect(),
            dir,
            proc: None,
        };
        server.revive();
        for user in ["app", "tandem"] {
            server.sql(&format!(
                "CREATE USER {user}@'%' IDENTIFIED BY 'secret'; GRANT USAGE ON *.* TO {user}@'%'"
            ));
        }
        server.sql("CREATE DATABASE app; GRANT ALL ON app.* TO app@'%'");
        server
    }

    /// Starts it again on the same address and data.
    pub(crate) fn revive(&mut self) {
        let path = self.dir.path().display().to_string();
        let log = File::create(self.dir.path().join("stderr")).expect("our own directory");
        let mut command = Command::new("mariadbd");
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={path}/data"))
            .arg(format!("--socket={path}/sock"))
            .arg(format!("--pid-file={path}/pid"))
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--port={}", self.address.port()))
            .args([
                "--innodb-buffer-pool-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args(user())
            .args(&self.options)
            .env("PATH", path_with_sbin())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.proc = Some(Proc::spawn(&mut command, PACKAGE));
        wait_until("MariaDB serves", SOON * 2, || {
            TcpStream::connect(self.address).is_ok() && self.try_sql("SELECT 1").status.success()
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        drop(self.proc.take());
    }

    /// It stops answering; the kernel goes on accepting.
    pub(crate) fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// The end of [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// The file of its own socket.
    pub(crate) fn socket(&self) -> String {
        format!("{}/sock", self.dir.path().display())
    }

    fn process(&self) -> &Proc {
        self.proc.as_ref().expect("MariaDB runs")
    }

    /// As [`Self::sql`], for a server that may refuse.
    pub(crate) fn try_sql(&self, query: &str) -> Output {
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "-N", "-B", "-u", "root"])
            .arg(format!("--socket={}/sock", self.dir.path().display()))
            .args(["-e", query]);
        output(&mut command, "mariadb-client")
    }

    /// Asks as root over the server's own socket.
    pub(crate) fn sql(&self, query: &str) -> String {
        let answer = self.try_sql(query);
        assert!(answer.status.success(), "{query}: {}", said(&answer));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    /// One of the server's counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let row = self.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'"));
        let value = row.split_whitespace().nth(1);
        value.and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    /// What the server holds against the hosts that connect to it: the errors
    /// that block a host at `max_connect_errors`.
    pub(crate) fn connect_errors(&self) -> u64 {
        let query =
            "SELECT COALESCE(SUM(SUM_CONNECT_ERRORS), 0) FROM performance_schema.host_cache";
        self.sql(query).parse().expect("a number")
    }
}

fn user() -> Option<&'static str> {
    is_root().then_some("--user=mysql")
}

fn give_to_mysql(dir: &TempDir) {
    let mut chown = Command::new("chown");
    let given = output(chown.arg("mysql").arg(dir.path()), "coreutils");
    assert!(given.status.success(), "no user mysql: {}", said(&given));
}

/// Asks as `app` with the `mariadb` client over TCP.
pub(crate) fn ask(address: SocketAddr, query: &str) -> Output {
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "-N", "-B", "-u", "app", "-psecret"])
        .args(["--protocol=TCP", "--connect-timeout=10"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args(["-e", query]);
    output(&mut command, "mariadb-client")
}
