//! A running tandem, its file, and what it says of itself.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http::Reply;
use super::metrics::Metrics;
use super::proc::Proc;
use super::{Backend, SOON, eventually_or, http, ms, output, ports, work_dir};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tandem");

/// An lb.yaml with one listener and one pool, both called `web`.
#[derive(Clone)]
pub(crate) struct Lb {
    pub(crate) address: SocketAddr,
    process: Vec<String>,
    listener: Vec<String>,
    backends: Vec<(String, String)>,
    pool: Vec<String>,
    tail: String,
}

impl Lb {
    /// For these backends, with quick probes of `kind` (`tcp`, `http`).
    pub(crate) fn new(backends: &[Backend], kind: &str) -> Self {
        let mut lb = Self::bare();
        for it in backends {
            lb = lb.backend(&it.name, it.address);
        }
        let path = if kind == "http" {
            ", path: /healthz"
        } else {
            ""
        };
        let times = "interval: 200ms, timeout: 150ms, fall: 2, rise: 2, \
                     fast_interval: 100ms, down_interval: 200ms";
        lb.pool(&format!("probe: {{ type: {kind}{path}, {times} }}"))
    }

    /// With no backend and no probe yet.
    pub(crate) fn bare() -> Self {
        Self {
            address: ports::free(),
            process: vec!["workers: 2".to_owned()],
            listener: Vec::new(),
            backends: Vec::new(),
            pool: Vec::new(),
            tail: String::new(),
        }
    }

    /// Adds a backend; a later one of the same name replaces it.
    pub(crate) fn backend(self, name: &str, address: SocketAddr) -> Self {
        self.backend_as(name, &format!("\"{address}\""))
    }

    /// Adds a backend in full; a later one of the same name replaces it.
    pub(crate) fn backend_as(mut self, name: &str, value: &str) -> Self {
        self.backends.retain(|(it, _)| it != name);
        self.backends.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the backend at `address` a weight.
    pub(crate) fn weight(self, of: &Backend, weight: u32) -> Self {
        let value = format!("{{ address: \"{}\", weight: {weight} }}", of.address);
        self.backend_as(&of.name, &value)
    }

    /// Takes a backend away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.backends.retain(|(it, _)| it != name);
        self
    }

    /// Adds a line to the pool; it replaces an earlier one of the same key.
    pub(crate) fn pool(mut self, line: &str) -> Self {
        put(&mut self.pool, line);
        self
    }

    /// Adds a setting to the listener.
    pub(crate) fn listener(mut self, setting: &str) -> Self {
        put(&mut self.listener, setting);
        self
    }

    /// Adds a setting of the process.
    pub(crate) fn process(mut self, setting: &str) -> Self {
        put(&mut self.process, setting);
        self
    }

    /// Adds text at the end, such as an `admin:` section.
    pub(crate) fn tail(mut self, text: &str) -> Self {
        self.tail.push_str(text);
        self
    }

    /// The file.
    pub(crate) fn yaml(&self) -> String {
        let has_bind = self.listener.iter().any(|it| it.starts_with("bind:"));
        let bind = format!("bind: \"{}\"", self.address);
        let mut settings = vec!["pool: web".to_owned()];
        settings.extend((!has_bind).then_some(bind));
        settings.extend(self.listener.iter().cloned());
        let mut yaml = format!(
            "process: {{ {} }}\nlisteners:\n  web: {{ {} }}\npools:\n  web:\n    backends:\n",
            self.process.join(", "),
            settings.join(", ")
        );
        for (name, value) in &self.backends {
            writeln!(yaml, "      {name}: {value}").expect("a String takes all");
        }
        for line in &self.pool {
            writeln!(yaml, "    {line}").expect("a String takes all");
        }
        yaml + &self.tail
    }

    /// Starts a tandem with it.
    pub(crate) fn start(&self) -> Tandem {
        Tandem::start(&self.yaml())
    }
}

fn put(lines: &mut Vec<String>, line: &str) {
    let key = line.split_once(':').map_or(line, |(key, _)| key);
    let prefix = format!("{key}:");
    lines.retain(|it| !it.starts_with(&prefix));
    lines.push(line.to_owned());
}

/// A running `tandem run`.
pub(crate) struct Tandem {
    pub(crate) proc: Proc,
    dir: TempDir,
}

impl Tandem {
    /// Starts one and waits until it is ready. An `admin:` section and JSON
    /// logs are added where the file has none.
    pub(crate) fn start(yaml: &str) -> Self {
        let tandem = Self::launch(yaml, None, None);
        tandem.wait_ready();
        tandem
    }

    /// Starts one with at most `nofile` descriptors and standard error to
    /// `log`, and does not wait.
    pub(crate) fn launch(yaml: &str, nofile: Option<u32>, log: Option<&str>) -> Self {
        let dir = work_dir();
        write_config(dir.path(), yaml);
        let own = dir.path().join("log").display().to_string();
        let log = File::create(log.unwrap_or(&own)).expect("a place for the log");
        let limit = nofile.map_or_else(String::new, |it| format!("ulimit -n {it}; "));
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{limit}exec \"$0\" \"$@\""))
            .args([PROGRAM, "run", "-c"])
            .arg(dir.path().join("lb.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let proc = Proc::spawn(&mut command, "a shell");
        Self { proc, dir }
    }

    /// Starts one through the command `prefix`, changed as `change` wants it,
    /// and does not wait.
    pub(crate) fn launch_as(
        yaml: &str,
        prefix: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let dir = work_dir();
        write_config(dir.path(), yaml);
        let words: Vec<&str> = [prefix, &[PROGRAM, "run", "-c"]].concat();
        let log = File::create(dir.path().join("log")).expect("our own directory");
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(dir.path().join("lb.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        change(&mut command);
        let proc = Proc::spawn(&mut command, "util-linux");
        Self { proc, dir }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("lb.yaml")
    }

    /// Puts another file in place, without telling the process.
    pub(crate) fn write(&self, yaml: &str) {
        write_config(self.dir.path(), yaml);
    }

    /// Waits until the admin interface answers.
    pub(crate) fn wait_alive(&self) {
        let alive = eventually_or(SOON, || self.ask("GET", "/healthz"));
        let is_ok = alive.is_some_and(|it| it.status == 200);
        assert!(is_ok, "tandem is not there; it said:\n{}", self.log());
    }

    /// Waits until /readyz says 200.
    pub(crate) fn wait_ready(&self) {
        let ready = eventually_or(SOON, || {
            (self.ask("GET", "/readyz")?.status == 200).then_some(())
        });
        assert!(
            ready.is_some(),
            "tandem is not ready; it said:\n{}",
            self.log()
        );
    }

    fn ask(&self, method: &str, path: &str) -> Option<Reply> {
        http::unix(&self.socket(), method, path).ok()
    }

    /// Asks over the unix socket.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Reply {
        http::unix(&self.socket(), method, path)
            .unwrap_or_else(|e| panic!("{method} {path}: {e}; log:\n{}", self.log()))
    }

    pub(crate) fn status(&self) -> Value {
        self.admin("GET", "/v1/status").json()
    }

    /// Every address of a listener.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let status = self.status();
        let listeners = status["listeners"].as_array().expect("a list").iter();
        let of = |it: &&Value| it["name"] == listener;
        let binds = listeners.filter(of).filter_map(|it| it["binds"].as_array());
        let addresses = binds.flatten().filter_map(|it| it["address"].as_str());
        addresses.filter_map(|it| it.parse().ok()).collect()
    }

    /// The admin interface's TCP address.
    pub(crate) fn admin_tcp(&self) -> SocketAddr {
        let status = self.status();
        let bind = status["admin"]["bind"].as_str().expect("an admin address");
        bind.parse().expect("an address")
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("GET", "/metrics").body)
    }

    /// One metric, summed over the series that have these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// What /v1/pools says of a backend.
    pub(crate) fn backend(&self, pool: &str, backend: &str) -> Value {
        let all = self.admin("GET", "/v1/pools").json();
        let pools = all["pools"].as_array().expect("a list").iter();
        let backends = pools
            .filter(|it| it["name"] == pool)
            .filter_map(|it| it["backends"].as_array())
            .flatten();
        let mut found = backends.filter(|it| it["name"] == backend);
        found.next().cloned().unwrap_or(Value::Null)
    }

    /// Waits until a backend of the pool `web` is in `state`.
    pub(crate) fn wait_state(&self, backend: &str, state: &str) {
        self.wait_state_of("web", backend, state);
    }

    /// Waits until a backend is in `state`.
    pub(crate) fn wait_state_of(&self, pool: &str, backend: &str, state: &str) {
        let mut last = Value::Null;
        let seen = eventually_or(SOON, || {
            last = self.backend(pool, backend);
            (last["state"] == state).then_some(())
        });
        assert!(seen.is_some(), "{pool}/{backend} is never {state}: {last}");
    }

    /// Puts `yaml` in force with SIGHUP and waits until it is.
    pub(crate) fn reload(&self, yaml: &str) {
        self.write(yaml);
        self.hang_up();
    }

    /// SIGHUP; waits until the file has been read again.
    pub(crate) fn hang_up(&self) {
        let before = self.log_length();
        self.proc.signal(Signal::HUP);
        let mark = "\"event\":\"reloaded\"";
        let done = eventually_or(SOON, || self.log_from(before).contains(mark).then_some(()));
        assert!(done.is_some(), "no reload; log:\n{}", self.log());
    }

    fn log_length(&self) -> u64 {
        fs::metadata(self.dir.path().join("log")).map_or(0, |it| it.len())
    }

    /// What it has written since its log was `start` bytes long; a log under
    /// load is too long to be read whole each time.
    fn log_from(&self, start: u64) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.dir.path().join("log")) {
            // What cannot be read now is read at the next look.
            let _later = file
                .seek(SeekFrom::Start(start))
                .and_then(|_| file.read_to_end(&mut text));
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// All that it has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The log's lines of one kind.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let mark = format!("\"event\":\"{event}\"");
        let lines = log.lines().filter(|it| it.contains(&mark));
        lines
            .filter_map(|it| serde_json::from_str(it).ok())
            .collect()
    }

    /// The backends that each client was given, by the client's address.
    pub(crate) fn backends_by_client(&self) -> HashMap<String, Vec<String>> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for line in self.events("conn") {
            if let (Some(client), Some(backend)) =
                (line["client"].as_str(), line["backend"].as_str())
            {
                let backends = found.entry(client.to_owned()).or_default();
                backends.push(backend.to_owned());
            }
        }
        found
    }

    /// Waits for the line of the finished connection of `client`.
    pub(crate) fn ending(&self, client: SocketAddr) -> Value {
        let client = client.to_string();
        let line = eventually_or(SOON, || {
            let mut lines = self.events("conn").into_iter().rev();
            lines.find(|it| {
                [&it["client"], &it["proxy_src"]].contains(&&Value::from(client.as_str()))
            })
        });
        line.unwrap_or_else(|| panic!("no line for {client}; log:\n{}", self.log()))
    }

    /// The reason in that line.
    pub(crate) fn reason(&self, client: SocketAddr) -> String {
        let line = self.ending(client);
        line["reason"].as_str().unwrap_or("none").to_owned()
    }

    /// SIGTERM; how it ended.
    pub(crate) fn stop(&mut self, within: Duration) -> ExitStatus {
        self.proc.signal(Signal::TERM);
        let ended = self.proc.wait(within);
        ended.unwrap_or_else(|| panic!("still there after {within:?}; log:\n{}", self.log()))
    }

    /// Runs another command of the program against this one.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        let socket = self.socket().display().to_string();
        let mut all = args.to_vec();
        all.extend(["--socket", &socket]);
        run(&all)
    }
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    output(Command::new(PROGRAM).args(args), "nothing, cargo builds it")
}

fn write_config(dir: &Path, yaml: &str) {
    let mut text = yaml.to_owned();
    let socket = dir.join("admin.sock");
    if !text.contains("\nadmin:") {
        let socket = socket.display();
        writeln!(text, "admin: {{ bind: \"127.0.0.1:0\", socket: {socket} }}").expect("a String");
    }
    if !text.contains("\nlog:") {
        text.push_str("log: { format: json, connections: true }\n");
    }
    let text = text.replace("@SOCKET", &socket.display().to_string());
    // By rename, so that a reload never reads half a file.
    let fresh = dir.join("lb.yaml.new");
    fs::write(&fresh, text).expect("our own directory");
    fs::rename(&fresh, dir.join("lb.yaml")).expect("our own directory");
}

/// Whether something goes on being true for `time`.
pub(crate) fn stays(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    eventually_or(time, || {
        super::pass(ms(20));
        (!holds()).then_some(())
    })
    .is_none()
}
