//! A software NVMe controller over a block store, with faults on request.
//!
//! [`ModelDevice`] is a drive as the driver meets it: registers, an arena of memory at bus addresses
//! that are no pointers, and a controller that works when it is stepped. It is one value without
//! threads or clock, so a simulation that steps it in virtual time replays bit for bit, and a server
//! that steps it in real time is the same code.
//!
//! # What it does
//!
//! Everything mandatory for an I/O controller of NVMe 2.0 over PCIe: Identify, queue creation and
//! deletion, features, logs, Abort and asynchronous events; Read, Write, Flush, and of the optional
//! commands Compare, Write Zeroes and Dataset Management. Data pointers are PRPs, walked with every
//! address checked. What a command may get wrong is answered with the status that the specification
//! names; what a driver may get wrong at a doorbell raises the event, and a queue whose tail was wrong
//! stands still until it is made anew.
//!
//! # What it leaves out
//!
//! SGLs, metadata and protection information, fused operations, directives, reservations, namespace
//! management, firmware update, security, sanitize, controller memory buffer, weighted arbitration and
//! interrupts (the driver polls).
//!
//! # How it was kept apart from the driver
//!
//! Driver and model share the layouts of [`crate::spec`] and the seam of [`crate::seam`], and no code
//! that handles rings or data pointers: a mistake in one must not be hidden by the same in the other.
//! The model takes nothing from a driver on trust; with [`ModelConfig::coherent`] off it also notices
//! what only non-coherent hardware would.

mod admin;
mod arena;
mod config;
mod controller;
mod device;
mod events;
mod faults;
mod features;
mod fetch;
mod health;
mod identify;
mod io;
mod lifecycle;
pub mod limits;
mod prp;
mod queue;
mod random;
mod registers;
mod sideband;
mod slot;
mod store;
mod thermal;

pub use arena::ModelDma;
pub use config::{ModelConfig, ModelError, NamespaceConfig};
pub use device::{ModelDevice, Step};
pub use faults::{Commands, Fault, FaultPlan, When};
pub use prp::Run;
pub use registers::ModelRegisters;
pub use sideband::{ManagementStatus, Sideband};
pub use store::*;
pub use thermal::Thermal;

#[cfg(test)]
mod tests;
