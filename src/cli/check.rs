//! `tandem check`

use super::{CheckArgs, ConfigFile, Exit, complain, online, out};
use crate::config::is_open_to_all;
use crate::types::count;

pub(super) fn check(args: &CheckArgs, file: &ConfigFile) -> Exit {
    let path = file.path();
    let config = match file.load() {
        Ok(config) => config,
        Err(error) => {
            complain(&error.with_lines());
            return Exit::Usage;
        }
    };
    for warning in config.warnings(is_open_to_all(&path)) {
        complain(&format!("warning: {}:{warning}", path.display()));
    }
    for note in config.notes() {
        complain(&format!("note: {}:{note}", path.display()));
    }
    if args.print {
        out(&config.to_yaml());
        return Exit::Ok;
    }
    if args.online {
        return online::check(&config);
    }
    let backends: usize = config.pools.iter().map(|it| it.pool.backends.len()).sum();
    out(&format!(
        "{}: ok ({}, {}, {})\n",
        path.display(),
        count(config.listeners.len(), "listener"),
        count(config.pools.len(), "pool"),
        count(backends, "backend"),
    ));
    Exit::Ok
}
