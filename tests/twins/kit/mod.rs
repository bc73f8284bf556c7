//! Pairs, hosts, clients, and a watch.

pub mod client;
pub mod crowd;
pub mod net;
pub mod pair;
pub mod resolver;
pub mod said;

use std::time::{Duration, Instant};

use super::SOON;

pub fn figure(name: &str, value: impl std::fmt::Display) {
    eprintln!("figure: {name} = {value}");
}

/// Says how a row of the list of promises went.
pub fn row(number: u8, what: &str, value: impl std::fmt::Display) {
    figure(&format!("rows.{number} {what}"), value);
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub fn since(start: Instant) -> Duration {
    start.elapsed()
}

pub fn pass(time: Duration) {
    let start = now();
    while since(start) < time {
        std::thread::park_timeout(time.saturating_sub(since(start)));
    }
}

pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) -> Duration {
    let start = now();
    while since(start) < SOON {
        if is_true() {
            return since(start);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("not true after {SOON:?}: {what}");
}

/// Keeps every core busy, twice over on two of them.
pub fn hog(time: Duration) {
    let start = now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while since(start) < time {});
        }
    });
}

/// Prints all of them, and the median, in milliseconds.
pub fn figures(name: &str, mut times: Vec<Duration>, goal: &str) -> Duration {
    let all: Vec<_> = times.iter().map(Duration::as_millis).collect();
    figure(&format!("{name}_all_ms"), format!("{all:?}"));
    times.sort();
    let median = times[times.len() / 2];
    figure(
        &format!("{name}_median_ms"),
        format!("{} ({goal})", median.as_millis()),
    );
    median
}
