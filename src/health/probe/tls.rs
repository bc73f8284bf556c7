//! TLS towards a backend.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::{TlsConnector, rustls};

use crate::health::Tls;

use super::outcome::Stop;
use super::{Failure, FailureReason, Target};

/// Encrypts connections as the settings want it.
pub(super) struct Encryption {
    settings: Tls,
    // Built at the first use and kept; a missing file is looked for again.
    connector: Option<TlsConnector>,
}

impl Encryption {
    pub(super) const fn new(settings: Tls) -> Self {
        Self {
            settings,
            connector: None,
        }
    }

    /// Shakes hands over `stream`.
    pub(super) async fn connect(
        &mut self,
        stream: TcpStream,
        target: &Target,
    ) -> Result<TlsStream<TcpStream>, Stop> {
        let name = self.settings.server_name.as_ref().unwrap_or(&target.host);
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            let detail = format_args!("{name:?} cannot be a name in a certificate");
            Failure::new(FailureReason::Tls, detail)
        })?;
        let connector = match self.connector.take() {
            Some(connector) => connector,
            None => build(&self.settings).map_err(|why| Failure::new(FailureReason::Tls, why))?,
        };
        let connecting = connector.connect(name, stream);
        self.connector = Some(connector);
        let connected = connecting.await;
        connected.map_err(|error| Stop::of_io("TLS handshake", &error))
    }
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}

fn build(settings: &Tls) -> Result<TlsConnector, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = if settings.verify {
        builder.with_root_certificates(roots(settings)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    };
    Ok(Arc::new(config.with_no_client_auth()).into())
}

fn roots(settings: &Tls) -> Result<Arc<RootCertStore>, String> {
    let Some(path) = &settings.ca_file else {
        return system_roots();
    };
    let unreadable = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        store
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if store.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(Arc::new(store))
}

/// The system's authorities, read once.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if roots.is_empty() {
        return Err("the system has no certificate authorities; set ca_file".to_owned());
    }
    Ok(Arc::clone(roots))
}

/// Trusts whatever certificate comes: a probe with `verify: false` asks
/// whether the server is alive, not who it is. Whoever sits on the way can
/// read what is sent; the server must still own the key of its certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
