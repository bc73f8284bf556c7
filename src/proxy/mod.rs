//! The story of one connection, told by one worker per core.
//!
//! A worker is a plain thread with one edge-triggered event loop. It sees a
//! [`Snapshot`](crate::pool::Snapshot) of the world and nothing else of the
//! control plane: if every prober died, it would go on serving.

mod accept;
mod admit;
mod aside;
mod budget;
mod compact;
mod connect;
mod context;
mod deadline;
mod finish;
mod first;
mod greeting;
mod header;
mod mailbox;
mod refuse;
mod session;
mod settings;
mod slab;
mod sources;
mod worker;
mod workers;

pub use budget::Budget;
pub use context::{OnSeen, Seen};
pub use mailbox::GateId;
pub use settings::Limits;
pub use workers::Workers;
