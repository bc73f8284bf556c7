//! Every seed, and every input that once broke something, without an engine:
//! an ordinary test.
#![allow(missing_docs)]

use std::path::Path;

use tandem_fuzz::{TARGETS, Target};

fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let Ok(files) = std::fs::read_dir(folder.join(target.name)) else {
        return Vec::new();
    };
    files
        .map(|it| std::fs::read(it.unwrap().path()).unwrap())
        .collect()
}

fn all_but_the_planted() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().filter(|it| !it.is_planted())
}

#[test]
fn seeds_and_what_is_close_to_them_break_nothing() {
    for target in all_but_the_planted() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            assert!(seed.len() <= target.longest, "{}", target.name);
            (target.check)(&seed);
            for at in 0..seed.len().min(64) {
                (target.check)(&seed[..at]);
                let mut other = seed.clone();
                other[at] ^= 1 << (at % 8);
                (target.check)(&other);
            }
        }
    }
}

#[test]
fn what_once_broke_something_does_not_any_more() {
    for target in all_but_the_planted() {
        for input in regressions(target) {
            (target.check)(&input);
        }
    }
}

#[test]
fn regressions_belong_to_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        let is_known = name == "README.md" || Target::of(name).is_some();
        assert!(is_known, "there is no target {name}");
    }
}

#[test]
#[should_panic(expected = "the planted fault")]
fn the_planted_fault_is_there() {
    let planted = TARGETS.iter().find(|it| it.is_planted()).unwrap();
    (planted.check)(b"TDM1\xee");
}
