//! Takes an input apart. What is missing at its end is zero, so that every
//! input means something.

pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number: small ones and those at the upper end take two bytes, any
    /// other one nine.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            0 => {
                let mut all = [0; 8];
                let taken = self.take(8);
                all[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(all)
            }
            1 => u64::MAX - u64::from(self.byte()),
            _ => u64::from(self.byte()),
        }
    }
}
