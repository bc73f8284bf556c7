//! What is logged, and how it looks.

/// How the log looks and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Text, JSON, or whichever fits where standard error goes.
    pub format: LogFormat,
    /// Whether each finished connection has a line.
    pub connections: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            connections: true,
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// One line of text for people.
    Text,
}
