//! What a session's deadline costs on the timing wheel: `cargo bench`.
//!
//! The wheel is private to the data plane; this compiles its file once more.
//! Medians of 15 rounds; read them as ratios.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod clock {
    pub(crate) use tandem::clock::Moment;
}

#[allow(dead_code, unused_imports, reason = "its tests are not run here")]
#[path = "../src/proxy/deadline.rs"]
mod deadline;

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::deadline::Wheel;

const ROUNDS: usize = 15;
/// As long as a turn of a busy worker.
const TURN: Duration = Duration::from_millis(1);
const TURNS: u32 = 20_000;
/// Sessions look at their deadline this often when nothing moves it.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() {
    println!(
        "{:<28} {:>9} {:>9} {:>9}",
        "sessions", "100", "10000", "100000"
    );
    row("put, ns each", put);
    row("put back when due, ns each", |count| turns(count).0);
    row("a turn with its due, ns", |count| turns(count).1);
}

fn row(name: &str, measure: impl Fn(u64) -> f64) {
    let cells: Vec<String> = [100, 10_000, 100_000]
        .into_iter()
        .map(|count| format!("{:>9.1}", measure(count)))
        .collect();
    println!("{name:<28} {}", cells.join(" "));
}

/// A new session, its deadline somewhere in the next ten seconds.
fn put(count: u64) -> f64 {
    median(|| {
        let mut wheel = Wheel::new(Moment::START);
        let start = Instant::now();
        for session in 0..count {
            wheel.insert(Moment::START + spread(session, count), session);
        }
        let took = start.elapsed();
        black_box(wheel.next());
        took.as_nanos() as f64 / count as f64
    })
}

/// Twenty seconds of a worker whose sessions all move their deadlines on: per
/// session that came up, and per turn.
fn turns(count: u64) -> (f64, f64) {
    let mut each = Vec::new();
    let per_turn = median(|| {
        let mut wheel = Wheel::new(Moment::START);
        for session in 0..count {
            wheel.insert(Moment::START + spread(session, count), session);
        }
        let mut due = Vec::new();
        let mut looked_at = 0_u64;
        let start = Instant::now();
        for turn in 1..=TURNS {
            let now = Moment::START + TURN * turn;
            wheel.expire(now, &mut due);
            looked_at += due.len() as u64;
            for session in due.drain(..) {
                wheel.insert(now + DEADLINE, session);
            }
        }
        let took = start.elapsed().as_nanos() as f64;
        each.push(took / looked_at.max(1) as f64);
        took / f64::from(TURNS)
    });
    (middle(each), per_turn)
}

fn spread(session: u64, count: u64) -> Duration {
    DEADLINE.mul_f64(session as f64 / count as f64)
}

fn median(mut round: impl FnMut() -> f64) -> f64 {
    middle((0..ROUNDS).map(|_| round()).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
