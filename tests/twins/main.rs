//! Two real tandems that hold one name, killed, stopped and cut off. Run by
//! `tests/run`; times are printed as `figure:` lines, bounds are wide.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod clock;
mod conformance;
mod embedded;
mod forged;
mod hosts;
mod kit;
mod lasting;
mod lease;
mod leaving;
mod links;
mod membership;
mod packets;
mod resolver;
mod seats;
#[path = "../register/kit/server.rs"]
#[allow(dead_code, reason = "the register's own tests use the rest")]
mod server;

use std::time::Duration;

/// Whatever takes longer hangs.
pub const SOON: Duration = Duration::from_secs(30);
