//! A datagram on the heartbeat port. The format is written here a second time,
//! with the signature made by hand, so that the codec is held against it.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use tandem::pair::{Bad, Boot, Heard, Heartbeat, Hold, Key, More, Role, decode, encode};
use tandem::types::{Name, Term};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "lb.example.com";
/// No path of IPv6 has to cut it into pieces.
const LONGEST: usize = 1280 - 40 - 8;
/// Where the flags are, and those that have a meaning.
const FLAGS: usize = START + 1;
const KNOWN_FLAGS: u8 = 0b11_1111;
const START: usize = 4 + 8;
const TAG: usize = 16;

struct Keys {
    ours: Key,
    other_secret: Key,
    other_pair: Key,
    by_hand: hmac::Key,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        ours: Key::new(SECRET, NAME),
        other_secret: Key::new("another secret, long enough to be", NAME),
        other_pair: Key::new(SECRET, "db.example.com"),
        by_hand: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()),
    })
}

fn tag(signed: &[u8]) -> [u8; TAG] {
    let whole = hmac::sign(&keys().by_hand, signed);
    whole.as_ref()[..TAG].try_into().unwrap()
}

/// `body` as a heartbeat of this pair.
fn signed(body: &[u8]) -> Vec<u8> {
    let cluster = digest(&SHA256, NAME.as_bytes());
    let mut bytes = b"TDM1".to_vec();
    bytes.extend_from_slice(&cluster.as_ref()[..8]);
    bytes.extend_from_slice(body);
    let tag = tag(&bytes);
    bytes.extend_from_slice(&tag);
    bytes
}

/// The first byte says whether the rest is a whole datagram or the body of one
/// that is then signed.
pub(crate) fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    if mode & 1 == 0 {
        datagram(rest);
    } else {
        datagram(&signed(rest));
    }
}

fn datagram(bytes: &[u8]) {
    let keys = keys();
    let is_signed = bytes
        .split_last_chunk::<TAG>()
        .is_some_and(|(signed, it)| tag(signed) == *it);
    assert!(decode(bytes, &keys.other_pair).is_err(), "another pair");
    assert!(decode(bytes, &keys.other_secret).is_err(), "another secret");
    let heartbeat = match decode(bytes, &keys.ours) {
        Ok(heartbeat) => heartbeat,
        Err(Bad::Body) => {
            assert!(is_signed, "nothing unsigned is read");
            return;
        }
        Err(Bad::Foreign | Bad::Signature) => return,
    };
    assert!(is_signed, "whatever decodes was made with the key");
    assert!(bytes.len() <= LONGEST, "{} bytes", bytes.len());
    let again = encode(&heartbeat, &keys.ours);
    if heartbeat.more.is_none() && again.len() == bytes.len() && bytes[FLAGS] <= KNOWN_FLAGS {
        assert_eq!(again, bytes, "one meaning, one form");
    }
    // What a later version adds is passed over, and nothing else is.
    assert!(again.len() <= LONGEST);
    assert_eq!(decode(&again, &keys.ours).as_ref(), Ok(&heartbeat));
    // One flipped bit, at a place that the heartbeat itself chooses.
    let bit = usize::try_from(heartbeat.seq % (bytes.len() as u64 * 8)).unwrap();
    let mut forged = bytes.to_vec();
    forged[bit / 8] ^= 1 << (bit % 8);
    assert!(decode(&forged, &keys.ours).is_err(), "bit {bit}");
    let short = &bytes[..bytes.len() - 1 - bit / 8 % 8];
    assert!(decode(short, &keys.ours).is_err(), "cut short");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![b"\0TDM1".to_vec(), vec![1]];
    for (at, role) in Role::ALL.into_iter().enumerate() {
        let name = |text: &str| Name::new(text).unwrap();
        let heartbeat = Heartbeat {
            from: name(&"a".repeat(1 + at * 12)),
            to: name("lb2"),
            boot: Boot(u64::MAX),
            seq: at as u64,
            role,
            term: Term(3),
            holder: (at % 2 == 0).then(|| name("lb1")),
            nonce: 4,
            serving: at % 2 == 0,
            has_backends: at % 3 == 0,
            hears_you: true,
            complains: at == 5,
            hold: Hold {
                version: at as u64,
                is_on: at == 1,
            },
            echo: (Boot(5), 6),
            config: 7,
            more: (at > 2).then(|| More {
                version: name("0.1.0"),
                hears: (0..at - 2)
                    .map(|it| Heard {
                        node: name(&format!("lb{it}")),
                        misses: it as u8,
                    })
                    .collect(),
            }),
        };
        let bytes = encode(&heartbeat, &keys().ours);
        seeds.push([&[0], bytes.as_slice()].concat());
        seeds.push([&[1], &bytes[START..bytes.len() - TAG]].concat());
    }
    seeds
}
