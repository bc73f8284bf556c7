//! The process that the user starts. It runs the bench in a network namespace
//! without a name, which is gone with its last process, and ends whatever the
//! bench leaves behind, also when that was killed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::Ended;
use crate::args::{Args, INSIDE};
use crate::child::STOP;
use crate::fault::{Fault, While};
use crate::subjects;

pub(crate) fn run(args: &Args) -> Ended {
    if args.list {
        return list();
    }
    on_signals()?;
    raise_descriptors()?;
    rustix::process::set_child_subreaper(Some(getpid()))?;
    // Found and reported before anything is started.
    for (name, why) in &subjects::find(args)?.missing {
        eprintln!("versus: left out: {name}: {why}");
    }
    let scratch = tempfile::Builder::new()
        .prefix("tandem-versus-")
        .tempdir()?;
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, scratch.path())
        // The inner process hears of a Ctrl-C from here.
        .process_group(0);
    let child = command.spawn();
    let mut child = child.doing(|| "cannot start unshare (install util-linux)".to_owned())?;
    let pid = Pid::from_child(&child);
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if STOP.load(Ordering::Relaxed) && !told {
            told = true;
            kill_process(pid, Signal::TERM)?;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    };
    let left = end_the_rest()?;
    if left > 0 {
        eprintln!("versus: {left} processes had to be ended");
    }
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
        None => return Err(Fault::new(format!("the bench ended with {status}"))),
    })
}

/// Sets `STOP` instead of dying.
pub(crate) fn on_signals() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut int), Ok(mut term)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                STOP.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

fn raise_descriptors() -> Result<(), Fault> {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).doing(|| "cannot raise the descriptor limit".to_owned())
}

/// Orphans of the bench have become children of this process: its own, by pid.
fn end_the_rest() -> Result<usize, Fault> {
    let mut ended = 0;
    // An ended one may hand over children of its own.
    for _ in 0..10 {
        let children = own_children()?;
        if children.is_empty() {
            break;
        }
        for pid in children {
            if kill_process(pid, Signal::KILL).is_ok() {
                ended += 1;
            }
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
    Ok(ended)
}

fn own_children() -> Result<Vec<Pid>, Fault> {
    let mut pids = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        pids.extend(numbers.filter_map(Pid::from_raw));
    }
    Ok(pids)
}

fn list() -> Ended {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    for cell in crate::cells::all(most) {
        println!("{}", cell.name);
    }
    Ok(ExitCode::SUCCESS)
}
