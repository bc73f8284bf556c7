//! tandem, as its default settings run it: probes, counters, timeouts, the
//! admin socket. Lines for finished connections are off, as they are for
//! everybody else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::child::foreign;
use crate::fault::Fault;

use super::{Launch, Place, Variant, backends, first_line};

pub(super) fn version(program: &Path) -> Result<String, Fault> {
    first_line(
        Command::new(program).arg("--version"),
        "build it: cargo build --release",
    )
}

pub(super) fn launch(program: &Path, variant: Variant, place: &Place<'_>) -> Result<Launch, Fault> {
    let (first, busy) = match variant {
        Variant::Busy => ("", ", busy_poll: 100us"),
        Variant::First => (", client_first: on", ""),
        Variant::Plain => ("", ""),
    };
    let mut servers = String::new();
    for (at, backend) in backends().iter().enumerate() {
        write!(servers, "{}\"{backend}\"", if at > 0 { ", " } else { "" })?;
    }
    let config = format!(
        "process: {{ workers: {}{busy} }}\n\
         listeners:\n  versus: {{ bind: \"{}\", pool: versus{first} }}\n\
         pools:\n  versus:\n    backends: [{servers}]\n    protocol: tcp\n    \
         policy: round_robin\n    probe: {{ type: tcp, interval: 1s }}\n\
         admin: {{ bind: \"off\", socket: \"{}/admin.sock\" }}\n\
         log: {{ connections: false }}\n",
        place.workers,
        place.listen,
        place.folder.display()
    );
    let path = place.folder.join("lb.yaml");
    fs::write(&path, config)?;
    let mut command = foreign(program);
    command.arg("run").arg("-c").arg(path);
    Ok(Launch {
        command,
        listen: place.listen,
    })
}
