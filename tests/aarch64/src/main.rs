//! The engines on aarch64: a static ELF without a C library, for `qemu-aarch64` and for Linux.
//!
//! `cargo xtask test` builds and runs it. Its last line has the form of `cargo test`'s.
#![no_std]
#![no_main]

extern crate alloc;

mod code;
mod conformance;
mod engines;
mod heap;
mod linux;
mod tally;

use engines::Engines;
use tally::Tally;

/// All of it. `_arguments` are the addresses of the command line's words.
fn main(_arguments: &[usize]) -> ! {
    let mut tally = Tally::default();
    let mut engines = Engines::new();
    conformance::run(&mut engines, &mut tally);
    linux::exit(tally.finish())
}
