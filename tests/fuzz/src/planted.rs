//! A fault that is there on purpose. Blind chance needs 2^40 inputs to find
//! it; an engine that sees comparisons and edges needs a second. If it is not
//! found, the other targets prove nothing.

/// What it is called.
pub(crate) const NAME: &str = "planted";

pub(crate) fn check(data: &[u8]) {
    let mut state = 0;
    for (byte, expected) in data.iter().zip(b"TDM1") {
        if byte != expected {
            return;
        }
        state += 1;
    }
    assert!(state < 4 || data.get(4) != Some(&0xee), "the planted fault");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![b"x".to_vec()]
}
