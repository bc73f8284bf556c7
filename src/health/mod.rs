//! Is it alive?

mod settings;

pub use settings::{
    HttpProbe, MysqlLogin, MysqlProbe, ProbeKind, ProbeSettings, SendExpect, Timing, Tls,
};
