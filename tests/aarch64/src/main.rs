//! The engines on aarch64: a static ELF without a C library, for `qemu-aarch64` and for Linux.
//!
//! `cargo xtask test` builds and runs it. Its last line has the form of `cargo test`'s.
#![no_std]
#![no_main]

extern crate alloc;

mod code;
mod conformance;
mod engines;
mod foreign;
mod generated;
mod heap;
mod linux;
mod operations;
mod tally;

use engines::Engines;
use generated::Range;
use tally::Tally;

/// Programs by chance, where the command line does not say how many, and which.
const DEFAULT: Range = Range {
    seed: 1,
    programs: 5_000,
};

/// All of it. `arguments` are the addresses of the command line's words: the program's name, how
/// many programs by chance are tried, and their seed.
fn main(arguments: &[usize]) -> ! {
    let mut tally = Tally::default();
    let mut engines = Engines::new();
    conformance::run(&mut engines, &mut tally);
    operations::all(&mut engines, &mut tally);
    foreign::run(&mut tally);
    let range = Range {
        programs: linux::argument(arguments, 1).unwrap_or(DEFAULT.programs),
        seed: linux::argument(arguments, 2).unwrap_or(DEFAULT.seed),
    };
    generated::run(&range, &mut tally);
    linux::exit(tally.finish())
}
