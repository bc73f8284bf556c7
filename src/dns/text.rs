//! How a register says in text who holds the name: the value of a TXT record,
//! of a key in a store, of whatever compares bytes.

use crate::types::{Claim, Name, Registered, Term};

/// The one text of `registered`. A compare-and-swap compares bytes, so there
/// must be one text only.
pub fn of(registered: &Registered) -> String {
    let Registered { claim, beat } = registered;
    format!(
        "v=1 term={} holder={} nonce={:016x} beat={beat}",
        claim.term, claim.holder, claim.nonce
    )
}

/// What `text` says; `None` if [`of`] does not write such a text.
pub fn parse(text: &str) -> Option<Registered> {
    let rest = text.strip_prefix("v=1 term=")?;
    let (term, rest) = rest.split_once(" holder=")?;
    let (holder, rest) = rest.split_once(" nonce=")?;
    let (nonce, beat) = rest.split_once(" beat=")?;
    let registered = Registered {
        claim: Claim {
            term: Term(term.parse().ok()?),
            holder: Name::new(holder).ok()?,
            nonce: u64::from_str_radix(nonce, 16).ok()?,
        },
        beat: beat.parse().ok()?,
    };
    // "+7" and "07" are numbers, too, but no comparison would ever find them.
    // And no claim has the term before the first one.
    (of(&registered) == text && registered.claim.term > Term::NONE).then_some(registered)
}

/// The text that marks the own name of `node`, one of those behind the public
/// name `of`, as written by it.
pub fn mark(node: &Name, of: &str) -> String {
    format!("v=1 node={node} of={of}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let registered = Registered {
            claim: Claim {
                term: Term(7),
                holder: Name::new("lb-1.eu_west").unwrap(),
                nonce: 0xfeed,
            },
            beat: 42,
        };
        let text = of(&registered);
        assert_eq!(
            text,
            "v=1 term=7 holder=lb-1.eu_west nonce=000000000000feed beat=42"
        );
        assert_eq!(parse(&text), Some(registered));
    }

    #[test]
    fn the_longest_text_fits_one_character_string() {
        let registered = Registered {
            claim: Claim {
                term: Term(u64::MAX),
                holder: Name::new(&"a".repeat(63)).unwrap(),
                nonce: u64::MAX,
            },
            beat: u64::MAX,
        };
        assert!(of(&registered).len() <= 255);
    }

    #[test]
    fn another_spelling_is_refused() {
        for text in [
            "",
            "v=spf1 -all",
            "v=2 term=7 holder=a nonce=000000000000feed beat=42",
            "v=1 term=0 holder=a nonce=000000000000feed beat=42",
            "v=1 term=+7 holder=a nonce=000000000000feed beat=42",
            "v=1 term=07 holder=a nonce=000000000000feed beat=42",
            "v=1 term=7 holder=a nonce=feed beat=42",
            "v=1 term=7 holder=a nonce=000000000000FEED beat=42",
            "v=1 term=7 holder=a nonce=000000000000feed beat=42 ",
            "v=1 term=7 holder=-a nonce=000000000000feed beat=42",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
