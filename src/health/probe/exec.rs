//! Run a command; exit status 0 passes.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::stream::{ANSWER_LIMIT, Stage};
use super::{Failure, FailureReason, Outcome, Target};

/// How long output may lag behind the end of the command: only as long as the
/// pipe takes, for a child of its own may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(20);

pub(super) async fn run(
    argv: &[String],
    target: &Target,
    stage: &Stage,
) -> Result<Outcome, Failure> {
    // A command that takes too long is slow, not unconnected.
    stage.connected();
    let (mut child, mut group) = spawn(argv, target)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let reading = async {
            tokio::join!(
                collect(stdout.as_mut(), &mut out),
                collect(stderr.as_mut(), &mut err)
            );
        };
        tokio::pin!(reading);
        let mut read = false;
        loop {
            tokio::select! {
                status = child.wait() => {
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
    group.0 = None;
    let status = status.map_err(|error| Failure::of_io("wait for the command", &error))?;
    if status.success() {
        return Ok(Outcome::Pass);
    }
    let said = first_line(&out).or_else(|| first_line(&err));
    Err(Failure::new(
        FailureReason::ExitStatus,
        describe(status, said.as_deref()),
    ))
}

/// Kills the command and its children when it is dropped: the probe timed out.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may be gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn spawn(argv: &[String], target: &Target) -> Result<(Child, Group), Failure> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Failure::new(FailureReason::Spawn, "the command is empty"));
    };
    let child = Command::new(program)
        .args(arguments)
        .env("TANDEM_BACKEND_ADDRESS", target.address.to_string())
        .env("TANDEM_BACKEND_NAME", target.backend.as_str())
        .env("TANDEM_POOL", target.pool.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::new(FailureReason::Spawn, format_args!("run {program}: {error}"))
        })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(pid.and_then(Pid::from_raw));
    Ok((child, group))
}

/// Reads to the end, keeping the start: a command must not block on its output.
async fn collect(from: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = ANSWER_LIMIT - into.len();
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(200).collect())
}

fn describe(status: ExitStatus, said: Option<&str>) -> String {
    said.map_or_else(|| status.to_string(), |said| format!("{status}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::super::kit::{self, reason};
    use super::super::{FailureReason, Outcome, Probe};
    use super::*;
    use crate::health::ProbeKind;

    async fn sh(script: &str) -> Outcome {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let target = kit::target("127.0.0.1:3306".parse().unwrap());
        Probe::new(&kit::settings(ProbeKind::Exec(argv)))
            .run(&target)
            .await
    }

    #[tokio::test]
    async fn exit_status_0_passes_and_the_environment_is_set() {
        let script = r#"[ "$TANDEM_BACKEND_ADDRESS $TANDEM_BACKEND_NAME $TANDEM_POOL" = "127.0.0.1:3306 b p" ]"#;
        assert_eq!(sh(script).await, Outcome::Pass);
    }

    #[tokio::test]
    async fn another_status_fails_with_the_first_line() {
        for script in ["echo; echo lagging; exit 3", "echo lagging >&2; exit 3"] {
            let Outcome::Fail(failure) = sh(script).await else {
                panic!("status 3 fails");
            };
            assert_eq!(failure.reason, FailureReason::ExitStatus);
            assert_eq!(failure.detail, "exit status: 3: lagging");
        }
    }

    #[tokio::test]
    async fn a_missing_command_cannot_be_started() {
        let argv = vec!["/nonexistent/command".to_owned()];
        let target = kit::target("127.0.0.1:1".parse().unwrap());
        let mut probe = Probe::new(&kit::settings(ProbeKind::Exec(argv)));
        assert_eq!(reason(&probe.run(&target).await), FailureReason::Spawn);
    }

    #[tokio::test]
    async fn much_output_does_not_block_the_command() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x";
        assert_eq!(sh(script).await, Outcome::Pass);
    }

    #[tokio::test]
    async fn a_child_left_behind_does_not_hold_the_probe() {
        assert_eq!(sh("sleep 5 & exit 0").await, Outcome::Pass);
    }

    #[tokio::test]
    async fn a_hanging_command_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        assert_eq!(reason(&sh(&script).await), FailureReason::Timeout);
        let pid: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // The orphan is a zombie until init has seen it, so look at its state.
        for _ in 0..200 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child of the command lives on");
    }
}
