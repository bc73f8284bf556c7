//! Which process may use which CPU.

use clap::ValueEnum;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::fault::{Fault, While};
use crate::sched;

/// Where the balancer, the load and the backend run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pin {
    /// Everything on one CPU: the cleanest figures.
    One,
    /// The balancer on one, load and backend on another.
    Split,
    /// Wherever the scheduler puts them.
    None,
}

/// The CPUs of a run: those that the bench may use.
#[derive(Debug, Clone)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    pub(crate) fn allowed() -> Result<Self, Fault> {
        let set = sched_getaffinity(None)?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
        Ok(Self(cpus.collect()))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The highest CPU is measured on: the lowest is where interrupts go.
    pub(crate) fn for_proxy(&self, pin: Pin) -> Vec<usize> {
        let last = self.0.len() - 1;
        match pin {
            Pin::One | Pin::Split => vec![self.0[last]],
            Pin::None => self.0.clone(),
        }
    }

    pub(crate) fn for_load(&self, pin: Pin) -> Vec<usize> {
        let last = self.0.len() - 1;
        match pin {
            Pin::One => vec![self.0[last]],
            Pin::Split => vec![self.0[last.saturating_sub(1)]],
            Pin::None => self.0.clone(),
        }
    }
}

/// All threads of a process; later ones inherit it.
pub(crate) fn process(pid: u32, cpus: &[usize]) -> Result<(), Fault> {
    for task in sched::tasks(pid)? {
        match sched_setaffinity(Pid::from_raw(task as i32), &set(cpus)) {
            // A thread may end between the listing and this.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error).doing(|| format!("cannot pin process {pid}")),
        }
    }
    Ok(())
}

pub(crate) fn myself(cpus: &[usize]) -> Result<(), Fault> {
    sched_setaffinity(None, &set(cpus)).doing(|| "cannot pin the load".to_owned())
}

fn set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    set
}
