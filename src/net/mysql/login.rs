//! The client's side of the login.

use super::greeting::{
    CLIENT_PLUGIN_AUTH, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_SSL,
};

const CLIENT_LONG_PASSWORD: u32 = 1;
const CLIENT_TRANSACTIONS: u32 = 1 << 13;

/// What a probe claims to be able to do. Nothing that changes the form of later
/// answers.
const CAPABILITIES: u32 = CLIENT_LONG_PASSWORD
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH;

/// Never larger than a packet that we would read.
const MAX_PACKET: u32 = 16 * 1024 * 1024;

/// utf8mb4_general_ci: known to every server since MySQL 5.5.
const CHARSET: u8 = 45;

/// A handshake response (protocol 4.1).
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The account.
    pub user: &'a str,
    /// The proof of the password, as `plugin` computes it; at most 250 bytes.
    pub proof: &'a [u8],
    /// How `proof` was computed.
    pub plugin: &'a str,
    /// Whether an SSLRequest went before.
    pub tls: bool,
}

impl Login<'_> {
    /// The payload of the packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = start(self.tls);
        out.extend(until_nul(self.user));
        out.push(0);
        let proof = &self.proof[..self.proof.len().min(250)];
        out.push(u8::try_from(proof.len()).unwrap_or(0));
        out.extend(proof);
        out.extend(until_nul(self.plugin));
        out.push(0);
        out
    }
}

/// The payload that asks for TLS; the login follows inside it.
pub fn ssl_request() -> Vec<u8> {
    start(true)
}

/// What SSLRequest and login have in common.
fn start(tls: bool) -> Vec<u8> {
    let ssl = if tls { CLIENT_SSL } else { 0 };
    let mut out = (CAPABILITIES | ssl).to_le_bytes().to_vec();
    out.extend(MAX_PACKET.to_le_bytes());
    out.push(CHARSET);
    out.extend([0; 23]);
    out
}

/// A NUL inside a text would end it for the server.
fn until_nul(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().take_while(|&b| b != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_written_as_the_protocol_wants_it() {
        let login = Login {
            user: "tandem",
            proof: &[1, 2, 3],
            plugin: "mysql_native_password",
            tls: false,
        };
        let bytes = login.encode();
        assert_eq!(bytes[..4], [0x01, 0xa2, 0x08, 0x00]);
        assert_eq!(bytes[4..8], [0, 0, 0, 1]);
        assert_eq!(
            &bytes[32..],
            b"tandem\0\x03\x01\x02\x03mysql_native_password\0"
        );
    }

    #[test]
    fn a_request_for_tls_is_the_start_of_a_login() {
        let bytes = ssl_request();
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[1] & 0x08, 0x08);
    }
}
