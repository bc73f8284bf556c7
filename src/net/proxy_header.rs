//! The PROXY protocol, versions 1 and 2: whose connection this is, said by the
//! balancer in front of us or by us to the server behind. Pure.
//!
//! The reader is strict, because what it accepts becomes the client's address:
//! a header that two programs could read differently is refused.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use crate::types::{BadHeader, ProxyVersion, plain, plain_socket};

/// No header is longer: the fixed part of version 2, and as much as its length
/// can say.
pub const MAX_LENGTH: usize = V2_FIXED + u16::MAX as usize;

/// Version 1's own bound, with its CRLF.
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_FIXED: usize = 16;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The client; `None` if the sender speaks for itself or does not know.
    pub source: Option<SocketAddr>,
    /// Where the client connected to; `None` together with `source`.
    pub destination: Option<SocketAddr>,
}

/// What the first bytes of a connection are, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header that has not ended yet.
    Incomplete,
    /// A whole header.
    Done {
        /// What it says.
        header: Header,
        /// How many bytes it took; the client's own begin after them.
        length: usize,
    },
}

/// Reads the header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    if begins_like(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins_like(bytes, V1_START) {
        parse_v1(bytes)
    } else {
        Err(BadHeader::Missing)
    }
}

/// The header for a connection from `source` to `destination`. If only one of
/// them is IPv4, it is written as an IPv4-mapped IPv6 address.
pub fn encode(version: ProxyVersion, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ips = Ips::of(source.ip(), destination.ip());
    let ports = (source.port(), destination.port());
    match version {
        ProxyVersion::V1 => encode_v1(ips, ports),
        ProxyVersion::V2 => encode_v2(ips, ports),
    }
}

/// The header for a connection of our own, such as a probe.
pub fn encode_local(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyVersion::V2 => {
            let mut out = V2_SIGNATURE.to_vec();
            out.extend([0x20, 0, 0, 0]);
            out
        }
    }
}

/// The header for somebody's connection whose addresses are not known, such as
/// one over a unix socket.
pub fn encode_unknown(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyVersion::V2 => {
            let mut out = V2_SIGNATURE.to_vec();
            out.extend([0x21, 0, 0, 0]);
            out
        }
    }
}

/// Whether `bytes` and `start` agree as far as both go.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(newline) = seen.iter().position(|&b| b == b'\n') else {
        return if seen.len() == V1_MAX {
            Err(BadHeader::TooLong)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let line = seen[..newline]
        .strip_suffix(b"\r")
        .ok_or(BadHeader::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| BadHeader::Malformed)?;
    let mut fields = line.split(' ').skip(1);
    let header = match fields.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => Header::default(),
        Some("TCP4") => v1_addresses::<Ipv4Addr>(fields)?,
        Some("TCP6") => v1_addresses::<Ipv6Addr>(fields)?,
        Some(_) | None => return Err(BadHeader::Family),
    };
    Ok(Parsed::Done {
        header,
        length: newline + 1,
    })
}

fn v1_addresses<'a, Ip: std::str::FromStr + Into<IpAddr>>(
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<Header, BadHeader> {
    let mut next = || fields.next().ok_or(BadHeader::Malformed);
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    if fields.next().is_some() {
        return Err(BadHeader::Malformed);
    }
    let ip = |text: &str| text.parse::<Ip>().map_err(|_| BadHeader::Address);
    Ok(Header {
        source: Some(socket(ip(source)?.into(), v1_port(source_port)?)),
        destination: Some(socket(ip(destination)?.into(), v1_port(destination_port)?)),
    })
}

/// An address of a header: in IPv6 form it is still the IPv4 client that
/// `deny` and `max_per_source` know.
fn socket(ip: IpAddr, port: u16) -> SocketAddr {
    plain_socket(SocketAddr::new(ip, port))
}

/// Decimal digits without a sign or a leading zero.
fn v1_port(text: &str) -> Result<u16, BadHeader> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return Err(BadHeader::Address);
    }
    text.parse().map_err(|_| BadHeader::Address)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    // Each byte is judged as soon as it is here: nobody waits for the rest of
    // a header that cannot become valid.
    let Some(&version_command) = bytes.get(12) else {
        return Ok(Parsed::Incomplete);
    };
    if version_command >> 4 != 2 {
        return Err(BadHeader::Version);
    }
    let local = match version_command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(BadHeader::Command),
    };
    let Some(&family) = bytes.get(13) else {
        return Ok(Parsed::Incomplete);
    };
    // LOCAL: the family is to be ignored.
    if !local && (family >> 4 > 3 || family & 0x0f > 2) {
        return Err(BadHeader::Family);
    }
    let Some(rest) = bytes.get(14..16) else {
        return Ok(Parsed::Incomplete);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let needed = address_length(family);
    if !local && length < V2_FIXED + needed {
        return Err(BadHeader::TooShort);
    }
    let Some(payload) = bytes.get(V2_FIXED..length) else {
        return Ok(Parsed::Incomplete);
    };
    let whole = bytes.get(..length).unwrap_or_default();
    if !has_right_checksum(whole, V2_FIXED + address_length(family)) {
        return Err(BadHeader::Checksum);
    }
    let header = match family {
        _ if local => Header::default(),
        // A stream over IPv4 or IPv6; nothing else names a TCP client.
        0x11 => v2_addresses::<4>(payload),
        0x21 => v2_addresses::<16>(payload),
        _ => Header::default(),
    };
    Ok(Parsed::Done { header, length })
}

/// What the addresses of a family take.
const fn address_length(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

/// Whether the whole header has the CRC32c that it carries, if it carries one:
/// who knows the extension must check it. The other extensions begin at `at`,
/// and are not looked into.
fn has_right_checksum(header: &[u8], mut at: usize) -> bool {
    const CRC32C: u8 = 0x03;
    while let Some(&[kind, high, low]) = header.get(at..at + 3) {
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let Some(found) = header.get(value..end) else {
            // It runs past the header: not followed.
            return true;
        };
        if kind == CRC32C {
            // Computed with zeros in its own place.
            let sum = crc32c(&[&header[..value], &[0; 4], &header[end..]]);
            return found == sum.to_be_bytes();
        }
        at = end;
    }
    true
}

/// The two addresses and two ports at the start of `payload`, whose length has
/// been checked; extensions after them are skipped.
fn v2_addresses<const N: usize>(payload: &[u8]) -> Header
where
    IpAddr: From<[u8; N]>,
{
    let at = |ip: usize, port: usize| {
        let ip = payload.get(ip..ip + N)?.first_chunk::<N>()?;
        let port = payload.get(port..port + 2)?.first_chunk::<2>()?;
        Some(socket(IpAddr::from(*ip), u16::from_be_bytes(*port)))
    };
    Header {
        source: at(0, 2 * N),
        destination: at(N, 2 * N + 2),
    }
}

/// Two addresses of one family, as a header wants them.
#[derive(Clone, Copy)]
enum Ips {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ips {
    fn of(source: IpAddr, destination: IpAddr) -> Self {
        // A listener on [::] reports IPv4 clients as mapped addresses.
        match (plain(source), plain(destination)) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(mapped(source), mapped(destination)),
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn encode_v1(ips: Ips, (source_port, destination_port): (u16, u16)) -> Vec<u8> {
    let mut line = String::with_capacity(V1_MAX);
    let written = match ips {
        Ips::V4(source, destination) => write!(line, "PROXY TCP4 {source} {destination}"),
        Ips::V6(source, destination) => write!(line, "PROXY TCP6 {source} {destination}"),
    }
    .and_then(|()| write!(line, " {source_port} {destination_port}\r\n"));
    written.expect("writing to a String cannot fail");
    line.into_bytes()
}

fn encode_v2(ips: Ips, (source_port, destination_port): (u16, u16)) -> Vec<u8> {
    let mut out = V2_SIGNATURE.to_vec();
    out.push(0x21);
    match ips {
        Ips::V4(source, destination) => {
            out.extend([0x11, 0, 12]);
            out.extend(source.octets());
            out.extend(destination.octets());
        }
        Ips::V6(source, destination) => {
            out.extend([0x21, 0, 36]);
            out.extend(source.octets());
            out.extend(destination.octets());
        }
    }
    out.extend(source_port.to_be_bytes());
    out.extend(destination_port.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(source: &str, destination: &str, length: usize) -> Result<Parsed, BadHeader> {
        Ok(Parsed::Done {
            header: Header {
                source: Some(source.parse().unwrap()),
                destination: Some(destination.parse().unwrap()),
            },
            length,
        })
    }

    fn nobody(length: usize) -> Result<Parsed, BadHeader> {
        Ok(Parsed::Done {
            header: Header::default(),
            length,
        })
    }

    fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = V2_SIGNATURE.to_vec();
        out.extend([version_command, family]);
        out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend(payload);
        out
    }

    #[test]
    fn version_1_is_read_to_its_end_only() {
        assert_eq!(
            parse(b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\nGET /"),
            done("192.0.2.1:4000", "198.51.100.2:80", 43)
        );
        assert_eq!(
            parse(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"),
            done("[2001:db8::1]:1", "[::1]:65535", 36)
        );
        assert_eq!(parse(b"PROXY UNKNOWN\r\nxyz"), nobody(15));
        assert_eq!(parse(b"PROXY UNKNOWN ffff::1 whatever\r\n"), nobody(32));
    }

    #[test]
    fn version_1_refuses_what_two_programs_could_read_differently() {
        for (line, why) in [
            ("PROXY TCP4 999.0.2.1 192.0.2.2 1 2\r\n", BadHeader::Address),
            (
                "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
                BadHeader::Address,
            ),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", BadHeader::Address),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", BadHeader::Address),
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
                BadHeader::Address,
            ),
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
                BadHeader::Address,
            ),
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
                BadHeader::Address,
            ),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", BadHeader::Address),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1\r\n", BadHeader::Address),
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
                BadHeader::Malformed,
            ),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", BadHeader::Malformed),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", BadHeader::Family),
            ("PROXY \r\n", BadHeader::Family),
            ("GET / HTTP/1.1\r\n", BadHeader::Missing),
            ("PROXYTCP4", BadHeader::Missing),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(why), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
        assert_eq!(parse(long.as_bytes()), Err(BadHeader::TooLong));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 16));
        assert_eq!(parse(longest.as_bytes()), nobody(V1_MAX));
    }

    #[test]
    fn version_2_skips_extensions_within_its_length() {
        let mut payload = vec![192, 0, 2, 1, 198, 51, 100, 2, 0x0f, 0xa0, 0, 80];
        // An extension whose own length runs past the header is not followed.
        payload.extend([0x04, 0xff, 0xff]);
        let mut bytes = v2(0x21, 0x11, &payload);
        let length = bytes.len();
        bytes.extend(b"GET /");
        assert_eq!(
            parse(&bytes),
            done("192.0.2.1:4000", "198.51.100.2:80", length)
        );
    }

    #[test]
    fn version_2_knows_who_speaks_for_itself() {
        for header in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0xff, &[1, 2, 3]),
            v2(0x21, 0x00, &[9; 20]),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x12, &[0; 12]),
        ] {
            assert_eq!(parse(&header), nobody(header.len()));
        }
    }

    #[test]
    fn version_2_refuses_what_it_does_not_know() {
        for (header, why) in [
            (v2(0x11, 0x11, &[0; 12]), BadHeader::Version),
            (v2(0x31, 0x11, &[0; 12]), BadHeader::Version),
            (v2(0x22, 0x11, &[0; 12]), BadHeader::Command),
            (v2(0x21, 0x41, &[0; 12]), BadHeader::Family),
            (v2(0x21, 0x13, &[0; 12]), BadHeader::Family),
            (v2(0x21, 0x11, &[0; 11]), BadHeader::TooShort),
            (v2(0x21, 0x21, &[0; 35]), BadHeader::TooShort),
            (v2(0x21, 0x31, &[0; 215]), BadHeader::TooShort),
        ] {
            assert_eq!(parse(&header), Err(why));
            // And no later than with the 16th byte.
            assert_eq!(parse(&header[..16]), Err(why));
        }
    }

    #[test]
    fn version_2_may_be_as_long_as_its_length_can_say() {
        let longest = v2(0x21, 0x11, &[0; 65_535]);
        assert_eq!(longest.len(), MAX_LENGTH);
        assert_eq!(parse(&longest), done("0.0.0.0:0", "0.0.0.0:0", MAX_LENGTH));
        assert_eq!(parse(&longest[..MAX_LENGTH - 1]), Ok(Parsed::Incomplete));
    }

    #[test]
    fn a_checksum_is_checked_where_there_is_one() {
        let mut payload = vec![192, 0, 2, 1, 198, 51, 100, 2, 0x0f, 0xa0, 0, 80];
        // An extension before it, one after it.
        payload.extend([0x04, 0, 2, 9, 9, 0x03, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 9]);
        let mut header = v2(0x21, 0x11, &payload);
        let sum = crc32c(&[&header]);
        header[36..40].copy_from_slice(&sum.to_be_bytes());
        let length = header.len();
        assert_eq!(
            parse(&header),
            done("192.0.2.1:4000", "198.51.100.2:80", length)
        );
        for at in [17, 32, 39, 43] {
            let mut wrong = header.clone();
            wrong[at] ^= 1;
            assert_eq!(parse(&wrong), Err(BadHeader::Checksum), "byte {at}");
        }
        // Two bytes are no CRC32c.
        let short = v2(0x20, 0, &[0x03, 0, 2, 0, 0]);
        assert_eq!(parse(&short), Err(BadHeader::Checksum));
    }

    #[test]
    fn mixed_families_become_ipv6_and_mapped_pairs_ipv4() {
        let v4 = "192.0.2.1:1".parse().unwrap();
        let v6 = "[2001:db8::1]:2".parse().unwrap();
        let mapped = "[::ffff:192.0.2.1]:1".parse().unwrap();
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mixed = encode(version, v4, v6);
            assert_eq!(
                parse(&mixed),
                done("192.0.2.1:1", "[2001:db8::1]:2", mixed.len())
            );
            let same = encode(version, mapped, v4);
            assert_eq!(parse(&same), done("192.0.2.1:1", "192.0.2.1:1", same.len()));
            for header in [encode_local(version), encode_unknown(version)] {
                assert_eq!(parse(&header), nobody(header.len()));
            }
        }
    }

    fn any_header() -> impl Strategy<Value = (Vec<u8>, SocketAddr, SocketAddr)> {
        let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
        let v6 = any::<([u8; 16], [u8; 16])>().prop_map(|(mut a, mut b)| {
            // Never a mapped address: those are written as IPv4.
            (a[0], b[0]) = (0x20, 0x20);
            (IpAddr::from(a), IpAddr::from(b))
        });
        (prop_oneof![v4, v6], any::<(u16, u16)>(), any::<bool>()).prop_map(
            |((source, destination), ports, first)| {
                let source = SocketAddr::new(source, ports.0);
                let destination = SocketAddr::new(destination, ports.1);
                let version = if first {
                    ProxyVersion::V1
                } else {
                    ProxyVersion::V2
                };
                (encode(version, source, destination), source, destination)
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0..3) {
            let start: &[u8] = match start { 0 => b"", 1 => V1_START, _ => V2_SIGNATURE };
            bytes.splice(0..0, start.iter().copied());
            if let Ok(Parsed::Done { length, .. }) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read((bytes, source, destination) in any_header(), rest in any::<Vec<u8>>()) {
            let length = bytes.len();
            let header = Header { source: Some(source), destination: Some(destination) };
            let all = [bytes, rest].concat();
            prop_assert_eq!(parse(&all), Ok(Parsed::Done { header, length }));
        }

        #[test]
        fn a_part_is_incomplete((bytes, _, _) in any_header(), cut in any::<proptest::sample::Index>()) {
            let cut = cut.index(bytes.len());
            prop_assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete));
        }
    }
}
