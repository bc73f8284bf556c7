//! Who holds the public name.

mod driver;
mod guest_book;
mod link;
mod message;
mod plan;
mod settings;
mod state;
mod watch;
mod wire;

pub use driver::{Driver, Inbox, Mouth, Outlet, Pending, Ports, Witness, channel, election};
pub use link::Link;
pub use message::{Boot, Heard, Heartbeat, Hold, Memory, More, READS_MORE, Role};
pub use plan::{PairNode, PairSettings};
#[doc(hidden)]
pub use settings::Rules;
pub use settings::{Failback, Mode, Timing};
pub use state::{
    Action, Election, Event, Fitness, Order, Probe, ReadError, Refusal, Transition, TwinView, View,
    Why, Wrote,
};
pub use wire::{Bad, Key, decode, encode};
