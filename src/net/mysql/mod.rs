//! As much of the MySQL client protocol as refusing a client and probing a
//! server need; MariaDB speaks it too. Pure.
//!
//! Own code and not a client library, because a probe sends a PROXY header
//! before the server's greeting and must decide each byte that the server sees.

mod answer;
mod greeting;
mod login;
mod packet;
mod scramble;

pub use answer::{Answer, ServerError, err_packet};
pub use greeting::{First, Greeting, Said};
pub use login::{Login, ssl_request};
pub use packet::{Framed, HEADER, LIMIT, TooLong, frame, unframe};
pub use scramble::{Plugin, RsaError, cleartext, encrypt_password, nothing_to_show};

/// The request that a server answers with OK if it is alive.
pub const COM_PING: &[u8] = &[0x0e];

/// The polite end of a connection; the server closes and counts nothing.
pub const COM_QUIT: &[u8] = &[0x01];

/// The payload that asks a server for its RSA key during caching_sha2_password.
pub const REQUEST_PUBLIC_KEY: &[u8] = &[0x02];

/// Why a packet makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It ends too early or is not built as it should be.
    #[error("the server sent a malformed packet")]
    Malformed,
    /// The server is older than MySQL 4.1 (2004) or speaks another protocol.
    #[error("the server speaks an unknown version of the protocol")]
    Version,
}

/// Reads fields from the front of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Bad::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Bad> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Bad> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Bad> {
        Ok(u32::from(self.u16()?) | u32::from(self.u16()?) << 16)
    }

    /// Up to and without a NUL, which is skipped.
    fn text(&mut self) -> Result<String, Bad> {
        let end = self.0.iter().position(|&b| b == 0).ok_or(Bad::Malformed)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Up to and without a NUL, or all that is left: old servers forgot the
    /// last NUL of the greeting.
    fn last_text(&self) -> String {
        let text = self.0.split(|&b| b == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}
