use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use tokio::net::TcpListener;

use super::super::Probe;
use super::super::kit::{self, reason};
use super::*;
use crate::health::ProbeKind;
use crate::net::mysql::err_packet;
use crate::types::{ProxyVersion, Secret};

const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";

fn probe(password: Option<&str>) -> Probe {
    let login = password.map(|password| MysqlLogin {
        user: "prober".into(),
        password: Secret::new(password),
    });
    Probe::new(&kit::settings(ProbeKind::Mysql(MysqlProbe {
        login,
        tls: None,
    })))
}

fn greeting(plugin: &str) -> Vec<u8> {
    let mut out = b"\x0a8.4.0\0\x01\0\0\0abcdefgh\0".to_vec();
    // PROTOCOL_41 and SECURE_CONNECTION; PLUGIN_AUTH.
    out.extend([0x00, 0x82, 45, 2, 0, 0x08, 0x00, 21]);
    out.extend([0; 10]);
    out.extend(b"ijklmnopqrst\0");
    out.extend(plugin.bytes());
    out.push(0);
    out
}

async fn accept(listener: &TcpListener) -> Connection<TcpStream> {
    let (stream, address) = listener.accept().await.unwrap();
    Connection::new(stream, &kit::target(address))
}

/// Serves one client that is asked for nothing else than `answer`.
async fn after_login(answer: &'static [u8], password: Option<&str>) -> Outcome {
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.send(&greeting("mysql_native_password")).await.unwrap();
        peer.receive().await.unwrap();
        peer.send(answer).await.unwrap();
        drop(peer.receive().await);
    });
    let outcome = probe(password).run(&target).await;
    server.await.unwrap();
    outcome
}

async fn instead_of_greeting(packet: Vec<u8>, password: Option<&str>) -> Outcome {
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&packet).await.unwrap();
        drop(stream.read(&mut [0; 1]).await);
    });
    let outcome = probe(password).run(&target).await;
    server.await.unwrap();
    outcome
}

#[tokio::test]
async fn a_server_that_denies_nobody_is_alive_whatever_it_says() {
    for denied in [
        b"\xff\x15\x04#28000Access denied".as_slice(),
        // 1698: the account that MariaDB plays comes over its own socket.
        b"\xff\xa2\x06#28000Access denied",
        // 3159: only with TLS.
        b"\xff\x57\x0c#HY000Connections using insecure transport are prohibited",
        b"\xff\x1d\x04#08S01Server shutdown in progress",
    ] {
        assert_eq!(after_login(denied, None).await, Outcome::Pass);
    }
    let full = b"\xff\x10\x04#08004Too many connections";
    assert_eq!(after_login(full, None).await, Outcome::Saturated);
    for (denied, why) in [
        (
            b"\xff\x69\x04#HY000Host is blocked".as_slice(),
            FailureReason::HostBlocked,
        ),
        (
            b"\xff\x6a\x04#HY000Host is not allowed",
            FailureReason::HostDenied,
        ),
    ] {
        assert_eq!(reason(&after_login(denied, None).await), why);
    }
}

#[tokio::test]
async fn an_account_that_is_refused_fails() {
    for (denied, why) in [
        (
            b"\xff\x15\x04#28000Access denied".as_slice(),
            FailureReason::Auth,
        ),
        (
            b"\xff\x1d\x04#08S01Server shutdown in progress",
            FailureReason::BadAnswer,
        ),
    ] {
        assert_eq!(reason(&after_login(denied, Some("x")).await), why);
    }
}

/// The server plays an account whose way to authenticate we do not know.
async fn unknown_way(plugin: &'static str, password: Option<&str>) -> (Outcome, Vec<usize>) {
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.send(&greeting("mysql_native_password")).await.unwrap();
        peer.receive().await.unwrap();
        let switch = [b"\xfe", plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat();
        // `dialog` goes on asking; another packet of it has no form of ours.
        let questions: [&[u8]; 3] = [&switch, b"\x01Password: ", b"Psalt"];
        let mut lengths = Vec::new();
        for question in questions {
            peer.send(question).await.unwrap();
            match peer.receive().await {
                Ok(answer) => lengths.push(answer.len()),
                Err(_) => return lengths,
            }
        }
        let denied = b"\xff\x15\x04#28000Access denied";
        peer.send(denied).await.unwrap();
        lengths
    });
    let outcome = probe(password).run(&target).await;
    (outcome, server.await.unwrap())
}

#[tokio::test]
async fn an_unknown_way_to_authenticate_is_answered_and_its_error_is_life() {
    for (plugin, lengths) in [
        ("client_ed25519", [64, 0, 0]),
        ("sha256_password", [0, 0, 0]),
        ("dialog", [0, 0, 0]),
        ("parsec", [0, 96, 0]),
    ] {
        let expected = (Outcome::Pass, lengths.to_vec());
        assert_eq!(unknown_way(plugin, None).await, expected, "{plugin}");
    }
    // Who has an account wants to be let in.
    let (outcome, _) = unknown_way("client_ed25519", Some("secret")).await;
    assert_eq!(reason(&outcome), FailureReason::Auth);
}

/// PAM thinks for two seconds before it says no.
#[tokio::test]
async fn a_server_that_thinks_long_about_a_stranger_is_alive() {
    for (password, outcome) in [(None, None), (Some("x"), Some(FailureReason::Auth))] {
        let (listener, target) = kit::listener().await;
        let server = tokio::spawn(async move {
            let mut peer = accept(&listener).await;
            peer.send(&greeting("mysql_native_password")).await.unwrap();
            peer.receive().await.unwrap();
            peer.send(b"\xfedialog\0Password: ").await.unwrap();
            drop(peer.receive().await);
            // Until the probe is gone.
            drop(peer.receive().await);
        });
        let found = probe(password).run(&target).await;
        match outcome {
            None => assert_eq!(found, Outcome::Pass),
            Some(why) => assert_eq!(reason(&found), why),
        }
        server.await.unwrap();
    }
}

#[tokio::test]
async fn refusals_before_the_greeting_have_names() {
    assert_eq!(
        instead_of_greeting(err_packet(1040, "Too many connections"), None).await,
        Outcome::Saturated
    );
    for (code, why) in [
        (1129, FailureReason::HostBlocked),
        (1130, FailureReason::HostDenied),
        (1053, FailureReason::BadAnswer),
    ] {
        let outcome = instead_of_greeting(err_packet(code, "x"), Some("secret")).await;
        assert_eq!(reason(&outcome), why);
    }
    let outcome = instead_of_greeting(err_packet(1053, "x"), None).await;
    assert_eq!(outcome, Outcome::Pass);
    let outcome = instead_of_greeting(b"SSH-2.0-x\r\n".to_vec(), None).await;
    assert_eq!(reason(&outcome), FailureReason::BadAnswer);
}

#[tokio::test]
async fn a_server_that_never_greets_times_out() {
    let (listener, target) = kit::listener().await;
    let outcome = probe(None).run(&target).await;
    assert_eq!(reason(&outcome), FailureReason::Timeout);
    drop(listener);
}

#[tokio::test]
async fn one_connection_is_kept_and_replaced_when_it_dies() {
    let (listener, mut target) = kit::listener().await;
    target.send_proxy = Some(ProxyVersion::V1);
    let server = tokio::spawn(async move {
        // Two pings on the first connection, then it is closed; one on the
        // second, then the farewell.
        for pings in [2, 1] {
            let mut peer = accept(&listener).await;
            let mut header = [0; 15];
            peer.stream.read_exact(&mut header).await.unwrap();
            assert_eq!(&header, b"PROXY UNKNOWN\r\n");
            peer.send(&greeting("mysql_native_password")).await.unwrap();
            let login = peer.receive().await.unwrap();
            let proof = Plugin::Native.proof("secret", NONCE);
            assert!(login.windows(20).any(|part| part == proof));
            peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
            for _ in 0..pings {
                assert_eq!(peer.receive().await.unwrap(), COM_PING);
                peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
            }
            if pings == 1 {
                assert_eq!(peer.receive().await.unwrap(), COM_QUIT);
            }
        }
    });
    let mut probe = probe(Some("secret"));
    for _ in 0..3 {
        assert_eq!(probe.run(&target).await, Outcome::Pass);
    }
    probe.close().await;
    server.await.unwrap();
}

#[tokio::test]
async fn caching_sha2_goes_fast_after_a_switch() {
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.send(&greeting("sha256_password")).await.unwrap();
        peer.receive().await.unwrap();
        let fresh = b"tsrqponmlkjihgfedcba";
        let switch = [b"\xfecaching_sha2_password\0".as_slice(), fresh, b"\0"].concat();
        peer.send(&switch).await.unwrap();
        let proof = peer.receive().await.unwrap();
        assert_eq!(proof, Plugin::CachingSha2.proof("secret", fresh));
        peer.send(&[1, 3]).await.unwrap();
        peer.sequence = 5;
        peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
        assert_eq!(peer.receive().await.unwrap(), COM_PING);
        peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
    });
    assert_eq!(probe(Some("secret")).run(&target).await, Outcome::Pass);
    server.await.unwrap();
}

#[tokio::test]
async fn caching_sha2_encrypts_the_password_when_it_must() {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let pem = [
        b"\x01-----BEGIN PUBLIC KEY-----\n".to_vec(),
        base64(der.as_ref()),
        b"-----END PUBLIC KEY-----\n".to_vec(),
    ]
    .concat();
    let (listener, target) = kit::listener().await;
    let server = tokio::spawn(async move {
        let mut peer = accept(&listener).await;
        peer.send(&greeting("caching_sha2_password")).await.unwrap();
        peer.receive().await.unwrap();
        peer.send(&[1, 4]).await.unwrap();
        assert_eq!(peer.receive().await.unwrap(), REQUEST_PUBLIC_KEY);
        peer.send(&pem).await.unwrap();
        let sealed = peer.receive().await.unwrap();
        let key = OaepPrivateDecryptingKey::new(key).unwrap();
        let mut out = vec![0; key.min_output_size()];
        let mixed = key
            .decrypt(&OAEP_SHA1_MGF1SHA1, &sealed, &mut out, None)
            .unwrap();
        let plain: Vec<u8> = mixed.iter().zip(NONCE).map(|(a, b)| a ^ b).collect();
        assert_eq!(plain, b"secret\0");
        peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
        assert_eq!(peer.receive().await.unwrap(), COM_PING);
        peer.send(&[0, 0, 0, 2, 0, 0, 0]).await.unwrap();
    });
    assert_eq!(probe(Some("secret")).run(&target).await, Outcome::Pass);
    server.await.unwrap();
}

/// Lines of base64, as PEM wants them.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for line in bytes.chunks(48) {
        for three in line.chunks(3) {
            let mut group = [0; 4];
            group[1..=three.len()].copy_from_slice(three);
            let number = u32::from_be_bytes(group);
            for digit in 0..4 {
                let at = (number >> (18 - 6 * digit)) & 63;
                out.push(if digit <= three.len() {
                    DIGITS[at as usize]
                } else {
                    b'='
                });
            }
        }
        out.push(b'\n');
    }
    out
}
