//! The `exec:` publisher: a command of the user's that moves a floating IP or
//! calls an API, told by its environment who holds the name.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::types::{Claim, Name};

/// How much of what a command says is kept; the rest is read and dropped.
const OUTPUT_LIMIT: usize = 4096;

/// How long output may lag behind the end of the command: a child of its own
/// may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(20);

/// Which command is run, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// The program and its arguments; no shell comes between.
    pub command: Vec<String>,
    /// The deadline; the command and its children are killed then.
    pub timeout: Duration,
}

impl HookSettings {
    /// Ten seconds suit the API of a cloud; a command that hangs must not
    /// keep the next claim waiting for long.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What the command is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News<'a> {
    /// `TANDEM_NAME`: the public name.
    pub name: &'a str,
    /// `TANDEM_NODE`: the node that runs the command.
    pub node: &'a Name,
    /// `TANDEM_ROLE`: what this node is now, as one word.
    pub role: &'a str,
    /// `TANDEM_TERM`, `TANDEM_HOLDER`, `TANDEM_NONCE` (16 hexadecimal digits).
    pub claim: &'a Claim,
    /// `TANDEM_ADDRESSES`: what the public name should have, with spaces
    /// between.
    pub addresses: &'a [IpAddr],
}

/// Why a command did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It ended with another exit status than 0, or by a signal.
    #[error("{command}: {status}{}", after_colon(.said))]
    Failed {
        /// The program.
        command: String,
        /// How it ended.
        status: String,
        /// The first line that it said, if any.
        said: Option<String>,
    },
    /// It could not be started.
    #[error("cannot run {command}: {why}")]
    Spawn {
        /// The program.
        command: String,
        /// What the system says.
        why: String,
    },
    /// It did not end in time, and was killed. What it did is unknown.
    #[error("{command} did not end within {} s and was killed{}", .after.as_secs_f32(), after_colon(.said))]
    TimedOut {
        /// The program.
        command: String,
        /// The deadline.
        after: Duration,
        /// The first line that it said, if any.
        said: Option<String>,
    },
}

/// Runs the command with `news` in its environment, and waits for its end.
/// Dropping the call kills the command.
pub async fn run(settings: &HookSettings, news: &News<'_>) -> Result<(), HookError> {
    let (mut child, mut group) = spawn(settings, news)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = {
        let waiting = wait(
            &mut child,
            collect(stdout.as_mut(), &mut out),
            collect(stderr.as_mut(), &mut err),
        );
        timeout(settings.timeout, waiting).await
    };
    let command = settings.command.first().cloned().unwrap_or_default();
    let said = first_line(&err).or_else(|| first_line(&out));
    let Ok(ended) = ended else {
        let after = settings.timeout;
        return Err(HookError::TimedOut {
            command,
            after,
            said,
        });
    };
    // Its number may be another's from here on.
    group.0 = None;
    let status = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => format!("its end was not seen: {error}"),
    };
    Err(HookError::Failed {
        command,
        status,
        said,
    })
}

/// Kills the command and its children when it is dropped before its end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may be gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn spawn(settings: &HookSettings, news: &News<'_>) -> Result<(Child, Group), HookError> {
    let Some((program, arguments)) = settings.command.split_first() else {
        return Err(HookError::Spawn {
            command: "the hook".to_owned(),
            why: "the command is empty".to_owned(),
        });
    };
    let child = Command::new(program)
        .args(arguments)
        .env("TANDEM_NAME", news.name)
        .env("TANDEM_NODE", news.node.as_str())
        .env("TANDEM_ROLE", news.role)
        .env("TANDEM_TERM", news.claim.term.to_string())
        .env("TANDEM_HOLDER", news.claim.holder.as_str())
        .env("TANDEM_NONCE", format!("{:016x}", news.claim.nonce))
        .env("TANDEM_ADDRESSES", spaced(news.addresses))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| HookError::Spawn {
            command: program.clone(),
            why: error.to_string(),
        })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    Ok((child, Group(pid.and_then(Pid::from_raw))))
}

async fn wait(
    child: &mut Child,
    out: impl Future<Output = ()>,
    err: impl Future<Output = ()>,
) -> std::io::Result<ExitStatus> {
    let reading = async { tokio::join!(out, err) };
    tokio::pin!(reading);
    let mut read = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                if !read {
                    // Without the rest of the output, the start will do.
                    drop(timeout(OUTPUT_GRACE, reading).await);
                }
                return status;
            }
            _both = &mut reading, if !read => read = true,
        }
    }
}

/// Reads to the end, keeping the start: a command must not block on its output.
async fn collect(from: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_LIMIT - into.len();
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(200).collect())
}

fn after_colon(said: &Option<String>) -> String {
    said.as_ref()
        .map_or_else(String::new, |said| format!(": {said}"))
}

fn spaced(addresses: &[IpAddr]) -> String {
    let mut text = String::new();
    for (at, address) in addresses.iter().enumerate() {
        let space = if at > 0 { " " } else { "" };
        // Writing into a String cannot fail.
        let _ = write!(text, "{space}{address}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    async fn sh(script: &str, within: Duration) -> Result<(), HookError> {
        let settings = HookSettings {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: within,
        };
        let claim = Claim {
            term: Term(7),
            holder: Name::new("lb2").unwrap(),
            nonce: 0xfeed,
        };
        let news = News {
            name: "lb.example.com",
            node: &Name::new("lb1").unwrap(),
            role: "standby",
            claim: &claim,
            addresses: &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        run(&settings, &news).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_environment_tells_who_holds_the_name() {
        let script = r#"set -e
            [ "$TANDEM_NAME $TANDEM_NODE $TANDEM_ROLE" = "lb.example.com lb1 standby" ]
            [ "$TANDEM_TERM $TANDEM_HOLDER $TANDEM_NONCE" = "7 lb2 000000000000feed" ]
            [ "$TANDEM_ADDRESSES" = "192.0.2.1 2001:db8::1" ]"#;
        assert_eq!(sh(script, LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn the_exit_status_counts_and_its_reason_is_told() {
        let error = sh("echo trying; echo 'no such IP' >&2; exit 3", LONG).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "/bin/sh: exit status: 3: no such IP"
        );
        let error = sh("kill -9 $$", LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh: signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn a_missing_command_cannot_be_started() {
        let settings = HookSettings::new(vec!["/nonexistent/command".to_owned()]);
        let claim = Claim {
            term: Term(1),
            holder: Name::new("a").unwrap(),
            nonce: 0,
        };
        let news = News {
            name: "a",
            node: &claim.holder,
            role: "holder",
            claim: &claim,
            addresses: &[],
        };
        let error = run(&settings, &news).await;
        assert!(matches!(error, Err(HookError::Spawn { .. })), "{error:?}");
        let error = run(&HookSettings::new(Vec::new()), &news).await;
        assert!(matches!(error, Err(HookError::Spawn { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn much_output_neither_blocks_nor_grows() {
        let script = "head -c 3000000 /dev/zero | tr '\\0' x; exit 1";
        let Err(HookError::Failed { said, .. }) = sh(script, LONG).await else {
            panic!("status 1 fails");
        };
        assert_eq!(said.unwrap().len(), 200);
    }

    #[tokio::test]
    async fn a_child_left_behind_does_not_hold_the_claim() {
        assert_eq!(sh("sleep 5 & exit 0", Duration::from_secs(4)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_hanging_command_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!(
            "sleep 60 & echo $! > {}; echo stuck >&2; wait",
            file.display()
        );
        let error = sh(&script, Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "/bin/sh did not end within 0.5 s and was killed: stuck"
        );
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
