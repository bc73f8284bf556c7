//! Which paths of unix sockets are one by way of symbolic links.

use std::path::PathBuf;

use crate::config::surroundings::Surroundings;
use crate::types::UnixPath;

/// Where a socket that is bound to `path` has its file: links lead to its
/// folder, and never to the file itself. `None`: it has no file.
pub(super) fn bound(path: &UnixPath, around: &dyn Surroundings) -> Option<PathBuf> {
    let file = path.file()?;
    let (folder, name) = (file.parent()?, file.file_name()?);
    Some(around.real(folder).join(name))
}

/// Whether who connects to `path` comes to the socket that is bound to `bind`.
pub(super) fn lead(path: &UnixPath, bind: &UnixPath, around: &dyn Surroundings) -> bool {
    let reached = || path.file().map(|it| around.real(it));
    path == bind || reached().is_some_and(|it| Some(it) == bound(bind, around))
}

/// Whether the sockets that are bound to both have one file.
pub(super) fn are_one(one: &UnixPath, other: &UnixPath, around: &dyn Surroundings) -> bool {
    let file = |it| bound(it, around);
    one == other || file(one).is_some_and(|it| Some(it) == file(other))
}
