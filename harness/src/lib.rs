//! Programs by chance through the verifier and every engine, which must agree.
//!
//! ```text
//!  seed ─▶ Case ─▶ check ─▶ verifier ─┬─ accepted: its plan ────┬─▶ referee ─▶ record
//!  (program, setting)                 └─ refused: all guarded ──┘                │
//!                                                     each engine ─▶ compared ◀──┤
//!                        accepted: the referee again, all addresses others ◀─────┘
//! ```
//!
//! What must hold of every case:
//!
//! - no access faults that was proved, and no proved program faults but at a guarded access;
//! - every engine does what the referee does, slice by slice: outcome, r0 to r10, depth, slot,
//!   meter, helper calls, and in the end every byte of memory, that of nobody included; and so do
//!   all of them in turn, each going on where another paused;
//! - what a proved program leaves behind does not depend on where its memory lies, nor on what
//!   registers and stack held before: a pointer that leaks, and what was never written, is seen by
//!   running the program once more with all addresses shifted.
//!
//! The crate is `no_std` without its feature `std`, so that it runs bare and in fuzzers too;
//! everything comes from a [`source::Source`], and a case is named by a seed and a number.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod arena;
pub mod case;
#[cfg(feature = "std")]
pub mod code;
pub mod compare;
pub mod engine;
mod grammar;
pub mod helpers;
pub mod minimise;
pub mod mutate;
pub mod setting;
pub mod source;
pub mod stub;
pub mod tally;

pub use case::Case;
pub use compare::{Finding, Harness, Ran, Standing};
