//! The Outboard agent: no_std, sans-I/O, runs uploaded programs beside the drive.
//!
//! One [`agent::Agent`] owns a network stack, an NVMe driver and every pool, and is moved on
//! by calling its `turn`. It has no thread, no clock and no random source of its own, so the
//! same code runs bare-metal on a board, in a simulator and in a fuzzer.
//!
//! It uses `alloc` for making its pools and never after that: the limits in [`limits`] are
//! all there is.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod agent;
pub mod board;
mod calls;
pub mod code;
pub mod diagnosis;
mod drive;
pub mod execution;
mod fmt;
mod health;
pub mod helpers;
pub mod invocation;
mod last_resort;
mod led;
pub mod limits;
pub mod management;
mod map_requests;
pub mod maps;
pub mod net;
pub mod objects;
pub mod program_store;
pub mod queue;
mod receive;
pub mod reply;
pub mod request;
pub mod session;
pub mod shares;
pub mod slabs;
pub mod telemetry;
pub mod tenant;
mod upkeep;

pub use agent::{Agent, AgentConfig, StartError, Turn};
