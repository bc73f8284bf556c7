//! What the tests stand on: real servers, own backends, a tandem process, and
//! clients that count what happens to them.

pub(crate) mod backend;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod mariadb;
pub(crate) mod metrics;
pub(crate) mod nginx;
pub(crate) mod pattern;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod systemd;
pub(crate) mod tandem;

use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) use backend::Backend;
pub(crate) use load::{Load, Plan};
pub(crate) use tandem::Tandem;

/// Long enough for anything that should happen at all on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Lets time pass where the passing of time itself is what is tested, or
/// between two looks at a condition.
pub(crate) fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Milliseconds, for short lines.
pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Looks every 10 ms until `look` finds something; `None` after `within`.
pub(crate) fn eventually_or<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > within {
            return None;
        }
        pass(ms(10));
    }
}

/// Looks every 10 ms until `look` finds something, and tells what was waited
/// for if that never happens.
pub(crate) fn eventually<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    eventually_or(within, look).unwrap_or_else(|| panic!("waited {within:?} in vain: {what}"))
}

/// Waits until `holds`, or tells what was waited for.
pub(crate) fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    eventually(what, within, || holds().then_some(()));
}

/// Says a measured figure on standard error, where a report can pick it up.
pub(crate) fn figure(name: &str, value: impl Display) {
    eprintln!("figure: {name} = {value}");
}

/// A directory that servers which drop root may enter, too.
pub(crate) fn work_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::Builder::new()
        .prefix("tandem-rig-")
        .tempdir()
        .expect("a temporary directory can be made");
    open_to_all(dir.path(), std::fs::Permissions::from_mode(0o755));
    dir
}

fn open_to_all(dir: &Path, mode: std::fs::Permissions) {
    std::fs::set_permissions(dir, mode).expect("our own directory");
}

/// Runs `command` to its end, with nothing on its standard input.
pub(crate) fn output(command: &mut Command, install: &str) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| {
        let program = command.get_program();
        panic!("{program:?} does not start ({e}); install {install}")
    })
}

/// What a command said on both its outputs.
pub(crate) fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}
