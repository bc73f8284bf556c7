//! Why a server's certificate is not trusted, and which one would have to be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{CertificateError, Error, OtherError};

use super::der::{Parties, called};

/// Nobody who is trusted vouches for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untrusted {
    why: Why,
    /// Where those who are trusted stand; `None`: in the system.
    file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// It is its own authority.
    SelfSigned,
    /// It is an authority's, which should not be a server's.
    Authority,
    /// It is of X.509 version 1.
    Old,
    /// Its authority, or the last one on the way that the server has sent, has
    /// been signed by one that is not there.
    Unknown { issuer: Option<String> },
    /// One of that name is there, with another key.
    OtherKey { issuer: Option<String> },
}

impl Untrusted {
    /// What `error` means for a `certificate` that came with `others`; `None`:
    /// it is not that nobody vouches for it.
    pub(super) fn of(
        error: &Error,
        file: Option<&Path>,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else {
            return None;
        };
        let text = error.to_string();
        let is_unknown = *error == CertificateError::UnknownIssuer;
        let is_signature = *error == CertificateError::BadSignature;
        let is_authority = text.contains("CaUsedAsEndEntity");
        let is_old = text.contains("UnsupportedCertVersion");
        if !(is_unknown || is_signature || is_authority || is_old) {
            return None;
        }
        let parties = Parties::of(certificate);
        let why = match parties {
            Some(it) if it.is_self_signed() && !is_signature => Why::SelfSigned,
            _ if is_authority => Why::Authority,
            _ if is_old => Why::Old,
            parties => {
                let issuer = parties.and_then(|it| last_issuer(it, others));
                if is_signature {
                    Why::OtherKey { issuer }
                } else {
                    Why::Unknown { issuer }
                }
            }
        };
        let file = file.map(Path::to_owned);
        Some(Self { why, file })
    }
}

/// What the authority is called that would have to be trusted.
fn last_issuer(certificate: Parties<'_>, others: &[CertificateDer<'_>]) -> Option<String> {
    let mut issuer = certificate.issuer;
    // Each of them leads one step up at the most.
    for _ in others {
        let mut others = others.iter().filter_map(|it| Parties::of(it));
        match others.find(|it| it.subject == issuer) {
            Some(next) => issuer = next.issuer,
            None => break,
        }
    }
    called(issuer).map(str::to_owned)
}

impl From<Untrusted> for Error {
    fn from(why: Untrusted) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

impl std::error::Error for Untrusted {}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map(|it| it.display());
        let name = |issuer: &Option<String>| match issuer {
            Some(name) => format!("{name:?}, which has signed the certificate"),
            None => "the authority that has signed the certificate".to_owned(),
        };
        match (&self.why, file) {
            (Why::SelfSigned, None) => {
                f.write_str("the certificate is self-signed; name it in tls: { ca_file: ... }")
            }
            (Why::SelfSigned, Some(file)) => write!(
                f,
                "the certificate is self-signed, and not in {file}: add it there"
            ),
            (Why::Authority, None) => f.write_str(
                "the server uses the certificate of an authority as its own; name it in tls: { \
                 ca_file: ... }",
            ),
            (Why::Authority, Some(file)) => write!(
                f,
                "the server uses the certificate of an authority as its own, and it is not in \
                 {file}: add it there"
            ),
            (Why::Old, None) => f.write_str(
                "the certificate is of X.509 version 1; name it in tls: { ca_file: ... }",
            ),
            (Why::Old, Some(file)) => write!(
                f,
                "the certificate is of X.509 version 1, and not in {file}: add it there"
            ),
            (Why::Unknown { issuer }, None) => write!(
                f,
                "this system does not trust {}; name its certificate in tls: {{ ca_file: ... }}",
                name(issuer)
            ),
            (Why::Unknown { issuer }, Some(file)) => write!(
                f,
                "{file} does not have {}: add its certificate there",
                name(issuer)
            ),
            (Why::OtherKey { issuer }, None) => write!(
                f,
                "this system trusts another key of {}; name its certificate in tls: {{ ca_file: \
                 ... }}",
                name(issuer)
            ),
            (Why::OtherKey { issuer }, Some(file)) => write!(
                f,
                "{file} has another key of {}: replace its certificate there",
                name(issuer)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a certificate as says who signed whom.
    fn certificate(subject: &str, issuer: &str) -> CertificateDer<'static> {
        let sequence = |parts: &[&[u8]]| {
            let all = parts.concat();
            [&[0x30, all.len() as u8][..], &all].concat()
        };
        let name = |text: &str| {
            let text = [&[12, text.len() as u8][..], text.as_bytes()].concat();
            let pair = sequence(&[&[6, 3, 0x55, 4, 3], &text]);
            let set = [&[0x31, pair.len() as u8][..], &pair].concat();
            sequence(&[&set])
        };
        let nothing = sequence(&[]);
        let inner = sequence(&[
            &[2, 1, 7],
            &nothing,
            &name(issuer),
            &nothing,
            &name(subject),
        ]);
        sequence(&[&inner]).into()
    }

    #[test]
    fn the_authority_that_is_named_is_the_first_that_the_server_did_not_send() {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let leaf = certificate("www.example.com", "R1");
        let (r1, r0) = (certificate("R1", "Root"), certificate("Root", "Root"));
        let other = certificate("Other", "Another");
        for (sent, missing) in [
            (vec![], "R1"),
            (vec![other.clone()], "R1"),
            (vec![other, r1.clone()], "Root"),
            (vec![r1, r0], "Root"),
        ] {
            let found = Untrusted::of(&unknown, Some(Path::new("ca.pem")), &leaf, &sent);
            let told = found.unwrap().to_string();
            assert!(
                told.contains(&format!("ca.pem does not have {missing:?},")),
                "{told}"
            );
        }
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(Untrusted::of(&expired, None, &leaf, &[]), None);
    }
}
