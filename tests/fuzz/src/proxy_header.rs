//! The PROXY header before a connection's first byte, in both versions.

use tandem::net::proxy_header::{Header, MAX_LENGTH, Parsed, encode, encode_local, parse};
use tandem::types::{BadHeader, ProxyVersion};

/// Where every prefix is tried.
const CLOSELY: usize = 128;

pub(crate) fn check(data: &[u8]) {
    let whole = parse(data);
    if let Ok(Parsed::Done { header, length }) = whole {
        assert!(length <= data.len() && length <= MAX_LENGTH, "{length}");
        assert_eq!(parse(&data[..length]), whole, "what follows plays no part");
        assert_eq!(parse(&data[..length - 1]), Ok(Parsed::Incomplete));
        same_again(header);
    }
    if data.len() >= MAX_LENGTH {
        assert_ne!(whole, Ok(Parsed::Incomplete), "nobody waits for ever");
    }
    // A verdict stands, however the bytes arrive.
    let mut verdict: Option<Result<Parsed, BadHeader>> = None;
    for end in (0..data.len().min(CLOSELY)).chain([data.len()]) {
        let now = parse(&data[..end]);
        match verdict {
            Some(verdict) => assert_eq!(now, verdict, "after {end} bytes"),
            None if now == Ok(Parsed::Incomplete) => {}
            None => verdict = Some(now),
        }
    }
}

/// What was read means the same when it is passed on.
fn same_again(header: Header) {
    assert_eq!(header.source.is_some(), header.destination.is_some());
    let (Some(source), Some(destination)) = (header.source, header.destination) else {
        return;
    };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let bytes = encode(version, source, destination);
        let Ok(Parsed::Done { header, length }) = parse(&bytes) else {
            panic!("what is written is read: {bytes:?}");
        };
        assert_eq!(length, bytes.len());
        let plain =
            |it: Option<std::net::SocketAddr>| it.map(|it| (it.ip().to_canonical(), it.port()));
        assert_eq!(plain(header.source), plain(Some(source)));
        assert_eq!(plain(header.destination), plain(Some(destination)));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\nrest".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 0\r\n".to_vec(),
        b"PROXY UNKNOWN whatever\r\n".to_vec(),
        b"PROXY TCP4 999.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n".to_vec(),
    ];
    let v4 = "192.0.2.1:80".parse().unwrap();
    let v6 = "[2001:db8::1]:443".parse().unwrap();
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        seeds.push(encode_local(version));
        seeds.push(encode(version, v4, v4));
        seeds.push(encode(version, v4, v6));
    }
    // With an extension behind the addresses, and a unix address.
    let mut extended = encode(ProxyVersion::V2, v4, v4);
    extended[15] += 7;
    extended.extend(b"\x03\0\x04crc!rest");
    seeds.push(extended);
    let mut unix = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".to_vec();
    unix.resize(16 + 216, b'/');
    seeds.push(unix);
    seeds
}
