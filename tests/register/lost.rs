//! Answers that get lost, come twice, are forged, or come from elsewhere.

use std::time::{Duration, Instant};

use tandem::dns::register::{Register as _, RegisterError, Settled, WriteResult, settle};

use crate::kit::relay::{Fate, Relay};
use crate::kit::server::{Kind, Server};
use crate::kit::{PUBLIC, claim, figure, ips, register, settings};
use crate::on_both;

on_both! {
    a_lost_answer_is_unknown_and_a_read_settles_it
    racers_that_hear_nothing_have_one_winner
    an_answer_that_tcp_cuts_off_is_unknown_and_a_read_settles_it
    a_claim_delivered_twice_looks_lost_and_a_read_settles_it
    a_forged_answer_does_not_keep_the_real_one_out
    an_answer_from_elsewhere_is_not_heard
    a_late_claim_cannot_win_against_a_newer_one
}

const SHORT: Duration = Duration::from_millis(900);

async fn a_lost_answer_is_unknown_and_a_read_settles_it(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::LoseAnswer).await;
    let honest = register(&settings(&server));
    let mut settings = settings(&server);
    (settings.server, settings.timeout) = (relay.address, SHORT);
    let lossy = register(&settings);

    let new = claim(None, "lb1");
    let start = Instant::now();
    let result = lossy.write(None, &new, &ips(&["192.0.2.1"])).await;
    assert_eq!(result, WriteResult::Unknown(RegisterError::TimedOut));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(relay.questions(), 1, "an update is sent once");

    let read = honest.read().await.unwrap();
    assert_eq!(settle(read.as_ref(), None, &new), Settled::Mine);
    assert_eq!(server.addresses(PUBLIC), ["192.0.2.1"]);

    // A question, in contrast, may be asked again.
    assert_eq!(lossy.read().await, Err(RegisterError::TimedOut));
    assert_eq!(relay.questions(), 4);
}

/// Four claim at once, and two of them never hear an answer.
async fn racers_that_hear_nothing_have_one_winner(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::LoseAnswer).await;
    let honest = register(&settings(&server));
    let mut settings = settings(&server);
    (settings.server, settings.timeout) = (relay.address, Duration::from_millis(400));
    let lossy = register(&settings);
    let (mut now, mut by_the_deaf) = (None, 0);
    for round in 0..20 {
        let mut claims = Vec::new();
        let racers = [&lossy, &honest, &lossy, &honest];
        for (number, register) in racers.into_iter().enumerate() {
            let (register, now) = (register.clone(), now.clone());
            let new = claim(now.as_ref(), &format!("lb{number}"));
            claims.push(tokio::spawn(async move {
                let addresses = ips(&[&format!("192.0.2.{number}")]);
                let result = register.write(now.as_ref(), &new, &addresses).await;
                (number, new, result)
            }));
        }
        let mut outcomes = Vec::new();
        for claim in claims {
            outcomes.push(claim.await.expect("a racer does not panic"));
        }
        let read = honest.read().await.unwrap();
        let mut winners = Vec::new();
        for (number, new, result) in &outcomes {
            let settled = settle(read.as_ref(), now.as_ref(), new);
            match result {
                WriteResult::Won => assert_eq!(settled, Settled::Mine, "round {round}"),
                WriteResult::Lost => assert_eq!(settled, Settled::Others, "round {round}"),
                WriteResult::Unknown(_) => assert_eq!(number % 2, 0, "round {round}"),
            }
            if settled == Settled::Mine {
                winners.push(*number);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        by_the_deaf += usize::from(winners[0] % 2 == 0);
        now = read;
    }
    let name = format!("wins_of_20_without_an_answer_{}", kind.name());
    figure(&name, by_the_deaf);
}

async fn an_answer_that_tcp_cuts_off_is_unknown_and_a_read_settles_it(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::LoseAnswer).await;
    let honest = register(&settings(&server));
    let mut settings = settings(&server);
    (settings.server, settings.tcp) = (relay.address, true);
    let lossy = register(&settings);

    let new = claim(None, "lb1");
    let result = lossy.write(None, &new, &ips(&["192.0.2.1"])).await;
    assert_eq!(result, WriteResult::Unknown(RegisterError::Closed));
    assert_eq!(relay.questions(), 1);
    let read = honest.read().await.unwrap();
    assert_eq!(settle(read.as_ref(), None, &new), Settled::Mine);
}

/// What a retransmission, or a network that duplicates, does.
async fn a_claim_delivered_twice_looks_lost_and_a_read_settles_it(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::Twice).await;
    let honest = register(&settings(&server));
    let mut settings = settings(&server);
    settings.server = relay.address;
    let doubled = register(&settings);

    let mut now = None;
    for round in 0..50 {
        let new = claim(now.as_ref(), "lb1");
        let result = doubled
            .write(now.as_ref(), &new, &ips(&["192.0.2.1"]))
            .await;
        assert_eq!(result, WriteResult::Lost, "round {round}");
        let read = honest.read().await.unwrap();
        assert_eq!(settle(read.as_ref(), now.as_ref(), &new), Settled::Mine);
        now = read;
    }
    assert_eq!(now.unwrap().claim.term.0, 50);
}

async fn a_forged_answer_does_not_keep_the_real_one_out(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::ForgedFirst).await;
    let mut settings = settings(&server);
    settings.server = relay.address;
    let register = register(&settings);
    let new = claim(None, "lb1");
    let result = register.write(None, &new, &ips(&["192.0.2.1"])).await;
    assert_eq!(result, WriteResult::Won);
    assert_eq!(register.read().await, Ok(Some(new)));
}

async fn an_answer_from_elsewhere_is_not_heard(kind: Kind) {
    let server = Server::start(kind);
    let relay = Relay::to(server.address, Fate::OtherPort).await;
    let mut settings = settings(&server);
    (settings.server, settings.timeout) = (relay.address, SHORT);
    let register = register(&settings);
    let result = register
        .write(None, &claim(None, "lb1"), &ips(&["192.0.2.1"]))
        .await;
    assert_eq!(result, WriteResult::Unknown(RegisterError::TimedOut));
}

/// The server stands still, the claim waits in its socket, another node
/// claims first when it goes on, or after: one of the two wins.
async fn a_late_claim_cannot_win_against_a_newer_one(kind: Kind) {
    use rustix::process::Signal;
    let server = Server::start(kind);
    let honest = register(&settings(&server));
    let mut settings = settings(&server);
    settings.timeout = SHORT;
    let hasty = register(&settings);
    let mut now = None;
    for round in 0..5 {
        let late = claim(now.as_ref(), "lb1");
        server.signal(Signal::STOP);
        let result = hasty.write(now.as_ref(), &late, &ips(&["192.0.2.1"])).await;
        assert_eq!(result, WriteResult::Unknown(RegisterError::TimedOut));
        server.signal(Signal::CONT);
        let newer = claim(now.as_ref(), "lb2");
        let result = honest
            .write(now.as_ref(), &newer, &ips(&["192.0.2.2"]))
            .await;
        let read = honest.read().await.unwrap();
        let late = settle(read.as_ref(), now.as_ref(), &late);
        let newer = settle(read.as_ref(), now.as_ref(), &newer);
        let verdicts = (result, late, newer);
        assert!(
            matches!(
                verdicts,
                (WriteResult::Won, Settled::Others, Settled::Mine)
                    | (WriteResult::Lost, Settled::Mine, Settled::Others)
            ),
            "round {round}: {verdicts:?}"
        );
        now = read;
    }
}
