/// How much of a pool's traffic a backend takes beside its neighbours: 0 to
/// 1000, 100 by default. 0 means: no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

/// A weight above [`Weight::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is above the limit of {max}", max = Weight::MAX)]
pub struct WeightError(pub u64);

impl Weight {
    /// The largest weight.
    pub const MAX: u16 = 1000;
    /// No new connections.
    pub const ZERO: Self = Self(0);

    /// The weight `value`, if it is within the limit.
    pub fn new(value: u64) -> Result<Self, WeightError> {
        match u16::try_from(value) {
            Ok(small) if small <= Self::MAX => Ok(Self(small)),
            Ok(_) | Err(_) => Err(WeightError(value)),
        }
    }

    /// The weight as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        // In the middle of the scale in steps, so that both "half" and "ten
        // times" can be said of a single backend without touching the others.
        Self(100)
    }
}
