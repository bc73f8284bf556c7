//! The limits of this process, computed at start-up and said.

use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::event::{Event, Sink};
use crate::health::SPARE;
use crate::proxy::Budget;
use crate::types::count;

/// Fewer connections than this are worth a warning.
const FEW: u32 = 400;

/// Threads for the data plane: what the file says, or one per core.
pub(super) fn worker_count(config: &Config) -> usize {
    match config.limits.workers {
        Some(workers) => usize::from(workers.max(1)),
        None => available_parallelism().map_or(1, usize::from),
    }
}

/// Raises the soft limit of file descriptors to the hard one, and says how
/// many connections that allows.
pub(super) fn budget(config: &Config, workers: usize, sink: &Sink) -> Budget {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Refused by some sandboxes: then the soft limit is what there is.
        let _kept = setrlimit(Resource::Nofile, raised);
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let others = others(config, workers);
    let wanted = config.limits.max_connections;
    let budget = Budget::new(descriptors, workers as u64, others, wanted);
    if budget.is_clamped || budget.sessions < FEW {
        let wanted = wanted.unwrap_or(FEW);
        let needed = Budget::needed(wanted, workers as u64, others);
        sink.say(Event::Limited {
            what: format!(
                "{} allow {}; for {wanted} raise the limit (LimitNOFILE={needed}, now {hard})",
                count(descriptors, "file descriptor"),
                count(budget.sessions, "connection"),
            ),
        });
    }
    budget
}

/// Descriptors for all else: a probe for each backend and those kept back for
/// probes, listening sockets (twice: a copy stays with the control plane),
/// admin connections.
fn others(config: &Config, workers: usize) -> u64 {
    let pools = config.pools.iter();
    let probes: usize = pools
        .map(|pool| pool.pool.backends.len() * pool.probe.holds())
        .sum();
    let binds: usize = config.listeners.iter().map(|it| it.binds.len()).sum();
    (probes + SPARE + binds * workers * 2 + crate::admin::MAX_CONNECTIONS) as u64
}
