//! Whom the kernel has greeted for us and not handed over yet, by sock_diag(7).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK` and `NETLINK_SOCK_DIAG`.
const FAMILY: i32 = 16;
const SOCK_DIAG: i32 = 4;

/// `SOCK_DIAG_BY_FAMILY`, and `NLM_F_REQUEST | NLM_F_DUMP`.
const BY_FAMILY: u16 = 20;
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `AF_INET`, `AF_INET6`, `IPPROTO_TCP` and `1 << TCP_SYN_RECV`.
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
const SYN_RECV: u32 = 1 << 3;

/// Head of a message, a question after it, and where an answer has its address.
const HEAD: usize = 16;
const QUESTION: usize = 56;
const SOURCE: usize = 8;

/// The kernel fills up to 32 KiB at a time.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this only keeps a lost answer from lasting.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Our own addresses to which handshakes on the port of `bind` have begun and
/// not ended, one for each, in its family. Those that wait for first bytes
/// (`TCP_DEFER_ACCEPT`) are among them.
pub fn half_open(bind: SocketAddr) -> io::Result<Vec<IpAddr>> {
    let protocol = Some(Protocol::from(SOCK_DIAG));
    let socket = Socket::new(Domain::from(FAMILY), Type::RAW, protocol)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    (&socket).write_all(&question(bind))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = (&socket).read(&mut buffer)?;
        if !take(&buffer[..length], &mut found)? {
            return Ok(found);
        }
    }
}

fn question(bind: SocketAddr) -> Vec<u8> {
    let length = HEAD + QUESTION;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&DUMP.to_ne_bytes());
    // Sequence number and sender: one question, one socket.
    out.extend_from_slice(&[0; 8]);
    let family = if bind.is_ipv4() { INET } else { INET6 };
    out.extend_from_slice(&[family, TCP, 0, 0]);
    out.extend_from_slice(&SYN_RECV.to_ne_bytes());
    out.extend_from_slice(&bind.port().to_be_bytes());
    // Whatever the other port, addresses, interface and cookie.
    out.resize(length, 0);
    out
}

/// Reads one datagram of answers. Returns whether more are to come.
fn take(datagram: &[u8], found: &mut Vec<IpAddr>) -> io::Result<bool> {
    let mut rest = datagram;
    while let Some(head) = rest.get(..HEAD) {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
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
            _ => found.extend(address(body)),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(!datagram.is_empty())
}

/// Our end of the connection that an answer tells of.
fn address(body: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = body.get(SOURCE..SOURCE + 16)?.try_into().ok()?;
    match *body.first()? {
        INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::net::{defer, listen};

    #[test]
    fn silent_clients_are_half_open_until_they_speak() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen::shared(any.parse().unwrap(), 16).unwrap();
            defer::set_defer_accept(&listener, true).unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(half_open(address).unwrap(), Vec::<IpAddr>::new());
            let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            assert_eq!(half_open(address).unwrap(), [address.ip(); 2]);
            for client in &mut clients {
                client.write_all(b"x").unwrap();
            }
            assert_eq!(half_open(address).unwrap(), Vec::<IpAddr>::new());
        }
    }
}
