//! What a file may refer to: the environment and other files.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::net::source;

/// Where `${NAME}` and `*_file` settings get their values from.
pub trait Surroundings {
    /// The environment variable `name`.
    fn env(&self, name: &str) -> Option<String>;
    /// The text of the file at `path`.
    fn read_file(&self, path: &Path) -> io::Result<String>;
    /// Whether everybody on this machine may read the file at `path`.
    fn is_open_to_all(&self, path: &Path) -> bool;
    /// Where relative paths begin.
    fn folder(&self) -> &Path;
    /// `path` as it is called from every other folder, too.
    fn absolute(&self, path: &Path) -> PathBuf;
    /// The node that the command line says this is.
    fn node(&self) -> Option<String>;
    /// What this machine calls itself.
    fn host_name(&self) -> String;
    /// Whether an address is one of this machine's.
    fn has_address(&self, address: IpAddr) -> bool;
}

/// This process, and the folder of its lb.yaml.
#[derive(Clone, Debug)]
pub struct Process {
    /// Where relative paths begin.
    pub folder: PathBuf,
    /// The node that the command line says this is.
    pub node: Option<String>,
}

/// Whether everybody on this machine may read the file at `path`.
pub fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o007 != 0)
}

impl Surroundings for Process {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        is_open_to_all(path)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            return path.to_owned();
        }
        let folder = Path::new(".").join(&self.folder);
        fs::canonicalize(&folder).unwrap_or(folder).join(path)
    }

    fn node(&self) -> Option<String> {
        self.node.clone()
    }

    fn host_name(&self) -> String {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    }

    fn has_address(&self, address: IpAddr) -> bool {
        source::is_here(address)
    }
}
