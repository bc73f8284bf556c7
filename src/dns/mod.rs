//! Telling the world.

pub mod hook;
pub mod observe;
pub mod register;
pub mod rfc2136;
pub mod text;

mod answer;
mod counts;
mod embedded;
mod gate;
mod limiter;
mod records;
mod seats;
mod serve;
mod settings;
mod tcp;

#[cfg(test)]
mod embedded_tests;

/// The way of one query to its answer, without sockets: for fuzzing.
#[doc(hidden)]
pub use answer::{Reply, Table, answer};
pub use counts::Counts;
pub use embedded::Dns;
#[doc(hidden)]
pub use gate::truncated;
#[doc(hidden)]
pub use limiter::Transport;
pub use records::{Data, Mode, Record, Zone, delegation};
pub use settings::{LONGEST_TTL, Node, NodeError, SHORTEST_TTL, ServeSettings};
