use std::fmt;
use std::sync::Arc;

/// The name of a listener, a pool or a backend: 1 to 63 letters, digits, `.`,
/// `_` or `-`, beginning with a letter or a digit. Safe in a metric label, a
/// log line, a URL path and a command line without quoting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It begins with something else than a letter or a digit, or is empty.
    #[error("a name begins with a letter or a digit")]
    Start,
    /// It is longer than 63 characters.
    #[error("a name has 63 characters at the most")]
    TooLong,
    /// It has a character that is not allowed.
    #[error("a name has letters, digits, '.', '_' and '-' only, not {0:?}")]
    Character(char),
}

impl Name {
    /// The name in `text`, if it is one.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(NameError::Start);
        }
        if let Some(c) = text
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
        {
            return Err(NameError::Character(c));
        }
        if text.len() > 63 {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// The name of a backend that has none but its address.
    pub fn of_address(address: &super::Address) -> Self {
        Self(address.to_string().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere() {
        assert!(Name::new("db-1.eu_west").is_ok());
        assert_eq!(Name::new(""), Err(NameError::Start));
        assert_eq!(Name::new("-a"), Err(NameError::Start));
        assert_eq!(Name::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(Name::new(&"a".repeat(64)), Err(NameError::TooLong));
    }
}
