//! `tandem run`

use std::time::Duration;

use super::{ConfigFile, Exit, complain};
use crate::app::{self, Signals, Source, StartError};
use crate::config::Config;
use crate::event::Sink;

/// How long what still runs may take to end once all sessions have: a lookup,
/// a write to a disk.
const REST: Duration = Duration::from_secs(1);
/// How long whoever reads the log may take for what is left of it.
const LOG: Duration = Duration::from_secs(2);

pub(super) fn run(file: &ConfigFile) -> Exit {
    let source = Source {
        file: file.path(),
        node: file.node.clone(),
    };
    match file.load() {
        Ok(config) => serve(config, source),
        Err(error) => {
            complain(&error.to_string());
            Exit::Usage
        }
    }
}

/// Serves until a signal ends it.
pub(super) fn serve(config: Config, source: Source) -> Exit {
    let taint = config.taint.clone();
    let mut signals = match Signals::start() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot hear signals: {error}"));
            return Exit::Refused;
        }
    };
    let (sink, log) = match Sink::start(config.log.format) {
        Ok(started) => started,
        Err(error) => {
            complain(&format!("cannot start the log: {error}"));
            return Exit::Refused;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Probes, admin and signals: one core is plenty, two keep a slow
        // answer from delaying the others.
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => {
            let served = runtime.block_on(app::serve(config, source, sink, &mut signals));
            // Tasks hold the log's sender: they go before it is waited for.
            // Threads that wait for a disk or a resolver cannot be ended.
            runtime.shutdown_timeout(REST);
            served
        }
        Err(error) => Err(StartError::System(error)),
    };
    // What is not read is lost.
    let _written = log.join(LOG);
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => {
            // Standard error of a service is its log.
            complain(&taint.clean(&error.to_string()));
            Exit::Refused
        }
    }
}
