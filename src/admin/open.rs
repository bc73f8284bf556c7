//! The admin sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::net::listen;
use crate::net::socket_file::{self, SocketFile};
use crate::types::{UnixAccess, UnixFile};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The admin interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A running process answers on the socket.
    #[error("admin.socket {0}: another tandem is running there")]
    InUse(PathBuf),
    /// There is something else at that path.
    #[error("admin.socket {0}: the path is taken by something that is not a socket")]
    NotASocket(PathBuf),
    /// The TCP address.
    #[error("admin.bind {address}: {cause}{hint}", hint = listen::hint(cause.kind()))]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The unix socket.
    #[error("admin.socket {path}: {cause}")]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener, OpenError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| OpenError::Tcp { address, cause })
}

/// What a socket has on the disk. It goes with this.
pub(super) struct OnDisk {
    // In the order in which they go.
    _file: Option<SocketFile>,
    _folders: Folders,
}

/// Folders that had to be made, the outermost first.
#[derive(Default)]
struct Folders(Vec<PathBuf>);

impl Folders {
    /// Makes `wanted` and what it is in, as far as they are not there.
    fn make(wanted: &Path) -> io::Result<Self> {
        let missing = wanted.ancestors().take_while(|it| !it.exists());
        let missing: Vec<&Path> = missing.filter(|it| !it.as_os_str().is_empty()).collect();
        let mut made = Self::default();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => made.0.push(folder.to_owned()),
                // Somebody else was quicker: it is theirs.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // One that somebody has put something into stays.
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// A socket at `path` for its owner and group. What a killed process left there
/// is replaced; a living one is not.
pub(super) fn unix(path: &UnixFile) -> Result<(UnixListener, OnDisk), OpenError> {
    let own = || path.path().to_owned();
    let trouble = |cause: io::Error| {
        let kind = cause.kind();
        if kind == io::ErrorKind::AddrInUse {
            OpenError::InUse(own())
        } else if kind == io::ErrorKind::AlreadyExists {
            OpenError::NotASocket(own())
        } else {
            OpenError::Unix { path: own(), cause }
        }
    };
    let folders = match path.path().parent() {
        Some(folder) => Folders::make(folder),
        None => Ok(Folders::default()),
    };
    let folders = folders.map_err(|cause| OpenError::Unix { path: own(), cause })?;
    let bound = socket_file::bound(path.as_unix(), UnixAccess::default());
    let (socket, file) = bound.map_err(trouble)?;
    let on_disk = OnDisk {
        _file: file,
        _folders: folders,
    };
    rustix::net::listen(&socket, BACKLOG).map_err(|error| trouble(error.into()))?;
    Ok((UnixListener::from_std(socket).map_err(trouble)?, on_disk))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn an_address_in_use_comes_with_a_hint() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let told = tcp(address).await.unwrap_err().to_string();
        assert!(told.starts_with("admin.bind 127.0.0.1:"), "{told}");
        assert!(told.ends_with("`ss -lntup` shows which)"), "{told}");
    }

    #[tokio::test]
    async fn a_dead_process_leaves_its_place_and_a_living_one_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| {
            let file = folder.path().join(name);
            UnixFile::parse(file.to_str().unwrap()).unwrap()
        };
        let path = at("run/admin.sock");
        let (first, file) = unix(&path).unwrap();
        let mode = fs::metadata(path.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(unix(&path), Err(OpenError::InUse(_))));
        drop(first);
        assert!(path.path().exists(), "as a process that was killed");
        let (_second, _kept) = unix(&path).unwrap();
        // The first one, which ends only now, leaves its successor's file.
        drop(file);
        assert!(matches!(unix(&path), Err(OpenError::InUse(_))));
        let file = at("file");
        fs::write(file.path(), "precious").unwrap();
        assert!(matches!(unix(&file), Err(OpenError::NotASocket(_))));
    }

    #[tokio::test]
    async fn a_failed_start_leaves_nothing_of_the_admin_socket_behind() {
        let there = tempfile::tempdir().unwrap();
        let (outer, inner) = (there.path().join("a"), there.path().join("a/b"));
        let file = inner.join("admin.sock");
        let path = UnixFile::parse(file.to_str().unwrap()).unwrap();
        let opened = unix(&path).unwrap();
        assert!(file.exists());
        drop(opened);
        assert!(!outer.exists() && there.path().exists());
        // What is somebody else's stays, and so does what it is in.
        let opened = unix(&path).unwrap();
        fs::write(outer.join("precious"), "").unwrap();
        drop(opened);
        assert!(outer.exists() && !inner.exists());
    }
}
