//! Every refusal has a name of its own.

use std::time::Duration;

use tandem::clock;
use tandem::dns::register::{Register as _, RegisterError, WriteResult};
use tandem::dns::rfc2136::{Algorithm, Rfc2136, Rfc2136Settings};
use tandem::types::Secret;

use crate::kit::server::{Kind, POOR_KEY, Server};
use crate::kit::{PUBLIC, claim, ips, register, settings};
use crate::on_both;

on_both! {
    a_wrong_key_is_named
    an_unsigned_claim_is_refused
    a_wrong_time_is_named
    a_key_without_the_right_is_refused
    a_wrong_zone_is_named
    a_foreign_register_is_named
    a_long_foreign_register_is_read_over_tcp
    an_alias_is_named
    nobody_at_the_address_is_named
    nothing_is_written_without_an_address
}

fn address() -> Vec<std::net::IpAddr> {
    ips(&["192.0.2.1"])
}

/// The error of a claim with these settings, which must change nothing.
async fn error(server: &Server, register: &Rfc2136) -> RegisterError {
    let result = register.write(None, &claim(None, "lb1"), &address()).await;
    assert_eq!(server.addresses(PUBLIC), [""; 0]);
    match result {
        WriteResult::Unknown(error) => {
            assert!(!error.what_to_do().is_empty());
            error
        }
        WriteResult::Won | WriteResult::Lost => panic!("{result:?}"),
    }
}

fn with_key(
    server: &Server,
    change: impl FnOnce(&mut tandem::dns::rfc2136::TsigKey),
) -> Rfc2136Settings {
    let mut settings = settings(server);
    change(settings.key.as_mut().unwrap());
    settings
}

async fn a_wrong_key_is_named(kind: Kind) {
    let server = Server::start(kind);
    for tcp in [false, true] {
        let mut unknown = with_key(&server, |key| key.name = "unknown-key".to_owned());
        unknown.tcp = tcp;
        assert_eq!(
            error(&server, &register(&unknown)).await,
            RegisterError::BadKey
        );
        let read = register(&unknown).read().await;
        assert_eq!(read, Err(RegisterError::BadKey));
        let mut wrong = with_key(&server, |key| key.secret = Secret::new("d3Jvbmc="));
        wrong.tcp = tcp;
        assert_eq!(
            error(&server, &register(&wrong)).await,
            RegisterError::BadSignature
        );
        let read = register(&wrong).read().await;
        assert_eq!(read, Err(RegisterError::BadSignature));
    }
    let other = with_key(&server, |key| key.algorithm = Algorithm::HmacSha512);
    let other = error(&server, &register(&other)).await;
    assert_eq!(other, RegisterError::BadKey);
}

async fn an_unsigned_claim_is_refused(kind: Kind) {
    let server = Server::start(kind);
    let mut settings = settings(&server);
    settings.key = None;
    let expected = match kind {
        Kind::Bind => RegisterError::Refused,
        Kind::Knot => RegisterError::NotAuth,
    };
    let register = register(&settings);
    assert_eq!(error(&server, &register).await, expected);
    assert_eq!(register.read().await, Ok(None));
}

async fn a_wrong_time_is_named(kind: Kind) {
    fn late() -> Duration {
        clock::wall() - Duration::from_secs(1000)
    }
    fn early() -> Duration {
        clock::wall() + Duration::from_secs(1000)
    }
    let server = Server::start(kind);
    for wall in [late, early] {
        let register = Rfc2136::with_wall(&settings(&server), wall).unwrap();
        let RegisterError::BadTime(seconds) = error(&server, &register).await else {
            panic!("the clocks differ");
        };
        assert!((990..=1010).contains(&seconds), "{seconds} s");
        let read = register.read().await;
        assert!(matches!(read, Err(RegisterError::BadTime(_))), "{read:?}");
    }
}

async fn a_key_without_the_right_is_refused(kind: Kind) {
    let server = Server::start(kind);
    let poor = with_key(&server, |key| key.name = POOR_KEY.to_owned());
    let expected = match kind {
        Kind::Bind => RegisterError::Refused,
        Kind::Knot => RegisterError::BadKey,
    };
    assert_eq!(error(&server, &register(&poor)).await, expected);
}

async fn a_wrong_zone_is_named(kind: Kind) {
    let server = Server::start(kind);
    let mut settings = settings(&server);
    settings.zone = "example.org".to_owned();
    settings.name = "lb.example.org".to_owned();
    let register = register(&settings);
    let named = error(&server, &register).await;
    let expected = [RegisterError::NotAuth, RegisterError::Refused];
    assert!(expected.contains(&named), "{named}");
    let read = register.read().await.unwrap_err();
    assert!(expected.contains(&read), "{read}");
}

async fn a_foreign_register_is_named(kind: Kind) {
    let server = Server::start(kind);
    server.by_hand(&format!(
        "update add _tandem.{PUBLIC} 60 TXT \"v=spf1 -all\""
    ));
    let register = register(&settings(&server));
    let garbled = RegisterError::Garbled {
        name: format!("_tandem.{PUBLIC}"),
        text: "v=spf1 -all".to_owned(),
    };
    assert_eq!(register.read().await, Err(garbled));
    let result = register.write(None, &claim(None, "lb1"), &address()).await;
    assert_eq!(result, WriteResult::Lost);
    assert_eq!(server.addresses(PUBLIC), [""; 0]);
}

/// Too long for the datagram that we ask for.
async fn a_long_foreign_register_is_read_over_tcp(kind: Kind) {
    let server = Server::start(kind);
    let strings = format!("\"{}\" ", "x".repeat(250)).repeat(8);
    server.by_hand(&format!("update add _tandem.{PUBLIC} 60 TXT {strings}"));
    let Err(RegisterError::Garbled { text, .. }) = register(&settings(&server)).read().await else {
        panic!("it is not ours");
    };
    assert_eq!(text.len(), 2000);
}

async fn an_alias_is_named(kind: Kind) {
    let server = Server::start(kind);
    let mut settings = settings(&server);
    settings.name = "alias.example.test".to_owned();
    let register = register(&settings);
    let named = error(&server, &register).await;
    assert_eq!(named, RegisterError::Cname("alias.example.test".to_owned()));
    assert_eq!(register.read().await, Ok(None));
}

async fn nobody_at_the_address_is_named(kind: Kind) {
    let mut server = Server::start(kind);
    server.kill();
    for tcp in [false, true] {
        let mut settings = settings(&server);
        settings.tcp = tcp;
        let register = register(&settings);
        let start = std::time::Instant::now();
        let read = register.read().await;
        assert!(
            matches!(read, Err(RegisterError::Unreachable(_))),
            "{read:?}"
        );
        let result = register.write(None, &claim(None, "lb1"), &address()).await;
        assert!(
            matches!(result, WriteResult::Unknown(RegisterError::Unreachable(_))),
            "{result:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(5), "no need to wait");
    }
}

async fn nothing_is_written_without_an_address(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let first = claim(None, "lb1");
    let result = register.write(None, &first, &address()).await;
    assert_eq!(result, WriteResult::Won);
    let second = claim(Some(&first), "lb1");
    let result = register.write(Some(&first), &second, &[]).await;
    assert_eq!(result, WriteResult::Unknown(RegisterError::NoAddress));
    let result = register.write(Some(&first), &first, &address()).await;
    assert_eq!(result, WriteResult::Unknown(RegisterError::NotNewer));
    assert_eq!(register.read().await, Ok(Some(first)));
    assert_eq!(server.addresses(PUBLIC), ["192.0.2.1"]);
}
