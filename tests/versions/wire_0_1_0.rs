//! The heartbeat of version 0.1.0, as it was: its message, its encoder and its
//! decoder. Not to be changed: nodes of that version are out there.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use tandem::pair::{Boot, Hold, Role};
use tandem::types::{Name, Term};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub from: Name,
    pub to: Name,
    pub boot: Boot,
    pub seq: u64,
    pub role: Role,
    pub term: Term,
    pub holder: Option<Name>,
    pub nonce: u64,
    pub serving: bool,
    pub has_backends: bool,
    pub hears_you: bool,
    pub complains: bool,
    pub hold: Hold,
    pub echo: (Boot, u64),
    pub config: u64,
}

const ROLES: [Role; 6] = [
    Role::Claiming,
    Role::Draining,
    Role::Holder,
    Role::Init,
    Role::Standby,
    Role::Unsure,
];

const MAGIC: &[u8; 4] = b"TDM1";
const TAG: usize = 16;
/// How many bits of the flags have a meaning.
const FLAGS: u32 = 6;
/// Three names at their longest, and all else.
pub const MOST_BYTES: usize = 320;

/// What heartbeats are signed with.
#[derive(Clone, Debug)]
pub struct Key {
    hmac: hmac::Key,
    /// Which pair this is: nodes of another one are not even checked.
    cluster: u64,
}

/// Why bytes are not a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Body,
    Foreign,
    Signature,
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
    let role = ROLES.iter().position(|it| *it == heartbeat.role);
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
    let tag = key.tag(&out);
    out.extend_from_slice(&tag);
    out
}

/// The heartbeat in `bytes`, if it is one and signed with `key`.
pub fn decode(bytes: &[u8], key: &Key) -> Result<Heartbeat, Bad> {
    let signed = bytes.len().checked_sub(TAG).ok_or(Bad::Foreign)?;
    let (signed, tag) = bytes.split_at(signed);
    let mut reader = Reader(signed);
    let is_ours = reader.take(4) == Some(MAGIC) && reader.number() == Some(key.cluster);
    if !is_ours || bytes.len() > MOST_BYTES {
        return Err(Bad::Foreign);
    }
    if verify_slices_are_equal(&key.tag(signed), tag).is_err() {
        return Err(Bad::Signature);
    }
    body(&mut reader).ok_or(Bad::Body)
}

fn body(reader: &mut Reader<'_>) -> Option<Heartbeat> {
    let role = *ROLES.get(usize::from(reader.byte()?))?;
    let flags = reader.byte()?;
    // What this version cannot know of would be lost without a word.
    if flags >> FLAGS != 0 {
        return None;
    }
    let flag = |bit: u8| flags & 1 << bit != 0;
    let mut numbers = [0; 8];
    for number in &mut numbers {
        *number = reader.number()?;
    }
    let [boot, seq, term, nonce, echo_boot, echo_seq, config, hold] = numbers;
    let from = reader.name()??;
    let to = reader.name()??;
    let holder = reader.name()?;
    if !reader.0.is_empty() || flag(4) != holder.is_some() {
        return None;
    }
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
    })
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
