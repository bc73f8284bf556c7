//! The load generator, as a process of its own: one thread, one cell, one
//! line of JSON on standard output.

mod bulk;
mod idle;
mod meter;
mod open_loop;
mod ping;
mod short;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::Ended;
use crate::cells::Kind;
use crate::fault::{Fault, While};
use crate::pin;
use crate::sched::{Cpu, Watched};
use crate::wire::{self, Wish};

/// One silence of the other side longer than this is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do, handed over as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    /// Connections go to these in turn.
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) watched: Watched,
    pub(crate) cpus: Vec<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Bytes, connections or round trips inside the window.
    pub(crate) units: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Cpu,
    pub(crate) latency: Option<Latency>,
    pub(crate) memory: Option<Memory>,
    pub(crate) errors: Errors,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

/// Bytes. `base`: one connection served; `full`: all of them idle; `after`: all closed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    pub(crate) base: u64,
    pub(crate) full: u64,
    pub(crate) after: u64,
    /// Of the whole machine, while connected: sockets of the balancer, the
    /// load and the backend.
    pub(crate) slab: u64,
}

/// A cell with errors has no figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl Errors {
    /// How many are told in full.
    const TOLD: usize = 3;
    /// Then the cell is given up.
    const MANY: u64 = 1_000;

    fn add(&mut self, said: impl Into<String>) {
        self.count += 1;
        if self.first.len() < Self::TOLD {
            self.first.push(said.into());
        }
    }

    fn too_many(&self) -> bool {
        self.count > Self::MANY
    }
}

/// `versus load SPEC`.
pub(crate) fn main() -> Ended {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let text = std::env::args().nth(2).unwrap_or_default();
    let spec: Spec = serde_json::from_str(&text).doing(|| "the load's spec".to_owned())?;
    let outcome = measure(&spec).unwrap_or_else(|fault| {
        // What keeps a cell from being measured is a result, too.
        let mut outcome = Outcome::default();
        outcome.errors.add(fault.to_string());
        outcome
    });
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

fn measure(spec: &Spec) -> Result<Outcome, Fault> {
    pin::myself(&spec.cpus)?;
    match spec.kind {
        Kind::Bulk { up: true, streams } => bulk::up(spec, streams),
        Kind::Bulk { up: false, streams } => bulk::down(spec, streams),
        Kind::Short {
            server_closes,
            at_once,
        } => short::run(spec, server_closes, at_once),
        Kind::Ping {
            size,
            connected,
            active,
        } => ping::run(spec, size, connected, active),
        Kind::Open {
            size,
            connected,
            rate,
        } => open_loop::run(spec, size, connected, rate),
        Kind::Idle { connected } => idle::run(spec, connected),
    }
}

/// One checked message there and back, on a blocking socket.
pub(crate) fn say_hello(target: SocketAddr) -> Result<TcpStream, Fault> {
    let mut socket = TcpStream::connect_timeout(&target, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    hello(&mut socket)?;
    Ok(socket)
}

fn hello(socket: &mut TcpStream) -> Result<(), Fault> {
    const SIZE: usize = 64;
    let sent = wire::message(Wish::Echo, SIZE, 0);
    socket.write_all(&sent)?;
    let mut got = [0; SIZE];
    socket.read_exact(&mut got)?;
    if got[..] != sent[..] {
        return Err(Fault::new("the answer is not what was sent"));
    }
    Ok(())
}

/// `count` connections to the backend, each used once.
fn connect_all(spec: &Spec, count: usize) -> Result<Vec<TcpStream>, Fault> {
    let mut sockets = Vec::with_capacity(count);
    for (at, target) in spec.targets.iter().cycle().take(count).enumerate() {
        let socket = say_hello(*target).doing(|| format!("connection {at} of {count}"))?;
        sockets.push(socket);
    }
    Ok(sockets)
}
