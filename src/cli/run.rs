//! `tandem run`

use super::{ConfigFile, Exit, complain};
use crate::app::{self, Source, StartError};
use crate::config::Config;
use crate::event::Sink;

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
            let served = runtime.block_on(app::serve(config, source, sink));
            // Tasks hold the log's sender: they go before it is waited for.
            drop(runtime);
            served
        }
        Err(error) => Err(StartError::System(error)),
    };
    log.join();
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&error.to_string());
            Exit::Refused
        }
    }
}
