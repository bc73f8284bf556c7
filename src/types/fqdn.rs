use std::fmt;
use std::sync::Arc;

/// A full domain name of host-name characters: `lb.example.com`. Kept in lower
/// case and without the last dot, so that equal names are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fqdn(Arc<str>);

/// Why a text is not an [`Fqdn`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FqdnError {
    /// A label has a character that is not allowed, or in a wrong place.
    #[error(
        "{0:?} is not a part of a domain name (letters, digits, '-' and '_', 1 to 63 of them, no '-' at an end)"
    )]
    Label(String),
    /// It is longer than a domain name can be.
    #[error("a domain name has 253 characters at the most")]
    TooLong,
}

impl Fqdn {
    /// The name in `text`, with or without a dot at its end.
    pub fn parse(text: &str) -> Result<Self, FqdnError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Some(wrong) = text.split('.').find(|label| !is_label(label)) {
            return Err(FqdnError::Label(wrong.to_owned()));
        }
        if text.len() > 253 {
            return Err(FqdnError::TooLong);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name `below.self`.
    pub fn child(&self, below: &str) -> Result<Self, FqdnError> {
        Self::parse(&format!("{below}.{self}"))
    }

    /// The name without its first label; none above a top-level name.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        Some(Self(rest.into()))
    }

    /// The name as text, without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_whatever_their_case_and_last_dot() {
        let name = Fqdn::parse("LB.Example.com.").unwrap();
        assert_eq!(name, Fqdn::parse("lb.example.com").unwrap());
        assert_eq!(name.to_string(), "lb.example.com");
        assert_eq!(name.child("Lb1").unwrap().as_str(), "lb1.lb.example.com");
        assert_eq!(name.parent().unwrap().as_str(), "example.com");
        assert_eq!(Fqdn::parse("com").unwrap().parent(), None);
    }

    #[test]
    fn what_dns_cannot_carry_is_refused() {
        for wrong in ["", ".", "a..b", "-a.b", "a-.b", "a b.c", "ä.de", "*.a"] {
            assert!(Fqdn::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Fqdn::parse(&"a".repeat(64)).is_err());
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(".");
        assert!(Fqdn::parse(&long).is_ok());
        assert_eq!(
            Fqdn::parse(&format!("{long}.{long}")),
            Err(FqdnError::TooLong)
        );
    }
}
