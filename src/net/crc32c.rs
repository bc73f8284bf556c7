//! CRC32c (RFC 3720, appendix B.4), as the PROXY protocol has it. Pure.

/// The Castagnoli polynomial, its lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at: usize = 0;
    let mut byte: u32 = 0;
    while at < 256 {
        let mut rest = byte;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[at] = rest;
        at += 1;
        byte += 1;
    }
    table
}

/// The checksum of all `parts`, one after the other.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    !bytes.fold(u32::MAX, |sum, byte| {
        TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, and the usual one.
    #[test]
    fn it_is_the_checksum_of_the_standard() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, sum) in [
            (&b""[..], 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
        ] {
            assert_eq!(crc32c(&[bytes]), sum);
            let (one, two) = bytes.split_at(bytes.len() / 3);
            assert_eq!(crc32c(&[one, two]), sum);
        }
    }
}
