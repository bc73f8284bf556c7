//! What a server says after its greeting: yes, no, or go on.

use std::fmt;

use super::{Bad, Fields, frame};

/// A server's answer during and after the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ok,
    /// Refused.
    Err(ServerError),
    /// Authenticate anew, in another way.
    Switch {
        /// The way's name.
        plugin: String,
        /// The server's random bytes for it.
        nonce: Vec<u8>,
    },
    /// A step within the present way of authentication.
    More(Vec<u8>),
}

impl Answer {
    /// What `payload` says.
    pub fn parse(payload: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields(payload);
        match fields.byte()? {
            0x00 => Ok(Self::Ok),
            0x01 => Ok(Self::More(fields.0.to_vec())),
            // Alone, it asks for the hash of MySQL 3.23, which nobody should send.
            0xfe if fields.0.is_empty() => Ok(Self::Switch {
                plugin: "mysql_old_password".to_owned(),
                nonce: Vec::new(),
            }),
            0xfe => {
                let plugin = fields.text()?;
                let nonce = fields.0.strip_suffix(&[0]).unwrap_or(fields.0).to_vec();
                Ok(Self::Switch { plugin, nonce })
            }
            0xff => ServerError::parse(payload).map(Self::Err),
            _ => Err(Bad::Malformed),
        }
    }
}

/// An error that a server reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Its number, such as 1040.
    pub code: u16,
    /// The five characters of SQLSTATE; missing before the handshake.
    pub sqlstate: Option<String>,
    /// Its text.
    pub message: String,
}

impl ServerError {
    /// `Too many connections`.
    pub const TOO_MANY_CONNECTIONS: u16 = 1040;
    /// `Access denied for user ...`.
    pub const ACCESS_DENIED: u16 = 1045;
    /// `Server shutdown in progress`.
    pub const SHUTDOWN: u16 = 1053;
    /// `Host ... is blocked because of many connection errors`.
    pub const HOST_BLOCKED: u16 = 1129;
    /// `Host ... is not allowed to connect`.
    pub const HOST_DENIED: u16 = 1130;

    /// The error in `payload`, which begins with 0xff.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields(payload);
        if fields.byte()? != 0xff {
            return Err(Bad::Malformed);
        }
        let code = fields.u16()?;
        let sqlstate = match fields.0 {
            [b'#', rest @ ..] if rest.len() >= 5 => {
                fields.take(1)?;
                Some(String::from_utf8_lossy(fields.take(5)?).into_owned())
            }
            _ => None,
        };
        Ok(Self {
            code,
            sqlstate,
            message: String::from_utf8_lossy(fields.0).into_owned(),
        })
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

/// The packet with which a server refuses a client instead of greeting it: no
/// SQLSTATE, because the client has not yet said that it knows of it. Clients
/// show code and message. At most 512 bytes of the message are sent, as much
/// as clients keep.
pub fn err_packet(code: u16, message: &str) -> Vec<u8> {
    let end = (0..=message.len().min(512))
        .rev()
        .find(|&i| message.is_char_boundary(i))
        .unwrap_or(0);
    let mut payload = vec![0xff];
    payload.extend(code.to_le_bytes());
    payload.extend(message[..end].bytes());
    frame(0, &payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Framed, unframe};
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(Answer::parse(&[0, 0, 0, 2, 0, 0, 0]), Ok(Answer::Ok));
        assert_eq!(Answer::parse(&[1, 3]), Ok(Answer::More(vec![3])));
        assert_eq!(
            Answer::parse(b"\xfemysql_native_password\0abc\0"),
            Ok(Answer::Switch {
                plugin: "mysql_native_password".into(),
                nonce: b"abc".to_vec()
            })
        );
        assert_eq!(
            Answer::parse(&[0xfe]),
            Ok(Answer::Switch {
                plugin: "mysql_old_password".into(),
                nonce: Vec::new()
            })
        );
        assert_eq!(Answer::parse(&[]), Err(Bad::Malformed));
        assert_eq!(Answer::parse(&[0x42]), Err(Bad::Malformed));
    }

    #[test]
    fn errors_come_with_and_without_sqlstate() {
        let with = ServerError::parse(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!(
            (with.code, with.sqlstate.as_deref(), with.message.as_str()),
            (1045, Some("28000"), "Access denied")
        );
        let without = ServerError::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!(without.sqlstate, None);
        assert_eq!(without.to_string(), "1040 Too many connections");
    }

    #[test]
    fn a_refusal_is_an_error_before_the_greeting() {
        let packet = err_packet(1040, "no backend");
        assert_eq!(packet, b"\x0d\0\0\0\xff\x10\x04no backend");
        let long = err_packet(1040, &"ä".repeat(400));
        let Ok(Framed::Done { payload, .. }) = unframe(&long) else {
            panic!("one packet");
        };
        assert_eq!(
            ServerError::parse(payload).unwrap().message,
            "ä".repeat(256)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            // Only panics matter here.
            drop(Answer::parse(&bytes));
            drop(ServerError::parse(&bytes));
        }
    }
}
