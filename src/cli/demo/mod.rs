//! `tandem demo`: the real balancer in front of three real processes, one of
//! which is killed and comes back while a client never stops asking.

mod backend;
mod client;

use std::io::{IsTerminal, Write, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, io};

use super::{DemoArgs, Exit, complain, out};
use crate::clock::{self, Moment};
use client::{Asker, Tally};

pub(super) use backend::backend;

/// The three backends.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// The one that dies.
const VICTIM: usize = 1;
/// How long everything may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the live line is drawn.
const FRAME: Duration = Duration::from_millis(250);

/// A child process that ends with us.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The processes of the show.
struct Stage {
    node: Kept,
    backends: Vec<Option<Kept>>,
    addresses: Vec<SocketAddr>,
    front: SocketAddr,
    admin: SocketAddr,
    folder: Folder,
}

/// A folder of our own, gone when the show is over.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn demo(args: &DemoArgs) -> Exit {
    match show(Duration::from_secs(args.seconds.clamp(4, 3600))) {
        Ok(tally) if tally.failed == 0 && tally.ok > 0 => Exit::Ok,
        Ok(_) => Exit::Refused,
        Err(error) => {
            complain(&format!("demo: {error}"));
            Exit::Refused
        }
    }
}

fn show(length: Duration) -> io::Result<Tally> {
    let mut stage = Stage::set()?;
    let addresses: Vec<String> = stage.addresses.iter().map(ToString::to_string).collect();
    out(&format!("three web backends: {}\n", addresses.join(" ")));
    out(&format!("one balancer:       http://{}\n", stage.front));
    let socket = stage.folder.0.join("admin.sock");
    out(&format!(
        "look at it:         tandem status --socket {}\n",
        socket.display()
    ));
    out(&format!(
        "                    curl http://{}/v1/status\n\n",
        stage.admin
    ));
    let asker = Asker::start(stage.front, NAMES.len());
    let start = clock::now();
    play(
        &mut stage,
        &asker,
        start,
        start + length / 4,
        "kill",
        |stage| {
            stage.backends[VICTIM] = None;
            Ok("kill -9 b: it is gone")
        },
    )?;
    play(
        &mut stage,
        &asker,
        start,
        start + length / 2,
        "return",
        |stage| {
            stage.backends[VICTIM] = Some(start_backend(NAMES[VICTIM], stage.addresses[VICTIM])?);
            Ok("b is back, and gets traffic again when its probes have passed")
        },
    )?;
    play(&mut stage, &asker, start, start + length, "end", |_| {
        Ok("the end")
    })?;
    let tally = asker.stop();
    drop(stage);
    let counts = NAMES.iter().zip(&tally.by_backend);
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    out(&format!(
        "\n{} requests, {} failed ({})\n",
        tally.ok + tally.failed,
        tally.failed,
        counts.join(", ")
    ));
    if tally.repeated > 0 {
        out(&format!(
            "{} were on their way to b when it was killed, and were asked again, as browsers do\n",
            tally.repeated
        ));
    }
    Ok(tally)
}

/// Draws the live line until `until`, then does what comes next.
fn play(
    stage: &mut Stage,
    asker: &Asker,
    start: Moment,
    until: Moment,
    act: &str,
    next: impl FnOnce(&mut Stage) -> io::Result<&'static str>,
) -> io::Result<()> {
    let is_terminal = stdout().is_terminal();
    let mut drawn = 0u32;
    while clock::now() < until {
        asker.wait(FRAME);
        if stage.node.0.try_wait()?.is_some() {
            return Err(io::Error::other("the balancer ended"));
        }
        drawn += 1;
        // In a file a line a second is enough.
        if is_terminal || drawn.is_multiple_of(4) {
            draw(asker, start, is_terminal);
        }
    }
    let said = next(stage)?;
    let end = if is_terminal { "\n" } else { "" };
    out(&format!("{end}  >> {act}: {said}\n"));
    Ok(())
}

fn draw(asker: &Asker, start: Moment, is_terminal: bool) {
    let tally = asker.tally();
    let elapsed = clock::now().since(start).as_secs_f64();
    let counts = NAMES.iter().zip(&tally.by_backend);
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{name} {count:>5}"))
        .collect();
    let (from, to) = if is_terminal {
        ("\r", "\x1b[K")
    } else {
        ("", "\n")
    };
    out(&format!(
        "{from}{elapsed:5.1} s  {:>6} ok  {} failed   {}{to}",
        tally.ok,
        tally.failed,
        counts.join("  ")
    ));
}

impl Stage {
    fn set() -> io::Result<Self> {
        let folder = Folder(env::temp_dir().join(format!("tandem-demo-{}", std::process::id())));
        fs::create_dir_all(&folder.0)?;
        let addresses = free_addresses(NAMES.len() + 2)?;
        let (front, admin) = (addresses[3], addresses[4]);
        let addresses = addresses[..NAMES.len()].to_vec();
        let pairs = NAMES.iter().zip(&addresses);
        let backends = pairs
            .clone()
            .map(|(name, address)| start_backend(name, *address).map(Some))
            .collect::<io::Result<_>>()?;
        let lines: Vec<String> = pairs
            .map(|(name, address)| format!("      {name}: {address}\n"))
            .collect();
        let file = folder.0.join("lb.yaml");
        let text = format!(
            "listeners:\n  web: {{ bind: \"{front}\", pool: web }}\n\
             pools:\n  web:\n    backends:\n{}    \
             probe: {{ type: http, path: /healthz, interval: 500ms, timeout: 400ms }}\n\
             admin: {{ bind: \"{admin}\", socket: {} }}\nlog: {{ connections: false }}\n",
            lines.concat(),
            folder.0.join("admin.sock").display(),
        );
        fs::File::create(&file)?.write_all(text.as_bytes())?;
        let node = start_node(&file, &folder.0.join("log"))?;
        let stage = Self {
            node,
            backends,
            addresses,
            front,
            admin,
            folder,
        };
        stage.wait_until_ready()?;
        Ok(stage)
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        let until = clock::now() + PATIENCE;
        while clock::now() < until {
            if client::get(self.admin, "/readyz").is_ok() && client::get(self.front, "/").is_ok() {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
        Err(io::Error::other(format!(
            "the balancer does not come up:\n{log}"
        )))
    }
}

/// Addresses on the loopback interface that nobody uses now.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

fn start_backend(name: &str, address: SocketAddr) -> io::Result<Kept> {
    let child = Command::new(env::current_exe()?)
        .args(["demo-backend", name, &address.to_string()])
        .stdin(Stdio::null())
        .spawn()?;
    let kept = Kept(child);
    let until = clock::now() + PATIENCE;
    while clock::now() < until {
        if TcpStream::connect(address).is_ok() {
            return Ok(kept);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("backend {name} does not come up")))
}

fn start_node(file: &Path, log: &Path) -> io::Result<Kept> {
    Command::new(env::current_exe()?)
        .arg("run")
        .arg("--config")
        .arg(file)
        .stdin(Stdio::null())
        .stderr(fs::File::create(log)?)
        .spawn()
        .map(Kept)
}
