//! A child process in a group of its own, ended by its id when dropped.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{SOON, eventually_or, wait_until};

/// A child process; its whole group dies with this value.
#[derive(Debug)]
pub(crate) struct Proc {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Proc {
    /// Starts `command` as the leader of a new process group.
    pub(crate) fn spawn(command: &mut Command, install: &str) -> Self {
        let child = command.process_group(0).spawn().unwrap_or_else(|error| {
            panic!(
                "{:?} does not start ({error}); install {install}",
                command.get_program()
            )
        });
        Self { child, ended: None }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a child has an id above 0")
    }

    /// Sends `signal` to the process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("signal {signal:?}: {e}"));
        if signal == Signal::STOP {
            wait_until("every thread stands still", SOON, || self.stands_still());
        }
    }

    /// A stopped process may still finish what its threads are at.
    fn stands_still(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        let mut states = fs::read_dir(tasks).into_iter().flatten().map(|task| {
            let stat = task.ok().map(|task| task.path().join("stat"));
            let stat = stat.and_then(|path| fs::read_to_string(path).ok());
            stat.is_some_and(|stat| stat.contains(") T "))
        });
        states.all(|stopped| stopped)
    }

    /// Sends `signal` to the process and all that it started.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if self.ended.is_none() {
            // A group that is gone already has got what it should.
            let _gone = kill_process_group(self.pid(), signal);
        }
    }

    /// Kills the whole group, as `kill -9` does, and takes its body away.
    pub(crate) fn kill(&mut self) {
        self.signal_group(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be asked");
        }
        self.ended.is_none()
    }

    /// How it ended, once it has; `None` after `within`.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        eventually_or(within, || {
            self.is_running();
            self.ended
        })
    }

    /// Open file descriptors.
    pub(crate) fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// Memory that is its own alone, plus its part of what is shared, in KiB.
    pub(crate) fn pss_kib(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        field_kib(&text, "Pss:")
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        field_kib(&fs::read_to_string(path).unwrap_or_default(), "VmRSS:")
    }

    /// Processor time used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        // The name in brackets may hold spaces; fields are counted after it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |at: usize| -> f64 {
            rest.split_whitespace()
                .nth(at)
                .and_then(|it| it.parse().ok())
                .unwrap_or(0.0)
        };
        // Fields 14 and 15 of proc(5); Linux counts 100 ticks a second.
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Processes that it started and that still live.
    pub(crate) fn children(&self) -> usize {
        let path = format!("/proc/{0}/task/{0}/children", self.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().count()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill();
    }
}

fn field_kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find(|it| it.starts_with(field));
    line.and_then(|it| it.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Whether processes run as root here.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
