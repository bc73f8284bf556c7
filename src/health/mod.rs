//! Is it alive?

mod probe;
mod prober;
mod schedule;
mod settings;
mod state;

pub use probe::{Failure, FailureReason, Outcome, Probe, Target};
pub use prober::{LastProbe, ProbeCells, Prober, Report};
pub use settings::{
    HttpProbe, MysqlLogin, MysqlProbe, ProbeKind, ProbeSettings, SendExpect, Timing, Tls,
};
pub use state::{Health, Sign};
