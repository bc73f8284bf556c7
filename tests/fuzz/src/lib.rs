//! What is fuzzed: everything that reads bytes that somebody else wrote. Each
//! target is a function of bytes that panics when a promise is broken, and a
//! few inputs to begin with.
#![allow(clippy::unwrap_used, reason = "a panic is how a target reports")]

mod bytes;
mod config;
mod dns;
mod election;
mod heartbeat;
mod http1;
mod mysql;
mod planted;
mod proxy_header;

/// Something to fuzz.
#[derive(Debug)]
pub struct Target {
    /// What it is called on the command line and in folders.
    pub name: &'static str,
    /// Panics if `data` breaks a promise.
    pub check: fn(data: &[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The longest input that is worth trying.
    pub longest: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "heartbeat",
        check: heartbeat::check,
        seeds: heartbeat::seeds,
        longest: 400,
    },
    Target {
        name: "election",
        check: election::check,
        seeds: election::seeds,
        longest: 2048,
    },
    Target {
        name: "dns",
        check: dns::check,
        seeds: dns::seeds,
        longest: 1400,
    },
    Target {
        name: "proxy_header",
        check: proxy_header::check,
        seeds: proxy_header::seeds,
        longest: 2200,
    },
    Target {
        name: "mysql",
        check: mysql::check,
        seeds: mysql::seeds,
        longest: 17_000,
    },
    Target {
        name: "http1",
        check: http1::check,
        seeds: http1::seeds,
        longest: 17_000,
    },
    Target {
        name: "config",
        check: config::check,
        seeds: config::seeds,
        longest: 4096,
    },
    Target {
        name: planted::NAME,
        check: planted::check,
        seeds: planted::seeds,
        longest: 64,
    },
];

impl Target {
    /// The target called `name`.
    pub fn of(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|it| it.name == name)
    }

    /// Whether it is there to be found: the proof that the engine is guided.
    pub fn is_planted(&self) -> bool {
        self.name == planted::NAME
    }
}
