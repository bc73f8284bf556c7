//! Signing what goes out and checking what comes in (RFC 8945).

use data_encoding::BASE64;
use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError};
use hickory_proto::rr::{DNSClass, Name as Fqdn, TSigner};

use super::settings::{Algorithm, SettingsError, TsigKey};
use crate::dns::register::RegisterError;

/// How many seconds the clocks may differ (RFC 8945 section 10 says 300).
const FUDGE: u16 = 300;

/// A key that signs.
#[derive(Clone)]
pub(super) struct Key(TSigner);

/// The signature of a message that went out; the answer's covers it.
pub(super) struct Signed {
    pub(super) bytes: Vec<u8>,
    mac: Vec<u8>,
}

impl Signed {
    /// A message to a server that trusts our address.
    pub(super) fn unsigned(message: &Message) -> Result<Self, RegisterError> {
        let bytes = message.to_vec().map_err(unwritable)?;
        Ok(Self {
            bytes,
            mac: Vec::new(),
        })
    }
}

impl Key {
    pub(super) fn new(key: &TsigKey) -> Result<Self, SettingsError> {
        let name =
            Fqdn::from_ascii(&key.name).map_err(|_| SettingsError::Name(key.name.clone()))?;
        let secret = BASE64
            .decode(key.secret.expose().trim().as_bytes())
            .ok()
            .filter(|it| !it.is_empty())
            .ok_or(SettingsError::Secret)?;
        let algorithm = match key.algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(secret, algorithm, name, FUDGE);
        Ok(Self(signer.expect("each of the three is supported")))
    }

    /// Signs `message` at `now`, in seconds since 1970.
    pub(super) fn sign(&self, mut message: Message, now: u64) -> Result<Signed, RegisterError> {
        message.finalize(&self.0, now).map_err(unwritable)?;
        let bytes = message.to_vec().map_err(unwritable)?;
        let mac = message.signature().map(|it| it.data.mac.clone());
        Ok(Signed {
            bytes,
            mac: mac.expect("it was signed two lines above"),
        })
    }

    /// Whether `bytes`, which are `reply`, answer `request`, signed with this
    /// key and about now.
    pub(super) fn check(
        &self,
        request: &Signed,
        bytes: &[u8],
        reply: &Message,
        now: u64,
    ) -> Result<(), Distrust> {
        let Some(signature) = reply.signature() else {
            return Err(Distrust::Unsigned);
        };
        let tsig = &signature.data;
        // Servers do not sign what they say of a key that they cannot use.
        if tsig.mac.is_empty() {
            return Err(match tsig.error {
                Some(TsigError::BadKey) => Distrust::Says(RegisterError::BadKey),
                Some(TsigError::BadSig | TsigError::BadTrunc) => {
                    Distrust::Says(RegisterError::BadSignature)
                }
                Some(TsigError::BadTime) => Distrust::Says(bad_time(tsig, now)),
                Some(TsigError::Unknown(_)) | None => Distrust::Unsigned,
            });
        }
        // The library signs these as constants, whatever they are on the wire.
        if signature.dns_class != DNSClass::ANY || signature.ttl != 0 {
            return Err(Distrust::Forged);
        }
        // The library subtracts these without a look.
        if tsig.time < u64::from(tsig.fudge) {
            return Err(Distrust::Forged);
        }
        self.0
            .verify_message_byte(bytes, Some(&request.mac), true)
            .map_err(|_| Distrust::Forged)?;
        // The library leaves the time to us.
        if tsig.error == Some(TsigError::BadTime) || now.abs_diff(tsig.time) > u64::from(FUDGE) {
            return Err(Distrust::Says(bad_time(tsig, now)));
        }
        Ok(())
    }
}

/// Why an answer is not believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// Its signature is wrong: it is not from the server.
    Forged,
    /// It says why it cannot be signed, or comes from another time.
    Says(RegisterError),
    /// It has no signature.
    Unsigned,
}

fn unwritable(error: ProtoError) -> RegisterError {
    RegisterError::Unwritable(error.to_string())
}

/// The server's clock is in the record if it refuses ours.
fn bad_time(tsig: &TSIG, now: u64) -> RegisterError {
    let theirs = <[u8; 6]>::try_from(tsig.other.as_slice()).map_or(tsig.time, |six| {
        six.iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    });
    RegisterError::BadTime(now.abs_diff(theirs))
}
