//! CPU time out of the scheduler's own nanosecond counters, and memory out of
//! the kernel's accounts of a process.

use std::time::{Duration, Instant};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, While};

/// `/proc/stat` counts in these.
const NS_PER_TICK: u64 = 10_000_000;
/// `PF_KTHREAD` in the flags of `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Whose CPU is counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Watched {
    /// The processes of the balancer; none for `direct` and `nft`.
    pub(crate) proxy: Vec<u32>,
    pub(crate) server: u32,
}

/// CPU used since the machine or the process started, or between two moments.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) proxy_ns: u64,
    /// How often the balancer's threads were put on a CPU.
    pub(crate) proxy_runs: u64,
    pub(crate) server_ns: u64,
    pub(crate) client_ns: u64,
    pub(crate) kernel_ns: u64,
    /// All CPUs together, whoever used them.
    pub(crate) busy_ns: u64,
    /// What the hypervisor kept.
    pub(crate) stolen_ns: u64,
}

impl Cpu {
    pub(crate) fn system_ns(&self) -> u64 {
        self.proxy_ns + self.server_ns + self.client_ns + self.kernel_ns
    }

    pub(crate) fn foreign_ns(&self) -> u64 {
        self.busy_ns.saturating_sub(self.system_ns())
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            proxy_ns: self.proxy_ns.saturating_sub(before.proxy_ns),
            proxy_runs: self.proxy_runs.saturating_sub(before.proxy_runs),
            server_ns: self.server_ns.saturating_sub(before.server_ns),
            client_ns: self.client_ns.saturating_sub(before.client_ns),
            kernel_ns: self.kernel_ns.saturating_sub(before.kernel_ns),
            busy_ns: self.busy_ns.saturating_sub(before.busy_ns),
            stolen_ns: self.stolen_ns.saturating_sub(before.stolen_ns),
        }
    }
}

/// Reads the counters at the two ends of the measured window. Runs inside the
/// load, so that no other process has to wake up at the right moment.
pub(crate) struct Counters {
    watched: Watched,
    kernel_threads: Vec<u32>,
    began: Option<(Instant, Cpu)>,
}

impl Counters {
    pub(crate) fn new(watched: Watched) -> Result<Self, Fault> {
        let kernel_threads = kernel_threads()?;
        Ok(Self {
            watched,
            kernel_threads,
            began: None,
        })
    }

    /// The dear counters first, so that the window begins after the reading.
    pub(crate) fn begin(&mut self) -> Result<(), Fault> {
        let kernel_ns = self.kernel_ns();
        let (busy_ns, stolen_ns) = machine()?;
        let (server_ns, _) = process(self.watched.server)?;
        let (proxy_ns, proxy_runs) = self.proxy()?;
        let (client_ns, _) = process(std::process::id())?;
        let cpu = Cpu {
            proxy_ns,
            proxy_runs,
            server_ns,
            client_ns,
            kernel_ns,
            busy_ns,
            stolen_ns,
        };
        self.began = Some((Instant::now(), cpu));
        Ok(())
    }

    /// What was used since `begin`, and for how long that was.
    pub(crate) fn end(&mut self) -> Result<(Duration, Cpu), Fault> {
        let ended = Instant::now();
        let (client_ns, _) = process(std::process::id())?;
        let (proxy_ns, proxy_runs) = self.proxy()?;
        let (server_ns, _) = process(self.watched.server)?;
        let (busy_ns, stolen_ns) = machine()?;
        let cpu = Cpu {
            proxy_ns,
            proxy_runs,
            server_ns,
            client_ns,
            kernel_ns: self.kernel_ns(),
            busy_ns,
            stolen_ns,
        };
        let (began, before) = self
            .began
            .take()
            .ok_or_else(|| Fault::new("the window has no beginning"))?;
        Ok((ended - began, cpu.since(&before)))
    }

    fn proxy(&self) -> Result<(u64, u64), Fault> {
        let mut sum = (0, 0);
        for pid in &self.watched.proxy {
            let (ns, runs) = process(*pid)?;
            sum = (sum.0 + ns, sum.1 + runs);
        }
        Ok(sum)
    }

    /// A kernel thread may end; then it uses nothing any more.
    fn kernel_ns(&self) -> u64 {
        let used = |pid| schedstat(&format!("/proc/{pid}/schedstat"));
        let all = self.kernel_threads.iter().filter_map(used);
        all.map(|(ns, _)| ns).sum()
    }
}

/// The threads of a process. One that has ended has none: a child that a
/// balancer ran for a moment while it started. If it was the balancer itself,
/// its clients say so.
pub(crate) fn tasks(pid: u32) -> Result<Vec<u32>, Fault> {
    let folder = format!("/proc/{pid}/task");
    match fs::exists(&folder) {
        Ok(false) => Ok(Vec::new()),
        Ok(true) | Err(_) => numbers(&folder),
    }
}

/// Proportional set size in bytes: what the processes cost in user memory.
pub(crate) fn pss(pids: &[u32]) -> Result<u64, Fault> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A child that a balancer ran for a moment while it started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing(|| path.clone()),
        };
        sum += kilobytes(&text, "Pss:").ok_or_else(|| Fault::new(format!("{path}: no Pss")))?;
    }
    if sum == 0 {
        return Err(Fault::new("the processes are gone"));
    }
    Ok(sum * 1024)
}

/// The kernel's slab in bytes, of the whole machine.
pub(crate) fn slab() -> Result<u64, Fault> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let slab = kilobytes(&text, "Slab:").ok_or_else(|| Fault::new("/proc/meminfo: no Slab"))?;
    Ok(slab * 1024)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Nanoseconds on a CPU and how often, over all threads.
fn process(pid: u32) -> Result<(u64, u64), Fault> {
    let tasks = tasks(pid)?;
    let has_ended = tasks.is_empty();
    let mut sum = (0, 0);
    for task in tasks {
        // A thread may end between the listing and the reading.
        let path = format!("/proc/{pid}/task/{task}/schedstat");
        let (ns, runs) = schedstat(&path).unwrap_or_default();
        sum = (sum.0 + ns, sum.1 + runs);
    }
    if sum == (0, 0) && !has_ended {
        return Err(Fault::new(format!("process {pid} has no schedstat")));
    }
    Ok(sum)
}

fn schedstat(path: &str) -> Option<(u64, u64)> {
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let ns = words.next()?.parse().ok()?;
    let runs = words.nth(1)?.parse().ok()?;
    Some((ns, runs))
}

/// Busy and stolen nanoseconds of all CPUs.
fn machine() -> Result<(u64, u64), Fault> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let words = line.split_whitespace().skip(1);
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return Err(Fault::new("/proc/stat is not as expected"));
    };
    let busy = user + nice + system + irq + softirq;
    Ok((busy * NS_PER_TICK, steal * NS_PER_TICK))
}

fn kernel_threads() -> Result<Vec<u32>, Fault> {
    let mut pids = numbers("/proc")?;
    pids.retain(|pid| is_kernel_thread(*pid).unwrap_or(false));
    Ok(pids)
}

fn is_kernel_thread(pid: u32) -> Option<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything; the fields begin after its bracket.
    let fields = text.rsplit_once(')')?.1;
    let flags: u64 = fields.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & KERNEL_THREAD != 0)
}

fn numbers(folder: &str) -> Result<Vec<u32>, Fault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(found)
}
