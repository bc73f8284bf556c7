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

use crate::health::Trusted;

use super::der::readable;
use super::untrusted::Untrusted;

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
        /// Certificates that are good as they are, too, whoever signed them and
        /// whatever they may be used for; `None`: the system's authorities.
        own: Option<Trusted>,
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
        let trusted = own.iter().flat_map(Trusted::certificates);
        let is_own = { trusted }.any(|it| it == end_entity);
        let readable = if is_own {
            readable(end_entity)
        } else {
            end_entity.clone()
        };
        let in_words = |error| {
            let file = own.as_ref().map(Trusted::file);
            Untrusted::of(&error, file, end_entity, intermediates).map_or(error, Untrusted::into)
        };
        let parsed = ParsedCertificate::try_from(&readable).map_err(in_words)?;
        let algorithms = self.algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots,
            intermediates,
            now,
            algorithms,
        ) {
            Err(error) if is_own && !is_of_time(&error) => {}
            other => other.map_err(in_words)?,
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
