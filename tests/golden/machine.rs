//! A machine that is the same everywhere, for whoever reads an lb.yaml in a
//! test: its environment, its files, its names.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tandem::config::Surroundings;

pub(crate) struct Machine;

impl Surroundings for Machine {
    fn env(&self, name: &str) -> Option<String> {
        match name {
            "DB_PASSWORD" => Some("geheim".to_owned()),
            "PORT" => Some("8080".to_owned()),
            _ => None,
        }
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        match path.file_name().and_then(|it| it.to_str()) {
            Some("good.pass") => Ok("geheim\n".to_owned()),
            Some("long.pass") => Ok("geheim".repeat(8)),
            Some("open.pass") => Ok("geheim\n".to_owned()),
            Some("tsig.key") => Ok("key \"tandem\" {\n\talgorithm hmac-sha512;\n\tsecret \
                                    \"c2VjcmV0IHNlY3JldCBzZWNyZXQ=\";\n};\n"
                .to_owned()),
            Some("empty.pass") => Ok("\n".to_owned()),
            Some("ca.pem") => Ok(include_str!("../certificates/own.pem").to_owned()),
            Some("passwd") => {
                Ok("root:x:0:0::/root:/bin/sh\nweb:x:1033:1034::/:/bin/false\n".to_owned())
            }
            Some("group") => Ok("root:x:0:\nadm:x:4:web\nweb:x:1034:\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        path.ends_with("open.pass")
    }

    fn folder(&self) -> &Path {
        Path::new("/etc/tandem")
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }

    fn real(&self, path: &Path) -> PathBuf {
        if path == Path::new("/srv/alias.sock") {
            return PathBuf::from("/run/web.sock");
        }
        // As on every Debian.
        let inner = path.strip_prefix("/var/run");
        inner.map_or_else(|_| path.to_owned(), |it| Path::new("/run").join(it))
    }

    fn node(&self) -> Option<String> {
        None
    }

    fn host_name(&self) -> String {
        "lb2.example.com".to_owned()
    }

    fn has_address(&self, address: IpAddr) -> bool {
        address == IpAddr::from([203, 0, 113, 11])
    }
}
