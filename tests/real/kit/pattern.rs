//! Bytes that can be made anywhere from a seed, and their digest.

use aws_lc_rs::digest::{Context, SHA256};

/// An endless run of bytes that depends on nothing but its seed.
#[derive(Debug)]
pub(crate) struct Pattern {
    state: u64,
}

impl Pattern {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number (splitmix64).
    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// Fills `chunk`, whose length is a multiple of 8 except at the end.
    pub(crate) fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}

/// A running count and digest of bytes.
pub(crate) struct Sum {
    context: Context,
    pub(crate) count: u64,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.count += bytes.len() as u64;
    }

    /// `COUNT SHA256`, 64 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let digest = self.context.finish();
        let hex = digest.as_ref().iter().map(|it| format!("{it:02x}"));
        format!("{} {}", self.count, hex.collect::<String>())
    }
}

/// The sum of the first `count` bytes of the pattern of `seed`.
pub(crate) fn sum_of(seed: u64, count: usize) -> String {
    let mut pattern = Pattern::new(seed);
    let mut sum = Sum::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut left = count;
    while left > 0 {
        let part = left.min(chunk.len());
        pattern.fill(&mut chunk[..part]);
        sum.add(&chunk[..part]);
        left -= part;
    }
    sum.finish()
}
