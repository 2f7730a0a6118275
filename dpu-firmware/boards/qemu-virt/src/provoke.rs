//! Ways to go wrong on purpose, so that a test can see how a bad end is told.
#![allow(unsafe_code)] // One of the ways is to read what is not there.

use alloc::boxed::Box;
use core::hint::black_box;

use crate::options::Provoke;

/// Goes wrong, if that was asked for.
pub(crate) fn provoke(way: Option<Provoke>) {
    match way {
        None => {}
        Some(Provoke::Panic) => panic!("provoked"),
        Some(Provoke::Fault) => fault(),
        Some(Provoke::Stack) => drop(black_box(dig(0))),
        Some(Provoke::Heap) => drop(black_box(Box::new(7))),
    }
}

fn fault() {
    let nothing = core::ptr::without_provenance::<u64>(0x7f_0000_0008);
    // SAFETY: the page tables map nothing there, so this ends in an exception, which is what is
    // wanted of it.
    unsafe { nothing.read_volatile() };
}

/// Calls itself until the stack is full.
#[inline(never)]
fn dig(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX {
        return 0;
    }
    dig(depth + 1) + black_box(room[0])
}
