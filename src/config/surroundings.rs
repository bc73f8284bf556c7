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
    /// Where the symbolic links in `path` lead, as far as they are there.
    fn real(&self, path: &Path) -> PathBuf;
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

    fn real(&self, path: &Path) -> PathBuf {
        let mut path = path.to_owned();
        // A socket need not be there yet; the kernel follows forty links.
        for _ in 0..40 {
            if let Ok(whole) = fs::canonicalize(&path) {
                return whole;
            }
            let Some(folder) = path.parent() else {
                break;
            };
            match fs::read_link(&path) {
                Ok(target) => path = folder.join(target),
                Err(_) => break,
            }
        }
        let folder = path.parent().and_then(|it| fs::canonicalize(it).ok());
        match (folder, path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            (None | Some(_), _) => path,
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_where_its_links_lead_whether_its_end_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let at = |name: &str| dir.join(name);
        fs::create_dir(at("run")).unwrap();
        symlink("run", at("var")).unwrap();
        symlink("../var/a.sock", at("run/link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let around = Process {
            folder: PathBuf::new(),
            node: None,
        };
        for _ in 0..2 {
            for (path, real) in [
                ("run/a.sock", "run/a.sock"),
                ("var/a.sock", "run/a.sock"),
                ("var/link", "run/a.sock"),
                ("none/a.sock", "none/a.sock"),
                ("loop", "loop"),
            ] {
                assert_eq!(around.real(&at(path)), at(real), "{path}");
            }
            fs::write(at("run/a.sock"), "").unwrap();
        }
    }
}
