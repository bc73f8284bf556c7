//! Elections in a bad world: thousands of runs, each from one number.
//!
//! `SEED=n cargo test --test sim` replays a run and tells what happened;
//! `SEEDS=n` widens the sweep. The seeds in `seeds.txt` have failed once and
//! run first.
#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod checks;
mod files;
mod mixes;
mod mutants;
mod orders;
mod parts;
mod roles;
mod world;

use std::env;

use mixes::{Death, Figures, mix_of, run};
use tandem::pair::Rules;
use world::{Kind, MS};

const SEEDS: u64 = 2_000;

#[test]
fn embedded() {
    sweep(Kind::Embedded);
}

#[test]
fn three_nodes_embedded() {
    sweep(Kind::Embedded3);
}

#[test]
fn two_nodes_with_a_register() {
    sweep(Kind::Cas2);
}

#[test]
fn three_nodes_with_a_register() {
    sweep(Kind::Cas3);
}

#[test]
fn two_nodes_with_leases() {
    sweep(Kind::Lease);
}

pub fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn sweep(kind: Kind) {
    let once: Vec<u64> = include_str!("seeds.txt")
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let one = number("SEED");
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => once
            .into_iter()
            .chain(0..number("SEEDS").unwrap_or(SEEDS))
            .collect(),
    };
    let mut all = Vec::new();
    let mut failures = Vec::new();
    for seed in seeds {
        match run(kind, seed, Rules::default(), one.is_some()) {
            Ok(figures) => all.push(figures),
            Err(why) => failures.push((seed, why)),
        }
    }
    report(kind, &all);
    let shown: Vec<String> = failures
        .iter()
        .take(10)
        .map(|(seed, why)| {
            format!(
                "SEED={seed} cargo test --test sim -- --nocapture  # {kind:?} {:?}: {why}",
                mix_of(*seed)
            )
        })
        .collect();
    let n = failures.len();
    assert!(
        failures.is_empty(),
        "{n} of {} runs failed:\n{}",
        n + all.len(),
        shown.join("\n")
    );
}

fn report(kind: Kind, all: &[Figures]) {
    let moves: u32 = all.iter().map(|it| it.moves).sum();
    let later: u32 = all.iter().map(|it| it.moves_since_heal).sum();
    let mut agreed: Vec<u64> = all.iter().map(|it| it.agreed_after / MS).collect();
    let takeovers = |death| {
        let took = all.iter().filter_map(|it| it.takeover);
        let mut took: Vec<u64> = took
            .filter(|it| it.0 == death)
            .map(|it| it.1 / MS)
            .collect();
        middle_and_most(&mut took)
    };
    println!(
        "{kind:?}: {} runs, {moves} moves, {later} after the heal; agreed after (median, most) {:?} ms; \
         takeover: process {:?} ms, host {:?} ms",
        all.len(),
        middle_and_most(&mut agreed),
        takeovers(Death::Process),
        takeovers(Death::Host),
    );
}

fn middle_and_most(all: &mut [u64]) -> (u64, u64) {
    all.sort_unstable();
    let middle = all.get(all.len() / 2).copied();
    (
        middle.unwrap_or_default(),
        all.last().copied().unwrap_or_default(),
    )
}
