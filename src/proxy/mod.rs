//! The story of one connection, told by one worker per core.

mod settings;

pub use settings::Limits;
