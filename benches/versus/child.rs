//! Processes that the bench starts, and their end.

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::fault::{Fault, While};

/// Set by the first SIGINT or SIGTERM: finish, clean up, report what there is.
pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

/// A stopped process has this long before it is killed.
const GRACE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// Ends with its owner: asked first, then killed, with its whole group.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// In a group of its own, so that a Ctrl-C reaches the bench alone.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Fault> {
        use std::os::unix::process::CommandExt;
        let child = command.process_group(0).spawn();
        let child = child.doing(|| format!("cannot start {name} ({command:?})"))?;
        let name = name.to_owned();
        Ok(Self { name, child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn expect_alive(&mut self) -> Result<(), Fault> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Fault::new(format!("{} has ended: {status}", self.name))),
        }
    }

    /// All that the process writes until it ends; it must end in time.
    pub(crate) fn output(mut self, within: Duration) -> Result<String, Fault> {
        let until = Instant::now() + within;
        let out = self.child.stdout.take();
        let mut out = out.ok_or_else(|| Fault::new("standard output is not a pipe"))?;
        let mut said = Vec::new();
        let mut piece = [0; 4096];
        loop {
            await_readable(&out, &self.name, until)?;
            let read = out.read(&mut piece)?;
            if read == 0 {
                break;
            }
            said.extend_from_slice(&piece[..read]);
        }
        let status = self.child.wait()?;
        if !status.success() {
            return Err(Fault::new(format!("the {} ended with {status}", self.name)));
        }
        Ok(String::from_utf8(said)?)
    }

    /// Waits for the first line.
    pub(crate) fn await_line(&mut self, within: Duration) -> Result<(), Fault> {
        let until = Instant::now() + within;
        let out = self.child.stdout.as_mut();
        let out = out.ok_or_else(|| Fault::new("standard output is not a pipe"))?;
        let mut byte = [0];
        while byte != *b"\n" {
            await_readable(out, &self.name, until)?;
            if out.read(&mut byte)? == 0 {
                return Err(Fault::new(format!("{} has ended early", self.name)));
            }
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // It may be gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn await_readable(out: &ChildStdout, name: &str, until: Instant) -> Result<(), Fault> {
    let look = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    while Instant::now() < until {
        if STOP.load(Ordering::Relaxed) {
            return Err(Fault::new("interrupted"));
        }
        let mut fds = [PollFd::new(out, PollFlags::IN)];
        match poll(&mut fds, Some(&look)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::new(format!("{name} said nothing in time")))
}

/// This program in another role.
pub(crate) fn own(role: &str) -> Result<Command, Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(command)
}

/// Somebody else's program, which dies with the bench even if that is killed.
pub(crate) fn foreign(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// What a program says, with standard error behind standard output.
pub(crate) fn said(command: &mut Command) -> Result<String, Fault> {
    let name = format!("{:?}", command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(|| name.clone())?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Fault::new(format!(
            "{name}: {}: {}",
            output.status,
            error.trim()
        )));
    }
    Ok(out + &error)
}
