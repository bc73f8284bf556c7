//! Many claim at once; each term has one holder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem::dns::register::{Register as _, WriteResult};
use tandem::dns::rfc2136::Rfc2136;
use tandem::types::Registered;
use tokio::sync::Barrier;

use crate::kit::server::{Kind, Server};
use crate::kit::{PUBLIC, beat, claim, figure, ips, percentile, register, settings};
use crate::on_both;

on_both! {
    two_racers_have_one_winner
    two_racers_over_tcp_have_one_winner
    eight_racers_have_one_winner
    racers_that_each_read_first_have_one_winner_per_term
    an_undisturbed_claim_is_quick
}

const ROUNDS: usize = 100;

async fn two_racers_have_one_winner(kind: Kind) {
    race(kind, 2, false).await;
}

async fn two_racers_over_tcp_have_one_winner(kind: Kind) {
    race(kind, 2, true).await;
}

async fn eight_racers_have_one_winner(kind: Kind) {
    race(kind, 8, false).await;
}

/// In each round everybody claims over the same state in the same moment.
async fn race(kind: Kind, racers: usize, tcp: bool) {
    let server = Server::start(kind);
    let mut settings = settings(&server);
    settings.tcp = tcp;
    let register = register(&settings);
    let mut now: Option<Registered> = None;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let outcomes = one_round(&register, now.as_ref(), racers).await;
        let won: Vec<_> = outcomes
            .iter()
            .filter(|it| it.1 == WriteResult::Won)
            .collect();
        let lost = outcomes.iter().filter(|it| it.1 == WriteResult::Lost);
        assert_eq!(lost.count(), racers - 1, "round {round}: {outcomes:?}");
        assert_eq!(won.len(), 1, "round {round}: {outcomes:?}");
        let read = register.read().await.expect("the server answers");
        assert_eq!(read.as_ref(), Some(&won[0].0), "round {round}");
        times.push(won[0].2);
        now = read;
    }
    let winner = now.expect("somebody won").claim;
    assert_eq!(winner.term.0, ROUNDS as u64);
    // Racer N publishes 192.0.2.N.
    let number = winner.holder.as_str().trim_start_matches("lb");
    assert_eq!(server.addresses(PUBLIC), [format!("192.0.2.{number}")]);
    let how = if tcp { "tcp" } else { "udp" };
    tell(
        &format!("claim_{}_{how}_{racers}_racers", kind.name()),
        times,
    );
}

async fn one_round(
    register: &Rfc2136,
    now: Option<&Registered>,
    racers: usize,
) -> Vec<(Registered, WriteResult, Duration)> {
    let barrier = Arc::new(Barrier::new(racers));
    let mut tasks = Vec::new();
    for number in 1..=racers {
        let (barrier, register, now) = (Arc::clone(&barrier), register.clone(), now.cloned());
        tasks.push(tokio::spawn(async move {
            let new = claim(now.as_ref(), &format!("lb{number}"));
            let addresses = ips(&[&format!("192.0.2.{number}")]);
            barrier.wait().await;
            let start = Instant::now();
            let result = register.write(now.as_ref(), &new, &addresses).await;
            (new, result, start.elapsed())
        }));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.expect("a racer does not panic"));
    }
    outcomes
}

/// Nobody waits for anybody: claims, beats and reads as they come.
async fn racers_that_each_read_first_have_one_winner_per_term(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let tasks: Vec<_> = (1..=8)
        .map(|number| tokio::spawn(claim_and_beat(register.clone(), number)))
        .collect();
    let mut winners = BTreeMap::new();
    for task in tasks {
        for won in task.await.expect("a racer does not panic") {
            let (term, beat) = (won.claim.term, won.beat);
            let other = winners.insert((term, beat), won);
            assert_eq!(other, None, "term {term}, beat {beat} has two winners");
        }
    }
    let read = register.read().await.expect("the server answers");
    let last = winners.pop_last().expect("somebody won").1;
    assert_eq!(read, Some(last));
    figure(
        &format!("wins_of_400_{}_free_race", kind.name()),
        winners.len() + 1,
    );
}

async fn claim_and_beat(register: Rfc2136, number: usize) -> Vec<Registered> {
    let me = format!("lb{number}");
    let addresses = ips(&[&format!("192.0.2.{number}")]);
    let mut won = Vec::new();
    for _ in 0..50 {
        let now = register.read().await.expect("the server answers");
        let new = match &now {
            Some(held) if held.claim.holder.as_str() == me => beat(held),
            Some(_) | None => claim(now.as_ref(), &me),
        };
        match register.write(now.as_ref(), &new, &addresses).await {
            WriteResult::Won => won.push(new),
            WriteResult::Lost => {}
            WriteResult::Unknown(error) => panic!("{error}"),
        }
    }
    won
}

async fn an_undisturbed_claim_is_quick(kind: Kind) {
    let server = Server::start(kind);
    for tcp in [false, true] {
        let mut settings = settings(&server);
        settings.tcp = tcp;
        let register = register(&settings);
        let mut now = register.read().await.expect("the server answers");
        let (mut claims, mut reads) = (Vec::new(), Vec::new());
        for round in 0..200 {
            let new = claim(now.as_ref(), ["lb1", "lb2"][round % 2]);
            let addresses = ips(&[["192.0.2.1", "192.0.2.2"][round % 2]]);
            let start = Instant::now();
            let result = register.write(now.as_ref(), &new, &addresses).await;
            claims.push(start.elapsed());
            assert_eq!(result, WriteResult::Won);
            let start = Instant::now();
            now = register.read().await.expect("the server answers");
            reads.push(start.elapsed());
            assert_eq!(now, Some(new));
        }
        let how = if tcp { "tcp" } else { "udp" };
        tell(&format!("claim_{}_{how}", kind.name()), claims);
        tell(&format!("read_{}_{how}", kind.name()), reads);
    }
}

fn tell(name: &str, mut times: Vec<Duration>) {
    let p50 = percentile(&mut times, 50);
    let p99 = percentile(&mut times, 99);
    figure(
        name,
        format_args!("p50 {p50:.1?} p99 {p99:.1?} n {}", times.len()),
    );
}
