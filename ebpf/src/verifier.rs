//! The proof of a program's memory accesses, before it runs.
//!
//! What is here so far is what can be known of numbers: [`Scalar`], what instructions do to it
//! and what conditional jumps say about it.

mod arithmetic;
mod compare;
pub mod scalar;
pub mod span;
pub mod tnum;

pub use scalar::Scalar;
pub use span::Span;
pub use tnum::Tnum;
