//! What went wrong, as one line for people.

use std::error::Error;
use std::fmt;

/// A sentence; nothing in the bench decides by the kind of an error.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl Fault {
    pub(crate) fn new(said: impl Into<String>) -> Self {
        Self(said.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what was being done.
pub(crate) trait While<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T, E: Into<Fault>> While<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault(format!("{}: {}", what(), error.into())))
    }
}
