//! Which server takes the updates of which zone.

use std::net::SocketAddr;
use std::time::Duration;

use crate::types::Secret;

/// How a register on a DNS server with dynamic updates is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rfc2136Settings {
    /// The zone's primary server.
    pub server: SocketAddr,
    /// The zone that holds the names, as `example.com`.
    pub zone: String,
    /// The public name, as `lb.example.com`; the register is `_tandem` under it.
    pub name: String,
    /// The key that signs; without one the server must trust our address.
    pub key: Option<TsigKey>,
    /// The time to live of what is written, in whole seconds.
    pub ttl: Duration,
    /// The deadline of each call as a whole.
    pub timeout: Duration,
    /// Whether even small messages go over TCP.
    pub tcp: bool,
}

impl Rfc2136Settings {
    /// The settings of a server that are not usually changed.
    pub fn new(server: SocketAddr, zone: &str, name: &str) -> Self {
        Self {
            server,
            zone: zone.to_owned(),
            name: name.to_owned(),
            key: None,
            // Clients see a move this late; resolvers ask this often.
            ttl: Duration::from_secs(30),
            // Ten times the slowest answer of an idle server, and short enough
            // to ask again while a takeover is still of use.
            timeout: Duration::from_secs(2),
            // One packet each way is the fastest claim.
            tcp: false,
        }
    }
}

/// A shared key (TSIG, RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsigKey {
    /// Its name, the same as on the server.
    pub name: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// Its secret in base64, as the server's configuration has it.
    pub secret: Secret,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256, which every server knows.
    #[default]
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

impl Algorithm {
    /// Every algorithm, by its word in lb.yaml and in the files of servers.
    pub const WORDS: [(&'static str, Self); 3] = [
        (Self::HmacSha256.as_str(), Self::HmacSha256),
        (Self::HmacSha384.as_str(), Self::HmacSha384),
        (Self::HmacSha512.as_str(), Self::HmacSha512),
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A text is no DNS name.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// The public name is outside of the zone.
    #[error("{name} is not in the zone {zone}")]
    Outside {
        /// The public name.
        name: String,
        /// The zone.
        zone: String,
    },
    /// The secret is not base64, or empty.
    #[error("the secret of the key is not base64")]
    Secret,
}
