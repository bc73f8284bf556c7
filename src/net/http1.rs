//! As much of HTTP/1.1 as a client without a backend needs: where its request
//! head ends, and a refusal it understands. Pure.

/// The longest request head that is waited for; common servers refuse longer
/// ones too.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// Registered methods have 17 characters at the most; more is not HTTP.
const METHOD_LIMIT: usize = 32;

/// What the first bytes of a client are, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A request head that has not ended yet.
    Incomplete,
    /// A whole request head.
    Complete {
        /// How many bytes it has, with the empty line at its end.
        length: usize,
    },
    /// A request head longer than [`HEAD_LIMIT`].
    TooLong,
    /// Something else.
    NotHttp,
}

impl Head {
    /// What `bytes`, the first that the client sent, are.
    pub fn of(bytes: &[u8]) -> Self {
        // RFC 9112, 2.2: an empty line before the request is skipped.
        let skipped = match bytes {
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Self::Incomplete,
            _ => 0,
        };
        let request = &bytes[skipped..];
        let method = request
            .iter()
            .take(METHOD_LIMIT + 1)
            .position(|&b| !is_token(b));
        match method {
            None if request.len() <= METHOD_LIMIT => return Self::Incomplete,
            Some(end) if end > 0 && request[end] == b' ' => {}
            Some(_) | None => return Self::NotHttp,
        }
        let seen = &bytes[..bytes.len().min(HEAD_LIMIT)];
        match end_of_lines(&seen[skipped..]) {
            Some(end) => Self::Complete {
                length: skipped + end,
            },
            None if seen.len() == HEAD_LIMIT => Self::TooLong,
            None => Self::Incomplete,
        }
    }
}

/// A whole 503 answer: the pool has no backend, come back in a while.
pub fn refusal(retry_after_s: u32, pool: &str) -> Vec<u8> {
    let body = format!("tandem has no backend in the pool {pool}\n");
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         Retry-After: {retry_after_s}\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\
         Connection: close\r\n\
         Cache-Control: no-store\r\n\
         \r\n\
         {body}",
        body.len()
    )
    .into_bytes()
}

/// RFC 9110, 5.6.2: the characters of a token.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Where the first empty line ends; a line may end in LF alone.
fn end_of_lines(bytes: &[u8]) -> Option<usize> {
    let mut newlines = bytes
        .iter()
        .enumerate()
        .filter_map(|(i, &b)| (b == b'\n').then_some(i));
    newlines.find_map(|i| match &bytes[i + 1..] {
        [b'\n', ..] => Some(i + 2),
        [b'\r', b'\n', ..] => Some(i + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let with_body = [head.as_slice(), b"body\r\n\r\n"].concat();
        assert_eq!(Head::of(&with_body), Head::Complete { length: head.len() });
        assert_eq!(
            Head::of(b"GET / HTTP/1.0\n\nx"),
            Head::Complete { length: 16 }
        );
        assert_eq!(
            Head::of(b"\r\nPOST / HTTP/1.1\r\n\r\n"),
            Head::Complete { length: 21 }
        );
        for end in 0..head.len() {
            assert_eq!(Head::of(&head[..end]), Head::Incomplete, "{end}");
        }
    }

    #[test]
    fn what_cannot_be_a_method_is_known_at_once() {
        for bytes in [
            b"\x16\x03\x01".as_slice(),
            b" GET /",
            b"\0",
            b"GET\r\n",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"G\xc3\xa9T ",
            b"\rG",
            b"a234567890123456789012345678901234567890",
        ] {
            assert_eq!(Head::of(bytes), Head::NotHttp, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_too_long() {
        let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
        head.resize(HEAD_LIMIT - 1, b'a');
        assert_eq!(Head::of(&head), Head::Incomplete);
        head.push(b'a');
        assert_eq!(Head::of(&head), Head::TooLong);
        head.extend(b"\r\n\r\n");
        assert_eq!(Head::of(&head), Head::TooLong);
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let answer = String::from_utf8(refusal(2, "web")).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains("\r\nRetry-After: 2\r\n"));
        assert!(head.contains("\r\nConnection: close\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert_eq!(body, "tandem has no backend in the pool web\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Head::Complete { length } = Head::of(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
