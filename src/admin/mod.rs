//! The admin interface.

mod settings;

pub use settings::AdminSettings;
