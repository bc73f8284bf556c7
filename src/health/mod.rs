//! Is it alive?

mod settings;
mod state;

pub use settings::{
    HttpProbe, MysqlLogin, MysqlProbe, ProbeKind, ProbeSettings, SendExpect, Timing, Tls,
};
pub use state::{Health, Sign};
