//! What a new snapshot costs: the control plane to compose it, a worker to
//! look whether there is one and to take it, alone and while another thread
//! swaps them all the time: `cargo bench`.
//!
//! Medians of 15 rounds; read them as ratios.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use tandem::clock::Moment;
use tandem::pool::{
    BackendSettings, BackendState, Board, ListenerSettings, PoolSettings, Protocol, Snapshot,
    Wanted,
};
use tandem::types::{Address, Name};

const ROUNDS: usize = 15;
const COMPOSES: u32 = 2_000;
const LOOKS: u32 = 500_000;

fn main() {
    println!("{:<24} {:>9} {:>9} {:>9}", "backends", "3", "30", "300");
    row("compose, us", compose);
    row("look, quiet, ns", |count| look(count, false));
    row("look, swapped, ns", |count| look(count, true));
}

fn row(name: &str, measure: impl Fn(u16) -> f64) {
    let cells: Vec<String> = [3, 30, 300]
        .into_iter()
        .map(|count| format!("{:>9.2}", measure(count)))
        .collect();
    println!("{name:<24} {}", cells.join(" "));
}

/// A backend changes its state, and the world is built anew.
fn compose(count: u16) -> f64 {
    let mut board = board(count);
    let first = board.backends().next().unwrap().0.id;
    let states = [BackendState::Down, BackendState::Up { ramp_from: None }];
    median(|| {
        let start = Instant::now();
        for turn in 0..COMPOSES {
            let state = states[turn as usize % 2];
            board.set_state(first, state, Moment::START);
            black_box(board.compose(Moment::START));
        }
        start.elapsed().as_nanos() as f64 / 1e3 / f64::from(COMPOSES)
    })
}

/// What a worker does in every turn of its loop; with `swapped`, while another
/// thread replaces the snapshot as fast as it can compose one.
fn look(count: u16, swapped: bool) -> f64 {
    let mut board = board(count);
    let shared = Arc::new(ArcSwap::from_pointee(board.compose(Moment::START)));
    let stop = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    thread::scope(|scope| {
        if swapped {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    shared.store(Arc::new(board.compose(Moment::START)));
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut own = shared.load_full();
        let found = median(|| {
            let start = Instant::now();
            for _ in 0..LOOKS {
                refresh(&shared, &mut own);
            }
            start.elapsed().as_nanos() as f64 / f64::from(LOOKS)
        });
        stop.store(true, Ordering::Relaxed);
        black_box(&own);
        found
    })
}

/// As `proxy/context.rs` does it.
fn refresh(shared: &ArcSwap<Snapshot>, own: &mut Arc<Snapshot>) {
    let newest = shared.load();
    if newest.generation != own.generation {
        *own = Arc::clone(&newest);
    }
}

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn board(count: u16) -> Board {
    let name = Name::new("pool").unwrap();
    let backends: Vec<BackendSettings> = (1..=count)
        .map(|port| {
            let address = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
            BackendSettings::new(Name::of_address(&address), address)
        })
        .collect();
    let wanted = Wanted {
        addresses: (1..=count)
            .map(|port| Some(SocketAddr::from(([127, 0, 0, 1], port)).into()))
            .collect(),
        settings: PoolSettings::new(name.clone(), Protocol::Tcp, backends),
    };
    let bind = "127.0.0.1:0".parse().unwrap();
    let listener = ListenerSettings::new(name.clone(), bind, name);
    let mut board = Board::new(1);
    let delta = board.configure(&[listener], &[wanted], Moment::START);
    for backend in &delta.added {
        let up = BackendState::Up { ramp_from: None };
        board.set_state(backend.id, up, Moment::START);
    }
    board
}
