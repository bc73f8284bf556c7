//! The `tandem` binary: parse, run, exit.

fn main() {}
