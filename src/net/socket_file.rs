//! Unix sockets that we listen on, and their files.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Uid};
use socket2::{Domain, Socket, Type};

use super::unix;
use crate::types::{UnixAccess, UnixPath};

/// The file of a socket that we listen on. It goes when this does, unless
/// somebody has put another one in its place meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file itself, whatever its path leads to by now. As long as it is
    /// held no other file gets its number.
    handle: OwnedFd,
    /// Whose it was when it was made.
    user: u32,
    group: u32,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&handle)?;
        let path = path.to_owned();
        Ok(Self {
            path,
            handle,
            user: found.st_uid,
            group: found.st_gid,
        })
    }

    /// Whether clients who connect to the path come to this file.
    pub fn is_in_place(&self) -> bool {
        self.is_at(&self.path)
    }

    /// Whether `path`, which may be spelled otherwise, leads to this file.
    pub fn is_at(&self, path: &Path) -> bool {
        let id = |it: &Stat| (it.st_dev, it.st_ino);
        let own = rustix::fs::fstat(&self.handle);
        let found = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        matches!((own, found), (Ok(own), Ok(found)) if id(&own) == id(&found))
    }

    /// Lets those connect whom `access` names. Whom it does not name is who
    /// made the file.
    pub fn give(&self, access: UnixAccess) -> io::Result<()> {
        let owner = (
            access.user.unwrap_or(self.user),
            access.group.unwrap_or(self.group),
        );
        // By the handle: a path may lead to somebody else's file by now.
        let now = rustix::fs::fstat(&self.handle)?;
        let mut has = (now.st_uid, now.st_gid);
        // The mode first, for only the owner may set it: whoever may give a file
        // away (CAP_CHOWN) need not be able to change what was given.
        if now.st_mode & 0o7777 != u32::from(access.mode) {
            if has.0 != self.user && self.set_mode(access.mode).is_err() {
                has.0 = self.user;
                self.set_owner(has)?;
            }
            self.set_mode(access.mode)?;
        }
        if has != owner {
            self.set_owner(owner)?;
        }
        Ok(())
    }

    fn set_owner(&self, (user, group): (u32, u32)) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let flags = AtFlags::EMPTY_PATH;
        rustix::fs::chownat(&self.handle, "", Some(user), Some(group), flags)
            .map_err(|error| denied("its owner", error.into()))
    }

    fn set_mode(&self, mode: u16) -> io::Result<()> {
        // chmod(2) takes no handle of this kind; its path in /proc is taken.
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let mode = Mode::from_raw_mode(mode.into());
        rustix::fs::chmod(path, mode).map_err(|error| denied("its mode", error.into()))
    }
}

fn denied(what: &str, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("cannot set {what}: {cause}"))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_in_place() {
            // What cannot be removed is replaced by the next who binds it.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

/// A socket bound to `path`, and its file, if it has one; it does not listen
/// yet, so nobody is let in before the file is as `access` wants it. The file
/// that a dead process has left behind is replaced; a living one's is not.
pub fn bound(
    path: &UnixPath,
    access: UnixAccess,
) -> io::Result<(UnixListener, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let address = unix::address(path)?;
    let Some(file) = path.file() else {
        socket.bind(&address)?;
        return Ok((socket.into(), None));
    };
    clear(path, file)?;
    socket.bind(&address)?;
    let made = SocketFile::at(file)?;
    made.give(access)?;
    Ok((socket.into(), Some(made)))
}

/// Makes room for a socket at `file`.
fn clear(path: &UnixPath, file: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = "a file that is no socket is in its place";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match unix::connect(path) {
        // Nobody listens: it was left behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(file),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Somebody does, even if it has no room just now, or speaks otherwise.
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn access(mode: u16) -> UnixAccess {
        UnixAccess {
            mode,
            ..UnixAccess::default()
        }
    }

    fn listening(path: &UnixPath, mode: u16) -> io::Result<(UnixListener, Option<SocketFile>)> {
        let (socket, file) = bound(path, access(mode))?;
        rustix::net::listen(&socket, 8)?;
        Ok((socket, file))
    }

    fn path_of(file: &Path) -> UnixPath {
        UnixPath::parse(file.to_str().unwrap()).unwrap()
    }

    fn mode_of(file: &Path) -> u32 {
        fs::symlink_metadata(file).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_has_its_mode_and_goes_with_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let path = path_of(&file);
        for mode in [0o600, 0o660, 0o666] {
            let (_socket, made) = listening(&path, mode).unwrap();
            assert_eq!(mode_of(&file), u32::from(mode), "{mode:o}");
            unix::connect(&path).unwrap();
            made.as_ref().unwrap().give(access(0o640)).unwrap();
            assert_eq!(mode_of(&file), 0o640);
            drop(made);
            assert!(!file.exists());
        }
    }

    #[test]
    fn nobody_is_let_in_before_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(&dir.path().join("a.sock"));
        let _early = bound(&path, access(0o666)).unwrap();
        let error = unix::connect(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_dead_make_way_and_the_living_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let path = path_of(&file);
        drop(UnixListener::bind(&file).unwrap());
        assert!(file.exists(), "left behind");
        let (first, made) = listening(&path, 0o600).unwrap();
        let taken = listening(&path, 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // One that has no room for clients is alive, too.
        rustix::net::listen(&first, 0).unwrap();
        let waiting: Vec<_> = (0..8).map_while(|_| unix::connect(&path).ok()).collect();
        assert!(waiting.len() < 8);
        let taken = listening(&path, 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // Somebody takes over while we still hold the old file.
        drop(first);
        let (_second, _kept) = listening(&path, 0o600).unwrap();
        assert!(!made.as_ref().unwrap().is_in_place());
        drop(made);
        unix::connect(&path).unwrap();
    }

    #[test]
    fn a_file_is_known_by_whatever_path_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let file = real.join("a.sock");
        let (_socket, made) = listening(&path_of(&file), 0o600).unwrap();
        let made = made.unwrap();
        assert!(made.is_at(&link.join("a.sock")));
        assert!(!made.is_at(&link.join("b.sock")));
        // The link of a file is not the file: it is bound beside it.
        symlink(&file, real.join("c.sock")).unwrap();
        assert!(!made.is_at(&real.join("c.sock")));
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("precious");
        fs::write(&file, "x").unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = listening(&path_of(path), 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }

    #[test]
    fn a_file_that_has_been_put_in_its_place_is_not_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sock");
        let (_socket, made) = listening(&path_of(&file), 0o660).unwrap();
        fs::remove_file(&file).unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "").unwrap();
        let before = mode_of(&other);
        symlink(&other, &file).unwrap();
        made.as_ref().unwrap().give(access(0o666)).unwrap();
        drop(made);
        assert_eq!(mode_of(&other), before);
        assert!(file.exists());
    }

    #[test]
    fn an_abstract_name_has_no_file_and_is_taken_once() {
        let name = format!("@tandem-listen-{}", std::process::id());
        let path = UnixPath::parse(&name).unwrap();
        let (first, made) = listening(&path, 0o600).unwrap();
        assert!(made.is_none());
        unix::connect(&path).unwrap();
        let taken = listening(&path, 0o600).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listening(&path, 0o600).unwrap();
    }
}
