//! `tandem check`

use std::fmt::Write;
use std::time::Duration;

use super::{CheckArgs, ConfigFile, Exit, complain, out, probe};
use crate::config::{Config, is_open_to_all};
use crate::types::{Address, Endpoint, count};

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
        return check_online(&config);
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

/// Probes every backend once, as `run` would.
fn check_online(config: &Config) -> Exit {
    let mut text = String::new();
    let mut failed = 0;
    for pool in &config.pools {
        for backend in &pool.pool.backends {
            let address = backend.address.to_string();
            let name = (pool.pool.name.clone(), backend.name.clone());
            let result = probe::once(
                name,
                &backend.address,
                &pool.probe,
                pool.pool.sources_of(backend),
                pool.pool.send_proxy,
            );
            // A server may repeat what it was sent.
            let result = result.map_err(|why| config.taint.clean(&why));
            let line = describe(&address, &result);
            failed += u32::from(result.is_err());
            let _infallible = writeln!(text, "{}/{} {line}", pool.pool.name, backend.name);
        }
    }
    out(&text);
    if failed == 0 { Exit::Ok } else { Exit::Refused }
}

pub(super) fn describe(address: &str, result: &Result<(String, Duration), String>) -> String {
    match result {
        Ok((outcome, took)) => {
            let millis = took.as_secs_f64() * 1000.0;
            format!("{address}: {outcome} in {millis:.1} ms")
        }
        Err(why) => format!("{address}: fail: {why}"),
    }
}

/// The host that certificates and Host headers name.
pub(super) fn host_of(address: &Address) -> String {
    match address {
        Address::Host { host, .. } => host.clone(),
        Address::Ip(address) => Endpoint::Tcp(*address).host(),
        Address::Unix(path) => Endpoint::Unix(path.clone()).host(),
    }
}
