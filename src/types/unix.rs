use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The name of a unix socket: the absolute path of its file, or `@name` in the
/// abstract namespace, where there is no file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixPath(Arc<str>);

/// Why a text does not name a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnixPathError {
    /// A path that depends on where the process was started, or a name without
    /// its `@`.
    #[error("a unix socket is an absolute path, or @name; write unix:/run/name.sock")]
    Relative,
    /// The kernel has no room for it.
    #[error("the path of a unix socket has {max} bytes at the most", max = UnixPath::MAX)]
    TooLong,
    /// It ends in a slash, or is the root.
    #[error("a unix socket is no directory; write unix:/run/name.sock")]
    Directory,
    /// A character that would break a line of the log.
    #[error("the path of a unix socket has no control characters")]
    Control,
}

impl UnixPath {
    /// sockaddr_un has 108 bytes; one of them ends a path, or begins an
    /// abstract name.
    pub const MAX: usize = 107;

    /// The name in `text`, without `unix:`.
    pub fn parse(text: &str) -> Result<Self, UnixPathError> {
        let is_abstract = text.len() > 1 && text.starts_with('@');
        if !is_abstract && !text.starts_with('/') {
            return Err(UnixPathError::Relative);
        }
        if text.len() - usize::from(is_abstract) > Self::MAX {
            return Err(UnixPathError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(UnixPathError::Control);
        }
        if !is_abstract && text.ends_with('/') {
            return Err(UnixPathError::Directory);
        }
        Ok(Self(text.into()))
    }

    /// Its file; `None`: it is an abstract one.
    pub fn file(&self) -> Option<&Path> {
        (!self.0.starts_with('@')).then(|| Path::new(&*self.0))
    }

    /// What is behind the `@`; `None`: it has a file.
    pub fn abstract_name(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }
}

/// Who may connect to a unix socket that we listen on: the mode and the owner
/// of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixAccess {
    /// The permissions; to connect is to write.
    pub mode: u16,
    /// The user it is given to.
    pub user: Option<u32>,
    /// The group it is given to.
    pub group: Option<u32>,
}

impl Default for UnixAccess {
    fn default() -> Self {
        // As the admin socket: others are let in by who runs the balancer.
        Self {
            mode: 0o660,
            user: None,
            group: None,
        }
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0)
    }
}

impl fmt::Debug for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_file_or_a_name() {
        let file = UnixPath::parse("/run/db.sock").unwrap();
        assert_eq!(file.to_string(), "unix:/run/db.sock");
        assert_eq!(file.file(), Some(Path::new("/run/db.sock")));
        let name = UnixPath::parse("@db").unwrap();
        assert_eq!(name.to_string(), "unix:@db");
        assert_eq!((name.file(), name.abstract_name()), (None, Some("db")));
        for (text, why) in [
            ("", UnixPathError::Relative),
            ("@", UnixPathError::Relative),
            ("run/db.sock", UnixPathError::Relative),
            ("/", UnixPathError::Directory),
            ("/run/", UnixPathError::Directory),
            ("/run/a\nb", UnixPathError::Control),
        ] {
            assert_eq!(UnixPath::parse(text), Err(why), "{text:?}");
        }
        let long = "x".repeat(UnixPath::MAX - 1);
        assert!(UnixPath::parse(&format!("/{long}")).is_ok());
        assert!(UnixPath::parse(&format!("@{long}x")).is_ok());
        for long in [format!("/{long}x"), format!("@{long}xx")] {
            assert_eq!(UnixPath::parse(&long), Err(UnixPathError::TooLong));
        }
    }
}
