//! What a server sends to a probe: packets, a greeting, answers to a login.

use tandem::net::mysql::{
    Answer, Bad, First, Framed, HEADER, LIMIT, Login, Plugin, ServerError, encrypt_password,
    err_packet, frame, unframe,
};

/// Text that is not UTF-8 grows when it is made readable, three to one.
const GROWTH: usize = 3;

pub(crate) fn check(data: &[u8]) {
    let mut rest = data;
    let mut nonce = Vec::new();
    for turn in 0..64 {
        let (payload, length) = match unframe(rest) {
            Ok(Framed::Done {
                payload,
                length,
                sequence,
            }) => {
                assert_eq!(frame(sequence, payload), rest[..length]);
                (payload, length)
            }
            Ok(Framed::Incomplete) => {
                assert!(rest.len() < HEADER + LIMIT, "nobody waits for ever");
                return;
            }
            Err(too_long) => {
                assert!(too_long.0 > LIMIT, "{too_long}");
                return;
            }
        };
        assert_eq!(payload.len() + HEADER, length);
        if turn == 0 {
            nonce = first(payload);
        } else {
            nonce = answer(payload, nonce);
        }
        rest = &rest[length..];
    }
}

/// The server's first packet; its nonce.
fn first(payload: &[u8]) -> Vec<u8> {
    match First::parse(payload) {
        Ok(First::Greeting(greeting)) => {
            let kept = greeting.version.len() + greeting.plugin.len();
            assert!(kept <= GROWTH * payload.len());
            assert!((20..=255).contains(&greeting.nonce.len()));
            if let Some(plugin) = Plugin::of(&greeting.plugin) {
                assert_eq!(plugin.as_str(), greeting.plugin);
                log_in(plugin, &greeting.nonce, greeting.has_tls());
            }
            greeting.nonce
        }
        Ok(First::Refused(error)) => {
            refused(&error, payload);
            Vec::new()
        }
        Err(Bad::Malformed | Bad::Version) => Vec::new(),
    }
}

fn log_in(plugin: Plugin, nonce: &[u8], tls: bool) {
    let proof = plugin.proof("geheim", nonce);
    assert!(matches!(proof.len(), 20 | 32));
    let login = Login {
        user: "tandem",
        proof: &proof,
        plugin: plugin.as_str(),
        tls,
    };
    let bytes = login.encode();
    assert!(bytes.len() < 128);
    assert!(!bytes.windows(6).any(|it| it == b"geheim"));
}

/// A later packet; the nonce from then on.
fn answer(payload: &[u8], nonce: Vec<u8>) -> Vec<u8> {
    match Answer::parse(payload) {
        Ok(Answer::Ok) | Err(Bad::Malformed | Bad::Version) => nonce,
        Ok(Answer::Err(error)) => {
            refused(&error, payload);
            nonce
        }
        Ok(Answer::More(data)) => {
            assert!(data.len() < payload.len());
            if data.starts_with(b"-----BEGIN")
                && let Ok(sent) = encrypt_password("geheim", &nonce, &data)
            {
                assert!((64..=2048).contains(&sent.len()));
            }
            nonce
        }
        Ok(Answer::Switch { plugin, nonce }) => {
            if payload.len() == 1 {
                // The packet of old servers names nothing and means this.
                assert_eq!(plugin, "mysql_old_password");
            } else {
                assert!(plugin.len() <= GROWTH * payload.len());
            }
            assert!(nonce.len() < payload.len());
            if let Some(plugin) = Plugin::of(&plugin) {
                log_in(plugin, &nonce, false);
            }
            nonce
        }
    }
}

fn refused(error: &ServerError, payload: &[u8]) {
    assert!(error.message.len() <= GROWTH * payload.len());
    let shown = err_packet(error.code, &error.message);
    let Ok(Framed::Done { payload, .. }) = unframe(&shown) else {
        panic!("what is written is read: {shown:?}");
    };
    let Ok(First::Refused(again)) = First::parse(payload) else {
        panic!("a refusal stays one: {shown:?}");
    };
    assert_eq!(again.code, error.code);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut greeting = b"\x0a5.5.5-10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0".to_vec();
    greeting.extend(b"\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0");
    greeting.extend(b"ijklmnopqrst\0");
    let with = |plugin: &[u8]| frame(0, &[&greeting, plugin].concat());
    let exchange = |plugin: &[u8], answers: &[&[u8]]| {
        let mut all = with(plugin);
        for (at, payload) in answers.iter().enumerate() {
            all.extend(frame(u8::try_from(at).unwrap() * 2 + 2, payload));
        }
        all
    };
    vec![
        exchange(b"mysql_native_password\0", &[b"\0\0\0\x02\0\0\0"]),
        exchange(
            b"mysql_native_password\0",
            &[b"\xff\x15\x04#28000Access denied"],
        ),
        exchange(
            b"caching_sha2_password\0",
            &[
                b"\x01\x04",
                b"\x01-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
            ],
        ),
        exchange(
            b"sha256_password\0",
            &[
                b"\xfemysql_native_password\0abcdefghijklmnopqrst\0",
                b"\xfe",
            ],
        ),
        err_packet(1040, "Too many connections"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]
}
