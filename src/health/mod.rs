//! Is it alive?

mod cells;
mod guard;
mod known;
mod probe;
mod prober;
mod request;
mod schedule;
mod settings;
mod sight;
mod spare;
mod state;
mod trust;

pub use cells::{LastProbe, ProbeCells};
pub use known::Known;
pub use probe::{Aim, Blindness, Failure, FailureReason, Outcome, Probe, Target};
pub use prober::{News, Prober, Report};
pub use request::{HttpHost, HttpMethod, HttpPath, HttpRequest, Unsendable};
pub use settings::{
    HttpProbe, MysqlLogin, MysqlProbe, ProbeKind, ProbeSettings, SendExpect, Timing, Tls,
};
pub use spare::{SPARE, Spare};
pub use state::{Health, Sign};
pub use trust::{TlsName, Trusted, Verify};
