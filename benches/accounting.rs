//! What one connection writes into counters and places, from its acceptance to
//! its end: `cargo bench`.
//!
//! Medians of 15 rounds; read them as ratios. "beside another": a second
//! thread does the same as another worker on another CPU, on the same backend
//! and listener; on a busy machine it may not run at the same time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tandem::pool::{Backend, BackendId, ListenerLive};
use tandem::types::{Name, Reason};

const ROUNDS: usize = 15;
const CONNECTIONS: u32 = 2_000_000;

fn main() {
    let allowed = sched_getaffinity(None).unwrap();
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let cpus: Vec<usize> = cpus.collect();
    // With one CPU there is nobody beside.
    let (own, other) = (cpus[0], cpus[cpus.len() - 1]);
    run_on(own);
    println!(
        "{:<24} {:>9} {:>14}",
        "ns/connection", "alone", "beside another"
    );
    let parts: [(&str, Part); 3] = [
        ("places of the backend", places),
        ("counters", counters),
        ("both", both),
    ];
    for (name, part) in parts {
        let alone = median(part, None);
        let beside = if own == other {
            "-".to_owned()
        } else {
            format!("{:.1}", median(part, Some(other)))
        };
        println!("{name:<24} {alone:>9.1} {beside:>14}");
    }
}

fn run_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).unwrap();
}

type Part = fn(&World, usize);

struct World {
    backend: Backend,
    listener: ListenerLive,
}

/// Shared by all workers, because limits are those of the process.
fn places(world: &World, _worker: usize) {
    assert!(world.backend.live.places.acquire(None));
    world.backend.live.places.release();
}

/// Each worker has its own.
fn counters(world: &World, worker: usize) {
    let listener = world.listener.cells.of(worker);
    let backend = world.backend.live.cells.of(worker);
    listener.accepted.add(1);
    backend.connections.add(1);
    backend.connect_duration.observe(Duration::from_micros(80));
    // Once for each of two turns in which something moved.
    for _ in 0..2 {
        listener.bytes_in.add(64);
        listener.bytes_out.add(64);
        backend.bytes_in.add(64);
        backend.bytes_out.add(64);
    }
    let ended = Reason::ALL
        .iter()
        .position(|it| *it == Reason::ServerClosed);
    listener.finished[ended.unwrap()].add(1);
    listener.duration.observe(Duration::from_micros(700));
}

fn both(world: &World, worker: usize) {
    places(world, worker);
    counters(world, worker);
}

fn median(part: Part, other: Option<usize>) -> f64 {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let name = || Name::new("versus").unwrap();
    let world = World {
        backend: Backend::new(BackendId(1), name(), name(), Some(address.into()), 2),
        listener: ListenerLive::new(2),
    };
    let stop = AtomicBool::new(false);
    let mut rounds: Vec<f64> = thread::scope(|scope| {
        if let Some(cpu) = other {
            let (world, stop) = (&world, &stop);
            scope.spawn(move || {
                run_on(cpu);
                while !stop.load(Ordering::Relaxed) {
                    part(world, 1);
                }
            });
        }
        let rounds = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            for _ in 0..CONNECTIONS {
                part(&world, 0);
            }
            start.elapsed().as_nanos() as f64 / f64::from(CONNECTIONS)
        });
        let rounds = rounds.collect();
        stop.store(true, Ordering::Relaxed);
        rounds
    });
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
