use hickory_proto::op::Query;
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError, make_tsig_record};
use hickory_proto::rr::{Name as Fqdn, RecordType, TSigResponseContext, TSigner};

use super::*;
use crate::dns::rfc2136::settings::{Algorithm, SettingsError, TsigKey};
use crate::types::Secret;

const NOW: u64 = 1_800_000_000;

fn key(name: &str, secret: &str) -> Key {
    Key::new(&TsigKey {
        name: name.to_owned(),
        algorithm: Algorithm::HmacSha256,
        secret: Secret::new(secret),
    })
    .unwrap()
}

fn ours() -> Key {
    key("tandem", "c2VjcmV0")
}

fn signer(secret: &[u8]) -> TSigner {
    let name = Fqdn::from_ascii("tandem.").unwrap();
    TSigner::new(secret.to_vec(), TsigAlgorithm::HmacSha256, name, 300).unwrap()
}

fn request() -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    let name = Fqdn::from_ascii("_tandem.lb.example.com.").unwrap();
    message.add_query(Query::query(name, RecordType::TXT));
    message
}

fn reply() -> Message {
    request().into_response()
}

/// `reply` as a server with this secret signs it at this time.
fn signed(mut reply: Message, secret: &[u8], time: u64, error: Option<TsigError>) -> Vec<u8> {
    let sent = ours().sign(request(), NOW).unwrap();
    let mac = Message::from_vec(&sent.bytes).unwrap();
    let mac = mac.signature().unwrap().data.mac.clone();
    let id = reply.metadata.id;
    let context = TSigResponseContext::new(id, time, signer(secret), mac, error);
    let signature = context.sign(&reply.to_vec().unwrap()).unwrap();
    reply.set_signature(signature);
    reply.to_vec().unwrap()
}

fn judged(bytes: &[u8]) -> Reply {
    let sent = ours().sign(request(), NOW).unwrap();
    judge(bytes, &request(), &sent, Some(&ours()), NOW)
}

fn distrusted(bytes: &[u8]) -> RegisterError {
    match judged(bytes) {
        Reply::Distrusted(error) => error,
        other @ (Reply::Answer(_) | Reply::Stranger) => panic!("{other:?}"),
    }
}

#[test]
fn the_servers_answer_is_believed() {
    let bytes = signed(reply(), b"secret", NOW, None);
    assert!(matches!(judged(&bytes), Reply::Answer(_)));
    // At the very edge of what the clocks may differ.
    let bytes = signed(reply(), b"secret", NOW - 300, None);
    assert!(matches!(judged(&bytes), Reply::Answer(_)));
}

#[test]
fn another_secret_or_a_changed_byte_is_a_stranger() {
    let bytes = signed(reply(), b"sesame", NOW, None);
    assert!(matches!(judged(&bytes), Reply::Stranger));
    let bytes = signed(reply(), b"secret", NOW, None);
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        assert!(!matches!(judged(&forged), Reply::Answer(_)), "byte {at}");
    }
}

#[test]
fn an_answer_to_another_request_is_a_stranger() {
    let mut other = reply();
    other.metadata.id = 78;
    let bytes = signed(other, b"secret", NOW, None);
    assert!(matches!(judged(&bytes), Reply::Stranger));
    let mut other = reply();
    other.queries[0].set_query_type(RecordType::A);
    let bytes = signed(other, b"secret", NOW, None);
    assert!(matches!(judged(&bytes), Reply::Stranger));
    let mut empty = reply();
    empty.queries.clear();
    let bytes = signed(empty, b"secret", NOW, None);
    assert!(matches!(judged(&bytes), Reply::Stranger));
    // What we sent ourselves, come back.
    let echo = ours().sign(request(), NOW).unwrap().bytes;
    assert!(matches!(judged(&echo), Reply::Stranger));
    for junk in [&b""[..], b"junk", &[0xff; 600]] {
        assert!(matches!(judged(junk), Reply::Stranger));
    }
}

#[test]
fn a_truncated_signature_is_a_stranger() {
    let mut message = Message::from_vec(&signed(reply(), b"secret", NOW, None)).unwrap();
    let mut signature = message.take_signature().unwrap();
    signature.data.mac.truncate(10);
    message.set_signature(signature);
    let bytes = message.to_vec().unwrap();
    assert!(matches!(judged(&bytes), Reply::Stranger));
}

#[test]
fn an_answer_from_another_time_is_refused() {
    let bytes = signed(reply(), b"secret", NOW - 301, None);
    assert_eq!(distrusted(&bytes), RegisterError::BadTime(301));
    let bytes = signed(reply(), b"secret", NOW + 1000, None);
    assert_eq!(distrusted(&bytes), RegisterError::BadTime(1000));
    let bytes = signed(reply(), b"secret", 5, None);
    assert!(matches!(judged(&bytes), Reply::Stranger));
}

#[test]
fn what_the_server_says_of_the_key_has_a_name() {
    let unsigned = |error| {
        let name = Fqdn::from_ascii("tandem.").unwrap();
        let none = Vec::new();
        let tsig = TSIG::new(
            TsigAlgorithm::HmacSha256,
            NOW,
            300,
            none.clone(),
            77,
            error,
            none,
        );
        let mut reply = reply();
        reply.metadata.response_code = ResponseCode::NotAuth;
        reply.set_signature(Box::new(make_tsig_record(name, tsig)));
        reply.to_vec().unwrap()
    };
    let bad_key = distrusted(&unsigned(Some(TsigError::BadKey)));
    assert_eq!(bad_key, RegisterError::BadKey);
    let bad_signature = distrusted(&unsigned(Some(TsigError::BadSig)));
    assert_eq!(bad_signature, RegisterError::BadSignature);
    assert_eq!(distrusted(&unsigned(None)), RegisterError::NotAuth);
}

#[test]
fn success_without_a_signature_is_not_believed() {
    let bytes = reply().to_vec().unwrap();
    let unsigned = RegisterError::Unsigned("No Error".to_owned());
    assert_eq!(distrusted(&bytes), unsigned);
    let mut refused = reply();
    refused.metadata.response_code = ResponseCode::Refused;
    let bytes = refused.to_vec().unwrap();
    assert_eq!(distrusted(&bytes), RegisterError::Refused);
}

#[test]
fn an_answer_to_an_update_may_leave_out_the_zone() {
    let mut update = Message::new(77, MessageType::Query, OpCode::Update);
    let name = Fqdn::from_ascii("example.com.").unwrap();
    update.add_query(Query::query(name, RecordType::SOA));
    let mut reply = update.clone().into_response();
    let sent = Signed::unsigned(&update).unwrap();
    let judged = |reply: &Message| judge(&reply.to_vec().unwrap(), &update, &sent, None, NOW);
    assert!(matches!(judged(&reply), Reply::Answer(_)));
    reply.queries.clear();
    assert!(matches!(judged(&reply), Reply::Answer(_)));
}

#[test]
fn a_secret_that_is_not_base64_is_a_wrong_setting() {
    for secret in ["", "not base64!", "c2VjcmV0="] {
        let key = Key::new(&TsigKey {
            name: "tandem".to_owned(),
            algorithm: Algorithm::default(),
            secret: Secret::new(secret),
        });
        assert!(matches!(key, Err(SettingsError::Secret)), "{secret:?}");
    }
}
