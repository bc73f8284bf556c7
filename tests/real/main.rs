//! The promises, shown on real parts: nginx, MariaDB, Prometheus' promtool,
//! and clients that never stop. `tests/run` installs the parts and runs this
//! with one test at a time, as the tests are heavy; a test that lacks its part
//! fails and says what to install. Figures go to standard error as
//! `figure: NAME = VALUE`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these tests watch real processes in real time, and helpers of a test may unwrap"
)]

mod admin;
mod blame;
mod cli;
mod costs;
mod failed_start;
mod faults;
mod integrity;
mod kit;
mod kit_itself;
mod limits;
mod metrics;
mod mysql;
mod mysql_accounts;
mod names;
mod proxy_protocol;
mod reloads;
mod sandbox;
mod secrets;
mod stopping;
mod streams;
mod tls;
mod unit;
mod unix;
mod unix_listener;
mod web;

/// No test: the process behind `kit::Backend`, which runs this file again.
#[test]
#[ignore = "a helper process of the other tests"]
fn helper_backend() {
    kit::backend::serve_for_ever();
}
