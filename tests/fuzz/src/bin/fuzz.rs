//! One target under libFuzzer: `FUZZ_TARGET` says which. With `FUZZ_SEEDS` it
//! writes the seeds of every target below that folder instead, and prints each
//! target's name and its longest input.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tandem_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        Target::of(&name).unwrap_or_else(|| panic!("there is no fuzz target {name:?}"))
    })
}

fn write_seeds() {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    for target in TARGETS {
        let folder = Path::new(&folder).join(target.name);
        std::fs::create_dir_all(&folder).expect("the folder for seeds can be made");
        for (at, seed) in (target.seeds)().iter().enumerate() {
            let file = folder.join(format!("seed-{at:03}"));
            std::fs::write(file, seed).expect("a seed can be written");
        }
        println!("{} {}", target.name, target.longest);
    }
    std::process::exit(0);
}

fuzz_target!(init: write_seeds(), |data: &[u8]| (target().check)(data));
