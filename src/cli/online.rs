//! `tandem check --online`: what only the machine and the network can tell.

use std::fmt::Write;

use hyper::Method;

use super::{Exit, client, out, probe};
use crate::app::seats;
use crate::config::Config;
use crate::status::Status;

/// Tries every address that this node would listen at, and probes every backend
/// once, as `run` would.
pub(super) fn check(config: &Config) -> Exit {
    let mut text = String::new();
    let failed = addresses(config, &mut text);
    out(&text);
    match probe::backends(config, |_| true) {
        Some(Exit::Ok) | None if failed == 0 => Exit::Ok,
        Some(Exit::Ok) | None => Exit::Refused,
        Some(exit) => exit,
    }
}

/// Says of each address that cannot be had why. What the running tandem of this
/// file has is not tried: it is there already.
fn addresses(config: &Config, text: &mut String) -> u32 {
    let running = running(config);
    let mut failed = 0;
    for seat in seats(config) {
        let is_ours = running.as_ref().is_some_and(|it| {
            let address = seat.address.to_string();
            let mut binds = it.listeners.iter().flat_map(|it| &it.binds);
            let is_admins = it.admin.bind.is_some_and(|it| seat.address == it.into());
            let is_pairs = seat.is_of_pair() && it.pair.is_some();
            is_pairs || is_admins || binds.any(|it| it.address == address)
        });
        if is_ours {
            continue;
        }
        if let Err(obstacle) = seat.try_out() {
            let word = if obstacle.is_for_this_user() {
                "not tried"
            } else {
                failed += 1;
                "fail"
            };
            let _infallible = writeln!(text, "{} {}: {word}: {obstacle}", seat.path, seat.address);
        }
    }
    failed
}

/// What runs by this file, if something does.
fn running(config: &Config) -> Option<Status> {
    let socket = config.admin.socket.as_ref()?;
    let body = client::ask(socket.path(), Method::GET, "/v1/status").ok()?;
    serde_json::from_slice(&body).ok()
}
