//! What load and backend say to each other. The first bytes of a connection
//! tell the backend what to do, so that one port serves every cell.

/// The first bytes of every connection that wants something.
const MAGIC: &[u8; 8] = b"tdm-vrs1";
pub(crate) const HEADER: usize = 16;
pub(crate) const TRAILER: usize = 16;

/// The bytes of a bulk stream repeat with this period, so that a shifted or
/// repeated piece does not look right.
const PERIOD: usize = 251;

/// What the backend does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Send back what comes.
    Echo,
    /// Send back one message and close.
    EchoOnce,
    /// Send the pattern until the client's FIN, then the trailer.
    Down,
    /// Discard until the client's FIN, then send the trailer.
    Up,
}

const WISHES: [Wish; 4] = [Wish::Echo, Wish::EchoOnce, Wish::Down, Wish::Up];

/// `size` is the length of a message; bulk has none.
pub(crate) fn header(wish: Wish, size: usize) -> [u8; HEADER] {
    let at = WISHES.iter().position(|it| *it == wish);
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = at.unwrap_or_default() as u8;
    bytes[12..].copy_from_slice(&(size as u32).to_le_bytes());
    bytes
}

/// `None` if these are not the bench's bytes.
pub(crate) fn read_header(bytes: &[u8]) -> Option<(Wish, usize)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let wish = WISHES.get(usize::from(*rest.first()?))?;
    let size = rest.get(4..)?.first_chunk::<4>()?;
    (magic == MAGIC).then(|| (*wish, u32::from_le_bytes(*size) as usize))
}

/// A message of `size` bytes that differs from every other one.
pub(crate) fn message(wish: Wish, size: usize, number: u64) -> Vec<u8> {
    let mut bytes = pattern(size);
    bytes[..HEADER].copy_from_slice(&header(wish, size));
    number_message(&mut bytes, number);
    bytes
}

pub(crate) fn number_message(message: &mut [u8], number: u64) {
    message[HEADER..HEADER + 8].copy_from_slice(&number.to_le_bytes());
}

/// The end of a bulk stream: how many bytes the backend sent or received.
pub(crate) fn trailer(total: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&total.to_le_bytes());
    bytes
}

pub(crate) fn read_trailer(bytes: &[u8]) -> Option<u64> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let total = rest.first_chunk::<8>()?;
    (magic == MAGIC && rest.len() == 8).then(|| u64::from_le_bytes(*total))
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % PERIOD) as u8).collect()
}

/// A piece of an endless pattern, as one slice at any offset of the stream.
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    piece: usize,
}

impl Pattern {
    pub(crate) fn new(piece: usize) -> Self {
        let bytes = pattern(piece + PERIOD);
        Self { bytes, piece }
    }

    /// What comes at `offset`, one piece long.
    pub(crate) fn at(&self, offset: u64) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        &self.bytes[start..start + self.piece]
    }
}
