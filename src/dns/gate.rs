//! What can be said of a datagram by its first twelve bytes, before a parser
//! sees it.

use hickory_server::proto::op::ResponseCode;

/// The header: id, flags, four counts.
const HEADER: usize = 12;
/// A query may carry an OPT, a TSIG, and one record more that we do not know.
const MOST_ADDITIONAL: u16 = 3;

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Say nothing.
    Drop,
    /// Read it.
    Parse,
    /// Refuse it by [`bare`].
    Refuse(ResponseCode),
}

/// Whether `raw` deserves the parser.
///
/// An answer (QR=1) is never answered, so that two servers cannot keep each
/// other busy for ever (RUSTSEC-2023-0041). Counts that no query has are
/// refused here: what the parser may allocate and walk stays small.
pub(super) fn gate(raw: &[u8]) -> Gate {
    let Some((header, _)) = raw.split_first_chunk::<HEADER>() else {
        return Gate::Drop;
    };
    if header[2] & 0x80 != 0 {
        return Gate::Drop;
    }
    let is_query = header[2] >> 3 & 0x0f == 0;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // The one authority record is the SOA of an IXFR, which is refused later.
    let is_small = count(4) == 1 && count(6) == 0 && count(8) <= 1 && count(10) <= MOST_ADDITIONAL;
    match (is_small, is_query) {
        // Other operations are refused after reading, so that the refusal has
        // the question and EDNS in it.
        (true, _) => Gate::Parse,
        (false, true) => Gate::Refuse(ResponseCode::FormErr),
        (false, false) => Gate::Refuse(ResponseCode::NotImp),
    }
}

/// An answer of a header only: the id, the opcode and the wish for recursion
/// come back, with `code`.
pub(super) fn bare(raw: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let (header, _) = raw.split_first_chunk::<HEADER>()?;
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&header[..2]);
    reply[2] = 0x80 | header[2] & 0x79;
    reply[3] = code.low();
    Some(reply)
}

/// "Ask again over TCP", with the question as it came: for a source that is
/// over its rate. Never longer than the query. None if `raw` has no question.
pub fn truncated(raw: &[u8]) -> Option<Vec<u8>> {
    let question = question(raw)?;
    let mut reply = bare(raw, ResponseCode::NoError)?;
    reply[2] |= 0x02;
    reply[5] = 1;
    reply.extend_from_slice(question);
    Some(reply)
}

/// The only question of `raw`, if it is written out.
pub(super) fn question(raw: &[u8]) -> Option<&[u8]> {
    let (header, rest) = raw.split_first_chunk::<HEADER>()?;
    if header[4..6] != [0, 1] {
        return None;
    }
    let mut at = 0;
    loop {
        let length = usize::from(*rest.get(at)?);
        at += 1 + length;
        if length == 0 {
            break;
        }
        // Beyond 63 it is a pointer, which a question has no use for.
        if length > 63 || at > 255 {
            return None;
        }
    }
    rest.get(..at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: [u8; 2], counts: [u16; 4]) -> Vec<u8> {
        let mut raw = vec![0xab, 0xcd, flags[0], flags[1]];
        counts.iter().for_each(|it| raw.extend(it.to_be_bytes()));
        raw
    }

    #[test]
    fn answers_are_never_answered() {
        assert_eq!(gate(&header([0x80, 0], [1, 0, 0, 0])), Gate::Drop);
        assert_eq!(gate(&header([0xff, 0xff], [65_535; 4])), Gate::Drop);
        assert_eq!(gate(&[0; 11]), Gate::Drop);
        assert_eq!(gate(&[]), Gate::Drop);
    }

    #[test]
    fn only_what_is_small_is_parsed() {
        assert_eq!(gate(&header([1, 0], [1, 0, 0, 1])), Gate::Parse);
        assert_eq!(gate(&header([0x20, 0], [1, 0, 0, 0])), Gate::Parse);
        for counts in [
            [0, 0, 0, 0],
            [2, 0, 0, 0],
            [65_535, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 0, 2, 0],
            [1, 0, 0, 4],
        ] {
            let raw = header([1, 0], counts);
            assert_eq!(gate(&raw), Gate::Refuse(ResponseCode::FormErr));
            let raw = header([0x29, 0], counts);
            assert_eq!(gate(&raw), Gate::Refuse(ResponseCode::NotImp));
        }
    }

    #[test]
    fn a_bare_answer_keeps_id_opcode_and_rd() {
        let reply = bare(&header([0x29, 0xff], [9; 4]), ResponseCode::NotImp);
        let expected = [0xab, 0xcd, 0xa9, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(reply.unwrap(), expected);
    }

    #[test]
    fn a_truncated_answer_repeats_the_question_and_nothing_else() {
        let mut raw = header([1, 0], [1, 0, 0, 1]);
        raw.extend(b"\x02Lb\x03com\0\0\x01\0\x01");
        let question = raw.len();
        raw.extend(b"rest");
        let reply = truncated(&raw).unwrap();
        assert_eq!(reply[2] & 0x82, 0x82);
        assert_eq!(reply[12..], raw[12..question]);
        assert_eq!(truncated(&raw[..question - 1]), None);
        raw[12] = 0xc0;
        assert_eq!(truncated(&raw), None);
    }
}
