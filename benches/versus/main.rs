//! tandem beside HAProxy, nginx, no balancer at all, and the kernel's DNAT, on
//! one machine in one interleaved run: `cargo bench --bench versus`.
//!
//! `benches/README.md` says how to run it and how to read what it prints.
//! The same program is the load generator and the backend, in processes of
//! their own, so that the scheduler counts the CPU of each by itself.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod args;
mod backend;
mod cells;
mod child;
mod fault;
mod guard;
mod load;
mod machine;
mod netns;
mod pin;
mod poll;
mod report;
mod rounds;
mod sched;
mod stats;
mod subjects;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Role};
use crate::fault::Fault;

fn main() -> ExitCode {
    let done = match args::role() {
        Role::Serve => backend::serve(),
        Role::Load => load::main(),
        Role::Inside => rounds::run(&Args::parse()),
        Role::Outside => guard::run(&Args::parse()),
    };
    match done {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("versus: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What every role ends with.
type Ended = Result<ExitCode, Fault>;
