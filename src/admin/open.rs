//! The admin sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::net::listen;

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

/// A socket at `path` for its owner and group. What a killed process left
/// there is replaced; a living one is not.
pub(super) fn unix(path: &Path) -> Result<(UnixListener, Unlink), OpenError> {
    let trouble = |cause| OpenError::Unix {
        path: path.to_owned(),
        cause,
    };
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        fs::create_dir_all(folder).map_err(trouble)?;
    }
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(OpenError::NotASocket(path.to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(OpenError::InUse(path.to_owned()));
        }
        fs::remove_file(path).map_err(trouble)?;
    }
    let listener = UnixListener::bind(path).map_err(trouble)?;
    let unlink = Unlink(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(trouble)?;
    Ok((listener, unlink))
}

/// Takes the socket's file away when the process ends in order, or when its
/// start fails after the socket was made.
pub(super) struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Somebody may have taken it away already.
        let _gone = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
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
        let path = folder.path().join("run/admin.sock");
        let (first, unlink) = unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(unix(&path), Err(OpenError::InUse(_))));
        // As a process that was killed.
        std::mem::forget(unlink);
        drop(first);
        assert!(path.exists());
        assert!(unix(&path).is_ok());
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(unix(&file), Err(OpenError::NotASocket(_))));
    }

    #[tokio::test]
    async fn a_failed_start_leaves_no_admin_sock_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let opened = unix(&path).unwrap();
        assert!(path.exists());
        drop(opened);
        assert!(!path.exists());
    }
}
