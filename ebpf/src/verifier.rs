//! The proof of a program's memory accesses, before it runs.
//!
//! An abstract interpreter: it follows every way through a program that passed the
//! [check](crate::check()), and knows of each register and of places on the stack whether they
//! hold a number (its bits and ranges, a [`Scalar`]), an address in a region or in a value of a map,
//! or the name of a map, and which of them are equal but for a known distance. So it finds for each
//! access the region and the bytes that it can touch:
//!
//! - inside, with the right: *proved*, and runs without a check;
//! - not bounded well enough: *guarded*, and checked when it runs;
//! - no address, no right, nothing there to read, a pointer that would leave the program:
//!   the program is [refused](Refusal), in plain words.
//!
//! [`Verifier`] has the memory and takes the steps; it neither allocates nor recurs, and ends
//! after the work of [`WORK_MAX`](crate::limits::WORK_MAX) instructions at the latest. Loops need no bound:
//! the meter stops them. What comes out is a [`Verified`], which holds code and proof together.
//!
//! # What a proof rests on
//!
//! A proved access is not looked at again, so all of this must be so in every run:
//!
//! - the code is the code of the [`Verified`], entered at one of its entries with r1 as the
//!   context's address ([`State::start_verified`](crate::State::start_verified)), and nothing else
//!   has run on that state or written to it;
//! - the memory meets the [`Environment`]: [`Environment::is_met_by`];
//! - helpers keep to their [`HelperSignature`]: they write to no argument but those that it says,
//!   of the stack only the bytes that it says, and return what it says. Bytes of other regions may
//!   change at any time, for every load from them is unknown.
//!
//! # Why a guard is enough
//!
//! A guarded access may do no more than a proved one could: it must not read an address as a
//! number, nor bytes that nothing was put in, nor change what the proof counts on.
//!
//! *It is held to where it belongs.* An address that was moved far enough has another region's tag.
//! So the plan says of each guarded access which region it is for, and engines refuse all others.
//! Where different ways lead to one access with addresses in different regions, it is held to the
//! regions of numbers; if one of its own is the context or the stack, the program is refused
//! (`found.rs`). So what is guarded and is not for the stack does not touch the stack.
//!
//! *On the stack* an access that cannot be bounded may hit any byte of the region, other frames'
//! too, or none. Reading: every byte that it may hit must be initialised on all ways here and part
//! of no address, or the program is refused; the bytes of frames that are gone, or not yet there, are
//! not initialised. Writing: addresses are never stored at a place that is not one number, and a
//! number stored there makes of every place that it may hit plain bytes, and of every address that
//! it may hit, even in part, bytes that may not be read. So no address is ever read that was not
//! stored as one, whole. The registers that local calls put aside are not in that memory.
//!
//! *The context* is read-only, and where it has addresses it is read at known places alone.
//!
//! *Behind a guard* the address is known to have been inside, and so are its copies, if there was no
//! other region that it could have strayed to.
//!
//! *Helpers* look at addresses alone, and know of no region that an argument belongs to. So a buffer
//! must be sure to start in its own region or in none; on the stack its place and length are
//! numbers known beforehand.
//!
//! # Data of any length
//!
//! The data of a scan has a length that is not known beforehand, but is one number for as long as
//! the program runs. `slack.rs` has how addresses and numbers are measured by it.

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
pub use verified::{Guard, ProofId, Unbounded, Verified};
