//! Heartbeats as bytes, signed: whoever cannot sign is not heard. Pure.
//!
//! `TDM1`, the cluster (8 bytes), the body, then HMAC-SHA256 over all of that,
//! cut to 16 bytes. Numbers are little-endian; names have a length before
//! them. Nothing of the body is looked at before the signature is right.
//!
//! After the names there may be an extension: records of one byte of kind, two
//! bytes of length, and a value. A kind or a flag that this version does not
//! know is passed over, so that later ones can say more. Version 0.1.0 reads
//! no extension, see [`READS_MORE`](super::READS_MORE).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::{Boot, Heard, Heartbeat, Hold, More, Role};
use crate::types::{Name, Term};

const MAGIC: &[u8; 4] = b"TDM1";
/// The magic and the cluster.
const HEAD: usize = 12;
const TAG: usize = 16;
/// The largest heartbeat: goes through every path of IPv4 and IPv6 in one
/// piece, whatever later versions may add.
pub(super) const MOST_BYTES: usize = 1232;
/// The records of the extension. Each extension begins with the version.
const VERSION: u8 = 1;
const HEARS: u8 = 2;

/// What heartbeats are signed with.
#[derive(Clone, Debug)]
pub struct Key {
    hmac: hmac::Key,
    /// Which pair this is: nodes of another one are not even checked.
    cluster: u64,
}

/// Why bytes are not a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Signed, and still not to be understood: another version.
    #[error("a signed heartbeat that makes no sense")]
    Body,
    /// Of another pair, or no heartbeat at all.
    #[error("not a heartbeat of this pair")]
    Foreign,
    /// The signature is wrong.
    #[error("a wrong signature")]
    Signature,
}

impl Bad {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Body, Self::Foreign, Self::Signature];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Foreign => "foreign",
            Self::Signature => "signature",
        }
    }
}

impl Key {
    /// The key that `secret` makes for the pair that holds `name`.
    pub fn new(secret: &str, name: &str) -> Self {
        let cluster = digest(&SHA256, name.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&cluster.as_ref()[..8]);
        Self {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            cluster: u64::from_le_bytes(first),
        }
    }

    /// Whether `bytes` say that they are of this pair, which anybody can say.
    pub(super) fn is_named_by(&self, bytes: &[u8]) -> bool {
        let mut reader = Reader(bytes);
        reader.take(4) == Some(MAGIC) && reader.number() == Some(self.cluster)
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG] {
        let whole = hmac::sign(&self.hmac, bytes);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole.as_ref()[..TAG]);
        tag
    }
}

/// `heartbeat` as bytes.
pub fn encode(heartbeat: &Heartbeat, key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(MOST_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&key.cluster.to_le_bytes());
    let role = Role::ALL.iter().position(|it| *it == heartbeat.role);
    out.push(u8::try_from(role.unwrap_or(0)).unwrap_or(0));
    let flags = [
        heartbeat.serving,
        heartbeat.has_backends,
        heartbeat.hears_you,
        heartbeat.complains,
        heartbeat.holder.is_some(),
        heartbeat.hold.is_on,
    ];
    let flags = flags.iter().enumerate();
    out.push(flags.fold(0, |all, (bit, is_set)| all | u8::from(*is_set) << bit));
    let (echo_boot, echo_seq) = heartbeat.echo;
    for number in [
        heartbeat.boot.0,
        heartbeat.seq,
        heartbeat.term.0,
        heartbeat.nonce,
        echo_boot.0,
        echo_seq,
        heartbeat.config,
        heartbeat.hold.version,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let holder = heartbeat.holder.as_ref().map_or("", Name::as_str);
    for name in [heartbeat.from.as_str(), heartbeat.to.as_str(), holder] {
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend_from_slice(name.as_bytes());
    }
    if let Some(more) = &heartbeat.more {
        record(&mut out, VERSION, &[more.version.as_str().as_bytes()]);
        for it in more.hears.iter().take(More::MOST_HEARD) {
            record(
                &mut out,
                HEARS,
                &[&[it.misses], it.node.as_str().as_bytes()],
            );
        }
    }
    let tag = key.tag(&out);
    out.extend_from_slice(&tag);
    out
}

fn record(out: &mut Vec<u8>, kind: u8, value: &[&[u8]]) {
    out.push(kind);
    let length = value.iter().map(|it| it.len()).sum::<usize>();
    out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_le_bytes());
    for part in value {
        out.extend_from_slice(part);
    }
}

/// The heartbeat in `bytes`, if it is one and signed with `key`.
pub fn decode(bytes: &[u8], key: &Key) -> Result<Heartbeat, Bad> {
    let signed = bytes.len().checked_sub(TAG).ok_or(Bad::Foreign)?;
    let (signed, tag) = bytes.split_at(signed);
    let mut reader = Reader(signed);
    if !key.is_named_by(signed) || bytes.len() > MOST_BYTES {
        return Err(Bad::Foreign);
    }
    let _head = reader.take(HEAD);
    if verify_slices_are_equal(&key.tag(signed), tag).is_err() {
        return Err(Bad::Signature);
    }
    body(&mut reader).ok_or(Bad::Body)
}

fn body(reader: &mut Reader<'_>) -> Option<Heartbeat> {
    let role = *Role::ALL.get(usize::from(reader.byte()?))?;
    let flags = reader.byte()?;
    let flag = |bit: u8| flags & 1 << bit != 0;
    let mut numbers = [0; 8];
    for number in &mut numbers {
        *number = reader.number()?;
    }
    let [boot, seq, term, nonce, echo_boot, echo_seq, config, hold] = numbers;
    let from = reader.name()??;
    let to = reader.name()??;
    let holder = reader.name()?;
    if flag(4) != holder.is_some() {
        return None;
    }
    let more = more(reader)?;
    Some(Heartbeat {
        from,
        to,
        boot: Boot(boot),
        seq,
        role,
        term: Term(term),
        holder,
        nonce,
        serving: flag(0),
        has_backends: flag(1),
        hears_you: flag(2),
        complains: flag(3),
        hold: Hold {
            version: hold,
            is_on: flag(5),
        },
        echo: (Boot(echo_boot), echo_seq),
        config,
        more,
    })
}

/// The extension; `Some(None)` if there is none that has a version.
fn more(reader: &mut Reader<'_>) -> Option<Option<More>> {
    let (mut version, mut hears) = (None, Vec::new());
    while let Some(kind) = reader.byte() {
        let length = u16::from_le_bytes(reader.take(2)?.try_into().ok()?);
        let mut value = Reader(reader.take(usize::from(length))?);
        match kind {
            VERSION => version = Some(value.rest_as_name()?),
            HEARS if hears.len() < More::MOST_HEARD => hears.push(Heard {
                misses: value.byte()?,
                node: value.rest_as_name()?,
            }),
            _ => {}
        }
    }
    Some(version.map(|version| More { version, hears }))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn rest_as_name(&self) -> Option<Name> {
        Name::new(std::str::from_utf8(self.0).ok()?).ok()
    }

    /// A name; `Some(None)` for the empty one.
    fn name(&mut self) -> Option<Option<Name>> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        if text.is_empty() {
            return Some(None);
        }
        Some(Some(Name::new(text).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new("0123456789abcdef0123456789abcdef", "lb.example.com")
    }

    fn heartbeat() -> Heartbeat {
        let name = |text: &str| Name::new(text).unwrap();
        Heartbeat {
            from: name("lb1"),
            to: name("lb2"),
            boot: Boot(1),
            seq: 2,
            role: Role::Holder,
            term: Term(3),
            holder: Some(name("lb1")),
            nonce: 4,
            serving: true,
            has_backends: false,
            hears_you: true,
            complains: false,
            hold: Hold {
                version: 8,
                is_on: true,
            },
            echo: (Boot(5), 6),
            config: 7,
            more: Some(More {
                version: name("0.1.0"),
                hears: vec![Heard {
                    node: name("lb3"),
                    misses: 2,
                }],
            }),
        }
    }

    /// `bytes`, changed and signed anew.
    fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = bytes[..bytes.len() - TAG].to_vec();
        change(&mut bytes);
        let tag = key().tag(&bytes);
        bytes.extend_from_slice(&tag);
        bytes
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = encode(&heartbeat(), &key());
        assert!(bytes.len() < MOST_BYTES);
        assert_eq!(decode(&bytes, &key()), Ok(heartbeat()));
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&forged, &key()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_secret_and_another_pair_are_not_heard() {
        let bytes = encode(&heartbeat(), &key());
        let other = Key::new("another secret, long enough to be", "lb.example.com");
        assert_eq!(decode(&bytes, &other), Err(Bad::Signature));
        let other = Key::new("0123456789abcdef0123456789abcdef", "db.example.com");
        assert_eq!(decode(&bytes, &other), Err(Bad::Foreign));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let bytes = encode(&heartbeat(), &key());
        let with_flags = changed(&bytes, |it| it[13] |= 0b1100_0000);
        assert_eq!(decode(&with_flags, &key()), Ok(heartbeat()));
        let with_record = changed(&bytes, |it| record(it, 200, &[&[1, 2, 3]]));
        assert_eq!(decode(&with_record, &key()), Ok(heartbeat()));
        let many = changed(&bytes, |it| {
            for _ in 0..2 * More::MOST_HEARD {
                record(it, HEARS, &[&[0], b"lb9"]);
            }
        });
        let many = decode(&many, &key()).unwrap().more.unwrap();
        assert_eq!(many.hears.len(), More::MOST_HEARD);
    }

    #[test]
    fn a_record_that_ends_too_late_is_no_heartbeat() {
        let bytes = encode(&heartbeat(), &key());
        for cut in 1..3 {
            let short = changed(&bytes, |it| it.truncate(it.len() - cut));
            assert_eq!(decode(&short, &key()), Err(Bad::Body), "{cut}");
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let long = Name::new(&"a".repeat(63)).unwrap();
        let mut heartbeat = heartbeat();
        heartbeat.from = long.clone();
        heartbeat.to = long.clone();
        heartbeat.holder = Some(long.clone());
        let heard = Heard {
            node: long.clone(),
            misses: u8::MAX,
        };
        heartbeat.more = Some(More {
            version: long,
            hears: vec![heard; More::MOST_HEARD],
        });
        let bytes = encode(&heartbeat, &key());
        assert!(bytes.len() <= MOST_BYTES, "{}", bytes.len());
        assert_eq!(decode(&bytes, &key()), Ok(heartbeat));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
            prop_assert!(decode(&bytes, &key()).is_err());
        }

        #[test]
        fn no_signed_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = key();
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&key.cluster.to_le_bytes());
            bytes.extend_from_slice(&body);
            let tag = key.tag(&bytes);
            bytes.extend_from_slice(&tag);
            let _either = decode(&bytes, &key);
        }
    }
}
