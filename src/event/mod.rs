//! What happened, as one enum; the one place that turns it into a log line.

mod settings;

pub use settings::{LogFormat, LogSettings};
