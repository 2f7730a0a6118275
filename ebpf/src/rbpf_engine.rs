//! rbpf 0.4.1 behind the engine seam: a second opinion for tests, a baseline for benches.
//!
//! It is limited, and says so with [`FaultKind::Engine`] where it cannot help:
//!
//! - it starts at slot 0, from a state that has not run yet, and runs to the end: it knows neither
//!   budget nor slice, so only programs that are known to end may be given to it;
//! - it charges nothing: the meter stays where it was;
//! - there are no helpers, since rbpf's get no context;
//! - r1 must be 0 or point to the start of a region, which is the only memory besides the stack;
//!   the region is a native buffer meanwhile, so addresses as values differ; r2 is not passed on;
//! - where rbpf reports an error, the fault names instruction 0, for it does not say which.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

use crate::engine::Engine;
use crate::fault::{Fault, FaultKind, Outcome};
use crate::host::Host;
use crate::instruction::Instruction;
use crate::isa::Slot;
use crate::memory::{Memory, RegionId};
use crate::program::Program;
use crate::state::{Phase, State};

/// rbpf's interpreter, which takes a program as it is.
#[derive(Clone, Copy, Debug)]
pub struct RbpfEngine<'p>(pub Program<'p>);

impl Engine for RbpfEngine<'_> {
    fn name(&self) -> &'static str {
        "rbpf"
    }

    /// Runs the whole program, whatever the slice.
    fn run<H: Host>(
        &self,
        state: &mut State,
        memory: &mut Memory<'_>,
        _: &mut H,
        _: u32,
    ) -> Outcome {
        let outcome = match state.phase {
            Phase::Ended(outcome) => return outcome,
            Phase::Fresh => execute(&self.0, state, memory).unwrap_or_else(|why| {
                Outcome::Fault(Fault {
                    pc: 0,
                    kind: FaultKind::Engine { why },
                })
            }),
            Phase::Ready | Phase::Waiting => {
                let why = "the program has begun in another engine";
                Outcome::Fault(Fault {
                    pc: 0,
                    kind: FaultKind::Engine { why },
                })
            }
        };
        state.phase = Phase::Ended(outcome);
        outcome
    }
}

/// Runs rbpf over a copy of the region that r1 points to.
fn execute(
    program: &Program<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
) -> Result<Outcome, &'static str> {
    if state.pc != 0 {
        return Err("the entry is not at slot 0");
    }
    refuse_what_it_cannot(program.slots())?;
    let code: Vec<u8> = program
        .slots()
        .iter()
        .flat_map(|slot| slot.to_le_bytes())
        .collect();
    let r1 = state.r[1];
    let mut bytes = match RegionId::of(r1) {
        None if r1 == 0 => Vec::new(),
        Some(region) if r1 == Memory::address(region, 0) => memory.region(region).to_vec(),
        _ => return Err("r1 is not the start of a region"),
    };
    // It panics on some programs, and in builds with overflow checks on some numbers.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let vm =
            rbpf::EbpfVmRaw::new(Some(&code)).map_err(|_| "its verifier refuses the program")?;
        vm.execute_program(&mut bytes)
            .map_err(|_| "it reports an error")
    }));
    let r0 = result.unwrap_or(Err("it panicked"))?;
    if let Ok(region) = memory.write(r1, bytes.len()) {
        region.copy_from_slice(&bytes);
    }
    state.r[0] = r0;
    Ok(Outcome::Exit { r0 })
}

/// Code that cannot be run by rbpf as it stands, or not safely: what its own verifier accepts may
/// leave the code behind and read beyond it.
fn refuse_what_it_cannot(slots: &[u64]) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(&slot) = slots.get(at) {
        let decoded = Instruction::decode(slot, slots.get(at + 1).copied());
        match decoded.map_err(|_| "the program is malformed")? {
            Instruction::CallHelper { .. } => return Err("the program calls a helper"),
            Instruction::LoadWide { .. } if Slot(slot).src() != 0 => {
                return Err("the program loads a linked address");
            }
            instruction => at += instruction.slots(),
        }
    }
    match slots.last().map(|&slot| Instruction::decode(slot, None)) {
        Some(Ok(Instruction::Exit | Instruction::Jump { .. })) => Ok(()),
        _ => Err("the last instruction is neither an exit nor a jump"),
    }
}
