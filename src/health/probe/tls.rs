//! TLS towards a backend.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use crate::health::{HttpHost, Tls, TlsName, Trusted, Verify};

use super::certificate::{Judge, Trust};
use super::outcome::Stop;
use super::{Failure, FailureReason, Target};

/// Encrypts connections as the settings want it.
pub(super) struct Encryption {
    settings: Tls,
    /// What the server is called, or why not; `None`: as the target is.
    named: Option<Result<TlsName, String>>,
    // Built at the first use and kept.
    connector: Option<TlsConnector>,
}

impl Encryption {
    /// As `settings` say; the server is known as `host` to who asks for that.
    pub(super) fn new(settings: Tls, host: Option<&HttpHost>) -> Self {
        let named = settings.server_name.clone().map(Ok);
        Self {
            settings,
            named: named.or_else(|| host.map(|it| named_as(it.name()))),
            connector: None,
        }
    }

    /// Shakes hands over `stream`.
    pub(super) async fn connect(
        &mut self,
        stream: TcpStream,
        target: &Target,
    ) -> Result<TlsStream<TcpStream>, Stop> {
        let name = match &self.named {
            Some(named) => named.clone(),
            None => named_as(&target.host),
        };
        let name = name.map_err(|why| Failure::new(FailureReason::Tls, why))?;
        let connector = match self.connector.take() {
            Some(connector) => connector,
            None => build(&self.settings).map_err(|why| Failure::new(FailureReason::Tls, why))?,
        };
        let connecting = connector.connect(name.server_name(), stream);
        self.connector = Some(connector);
        let connected = connecting.await;
        connected.map_err(|error| Stop::of_io("TLS handshake", &error))
    }
}

/// Where `check` lets a name through that is none, the probe still says so.
fn named_as(text: &str) -> Result<TlsName, String> {
    TlsName::parse(text).ok_or_else(|| {
        format!("{text:?} cannot be a name in a certificate; set tls: {{ server_name: ... }}")
    })
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}

fn build(settings: &Tls) -> Result<TlsConnector, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let trust = match settings.verify {
        Verify::Off => Trust::Anybody,
        Verify::Authority | Verify::Name => Trust::These {
            roots: match &settings.trusted {
                Some(trusted) => roots(trusted)?,
                None => system_roots()?,
            },
            own: settings.trusted.clone(),
            checks_name: settings.verify == Verify::Name,
        },
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judge { trust, algorithms }))
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

fn roots(trusted: &Trusted) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for one in trusted.certificates() {
        let added = store.add(one.clone());
        added.map_err(|error: rustls::Error| format!("{}: {error}", trusted.file().display()))?;
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

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
