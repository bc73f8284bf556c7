//! A command of the user's: run to its end, ended with all that it started,
//! and the start of what it says kept.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of what a command says is kept; the rest is read and dropped.
const OUTPUT_LIMIT: usize = 4096;
/// How much of its first line people are shown.
const LINE_LIMIT: usize = 200;
/// How long output may lag behind the end of the command: only as long as the
/// pipe takes, for a child of its own may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(20);

/// A command that was started. It is killed, and its children with it, when
/// this is dropped before its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Group,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Running {
    /// Starts the program and its arguments, without a shell between, with
    /// `environment` besides our own.
    pub fn spawn<'a>(
        command: &[String],
        environment: impl IntoIterator<Item = (&'a str, String)>,
    ) -> io::Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            let what = "the command is empty";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        let child = Command::new(program)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            group: Group(pid.and_then(Pid::from_raw)),
            out: Vec::new(),
            err: Vec::new(),
        })
    }

    /// Waits for its end. If the wait is given up, what the command has said
    /// until then is known all the same.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        let (mut stdout, mut stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let status = {
            let reading = async {
                tokio::join!(
                    collect(stdout.as_mut(), &mut self.out),
                    collect(stderr.as_mut(), &mut self.err)
                );
            };
            tokio::pin!(reading);
            let mut read = false;
            loop {
                tokio::select! {
                    status = self.child.wait() => {
                        if !read {
                            // Without the rest of the output, the start will do.
                            drop(timeout(OUTPUT_GRACE, reading).await);
                        }
                        break status;
                    }
                    () = &mut reading, if !read => read = true,
                }
            }
        };
        // Its number may be another's from here on.
        self.group.0 = None;
        status
    }

    /// The first line with something in it that it wrote to its output.
    pub fn said(&self) -> Option<String> {
        first_line(&self.out)
    }

    /// The same of its error output.
    pub fn complained(&self) -> Option<String> {
        first_line(&self.err)
    }
}

/// Kills the command and its children when it is dropped before its end.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may be gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Reads to the end, keeping the start: a command must not block on its output.
async fn collect(from: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_LIMIT - into.len();
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(LINE_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Running {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        Running::spawn(&command, [("TOLD", "a word".to_owned())]).unwrap()
    }

    #[tokio::test]
    async fn it_is_told_and_says() {
        let mut running = sh("echo; echo \" $TOLD \"; echo more; echo bad >&2; exit 3");
        assert_eq!(running.end().await.unwrap().code(), Some(3));
        assert_eq!(running.said().as_deref(), Some("a word"));
        assert_eq!(running.complained().as_deref(), Some("bad"));
    }

    #[tokio::test]
    async fn without_a_program_nothing_starts() {
        for command in [vec![], vec!["/nonexistent/command".to_owned()]] {
            assert!(Running::spawn(&command, []).is_err());
        }
    }

    #[tokio::test]
    async fn much_output_neither_blocks_nor_grows() {
        let mut running = sh("head -c 3000000 /dev/zero | tr '\\0' x");
        assert!(running.end().await.unwrap().success());
        assert_eq!(running.out.len(), OUTPUT_LIMIT);
        assert_eq!(running.said().unwrap().len(), LINE_LIMIT);
    }

    #[tokio::test]
    async fn a_child_left_behind_holds_nobody() {
        let mut running = sh("sleep 60 & exit 0");
        let ended = timeout(Duration::from_secs(20), running.end()).await;
        assert!(ended.expect("long before the sleep").unwrap().success());
    }

    #[tokio::test]
    async fn who_hangs_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = "sleep 60 & echo $! > FILE; echo stuck >&2; wait";
        let mut running = sh(&script.replace("FILE", file.to_str().unwrap()));
        let ended = timeout(Duration::from_millis(500), running.end()).await;
        assert!(ended.is_err(), "it hangs");
        assert_eq!(running.complained().as_deref(), Some("stuck"));
        drop(running);
        let pid = std::fs::read_to_string(&file).unwrap();
        // The orphan is a zombie until init has seen it, so look at its state.
        for _ in 0..200 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            let stat = stat.unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child of the command lives on");
    }
}
