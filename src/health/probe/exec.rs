//! Run a command; exit status 0 passes.

use std::process::ExitStatus;

use super::outcome::Stop;
use super::stream::Stage;
use super::{Failure, FailureReason, Outcome, Target};
use crate::child::Running;
use crate::types::OwnFault;

pub(super) async fn run(argv: &[String], target: &Target, stage: &Stage) -> Result<Outcome, Stop> {
    // A command that takes too long is slow, not unconnected.
    stage.connected();
    let environment = [
        ("TANDEM_BACKEND_ADDRESS", target.address.to_string()),
        ("TANDEM_BACKEND_NAME", target.backend.to_string()),
        ("TANDEM_POOL", target.pool.to_string()),
    ];
    let mut running = Running::spawn(argv, environment).map_err(|error| {
        let program = argv.first().map_or("the probe", String::as_str);
        Stop::ours(
            OwnFault::of_spawn(&error),
            format_args!("run {program}: {error}"),
        )
    })?;
    let status = running.end().await;
    let status = status.map_err(|error| Stop::of_io("wait for the command", &error))?;
    if status.success() {
        return Ok(Outcome::Pass);
    }
    let said = running.said().or_else(|| running.complained());
    let detail = describe(status, said.as_deref());
    Err(Failure::new(FailureReason::ExitStatus, detail).into())
}

fn describe(status: ExitStatus, said: Option<&str>) -> String {
    said.map_or_else(|| status.to_string(), |said| format!("{status}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::super::kit::{self, reason};
    use super::super::{FailureReason, Outcome, Probe};
    use crate::health::ProbeKind;
    use crate::types::OwnFault;

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
    async fn a_missing_command_says_nothing_of_the_backend() {
        let argv = vec!["/nonexistent/command".to_owned()];
        let target = kit::target("127.0.0.1:1".parse().unwrap());
        let mut probe = Probe::new(&kit::settings(ProbeKind::Exec(argv)));
        let Outcome::Unknown(blindness) = probe.run(&target).await else {
            panic!("nothing was run");
        };
        assert_eq!(blindness.fault, OwnFault::NoCommand);
        assert!(blindness.detail.contains("/nonexistent/command"));
    }

    #[tokio::test]
    async fn a_hanging_command_is_slow() {
        assert_eq!(reason(&sh("sleep 60").await), FailureReason::Timeout);
    }
}
