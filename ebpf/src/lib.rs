//! eBPF as RFC 9669 has it: images, checks, meter, interpreter, the engine seam.
//!
//! A program arrives as an [`Image`], a flat run of bytes that nobody trusts. Its code is checked
//! for structure by [`check()`], which yields a [`Checked`]; a [`Program`] joins the two, and
//! [`run`] executes it over a [`Memory`] of named regions, on behalf of a [`Host`] that provides
//! the helpers, until it exits, waits for the host, has used its slice, or is stopped.
//!
//! ```text
//!  bytes ─▶ Image::parse ─▶ slots ─▶ check ─▶ Checked ─▶ Program
//!                                                           │
//!                          State, Memory, Host ─▶ run ◀─────┘ ─▶ Outcome
//! ```
//!
//! Three promises hold for any bytes whatever, checked or not, that the referee runs: no access leaves the regions it was
//! given, the meter bounds how long a program runs, and everything that goes wrong is a value that
//! names the instruction. There is no allocation in the crate, and no clock.
//!
//! `unsafe` is denied but in modules that open with a word on why: `regions`, all of [`fast`]
//! except what chooses functions for operations, and what of [`jit`] runs machine code, which reach
//! registers and proved memory without checks; and, for tests, `AccessPlan::assume` and the
//! verifier's canary, which say of something that it is proved which nobody proved.
//!
//! [`run`] is the referee: it checks every access. The [`verifier`] proves beforehand what accesses
//! touch, and the second engine, [`fast`], runs a decoded form and checks those that an
//! [`AccessPlan`] does not call proved. The third, [`jit`], makes machine code of a program.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod abi;
pub mod access;
#[cfg(feature = "asm")]
pub mod asm;
pub mod check;
pub mod decode;
pub mod diagnosis;
mod disassemble;
pub mod engine;
pub mod fast;
pub mod fault;
mod helper_call;
pub mod host;
pub mod image;
#[cfg(feature = "std")]
pub mod image_builder;
pub mod instruction;
pub mod interpreter;
pub mod isa;
pub mod jit;
pub mod limits;
pub mod maps;
pub mod memory;
pub mod meter;
pub mod program;
#[cfg(feature = "rbpf")]
pub mod rbpf_engine;
mod regions;
mod semantics;
pub mod state;
pub mod verifier;

pub use access::{Access, AccessPlan, Allowed};
pub use check::{
    Checked, Function, Refusal, RefusalKind, Resources, check, check_image, check_with,
};
pub use decode::{Field, Malformed};
pub use engine::{Engine, Interpreter};
pub use fast::{Decoded, Isolation, Op, run_decoded};
pub use fault::{Fault, FaultKind, Outcome};
pub use host::{HelperResult, HelperSpec, Host, NoHost};
pub use image::{EntryKind, Image, ImageError, ImageHeader, MapSpec};
#[cfg(feature = "std")]
pub use image_builder::ImageBuilder;
pub use instruction::Instruction;
pub use interpreter::{run, run_planned};
pub use jit::{CodeMemory, Compiled, JitError, JitStore};
pub use maps::{Map, MapError, MapKind, MapOpError, MapShape};
pub use memory::{AccessFault, AccessReason, MapIndex, Memory, RegionId, Right};
pub use program::Program;
#[cfg(feature = "rbpf")]
pub use rbpf_engine::RbpfEngine;
pub use state::State;
