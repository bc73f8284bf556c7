//! HAProxy, with splicing as everybody would switch it on, and once more with
//! the pipe size that its experts set for bulk.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::child::foreign;
use crate::fault::Fault;

use super::{Launch, Place, backends, first_line};

/// For 64 streams in both directions, with room.
const PIPES: usize = 200;
const TUNED_PIPE: usize = 262_144;

pub(super) fn version(program: &Path) -> Result<String, Fault> {
    first_line(Command::new(program).arg("-v"), "install haproxy")
}

pub(super) fn launch(program: &Path, tuned: bool, place: &Place<'_>) -> Result<Launch, Fault> {
    let tuning = if tuned {
        format!("  tune.pipesize {TUNED_PIPE}\n")
    } else {
        String::new()
    };
    let mut config = format!(
        "global\n  maxconn {}\n  maxpipes {PIPES}\n  nbthread {}\n{tuning}\
         defaults\n  mode tcp\n  option splice-auto\n  timeout connect 1s\n  \
         timeout client 1h\n  timeout server 1h\n\
         listen versus\n  bind {}\n  balance roundrobin\n",
        place.connections, place.workers, place.listen
    );
    for (at, backend) in backends().iter().enumerate() {
        writeln!(config, "  server s{at} {backend} check inter 1s")?;
    }
    let path = place.folder.join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = foreign(program);
    command.arg("-db").arg("-f").arg(path);
    Ok(Launch {
        command,
        listen: place.listen,
    })
}
