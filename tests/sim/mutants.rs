//! The checks are checked: each rule that is left out must be missed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tandem::pair::Rules;

use crate::mixes::{Mix, mix_of, run};
use crate::world::Kind;

/// After so many seeds a missing rule should have been missed.
const ENOUGH: u64 = 2_000;

fn is_missed(name: &str, kinds: &[Kind], without: impl Fn(&mut Rules)) {
    is_missed_by(|_| true, name, kinds, without);
}

fn is_missed_by(
    counts: impl Fn(Mix) -> bool,
    name: &str,
    kinds: &[Kind],
    without: impl Fn(&mut Rules),
) {
    let mut rules = Rules::default();
    without(&mut rules);
    assert_ne!(rules, Rules::default());
    let one = crate::number("SEED");
    let seeds = one.map_or(0..ENOUGH, |it| it..it + 1);
    for seed in seeds.filter(|it| counts(mix_of(*it))) {
        for kind in kinds {
            let result = catch_unwind(AssertUnwindSafe(|| run(*kind, seed, rules, one.is_some())));
            let why = match result {
                Ok(Ok(_)) => continue,
                Ok(Err(why)) => why,
                Err(_) => "an invariant does not hold".to_owned(),
            };
            println!(
                "without {name}: {kind:?} seed {seed} ({:?}): {why}",
                mix_of(seed)
            );
            return;
        }
    }
    panic!("nothing fails without {name}");
}

#[test]
fn death_needs_two_kinds_of_evidence() {
    is_missed("two_kinds", &[Kind::Embedded], |it| it.two_kinds = false);
}

#[test]
fn whom_another_hears_is_not_dead() {
    is_missed("hearsay", &[Kind::Embedded3], |it| it.hearsay = false);
}

#[test]
fn whom_the_file_does_not_name_is_heard() {
    is_missed_by(
        |it| it == Mix::Strangers,
        "strangers",
        &[Kind::Embedded, Kind::Cas2],
        |it| it.strangers = false,
    );
}

#[test]
fn a_tie_is_broken() {
    is_missed("tie_break", &[Kind::Embedded], |it| it.tie_break = false);
}

#[test]
fn a_functional_holder_keeps_the_name() {
    is_missed("no_preemption", &[Kind::Embedded], |it| {
        it.no_preemption = false
    });
}

#[test]
fn a_recording_is_no_life() {
    is_missed("fresh_lives", &[Kind::Embedded], |it| {
        it.fresh_lives = false
    });
}

#[test]
fn moves_are_damped() {
    // Those who look sick, and those who get the name back.
    for mix in [Mix::Flap, Mix::Restless] {
        let kinds = [Kind::Embedded, Kind::Cas2];
        is_missed_by(|it| it == mix, "damping", &kinds, |it| it.damping = false);
    }
}

#[test]
fn a_hand_over_has_a_term_of_its_own() {
    is_missed("hand_over_new_term", &[Kind::Embedded], |it| {
        it.hand_over_new_term = false;
    });
}

#[test]
fn the_sick_do_not_claim() {
    is_missed("fit_to_claim", &[Kind::Embedded], |it| {
        it.fit_to_claim = false
    });
}

#[test]
fn a_write_without_answer_is_unknown() {
    is_missed("unknown_is_unknown", &[Kind::Cas2], |it| {
        it.unknown_is_unknown = false
    });
}

#[test]
fn beats_are_a_sign_of_life() {
    is_missed("beats_count", &[Kind::Cas2], |it| it.beats_count = false);
}

#[test]
fn a_challenger_waits_for_the_lease() {
    is_missed("lease_waits", &[Kind::Lease], |it| it.lease_waits = false);
}

#[test]
fn a_lease_counts_from_before_its_renewal() {
    is_missed("lease_from_send", &[Kind::Lease], |it| {
        it.lease_from_send = false
    });
}

#[test]
fn exclusiveness_ends_before_the_hand_over() {
    is_missed("drop_first", &[Kind::Lease], |it| it.drop_first = false);
}

#[test]
fn what_failed_during_a_cut_is_forgotten() {
    is_missed("return_resets", &[Kind::Embedded], |it| {
        it.return_resets = false
    });
}
