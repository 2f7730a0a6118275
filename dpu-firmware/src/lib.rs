//! The Outboard agent: no_std, sans-I/O, runs uploaded programs beside the drive.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod net;
