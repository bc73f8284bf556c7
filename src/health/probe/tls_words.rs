//! What goes wrong with TLS, in the words of whoever has to mend it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::untrusted::Untrusted;

/// What is wrong, for people.
pub(super) fn in_words(error: &Error) -> String {
    if let Error::InvalidCertificate(why) = error {
        return of_certificate(why);
    }
    if let Error::AlertReceived(alert) = error {
        return of_alert(*alert);
    }
    if let Error::InvalidMessage(_) = error {
        return "the server does not speak TLS at this port".to_owned();
    }
    format!("TLS: {error}")
}

/// Why the server does not want us.
fn of_alert(alert: AlertDescription) -> String {
    let known = [
        (
            AlertDescription::CertificateRequired,
            "it wants a certificate of its client's, which a probe has not",
        ),
        (
            AlertDescription::HandshakeFailure,
            "it knows none of our ciphers, or wants a certificate of its client's",
        ),
        (
            AlertDescription::ProtocolVersion,
            "it speaks neither TLS 1.2 nor 1.3",
        ),
        (
            AlertDescription::UnrecognisedName,
            "it does not know the name that was asked for; set host or tls: { server_name: ... }",
        ),
    ];
    let found = known.iter().find(|(it, _)| *it == alert);
    let why = found.map_or_else(|| format!("{alert:?}"), |(_, why)| (*why).to_owned());
    format!("the server ended the TLS handshake: {why}")
}

fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    humantime::format_rfc3339_seconds(time).to_string()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the list is not ours and grows; the rest has words of its own"
)]
fn of_certificate(why: &CertificateError) -> String {
    use CertificateError as E;
    match why {
        E::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            if presented.is_empty() {
                return format!(
                    "the certificate has no name of a host in it, and should be for {expected}"
                );
            }
            let names: Vec<Cow<'_, str>> = presented.iter().map(|it| plain(it)).collect();
            format!(
                "the certificate is for {}, not {expected}",
                names.join(", ")
            )
        }
        E::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired at {}", date(*not_after))
        }
        E::NotValidYetContext { not_before, time } => format!(
            "the certificate is not valid before {}, and the clock of this machine says {}",
            date(*not_before),
            date(*time)
        ),
        E::Expired => "the certificate has expired".to_owned(),
        E::NotValidYet => {
            "the certificate is not valid yet; is the clock of this machine right?".to_owned()
        }
        E::BadSignature => "the server does not have the key of its certificate".to_owned(),
        E::Revoked => "the certificate has been revoked".to_owned(),
        E::BadEncoding => "the certificate cannot be read".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the certificate is not meant for a server".to_owned()
        }
        E::Other(other) if other.0.is::<Untrusted>() => other.0.to_string(),
        other => format!("the certificate is not good: {other}"),
    }
}

/// `DnsName("a.example")` without what surrounds the name.
fn plain(presented: &str) -> Cow<'_, str> {
    let inner = presented
        .split_once('(')
        .and_then(|(_, it)| it.strip_suffix(')'));
    Cow::Borrowed(inner.map_or(presented, |it| it.trim_matches('"')))
}
