//! Is it alive?

mod probe;
mod settings;
mod state;

pub use probe::{Failure, FailureReason, Outcome, Probe, Target};
pub use settings::{
    HttpProbe, MysqlLogin, MysqlProbe, ProbeKind, ProbeSettings, SendExpect, Timing, Tls,
};
pub use state::{Health, Sign};
