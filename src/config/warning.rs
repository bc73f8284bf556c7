//! What is to be said of a good file all the same.

use std::net::IpAddr;

/// What may be meant, and is often a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Warning {
    /// A secret stands in the file itself. Worth a warning where everybody may
    /// read the file.
    #[error(
        "everybody on this machine may read the file, and this secret in it (chmod o= the file, \
         or name a file or a ${{VARIABLE}} here)"
    )]
    InlineSecret,
    /// Connections are to leave from an address that may come later, as a
    /// floating one does.
    #[error(
        "{0} is not an address of this machine now: until it is, connections leave from the \
         others in `source`, and where there are none they end with `no_source`"
    )]
    AbsentSource(IpAddr),
}
