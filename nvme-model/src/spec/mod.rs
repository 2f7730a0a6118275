//! What the specification lays down in bytes: registers, queue entries, identify pages, logs, statuses.
//!
//! Citations in this crate name sections and figures of three texts, all ratified on 2 June 2021:
//!
//! - "Base": *NVM Express Base Specification, Revision 2.0*,
//! - "NVM": *NVM Express NVM Command Set Specification, Revision 1.0*,
//! - "PCIe": *NVMe over PCIe Transport Specification, Revision 1.0*.
//!
//! Later revisions may number sections and figures otherwise.
//!
//! Nothing here does anything: these are views and values, shared by the driver and the software
//! controller, which share no other code.
//!
//! Three kinds of things:
//!
//! - *wire structures* ([`SubmissionEntry`], [`IdentifyController`], ...) are `repr(C)`, made of
//!   little-endian unaligned integers, so that any byte slice of the right length is a valid one;
//! - *bit fields* ([`Capabilities`], [`ReadWriteFlags`], ...) wrap one integer already in native order;
//! - *open enums* ([`AdminOpcode`], [`StatusCode`], ...) wrap an integer, name the values the
//!   specification names and keep all others, because the other side may be newer than we are.

mod open_enum;

mod command;
mod effects;
mod feature;
mod identify;
mod log_page;
mod nvm;
mod opcode;
mod registers;
mod status;

pub use command::*;
pub use effects::*;
pub use feature::*;
pub use identify::*;
pub use log_page::*;
pub use nvm::*;
pub use opcode::*;
pub use registers::*;
pub use status::*;

#[cfg(test)]
mod layout_tests;
