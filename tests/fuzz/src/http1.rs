//! The head of a client's request, which is read to refuse it politely.

use tandem::net::http1::{HEAD_LIMIT, Head, refusal};

pub(crate) fn check(data: &[u8]) {
    let whole = Head::of(data);
    match whole {
        Head::Complete { length } => {
            assert!(length <= data.len() && length <= HEAD_LIMIT, "{length}");
            let head = &data[..length];
            let ends = head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n");
            assert!(ends, "a head ends with an empty line: {head:?}");
            assert!(head.contains(&b' '), "a request has a method");
            assert_eq!(Head::of(head), whole, "what follows plays no part");
            assert_eq!(Head::of(&head[..length - 1]), Head::Incomplete);
        }
        Head::Incomplete => assert!(data.len() < HEAD_LIMIT, "nobody waits for ever"),
        Head::TooLong => assert!(data.len() >= HEAD_LIMIT),
        Head::NotHttp => {}
    }
    // A verdict stands, however the bytes arrive.
    let mut verdict = None;
    let step = (data.len() / 64).max(1);
    for end in (0..data.len()).step_by(step).chain([data.len()]) {
        let now = Head::of(&data[..end]);
        match verdict {
            Some(verdict) => assert_eq!(now, verdict, "after {end} bytes"),
            None if now == Head::Incomplete => {}
            None => verdict = Some(now),
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut long = b"GET / HTTP/1.1\r\nA: ".to_vec();
    long.resize(HEAD_LIMIT - 2, b'a');
    let mut too_long = long.clone();
    too_long.extend(b"aaaa\r\n\r\n");
    vec![
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n".to_vec(),
        b"GET / HTTP/1.0\n\nx".to_vec(),
        b"\r\nPOST / HTTP/1.1\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
        refusal(2, "web"),
        long,
        too_long,
    ]
}
