//! The third engine: machine code, made by this crate for x86-64 and aarch64.
//!
//! ```text
//!  Program, AccessPlan ─▶ Job::step … ─▶ code in a CodeMemory, and a table: slot ─▶ code
//!                                             │ sealed
//!        State, Memory, Host ─▶ run_compiled ◀┘ ─▶ Outcome      run_proved, if something is proved
//! ```
//!
//! Nothing is allocated: the code goes to an area that the caller gives, and so does the table. An
//! encoder writes bytes and compiles on every host; only [`run_compiled`] needs the machine.
//!
//! # A compilation
//!
//! [`Job`] goes over the program's slots a few times, each time in order, so it can be done in steps
//! and costs the same for each slot. Two *surveys* find labels, loops, the registers
//! that occur and the regions that are touched most. Then the architecture's emitter runs over
//! the slots again and again with the same decisions: first it only counts, later it writes. The
//! table holds what the pass before has found out of where each slot's code begins, so jumps
//! forward need no list of places to mend, and short ones are known to be short. A pass that writes
//! and finds a slot at another place than the pass before is a fault of the emitter's, and ends the
//! compilation.
//!
//! # The machine and its registers
//!
//! Native code is entered with a pointer to a `Machine`, which has the registers r0 to r10
//! as the state has them, the fuel, the regions and the reason for having come back. While it runs,
//! r0 to r9 are in native registers, as far as the program mentions them, and so is the fuel.
//! Registers that the program leaves free hold the bases of the regions it touches most. r10 is never
//! held as a number: a register holds the native address of the frame's end instead, so an access
//! to the frame is one instruction, and where the program wants r10 as a value it is computed. A
//! program sees the same numbers as in every engine, and no native address ever.
//!
//! Addresses are `tag << 32 | offset`. For each region the machine has its *base*, which the offset
//! is added to, and its *delta*, the base less the tag, which the whole address is added to.
//!
//! | access | what is emitted |
//! |---|---|
//! | proved | address + delta |
//! | proved, to be masked | the address's lower half + base, and a comparison with the limit for conditional moves |
//! | guarded | a comparison of the tag with what is allowed, of the lower half with the region's limit; then as proved |
//!
//! The limit of a region for accesses of n bytes is the number of offsets they may start at.
//!
//! # Speculation
//!
//! Where others have memory on this machine ([`Isolation::Shared`](crate::Isolation)), every access
//! but those at a fixed offset from r10 is masked, so that nothing of theirs gets into what the processor
//! speculates. Offsets are beyond the limit only where it speculates on a way that the program does
//! not take. There a conditional move, which is not speculated about, makes the offset of a store 0;
//! of a load it makes the *value* 0, before anything can depend on it: the load need not wait for the
//! comparison then, and where it reads tells nothing but the address, which the program has anyhow.
//! Guarded accesses have the offset masked in either case.
//!
//! # The meter, slices and suspension
//!
//! A taken jump back subtracts its price from the fuel and goes on unless that became negative;
//! then the code leaves, and Rust decides whether the budget is short (then the price is taken back
//! and the run ends at the jump) or the run yields at the target. A local call does likewise. So the
//! code on the way has one subtraction and one jump for the meter, and knows nothing of budgets.
//!
//! Native code leaves for helpers too: Rust makes the call as the other engines do, and enters
//! again behind it, through the table. It may as well not enter again: all there is to a suspended
//! invocation is its [`State`](crate::State), in which no native address occurs. A run can be
//! taken up wherever the referee's can: at a function's start, behind a helper call, at the target of
//! a jump back.
//!
//! A local call pushes a frame of the state's and jumps; the return pops it and jumps through the
//! table. Native code uses no native stack beyond what its entry saves.
//!
//! # Immediates
//!
//! Immediates are not blinded. What blinding defends against is a jump into the middle of an
//! instruction whose bytes the program's author chose. Here a program has no native address to jump
//! to and none to find: its pointers are region and offset, its return addresses are slot numbers
//! that go through a table whose entries all begin instructions, and code is never writable while it can
//! be executed. An attacker would need another fault first, one that diverts the agent's own control
//! flow, in a program of safe Rust; and blinding would cost an instruction and a register at every
//! large number in the loops that this engine is for.

mod aarch64;
mod backend;
mod caches;
pub mod code;
mod error;
mod exit;
mod job;
mod machine;
mod output;
mod run;
mod store;
mod survey;
mod table;
mod target;
mod x86_64;

pub use caches::publish;
pub use code::CodeMemory;
pub use error::JitError;
pub use job::{Job, Layout};
pub use run::{run_compiled, run_proved};
pub use store::{Compiled, JitStore};
pub use target::Target;

/// Entries of the table for a program of so many slots.
#[must_use]
pub const fn table_for(slots: usize) -> usize {
    slots + 1
}
