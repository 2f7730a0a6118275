//! What is one body over all arms: the model, QEMU's device, and the board.
//!
//! The tests in `drives` run it over the first two, those in `board.rs` over the third.

pub(crate) mod end_to_end;
pub(crate) mod exercise;
pub(crate) mod files;
pub(crate) mod soak;
