//! Whose certificates are trusted, and under what name a server must be known.
//! Whatever of these types exists can be used as it stands. Pure.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// How much of a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: any certificate will do.
    #[default]
    Off,
    /// That a trusted authority has signed it, whatever name is in it.
    Authority,
    /// That, and the name.
    Name,
}

/// The certificates of a PEM file: authorities, or servers' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    file: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// The certificates in `text`, which was read from `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, String> {
        let all = CertificateDer::pem_slice_iter(text.as_bytes());
        let certificates: Result<Vec<_>, _> = all.collect();
        let certificates = certificates.map_err(|error| format!("is not PEM: {error}"))?;
        if certificates.is_empty() {
            return Err("has no certificate in it".to_owned());
        }
        for (i, one) in certificates.iter().enumerate() {
            let added = RootCertStore::empty().add(one.clone());
            added
                .map_err(|error| format!("has a faulty certificate, number {}: {error}", i + 1))?;
        }
        Ok(Self {
            file: file.to_owned(),
            certificates,
        })
    }

    /// Where they came from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

/// A name that can stand in a certificate: of a host, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(ServerName<'static>);

impl TlsName {
    /// The name in `text`; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        ServerName::try_from(text.to_owned()).ok().map(Self)
    }

    /// As it is written.
    pub fn as_str(&self) -> String {
        self.0.to_str().into_owned()
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Address;

    proptest! {
        // Where neither `host` nor `server_name` is set it is the name to be verified.
        #[test]
        fn the_host_of_every_backend_can_be_a_name_in_a_certificate(
            host in "([a-zA-Z0-9_-]{1,4}\\.){0,3}[a-zA-Z0-9_-]{1,4}\\.?",
        ) {
            if let Ok(Address::Host { host, .. }) = Address::parse(&format!("{host}:1")) {
                prop_assert!(TlsName::parse(&host).is_some(), "{}", host);
            }
        }
    }
}
