//! Asking netfilter for a list of what it has.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK` and `NETLINK_NETFILTER`.
const FAMILY: i32 = 16;
const NETFILTER: i32 = 12;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Head of a message, and of netfilter's part of it.
const HEAD: usize = 16;
const OWN_HEAD: usize = 4;

/// The kernel fills up to 32 KiB at a time.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this only keeps a lost answer from lasting.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for everything of `kind` (subsystem and message) in `family`, and
/// hands over the attributes of each.
pub(super) fn dump(
    kind: u16,
    family: u8,
    attributes: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let socket = Socket::new(
        Domain::from(FAMILY),
        Type::RAW,
        Some(Protocol::from(NETFILTER)),
    )?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    (&socket).write_all(&request(kind, family, attributes))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = (&socket).read(&mut buffer)?;
        if !take(&buffer[..length], &mut each)? {
            return Ok(());
        }
    }
}

fn request(kind: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = HEAD + OWN_HEAD + attributes.len();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&DUMP.to_ne_bytes());
    // Sequence number and sender: one question, one socket.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0, 0, 0]);
    out.extend_from_slice(attributes);
    out
}

/// Reads one datagram of answers. Returns whether more are to come.
fn take(datagram: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let mut rest = datagram;
    while let Some(head) = rest.get(..HEAD) {
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let length = u32::from_ne_bytes(word(0)) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let Some(body) = rest.get(HEAD..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match kind {
            DONE => return Ok(false),
            ERROR => {
                let code = body.get(..4).and_then(|it| it.try_into().ok());
                let code = i32::from_ne_bytes(code.unwrap_or_default());
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            _ => each(body.get(OWN_HEAD..).unwrap_or_default()),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(!datagram.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + body.len()).unwrap();
        let mut out = length.to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn answers_end_with_done_or_an_error() {
        let mut seen = Vec::new();
        let mut each = |it: &[u8]| seen.push(it.to_vec());
        let one = message(0x100, &[2, 0, 0, 0, 9, 9]);
        let two = [one.clone(), message(DONE, &[0; 4])].concat();
        assert!(take(&one, &mut each).unwrap());
        assert!(!take(&two, &mut each).unwrap());
        let refused = message(ERROR, &(-1i32).to_ne_bytes());
        let error = take(&refused, &mut each).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(take(&one[..one.len() - 4], &mut each).is_err(), "cut short");
        assert_eq!(seen, [[9, 9], [9, 9]]);
    }
}
