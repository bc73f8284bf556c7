//! The `exec:` publisher: a command of the user's that moves a floating IP or
//! calls an API, told by its environment who holds the name.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::child::Running;
use crate::types::{Claim, Name};

/// Which command is run, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// The program and its arguments; no shell comes between.
    pub command: Vec<String>,
    /// The deadline; the command and its children are killed then.
    pub timeout: Duration,
    /// What the command says is told to nobody: it was given a secret that is
    /// too short to be found in it.
    pub is_hushed: bool,
}

impl HookSettings {
    /// Ten seconds suit the API of a cloud; a command that hangs must not
    /// keep the next claim waiting for long.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            timeout: Duration::from_secs(10),
            is_hushed: false,
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
    let is_hushed = settings.is_hushed;
    let command = settings.command.first().filter(|_| !is_hushed);
    let command = command.map_or("the command", String::as_str).to_owned();
    let mut running = match Running::spawn(&settings.command, environment(news)) {
        Ok(running) => running,
        Err(error) => {
            let why = error.to_string();
            return Err(HookError::Spawn { command, why });
        }
    };
    let ended = timeout(settings.timeout, running.end()).await;
    let said = running.complained().or_else(|| running.said());
    let said = said.filter(|_| !is_hushed);
    let Ok(ended) = ended else {
        let after = settings.timeout;
        return Err(HookError::TimedOut {
            command,
            after,
            said,
        });
    };
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

fn environment<'a>(news: &News<'a>) -> [(&'a str, String); 7] {
    [
        ("TANDEM_NAME", news.name.to_owned()),
        ("TANDEM_NODE", news.node.to_string()),
        ("TANDEM_ROLE", news.role.to_owned()),
        ("TANDEM_TERM", news.claim.term.to_string()),
        ("TANDEM_HOLDER", news.claim.holder.to_string()),
        ("TANDEM_NONCE", format!("{:016x}", news.claim.nonce)),
        ("TANDEM_ADDRESSES", spaced(news.addresses)),
    ]
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
            is_hushed: false,
        };
        told(&settings).await
    }

    /// Runs it with news that say something in each place.
    async fn told(settings: &HookSettings) -> Result<(), HookError> {
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
        run(settings, &news).await
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
    async fn a_command_with_a_short_secret_is_not_repeated() {
        let script = ["/bin/sh", "-c", "echo no abc >&2; exit 3"];
        for (command, said) in [
            (&script[..], "the command: exit status: 3"),
            (
                &["/nonexistent/abc"],
                "cannot run the command: No such file or directory (os error 2)",
            ),
        ] {
            let command = command.iter().map(|it| (*it).to_owned()).collect();
            let settings = HookSettings {
                is_hushed: true,
                ..HookSettings::new(command)
            };
            let error = told(&settings).await.unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }

    #[tokio::test]
    async fn a_missing_command_cannot_be_started() {
        let settings = HookSettings::new(vec!["/nonexistent/command".to_owned()]);
        let error = told(&settings).await;
        assert!(matches!(error, Err(HookError::Spawn { .. })), "{error:?}");
        let error = told(&HookSettings::new(Vec::new())).await;
        assert!(matches!(error, Err(HookError::Spawn { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn a_hanging_command_is_given_up() {
        let script = "echo stuck >&2; sleep 60";
        let error = sh(script, Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "/bin/sh did not end within 0.5 s and was killed: stuck"
        );
    }
}
