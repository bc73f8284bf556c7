//! The server's first packet.

use super::{Bad, Fields, ServerError};

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// It greets.
    Greeting(Greeting),
    /// It refuses, for example because it is full.
    Refused(ServerError),
}

/// A server's greeting (protocol 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The server's version, for people.
    pub version: String,
    /// The number of the connection at the server.
    pub connection: u32,
    /// What the server can do: `CLIENT_...` bits.
    pub capabilities: u32,
    /// The server's random bytes, 20 of them in all living servers.
    pub nonce: Vec<u8>,
    /// How the server would authenticate; empty if it does not say.
    pub plugin: String,
}

/// The server can encrypt.
pub(super) const CLIENT_SSL: u32 = 1 << 11;
pub(super) const CLIENT_PROTOCOL_41: u32 = 1 << 9;
pub(super) const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
pub(super) const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;

/// What the first bytes of a packet show, for those who only pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The server greets.
    Greeting,
    /// It refuses.
    Error {
        /// Why.
        code: u16,
        /// The number of the packet in its exchange.
        number: u8,
    },
    /// Neither, or not enough to tell.
    Other,
}

impl Said {
    /// What `bytes` show, with which a packet begins.
    pub const fn of(bytes: &[u8]) -> Self {
        match bytes {
            [_, _, _, 0, 0x0a, ..] => Self::Greeting,
            [_, _, 0, number, 0xff, low, high, ..] => Self::Error {
                code: u16::from_le_bytes([*low, *high]),
                number: *number,
            },
            _ => Self::Other,
        }
    }
}

impl First {
    /// What `payload` says.
    pub fn parse(payload: &[u8]) -> Result<Self, Bad> {
        match payload.first() {
            Some(0x0a) => Greeting::parse(payload).map(Self::Greeting),
            Some(0xff) => ServerError::parse(payload).map(Self::Refused),
            Some(_) => Err(Bad::Version),
            None => Err(Bad::Malformed),
        }
    }
}

impl Greeting {
    /// Whether the server offers TLS.
    pub const fn has_tls(&self) -> bool {
        self.capabilities & CLIENT_SSL != 0
    }

    fn parse(payload: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields(payload);
        fields.byte()?;
        let version = fields.text()?;
        let connection = fields.u32()?;
        let mut nonce = fields.take(8)?.to_vec();
        fields.byte()?;
        let low = fields.u16()?;
        // Character set and status.
        fields.take(3)?;
        let high = fields.u16()?;
        let capabilities = u32::from(low) | u32::from(high) << 16;
        let needed = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION;
        if capabilities & needed != needed {
            return Err(Bad::Version);
        }
        let nonce_length = usize::from(fields.byte()?);
        // Reserved; MariaDB keeps more capabilities here.
        fields.take(10)?;
        // The rest of the nonce ends in a NUL that is not part of it.
        let rest = fields.take(nonce_length.saturating_sub(8).max(13))?;
        nonce.extend(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = if capabilities & CLIENT_PLUGIN_AUTH == 0 {
            String::new()
        } else {
            fields.last_text()
        };
        Ok(Self {
            version,
            connection,
            capabilities,
            nonce,
            plugin,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The greeting of MariaDB 10.11, with a nonce of our own.
    pub(super) fn mariadb() -> Vec<u8> {
        let mut out = b"\x0a5.5.5-10.11.6-MariaDB\0".to_vec();
        out.extend(7_u32.to_le_bytes());
        out.extend(b"abcdefgh\0");
        out.extend(0xf7fe_u16.to_le_bytes());
        out.extend([45, 2, 0]);
        out.extend(0x81ff_u16.to_le_bytes());
        out.push(21);
        out.extend([0, 0, 0, 0, 0, 0, 0x1d, 0, 0, 0]);
        out.extend(b"ijklmnopqrst\0");
        out.extend(b"mysql_native_password\0");
        out
    }

    #[test]
    fn a_greeting_is_known_by_its_first_bytes() {
        let greeting = super::super::frame(0, &mariadb());
        assert_eq!(Said::of(&greeting[..5]), Said::Greeting);
        assert_eq!(Said::of(&greeting[..4]), Said::Other);
        let refusal = super::super::err_packet(1040, "Too many connections");
        let (code, number) = (1040, 0);
        assert_eq!(Said::of(&refusal), Said::Error { code, number });
        assert_eq!(Said::of(&refusal[..6]), Said::Other);
        assert_eq!(Said::of(b"HTTP/1.1 200 OK"), Said::Other);
    }

    #[test]
    fn a_greeting_is_read() {
        let First::Greeting(greeting) = First::parse(&mariadb()).unwrap() else {
            panic!("a greeting");
        };
        assert_eq!(greeting.version, "5.5.5-10.11.6-MariaDB");
        assert_eq!(greeting.connection, 7);
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.plugin, "mysql_native_password");
    }

    #[test]
    fn the_last_nul_may_be_missing() {
        let mut bytes = mariadb();
        bytes.pop();
        let Ok(First::Greeting(greeting)) = First::parse(&bytes) else {
            panic!("a greeting");
        };
        assert_eq!(greeting.plugin, "mysql_native_password");
    }

    #[test]
    fn a_refusal_instead_of_a_greeting_is_read() {
        for bytes in [
            b"\xff\x10\x04Too many connections".as_slice(),
            b"\xff\x10\x04#08004Too many connections",
        ] {
            let Ok(First::Refused(error)) = First::parse(bytes) else {
                panic!("a refusal");
            };
            assert_eq!(error.code, ServerError::TOO_MANY_CONNECTIONS);
            assert_eq!(error.message, "Too many connections");
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        assert_eq!(First::parse(b"\x09old"), Err(Bad::Version));
        assert_eq!(First::parse(b""), Err(Bad::Malformed));
        for end in 1..mariadb().len() - 22 {
            assert!(First::parse(&mariadb()[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>, at in any::<proptest::sample::Index>(), with: u8) {
            drop(First::parse(&bytes));
            bytes.insert(0, 0x0a);
            drop(First::parse(&bytes));
            let mut real = mariadb();
            let at = at.index(real.len());
            real[at] = with;
            drop(First::parse(&real));
        }
    }
}
