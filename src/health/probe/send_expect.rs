//! Send some bytes, wait for some.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::health::SendExpect;

use super::outcome::Stop;
use super::stream::{ANSWER_LIMIT, Quote, Stage, connect, contains};
use super::{Failure, FailureReason, Outcome, Target};

pub(super) async fn run(
    settings: &SendExpect,
    target: &Target,
    stage: &Stage,
) -> Result<Outcome, Stop> {
    let mut stream = connect(target, stage).await?;
    let sent = stream.write_all(&settings.send).await;
    sent.map_err(|error| Stop::of_io("send", &error))?;
    let mut answer = Vec::new();
    while !contains(&answer, &settings.expect) {
        if answer.len() >= ANSWER_LIMIT {
            let detail = format_args!("the answer begins with {}", Quote(&answer));
            return Err(Failure::new(FailureReason::BadAnswer, detail).into());
        }
        let room = (ANSWER_LIMIT - answer.len()) as u64;
        let read = (&mut stream).take(room).read_buf(&mut answer).await;
        if read.map_err(|error| Stop::of_io("read", &error))? == 0 {
            let failure = if answer.is_empty() {
                Failure::new(FailureReason::Closed, "closed without an answer")
            } else {
                let detail = format_args!("the answer was {}", Quote(&answer));
                Failure::new(FailureReason::BadAnswer, detail)
            };
            return Err(failure.into());
        }
    }
    Ok(Outcome::Pass)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::kit::{self, reason};
    use super::super::{FailureReason, Outcome, Probe};
    use crate::health::{ProbeKind, SendExpect};
    use crate::types::ProxyVersion;

    async fn ask(answer: &'static [u8], keep: bool) -> (Outcome, Vec<u8>) {
        let (listener, mut target) = kit::listener().await;
        target.send_proxy = Some(ProxyVersion::V1);
        let mut probe = Probe::new(&kit::settings(ProbeKind::SendExpect(SendExpect {
            send: b"PING\r\n".to_vec(),
            expect: b"+PONG".to_vec(),
        })));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 21];
            stream.read_exact(&mut question).await.unwrap();
            stream.write_all(answer).await.unwrap();
            (question, keep.then_some(stream))
        });
        let outcome = probe.run(&target).await;
        (outcome, server.await.unwrap().0)
    }

    #[tokio::test]
    async fn the_expected_answer_passes_wherever_it_is() {
        let (outcome, question) = ask(b"noise +PONG\r\n", true).await;
        assert_eq!(outcome, Outcome::Pass);
        assert_eq!(question, b"PROXY UNKNOWN\r\nPING\r\n");
    }

    #[tokio::test]
    async fn another_answer_no_answer_and_silence_are_told_apart() {
        for (answer, keep, why) in [
            (b"-ERR\r\n".as_slice(), false, FailureReason::BadAnswer),
            (b"", false, FailureReason::Closed),
        ] {
            assert_eq!(reason(&ask(answer, keep).await.0), why);
        }
    }

    #[tokio::test]
    async fn a_silent_server_times_out() {
        let (listener, target) = kit::listener().await;
        let mut probe = Probe::new(&kit::settings(ProbeKind::SendExpect(SendExpect {
            send: Vec::new(),
            expect: b"x".to_vec(),
        })));
        let outcome = probe.run(&target).await;
        assert_eq!(reason(&outcome), FailureReason::Timeout);
        drop(listener);
    }
}
