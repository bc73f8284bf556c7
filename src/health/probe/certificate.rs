//! Which certificates are good.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Who is trusted.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever comes: the probe asks whether the server is alive, not who it
    /// is. The server must still own the key of its certificate.
    Anybody,
    /// Whom one of these vouches for.
    These {
        /// Authorities.
        roots: Arc<RootCertStore>,
        /// Certificates that are good as they are, whoever signed them and
        /// whatever they may be used for.
        own: Vec<CertificateDer<'static>>,
        /// Whether the name must be right, too.
        checks_name: bool,
    },
}

/// Judges the certificates of servers.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) trust: Trust,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::These {
            roots,
            own,
            checks_name,
        } = &self.trust
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let is_own = own.iter().any(|it| it == end_entity);
        let end_entity = if is_own {
            readable(end_entity)
        } else {
            end_entity.clone()
        };
        let parsed = ParsedCertificate::try_from(&end_entity)?;
        let algorithms = self.algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots,
            intermediates,
            now,
            algorithms,
        ) {
            Err(error) if !is_own || is_of_time(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if *checks_name {
            match verify_server_name(&parsed, server_name) {
                // There is no name in it that could be another.
                Err(error) if !(is_own && names_nobody(&error)) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, &readable(certificate), signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, &readable(certificate), signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_of_time(error: &Error) -> bool {
    use CertificateError as E;
    matches!(
        error,
        Error::InvalidCertificate(
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. }
        )
    )
}

fn names_nobody(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })
            if presented.is_empty()
    )
}

/// A certificate as rustls can read it. It reads X.509 v3 only; one of v1 is
/// the same without a version and extensions, so it gets a version. Its own
/// signature is not right any more; who uses this trusts the very bytes, or
/// trusts anybody, and wants the times and the key in it.
fn readable<'a>(certificate: &CertificateDer<'a>) -> CertificateDer<'a> {
    with_version(certificate).map_or_else(|| certificate.clone(), CertificateDer::from)
}

const SEQUENCE: u8 = 0x30;
/// `[0] { INTEGER 2 }`: version 3.
const VERSION: [u8; 5] = [0xa0, 3, 2, 1, 2];

fn with_version(certificate: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = sequence(certificate)?;
    let (inner, rest) = sequence(outer)?;
    if inner.first() == Some(&VERSION[0]) {
        return None;
    }
    let inner = in_sequence(&[&VERSION, inner]);
    Some(in_sequence(&[&inner, rest]))
}

/// What is in the sequence that `bytes` begin with, and what follows it.
fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[SEQUENCE, first], rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if length.len() > 4 {
            return None;
        }
        let length = length.iter().fold(0, |all, &b| all << 8 | usize::from(b));
        (length, rest)
    };
    rest.split_at_checked(length)
}

fn in_sequence(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|it| it.len()).sum();
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let mut out = vec![SEQUENCE];
    match bytes {
        [] => out.push(0),
        &[one] if one < 0x80 => out.push(one),
        _ => {
            // Eight bytes at the most.
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}
