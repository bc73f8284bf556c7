use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The name of a unix socket: the absolute path of its file, or `@name` in the
/// abstract namespace, where there is no file. A path has one spelling: slashes
/// and dots that change nothing are gone, so two of them that are not equal lead
/// to two places, unless a directory on the way is a symbolic link.
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
    #[error("a unix socket is no directory; name a file in it")]
    Directory,
    /// A part of it is `..`.
    #[error(
        "where \"..\" in the path of a unix socket leads depends on symbolic links; write the path \
         without it"
    )]
    Parent,
    /// It is `@name` where a file is asked for.
    #[error("a unix socket without a file lets everybody in; name a file")]
    Abstract,
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
        if text.chars().any(char::is_control) {
            return Err(UnixPathError::Control);
        }
        let (plain, length) = match text.strip_prefix('@') {
            Some("") => return Err(UnixPathError::Relative),
            Some(name) => (text.to_owned(), name.len()),
            None => {
                let plain = plain(text)?;
                let length = plain.len();
                (plain, length)
            }
        };
        if length > Self::MAX {
            return Err(UnixPathError::TooLong);
        }
        Ok(Self(plain.into()))
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

/// The one spelling of an absolute path.
fn plain(path: &str) -> Result<String, UnixPathError> {
    if !path.starts_with('/') {
        return Err(UnixPathError::Relative);
    }
    let mut plain = String::with_capacity(path.len());
    let mut is_directory = true;
    for part in path.split('/') {
        is_directory = part.is_empty() || part == ".";
        if part == ".." {
            // Without it is another place where the part before is a link.
            return Err(UnixPathError::Parent);
        }
        if !is_directory {
            plain.push('/');
            plain.push_str(part);
        }
    }
    if is_directory {
        return Err(UnixPathError::Directory);
    }
    Ok(plain)
}

/// A [`UnixPath`] that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixFile(UnixPath);

impl UnixFile {
    /// The file that `text`, without `unix:`, names.
    pub fn parse(text: &str) -> Result<Self, UnixPathError> {
        let path = UnixPath::parse(text)?;
        if path.file().is_none() {
            return Err(UnixPathError::Abstract);
        }
        Ok(Self(path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        Path::new(&*self.0.0)
    }

    /// As any other socket.
    pub const fn as_unix(&self) -> &UnixPath {
        &self.0
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
            ("//", UnixPathError::Directory),
            ("/run/.", UnixPathError::Directory),
            ("/run/db.sock/", UnixPathError::Directory),
            ("/run/a/../db.sock", UnixPathError::Parent),
            ("/..", UnixPathError::Parent),
            ("./db.sock", UnixPathError::Relative),
            ("/run/a\nb", UnixPathError::Control),
        ] {
            assert_eq!(UnixPath::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(UnixFile::parse("@db"), Err(UnixPathError::Abstract));
        let long = "x".repeat(UnixPath::MAX - 1);
        assert!(UnixPath::parse(&format!("/{long}")).is_ok());
        assert!(UnixPath::parse(&format!("@{long}x")).is_ok());
        for long in [format!("/{long}x"), format!("@{long}xx")] {
            assert_eq!(UnixPath::parse(&long), Err(UnixPathError::TooLong));
        }
    }

    #[test]
    fn a_path_is_the_same_however_it_is_spelled() {
        let plain = UnixPath::parse("/run/...a/..b.sock").unwrap();
        for text in [
            "//run/...a/..b.sock",
            "/run/./...a//./..b.sock",
            "/./run/...a/..b.sock",
        ] {
            assert_eq!(UnixPath::parse(text).as_ref(), Ok(&plain), "{text}");
        }
        assert_eq!(plain.file(), Some(Path::new("/run/...a/..b.sock")));
        // What it takes to spell it is not what the kernel has no room for.
        let long = format!("/{}/{}", "./".repeat(60), "x".repeat(UnixPath::MAX - 1));
        assert_eq!(UnixPath::parse(&long).unwrap().to_string().len(), 5 + 107);
        // An abstract name is bytes, and no path.
        for name in ["@/a//b", "@/a/../b", "@a/", "@.", "@@"] {
            let kept = UnixPath::parse(name).unwrap();
            assert_eq!(kept.abstract_name(), Some(&name[1..]));
        }
    }
}
