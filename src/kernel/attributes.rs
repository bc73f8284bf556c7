//! Netlink attributes as bytes: length, type, payload, padded to four. Pure.

/// Type and payload of each attribute in `bytes`, up to the first that is cut
/// short.
pub(super) fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = rest.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        // The two highest bits say how the payload is to be read.
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let payload = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The payload of the attribute `kind`.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    each(bytes).find(|(it, _)| *it == kind).map(|(_, it)| it)
}

/// A 64-bit number as the kernel sends them.
pub(super) fn number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(payload.try_into().ok()?))
}

/// A port.
pub(super) fn port(payload: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(payload.try_into().ok()?))
}

/// A text, without the zero at its end.
pub(super) fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.strip_suffix(&[0]).unwrap_or(payload)).ok()
}

/// Appends an attribute.
pub(super) fn push(into: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
    into.extend_from_slice(&length.to_ne_bytes());
    into.extend_from_slice(&kind.to_ne_bytes());
    into.extend_from_slice(payload);
    into.resize(into.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_pushed_is_found() {
        let mut bytes = Vec::new();
        push(&mut bytes, 1, b"web\0");
        push(&mut bytes, 0x8002, &[7]);
        push(&mut bytes, 3, &5u64.to_be_bytes());
        assert_eq!(find(&bytes, 1).and_then(text), Some("web"));
        assert_eq!(find(&bytes, 2), Some(&[7][..]));
        assert_eq!(find(&bytes, 3).and_then(number), Some(5));
        assert_eq!(find(&bytes, 4), None);
        assert_eq!(each(&bytes[..bytes.len() - 1]).count(), 2, "one is cut");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes: Vec<u8>) {
            let count = each(&bytes).count();
            prop_assert!(count <= bytes.len() / 4);
        }
    }
}
