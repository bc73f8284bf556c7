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
mod serve;
mod settings;

#[cfg(test)]
mod embedded_tests;

pub use counts::Counts;
pub use embedded::Dns;
pub use records::{Data, Mode, Record, Zone, delegation};
pub use settings::{LONGEST_TTL, Node, NodeError, SHORTEST_TTL, ServeSettings};
