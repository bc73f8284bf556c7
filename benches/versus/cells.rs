//! What is measured: each cell is one kind of load.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Connections that are opened at the same time by the short cells.
const SHORT_AT_ONCE: usize = 32;
/// Messages per second of the open loop: every subject can serve that.
pub(crate) const RATE: u32 = 4_000;
const ACTIVE: usize = 100;
/// What a process needs beside the sockets of connections: listeners, pipes.
const SPARE_FDS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Bulk {
        up: bool,
        streams: usize,
    },
    Short {
        server_closes: bool,
        at_once: usize,
    },
    /// `active` of `connected` have a message under way.
    Ping {
        size: usize,
        connected: usize,
        active: usize,
    },
    Open {
        size: usize,
        connected: usize,
        rate: u32,
    },
    Idle {
        connected: usize,
    },
}

/// In what the figures of a kind are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    /// Units of the load (bytes, connections, round trips) in one shown unit.
    pub(crate) size: f64,
    /// CPU per unit is shown in these.
    pub(crate) cpu: &'static str,
    pub(crate) ns: f64,
    /// What is done per second.
    pub(crate) rate: &'static str,
    pub(crate) rate_size: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) workers: usize,
}

impl Cell {
    fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            workers: 1,
        }
    }

    /// The first word: `bulk`, `short`, `ping`, ...
    pub(crate) fn group(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Only what starts a process of its own has a memory or workers.
    pub(crate) fn needs_process(&self) -> bool {
        self.workers > 1 || matches!(self.kind, Kind::Idle { .. })
    }

    /// As few connections as a test that only looks at the bench needs.
    pub(crate) fn shrink(&mut self) {
        const FEW: usize = 200;
        match &mut self.kind {
            Kind::Ping {
                connected, active, ..
            } => {
                *connected = FEW.min(*connected);
                *active = (*active).min(*connected / 2);
            }
            Kind::Open { connected, .. } | Kind::Idle { connected } => {
                *connected = FEW.min(*connected);
            }
            Kind::Bulk { .. } | Kind::Short { .. } => {}
        }
    }

    /// `text` is a name, a group (`ping`), or `2w` for all with two workers.
    fn is_called(&self, text: &str) -> bool {
        let one_worker = self.workers == 1;
        self.name == text || (self.group() == text && one_worker) || (text == "2w" && !one_worker)
    }
}

impl Kind {
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Bulk { .. } => Unit {
                size: f64::from(1 << 30),
                cpu: "s/GiB",
                ns: 1e9,
                rate: "Gbit/s",
                rate_size: 1e9 / 8.0,
            },
            Self::Short { .. } => Unit {
                size: 1.0,
                cpu: "us/conn",
                ns: 1e3,
                rate: "conn/s",
                rate_size: 1.0,
            },
            Self::Ping { .. } | Self::Open { .. } => Unit {
                size: 1.0,
                cpu: "us/msg",
                ns: 1e3,
                rate: "msg/s",
                rate_size: 1.0,
            },
            // A second of being connected, times connections.
            Self::Idle { .. } => Unit {
                size: 1.0,
                cpu: "us/(conn s)",
                ns: 1e3,
                rate: "conn",
                rate_size: 1.0,
            },
        }
    }
}

/// How many connections a balancer with these descriptors can carry.
pub(crate) fn most_connections(descriptors: u64, wanted: usize) -> usize {
    let room = descriptors.saturating_sub(SPARE_FDS) / 2;
    wanted.min(usize::try_from(room).unwrap_or(wanted))
}

/// Every cell there is.
pub(crate) fn all(descriptors: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (word, up) in [("down", false), ("up", true)] {
        for streams in [1, 8, 64] {
            let kind = Kind::Bulk { up, streams };
            cells.push(Cell::new(format!("bulk-{word}-{streams}"), kind));
        }
    }
    for (word, server_closes) in [("server", true), ("client", false)] {
        let at_once = SHORT_AT_ONCE;
        let kind = Kind::Short {
            server_closes,
            at_once,
        };
        cells.push(Cell::new(format!("short-{word}"), kind));
    }
    for (word, size) in [("64", 64), ("1k", 1024)] {
        for connected in [1, 50, 500] {
            let active = connected;
            let kind = Kind::Ping {
                size,
                connected,
                active,
            };
            cells.push(Cell::new(format!("ping-{word}x{connected}"), kind));
        }
    }
    for (word, size) in [("64", 64), ("1k", 1024)] {
        for connected in [1, 50, 500] {
            let rate = RATE;
            let kind = Kind::Open {
                size,
                connected,
                rate,
            };
            cells.push(Cell::new(format!("open-{word}x{connected}"), kind));
        }
    }
    let connected = most_connections(descriptors, 9_500);
    let kind = Kind::Ping {
        size: 64,
        connected,
        active: ACTIVE,
    };
    cells.push(Cell::new("many", kind));
    let connected = most_connections(descriptors, 10_000);
    cells.push(Cell::new("idle", Kind::Idle { connected }));
    let twice = [
        "bulk-down-8",
        "short-server",
        "short-client",
        "ping-64x50",
        "ping-64x500",
    ];
    let two: Vec<Cell> = cells
        .iter()
        .filter(|it| twice.contains(&it.name.as_str()))
        .cloned()
        .collect();
    cells.extend(two.into_iter().map(|mut cell| {
        cell.name.push_str("-2w");
        cell.workers = 2;
        cell
    }));
    cells
}

/// A few of each kind, for a run of some minutes.
pub(crate) const QUICK: &[&str] = &[
    "bulk-down-1",
    "bulk-up-8",
    "short",
    "ping-64x1",
    "ping-64x50",
    "ping-1kx50",
    "open-64x50",
    "many",
    "idle",
];

/// One of each kind of load, in seconds.
pub(crate) const SMOKE: &[&str] = &[
    "bulk-down-1",
    "bulk-up-8",
    "short",
    "ping-64x50",
    "open-1kx50",
    "many",
    "idle",
];

/// The named ones, in the order of the whole list.
pub(crate) fn choose(cells: Vec<Cell>, names: &[String]) -> Result<Vec<Cell>, Fault> {
    for name in names {
        if !cells.iter().any(|cell| cell.is_called(name)) {
            let all: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
            let all = all.join(", ");
            return Err(Fault::new(format!(
                "no cell is called {name}; there are {all}; a group is the word before the first dash; 2w is all with two workers"
            )));
        }
    }
    let wanted = |cell: &Cell| names.is_empty() || names.iter().any(|name| cell.is_called(name));
    Ok(cells.into_iter().filter(wanted).collect())
}
