//! Packets: three bytes of length, a sequence number, the payload.

/// Bytes before the payload.
pub const HEADER: usize = 4;

/// Nothing that a server says before, during or after a login is longer.
pub const LIMIT: usize = 16 * 1024;

/// What the first bytes of a stream are, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// Less than a packet.
    Incomplete,
    /// A whole packet.
    Done {
        /// Its place in the exchange; an answer has the next number.
        sequence: u8,
        /// What it says.
        payload: &'a [u8],
        /// How many bytes it took, header included.
        length: usize,
    },
}

/// The packet announces more than [`LIMIT`] bytes: this is no MySQL server, or
/// not its side of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server announced a packet of {0} bytes")]
pub struct TooLong(pub usize);

/// The packet at the start of `bytes`.
pub fn unframe(bytes: &[u8]) -> Result<Framed<'_>, TooLong> {
    let Some(&[a, b, c, sequence]) = bytes.first_chunk::<HEADER>() else {
        return Ok(Framed::Incomplete);
    };
    let size = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    if size > LIMIT {
        return Err(TooLong(size));
    }
    let length = HEADER + size;
    Ok(match bytes.get(HEADER..length) {
        None => Framed::Incomplete,
        Some(payload) => Framed::Done {
            sequence,
            payload,
            length,
        },
    })
}

/// `payload` as a packet. At most [`LIMIT`] bytes of it are sent: we write
/// nothing longer.
pub fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(LIMIT)];
    let [a, b, ..] = payload.len().to_le_bytes();
    let mut out = vec![a, b, 0, sequence];
    out.extend(payload);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endless_packet_is_refused_with_its_header() {
        assert_eq!(unframe(b"HTTP/1.1"), Err(TooLong(0x0054_5448)));
        assert_eq!(unframe(&[0, 0x40, 0, 0]), Ok(Framed::Incomplete));
        assert_eq!(unframe(&[1, 0x40, 0, 0]), Err(TooLong(LIMIT + 1)));
    }

    proptest! {
        #[test]
        fn what_is_framed_is_unframed(
            sequence: u8,
            payload in proptest::collection::vec(any::<u8>(), 0..600),
            rest in any::<Vec<u8>>(),
        ) {
            let packet = frame(sequence, &payload);
            let length = packet.len();
            for end in 0..length {
                prop_assert_eq!(unframe(&packet[..end]), Ok(Framed::Incomplete));
            }
            let all = [packet, rest].concat();
            let payload = payload.as_slice();
            prop_assert_eq!(unframe(&all), Ok(Framed::Done { sequence, payload, length }));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Ok(Framed::Done { length, .. }) = unframe(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
