//! What to make of a datagram that came back: pure, so that a test can
//! forge one.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};

use super::tsig::{Distrust, Key, Signed};
use crate::dns::register::RegisterError;

/// What a datagram is.
#[derive(Debug)]
pub(super) enum Reply {
    /// From the server, whose signature is right, to our question.
    Answer(Box<Message>),
    /// To our question, but anybody may have written it.
    Distrusted(RegisterError),
    /// Not to our question.
    Stranger,
}

/// What `bytes` are to `request`, which was sent as `sent`.
pub(super) fn judge(
    bytes: &[u8],
    request: &Message,
    sent: &Signed,
    key: Option<&Key>,
    now: u64,
) -> Reply {
    let Ok(reply) = Message::from_vec(bytes) else {
        return Reply::Stranger;
    };
    if !is_about(&reply, request) {
        return Reply::Stranger;
    }
    let Some(key) = key else {
        return Reply::Answer(Box::new(reply));
    };
    match key.check(sent, bytes, &reply, now) {
        Ok(()) => Reply::Answer(Box::new(reply)),
        Err(Distrust::Forged) => Reply::Stranger,
        Err(Distrust::Says(error)) => Reply::Distrusted(error),
        Err(Distrust::Unsigned) => {
            Reply::Distrusted(failure(&reply).unwrap_or_else(|| {
                RegisterError::Unsigned(reply.metadata.response_code.to_string())
            }))
        }
    }
}

/// The server's complaint, if the code is one: neither success nor the
/// verdict on a prerequisite.
pub(super) fn failure(reply: &Message) -> Option<RegisterError> {
    Some(match reply.metadata.response_code {
        ResponseCode::NoError
        | ResponseCode::NXDomain
        | ResponseCode::NXRRSet
        | ResponseCode::YXDomain
        | ResponseCode::YXRRSet => return None,
        ResponseCode::FormErr => RegisterError::FormErr,
        ResponseCode::NotAuth => RegisterError::NotAuth,
        ResponseCode::NotImp => RegisterError::NotImplemented,
        ResponseCode::NotZone => {
            let zone = reply.queries.first().map(|it| it.name.to_ascii());
            RegisterError::NotZone(zone.unwrap_or_else(|| "a name".to_owned()))
        }
        ResponseCode::Refused => RegisterError::Refused,
        ResponseCode::ServFail => RegisterError::ServerFailed,
        other @ (ResponseCode::BADALG
        | ResponseCode::BADCOOKIE
        | ResponseCode::BADKEY
        | ResponseCode::BADMODE
        | ResponseCode::BADNAME
        | ResponseCode::BADSIG
        | ResponseCode::BADTIME
        | ResponseCode::BADTRUNC
        | ResponseCode::BADVERS
        | ResponseCode::Unknown(_)) => {
            RegisterError::BadReply(format!("{other} ({})", u16::from(other)))
        }
    })
}

/// Whether a message answers another. The question may be left out where it
/// says nothing: in answers to updates (RFC 2136 section 3.8), and in errors.
fn is_about(reply: &Message, request: &Message) -> bool {
    let asked = &request.metadata;
    let got = &reply.metadata;
    let same = got.id == asked.id
        && got.message_type == MessageType::Response
        && got.op_code == asked.op_code;
    let may_be_empty =
        asked.op_code == OpCode::Update || got.response_code != ResponseCode::NoError;
    same && (reply.queries == request.queries || (may_be_empty && reply.queries.is_empty()))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
