//! Proving a password without (mostly) sending it.

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// A way of authentication that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `caching_sha2_password`: MySQL 8 and later.
    CachingSha2,
    /// `mysql_native_password`: MariaDB and older MySQL.
    Native,
}

impl Plugin {
    /// The way called `name`.
    pub fn of(name: &str) -> Option<Self> {
        [Self::CachingSha2, Self::Native]
            .into_iter()
            .find(|plugin| plugin.as_str() == name)
    }

    /// Its name in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Native => "mysql_native_password",
        }
    }

    /// The proof of `password` for the server's `nonce`; an empty password has
    /// an empty proof.
    pub fn proof(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        match self {
            Self::CachingSha2 => {
                let once = hash(&SHA256, &[password.as_bytes()]);
                let twice = hash(&SHA256, &[&once]);
                xor(&once, &hash(&SHA256, &[&twice, nonce]))
            }
            Self::Native => {
                let once = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[password.as_bytes()]);
                let twice = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&once]);
                xor(&once, &hash(&SHA1_FOR_LEGACY_USE_ONLY, &[nonce, &twice]))
            }
        }
    }
}

/// What a probe without an account sends in a way of authentication that it
/// does not know, at each `step`: something of the form that the server expects,
/// and wrong. Where the form is wrong, too, MariaDB does not refuse a user but
/// counts a broken handshake, and after `max_connect_errors` of those it blocks
/// our address for all clients (measured with `client_ed25519`).
pub fn nothing_to_show(plugin: &str, step: usize) -> Vec<u8> {
    match (plugin, step) {
        // A signature.
        ("client_ed25519", 0) => vec![0; 64],
        // After the server's salt: random bytes of the client, a signature.
        ("parsec", 1) => vec![0; 32 + 64],
        _ => Vec::new(),
    }
}

/// Why a password could not be encrypted for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// What the server sent is no RSA public key in PEM form.
    #[error("the server's RSA key is unreadable")]
    Key,
    /// The password does not fit the key.
    #[error("the password is too long for the server's RSA key")]
    Length,
}

/// The password as caching_sha2_password wants it inside TLS.
pub fn cleartext(password: &str) -> Vec<u8> {
    let mut out = password.as_bytes().to_vec();
    out.push(0);
    out
}

/// The password as caching_sha2_password wants it without TLS: mixed with the
/// nonce, encrypted with the public key that the server sent.
pub fn encrypt_password(password: &str, nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, RsaError> {
    let mixed: Vec<u8> = cleartext(password)
        .iter()
        .zip(nonce.iter().cycle())
        .map(|(a, b)| a ^ b)
        .collect();
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| RsaError::Key)?;
    let key = PublicEncryptingKey::from_der(&der)
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into))
        .map_err(|_| RsaError::Key)?;
    let mut out = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &mixed, &mut out, None)
        .map_err(|_| RsaError::Length)?
        .len();
    out.truncate(length);
    Ok(out)
}

fn hash(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Computed with Python's hashlib from the formulas in the MySQL manual.
    #[test]
    fn proofs_equal_known_ones() {
        let nonce: Vec<u8> = (1..=20).collect();
        assert_eq!(
            hex(&Plugin::Native.proof("secret", &nonce)),
            "b32bb3a583e1340c0a1108d58b1be49781ad8c2f"
        );
        assert_eq!(
            hex(&Plugin::CachingSha2.proof("secret", &nonce)),
            "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9"
        );
    }

    #[test]
    fn an_empty_password_has_an_empty_proof() {
        assert!(Plugin::Native.proof("", b"abc").is_empty());
        assert!(Plugin::CachingSha2.proof("", b"abc").is_empty());
    }

    #[test]
    fn names_lead_back_to_their_plugins() {
        for plugin in [Plugin::CachingSha2, Plugin::Native] {
            assert_eq!(Plugin::of(plugin.as_str()), Some(plugin));
        }
        assert_eq!(Plugin::of("dialog"), None);
    }

    #[test]
    fn nonsense_is_no_key() {
        assert_eq!(
            encrypt_password("secret", b"nonce", b"not a key"),
            Err(RsaError::Key)
        );
    }
}
