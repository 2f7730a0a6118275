//! The proof of a program's memory accesses, before it runs.
//!
//! An abstract interpreter: it follows every way through a program that passed the
//! [check](crate::check()), and knows of each register and of places on the stack whether they
//! hold a number (its bits and ranges, a [`Scalar`]) or an address in a region, and which of them
//! are equal. So it finds for each access the region and the bytes that it can touch:
//!
//! - inside, with the right: *proved*, and runs without a check;
//! - not bounded well enough: *guarded*, and checked when it runs;
//! - no address, no right, nothing there to read, a pointer that would leave the program:
//!   the program is [refused](Refusal), in plain words.
//!
//! [`Verifier`] has the memory and takes the steps; it neither allocates nor recurs, and ends
//! after [`STEPS_MAX`](crate::limits::STEPS_MAX) instructions at the latest. Loops need no bound:
//! the meter stops them.
//!
//! What is not here: maps, and bounds of the data of a scan, whose length is not known beforehand
//! (accesses to it are guarded).

mod arithmetic;
mod branch;
mod calls;
#[cfg(feature = "canary")]
pub mod canary;
#[cfg(not(feature = "canary"))]
#[allow(dead_code, unreachable_pub)] // Nobody takes a rule out.
mod canary;
mod compare;
mod environment;
mod fixpoint;
mod flow;
mod found;
mod refusal;
mod scalar;
mod slack;
#[cfg(test)]
mod soundness;
mod span;
mod stack;
mod state;
mod tnum;
mod touch;
mod transfer;
mod value;
mod verified;

pub use environment::{
    Argument, ContextLayout, ContextPointer, Environment, HelperSignature, Length, Returns,
};
pub use fixpoint::{Kept, Progress, Verifier};
pub use refusal::{Refusal, RefusalKind};
pub use scalar::Scalar;
pub use span::Span;
pub use tnum::Tnum;
pub use value::{Kind, Known, Lookup, Unusable};
pub use verified::{Guard, ProofId, Verified};
