//! The data plane with real sockets on the loopback interface: real workers,
//! real clients, small servers of the test's own. No control plane, no root.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod bulk;
mod client_first;
mod kit;
mod limits;
mod proxy_header;
mod refusing;
mod relaying;
mod sources;
mod stopping;
mod unix;
mod unix_listener;
