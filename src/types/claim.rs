use std::fmt;

use super::Name;

/// A number that grows with each claim of the public name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// Before the first claim.
    pub const NONE: Self = Self(0);

    /// The term of the next claim. After the last one there is none: who has
    /// the pair's key can name it, and that must not end a node.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who holds the public name, since when in the order of things, and by which
/// act: what travels between the pair and the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Grows with each claim.
    pub term: Term,
    /// The node that holds the name.
    pub holder: Name,
    /// Drawn at random for each claim: settles whose write it was when an
    /// answer got lost.
    pub nonce: u64,
}

/// What the register says: a claim, and a beat that its holder renews when
/// its twin cannot hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The claim in force.
    pub claim: Claim,
    /// Grows while the holder lives.
    pub beat: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_grow_and_never_begin_again() {
        assert_eq!(Term::NONE.next(), Term(1));
        assert_eq!(Term(u64::MAX).next(), Term(u64::MAX));
    }
}
