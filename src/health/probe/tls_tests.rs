use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::super::{Outcome, Probe, kit};
use crate::health::{
    HttpHost, HttpMethod, HttpPath, HttpProbe, HttpRequest, ProbeKind, Tls, TlsName, Trusted,
    Verify,
};

/// Of an authority, for a.example.
const OWN: [&str; 2] = [
    include_str!("../../../tests/certificates/own.pem"),
    include_str!("../../../tests/certificates/own.key"),
];
/// Of X.509 v1, without a name of a host.
const V1: [&str; 2] = [
    include_str!("../../../tests/certificates/v1.pem"),
    include_str!("../../../tests/certificates/v1.key"),
];

/// As `OWN`, until 2021.
const EXPIRED: [&str; 2] = [
    include_str!("../../../tests/certificates/expired.pem"),
    include_str!("../../../tests/certificates/expired.key"),
];
/// From `AUTHORITY`, for a.example, *.b.example and 127.0.0.9.
const LEAF: [&str; 2] = [
    include_str!("../../../tests/certificates/leaf.pem"),
    include_str!("../../../tests/certificates/leaf.key"),
];
const AUTHORITY: &str = include_str!("../../../tests/certificates/authority.pem");
/// Called as `AUTHORITY`, with another key.
const NAMESAKE: &str = include_str!("../../../tests/certificates/namesake.pem");

fn tls(verify: Verify, ca: Option<&str>, name: Option<&str>) -> Tls {
    Tls {
        verify,
        trusted: ca.map(|it| Trusted::parse(Path::new("ca.pem"), it).unwrap()),
        server_name: name.map(|it| TlsName::parse(it).unwrap()),
    }
}

/// What a probe finds at a server with this certificate, and the name that the
/// server was asked for.
async fn probe([cert, key]: [&str; 2], is_old: bool, host: Option<&str>, tls: Tls) -> String {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let resolver: Arc<dyn ResolvesServerCert> =
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let version = if is_old { &TLS12 } else { &TLS13 };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let (found, name) = visit(config, host, tls).await;
    if found == "passed" {
        format!("passed as {name}")
    } else {
        found
    }
}

/// What a probe finds at such a server, and the name that was asked for.
async fn visit(config: ServerConfig, host: Option<&str>, tls: Tls) -> (String, String) {
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
            return String::new();
        };
        let name = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
        let _request = stream.read(&mut [0; 1024]).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        drop(stream.write_all(answer).await);
        name
    });
    let settings = HttpProbe {
        request: HttpRequest {
            method: HttpMethod::Get,
            path: HttpPath::root(),
            host: host.map(|it| HttpHost::parse(it).unwrap()),
        },
        expect: vec![(200, 200)],
        body: None,
        drain_on_404: false,
        tls: Some(tls),
    };
    let mut settings = kit::settings(ProbeKind::Http(settings));
    // Long enough for a machine that is busy.
    settings.timing.timeout = Duration::from_secs(20);
    let found = match Probe::new(&settings).run(&target).await {
        Outcome::Pass => "passed".to_owned(),
        Outcome::Fail(failure) => failure.to_string(),
        other @ (Outcome::Drain | Outcome::Saturated | Outcome::Unknown(_)) => panic!("{other:?}"),
    };
    (found, server.await.unwrap())
}

#[tokio::test]
async fn a_self_signed_certificate_in_ca_file_is_trusted_as_itself() {
    for is_old in [false, true] {
        let own = tls(Verify::Name, Some(OWN[0]), None);
        let found = probe(OWN, is_old, Some("a.example:8443"), own).await;
        assert_eq!(found, "passed as a.example");
        let v1 = tls(Verify::Name, Some(V1[0]), None);
        assert_eq!(probe(V1, is_old, None, v1).await, "passed as -");
        let off = tls(Verify::Off, None, None);
        assert_eq!(
            probe(V1, is_old, Some("c.example"), off).await,
            "passed as c.example"
        );
    }
}

#[tokio::test]
async fn a_wrong_name_is_told_in_words_and_verify_ca_does_not_look_at_it() {
    let words = "the certificate is for a.example, not b.example";
    let host = Some("b.example");
    let named = tls(Verify::Name, Some(OWN[0]), None);
    assert_eq!(probe(OWN, false, host, named).await, words);
    let both = tls(Verify::Name, Some(OWN[0]), host);
    assert_eq!(probe(OWN, false, Some("a.example"), both).await, words);
    let words = "the certificate is for a.example, not 127.0.0.1";
    let nameless = tls(Verify::Name, Some(OWN[0]), None);
    assert_eq!(probe(OWN, false, None, nameless).await, words);
    let ca = tls(Verify::Authority, Some(OWN[0]), None);
    assert_eq!(probe(OWN, false, host, ca).await, "passed as b.example");
}

#[tokio::test]
async fn a_self_signed_certificate_is_called_that_and_a_ca_file_that_is_named_is_not_asked_for() {
    let name_it = "the certificate is self-signed; name it in tls: { ca_file: ... }";
    let add_it = "the certificate is self-signed, and not in ca.pem: add it there";
    let unknown = "ca.pem does not have \"an authority\", which has signed the certificate: add its \
                   certificate there";
    let another = "ca.pem has another key of \"an authority\", which has signed the certificate: \
                   replace its certificate there";
    let untrusted = "this system does not trust \"an authority\", which has signed the certificate; \
                     name its certificate in tls: { ca_file: ... }";
    for verify in [Verify::Name, Verify::Authority] {
        for (server, ca, words) in [
            (OWN, Some(V1[0]), add_it),
            (V1, Some(OWN[0]), add_it),
            (OWN, Some(AUTHORITY), add_it),
            (LEAF, Some(OWN[0]), unknown),
            (LEAF, Some(NAMESAKE), another),
            (OWN, None, name_it),
            (V1, None, name_it),
            (LEAF, None, untrusted),
        ] {
            let found = probe(server, false, Some("a.example"), tls(verify, ca, None)).await;
            // A system without any authorities says that.
            let is_bare = ca.is_none() && found.starts_with("the system has no");
            assert!(found == words || is_bare, "{found}\n{words}");
        }
    }
}

#[tokio::test]
async fn an_authority_vouches_for_servers_and_verify_ca_leaves_the_name_out() {
    let authority = |verify| tls(verify, Some(AUTHORITY), None);
    for (host, asked) in [
        ("a.example", "a.example"),
        ("x.b.example:8443", "x.b.example"),
        ("127.0.0.9", "-"),
    ] {
        let found = probe(LEAF, false, Some(host), authority(Verify::Name)).await;
        assert_eq!(found, format!("passed as {asked}"));
    }
    for (host, asked) in [("b.example", "b.example"), ("127.0.0.1", "-")] {
        let found = probe(LEAF, false, Some(host), authority(Verify::Name)).await;
        assert!(found.starts_with("the certificate is for "), "{found}");
        assert!(found.ends_with(&format!(", not {host}")), "{found}");
        let found = probe(LEAF, false, Some(host), authority(Verify::Authority)).await;
        assert_eq!(found, format!("passed as {asked}"));
    }
}

#[tokio::test]
async fn a_certificate_that_is_trusted_as_itself_expires_all_the_same() {
    for verify in [Verify::Name, Verify::Authority] {
        let own = tls(verify, Some(EXPIRED[0]), None);
        let found = probe(EXPIRED, false, Some("a.example"), own).await;
        let words = "the certificate has expired at 2021-01-01T00:00:00Z";
        assert_eq!(found, words);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_ours_is_told_in_words() {
    for is_old in [false, true] {
        let mut store = RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
        let key = PrivateKeyDer::from_pem_slice(LEAF[1].as_bytes()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(LEAF[0].as_bytes()).unwrap()];
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[if is_old { &TLS12 } else { &TLS13 }])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        let settings = tls(Verify::Name, Some(AUTHORITY), Some("a.example"));
        let (found, _) = visit(config, None, settings).await;
        assert!(found.contains("wants a certificate"), "{found}");
    }
}
