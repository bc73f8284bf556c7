//! nginx's stream module.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::child::{foreign, said};
use crate::fault::Fault;

use super::{Launch, Place, backends};

/// Where Debian puts it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const INSTALL: &str = "install nginx-light and libnginx-mod-stream";

pub(super) fn version(program: &Path) -> Result<String, Fault> {
    let text = build(program)?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("nginx version: "));
    version
        .map(str::to_owned)
        .ok_or_else(|| Fault::new("nginx -V says no version"))
}

pub(super) fn launch(program: &Path, place: &Place<'_>) -> Result<Launch, Fault> {
    let module = if has_stream_built_in(&build(program)?) {
        String::new()
    } else {
        format!("load_module {MODULE};\n")
    };
    let mut servers = String::new();
    for backend in backends() {
        write!(servers, "server {backend}; ")?;
    }
    let folder = place.folder.display();
    let config = format!(
        "{module}user root;\nworker_processes {};\ndaemon off;\npid {folder}/pid;\n\
         error_log stderr error;\nworker_rlimit_nofile {};\n\
         events {{ worker_connections {}; }}\n\
         stream {{\n  upstream versus {{ {servers}}}\n  \
         server {{ listen {} backlog=4096; proxy_pass versus; proxy_half_close on; \
         proxy_connect_timeout 1s; proxy_timeout 1h; }}\n}}\n",
        place.workers,
        place.connections * 2 + 500,
        place.connections * 2 + 200,
        place.listen
    );
    let path = place.folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = foreign(program);
    command.arg("-p").arg(place.folder).arg("-c").arg(path);
    command.args(["-e", "stderr"]);
    Ok(Launch {
        command,
        listen: place.listen,
    })
}

/// How it was built, if it can balance streams.
fn build(program: &Path) -> Result<String, Fault> {
    let text = said(Command::new(program).arg("-V"));
    let text = text.map_err(|fault| Fault::new(format!("{fault} ({INSTALL})")))?;
    if has_stream_built_in(&text) || Path::new(MODULE).exists() {
        return Ok(text);
    }
    Err(Fault::new(format!("no stream module ({INSTALL})")))
}

fn has_stream_built_in(text: &str) -> bool {
    text.split_whitespace().any(|word| word == "--with-stream")
}
