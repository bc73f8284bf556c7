//! As much of X.509 as rustls keeps to itself. Pure.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// A certificate as rustls can read it. It reads X.509 v3 only; one of v1 is
/// the same without a version and extensions, so it gets a version. Its own
/// signature is not right any more; who uses this trusts the very bytes, or
/// trusts anybody, and wants the times and the key in it.
pub(super) fn readable<'a>(certificate: &CertificateDer<'a>) -> CertificateDer<'a> {
    with_version(certificate).map_or_else(|| certificate.clone(), CertificateDer::from)
}

/// Whose a certificate is, and who signed it, as both are written in it.
pub(super) struct Parties<'a> {
    pub(super) subject: &'a [u8],
    pub(super) issuer: &'a [u8],
}

impl<'a> Parties<'a> {
    /// Those of `certificate`; `None`: it cannot be read.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let (outer, _) = sequence(certificate)?;
        let (mut rest, _) = sequence(outer)?;
        if rest.first() == Some(&VERSION[0]) {
            (_, _, rest) = item(rest)?;
        }
        // The serial number and the algorithm of the signature come first.
        (_, _, rest) = item(rest)?;
        (_, rest) = sequence(rest)?;
        let (issuer, rest) = sequence(rest)?;
        // When it is valid stands between them.
        let (_, rest) = sequence(rest)?;
        let (subject, _) = sequence(rest)?;
        Some(Self { subject, issuer })
    }

    /// Whether it vouches for itself.
    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// What people call the party that is written as `name`: its common name, else
/// its organization; `None`: it has neither as text.
pub(super) fn called(name: &[u8]) -> Option<&str> {
    const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
    const ORGANIZATION: [u8; 3] = [0x55, 4, 10];
    let find = |kind: [u8; 3]| {
        let mut rest = name;
        while let Some((_, set, after)) = item(rest) {
            rest = after;
            let (pair, _) = sequence(set)?;
            let (_, key, value) = item(pair)?;
            if key == kind {
                return std::str::from_utf8(item(value)?.1).ok();
            }
        }
        None
    };
    find(COMMON_NAME).or_else(|| find(ORGANIZATION))
}

const SEQUENCE: u8 = 0x30;
/// `[0] { INTEGER 2 }`: version 3.
const VERSION: [u8; 5] = [0xa0, 3, 2, 1, 2];

fn with_version(certificate: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = sequence(certificate)?;
    let (inner, rest) = sequence(outer)?;
    if inner.first() == Some(&VERSION[0]) {
        return None;
    }
    let inner = in_sequence(&[&VERSION, inner]);
    Some(in_sequence(&[&inner, rest]))
}

/// What is in the sequence that `bytes` begin with, and what follows it.
fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (kind, inner, rest) = item(bytes)?;
    (kind == SEQUENCE).then_some((inner, rest))
}

/// What kind of thing `bytes` begin with, what is in it, and what follows it.
fn item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if length.len() > 4 {
            return None;
        }
        let length = length.iter().fold(0, |all, &b| all << 8 | usize::from(b));
        (length, rest)
    };
    let (inner, rest) = rest.split_at_checked(length)?;
    Some((kind, inner, rest))
}

fn in_sequence(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|it| it.len()).sum();
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let mut out = vec![SEQUENCE];
    match bytes {
        [] => out.push(0),
        &[one] if one < 0x80 => out.push(one),
        _ => {
            // Eight bytes at the most.
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    use super::*;

    fn parties(pem: &str) -> (String, String, bool) {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let found = Parties::of(&certificate).unwrap();
        let name = |it| called(it).unwrap_or("-").to_owned();
        (
            name(found.subject),
            name(found.issuer),
            found.is_self_signed(),
        )
    }

    #[test]
    fn a_certificate_says_whose_it_is_and_who_signed_it() {
        let of = |subject: &str, issuer: &str, is_self_signed| {
            (subject.to_owned(), issuer.to_owned(), is_self_signed)
        };
        let own = parties(include_str!("../../../tests/certificates/own.pem"));
        assert_eq!(own, of("own", "own", true));
        let v1 = parties(include_str!("../../../tests/certificates/v1.pem"));
        assert_eq!(v1, of("v1", "v1", true));
        let leaf = parties(include_str!("../../../tests/certificates/leaf.pem"));
        assert_eq!(leaf, of("leaf", "an authority", false));
    }

    #[test]
    fn an_organization_is_a_name_where_there_is_no_other() {
        let pair = |kind: u8, text: &[u8]| {
            let inner = [&[6, 3, 0x55, 4, kind, 12, text.len() as u8][..], text].concat();
            let pair = in_sequence(&[&inner]);
            [&[0x31, pair.len() as u8][..], &pair].concat()
        };
        let name = [pair(10, b"Example Inc."), pair(6, b"DE")].concat();
        assert_eq!(called(&name), Some("Example Inc."));
        let name = [name, pair(3, b"www.example.com")].concat();
        assert_eq!(called(&name), Some("www.example.com"));
        assert_eq!(called(&pair(6, b"DE")), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..600, to: u8) {
            let mut certificate = CertificateDer::from_pem_slice(
                include_bytes!("../../../tests/certificates/leaf.pem"),
            ).unwrap().to_vec();
            let end = certificate.len() - 1;
            certificate[at.min(end)] = to;
            for bytes in [&bytes[..], &certificate] {
                if let Some(found) = Parties::of(bytes) {
                    let _either = (called(found.subject), called(found.issuer));
                }
            }
        }
    }
}
