/// Why the first bytes of a connection are not a PROXY header. The same word
/// is in the log and in the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum BadHeader {
    /// An address is not one, or not of the family that was announced.
    #[error("the PROXY header has an invalid address or port")]
    Address,
    /// It carries a checksum, and has another one.
    #[error("the PROXY header does not have the checksum that it carries")]
    Checksum,
    /// The command is neither LOCAL nor PROXY.
    #[error("the PROXY header has an unknown command")]
    Command,
    /// The sender closed before the header was whole.
    #[error("the connection ended before its PROXY header did")]
    Cut,
    /// The address family or the transport does not exist.
    #[error("the PROXY header has an unknown address family or transport")]
    Family,
    /// It did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
    /// The line of version 1 is not built as it should be.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// These bytes do not begin a header.
    #[error("there is no PROXY header")]
    Missing,
    /// Too many headers of other connections wait to be whole.
    #[error("too many PROXY headers are being received")]
    NoRoom,
    /// The line of version 1 is longer than it may be.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Its length has no room for the addresses it announces.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// The version is neither 1 nor 2.
    #[error("the PROXY header has an unknown version")]
    Version,
}

impl BadHeader {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Address,
        Self::Checksum,
        Self::Command,
        Self::Cut,
        Self::Family,
        Self::Late,
        Self::Malformed,
        Self::Missing,
        Self::NoRoom,
        Self::TooLong,
        Self::TooShort,
        Self::Version,
    ];

    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Checksum => "checksum",
            Self::Command => "command",
            Self::Cut => "cut",
            Self::Family => "family",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::NoRoom => "no_room",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::Version => "version",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_numbered_as_listed() {
        for (i, why) in BadHeader::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, i);
        }
    }
}
