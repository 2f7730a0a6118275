//! Running what was decoded, as [`run`](crate::run) runs slots.
#![allow(unsafe_code)] // It starts the handlers, for which it makes a machine that is whole.

use super::op::{At, Halt, Machine};
use super::{Decoded, handed};
use crate::fault::{FaultKind, Outcome};
use crate::helper_call::HelperCall;
use crate::host::Host;
use crate::interpreter::{Fuel, Stop, fault, run_slice, settle};
use crate::limits::FRAMES_MAX;
use crate::memory::Memory;
use crate::regions::RegionTable;
use crate::state::State;

/// Runs an invocation of a program in which nothing counts as proved. All else as
/// [`run`](crate::run), bit for bit.
///
/// A program with proved accesses is not run: it ends in a fault that says so.
#[inline]
pub fn run_decoded<H: Host>(
    decoded: &Decoded<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    if decoded.has_proofs && state.ended().is_none() {
        let why = "its accesses were proved, so it needs the memory they were proved for";
        let stop = fault(state.pc as usize, FaultKind::Engine { why });
        return settle(state, stop, &Fuel::lend(state, 0));
    }
    // SAFETY: nothing is proved.
    unsafe { run_proved(decoded, state, memory, host, slice) }
}

/// Runs an invocation of a program with proved accesses, which are not checked.
///
/// # Safety
/// The plan that the program was decoded with holds for this very code, and what it was proved
/// under holds for this invocation: the state was started for this program, at an entry and with
/// registers as the proof assumes, and has been run as no other program since; and every region
/// of `memory` is there in every run with the rights and at least the bytes the proof counts on.
pub unsafe fn run_proved<H: Host>(
    decoded: &Decoded<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    run_slice(decoded.checked, state, slice, |state, fuel| {
        // SAFETY: the caller vouches for what is proved.
        unsafe { execute(decoded, state, memory, host, fuel) }
    })
}

/// The loop around the handlers. On return `state` holds the registers, and as `pc` what comes
/// next.
///
/// # Safety
/// As [`run_proved`].
unsafe fn execute<H: Host>(
    decoded: &Decoded<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    budget: &mut Fuel,
) -> Stop {
    let slots = decoded.slots();
    if state.pc > slots {
        return fault(state.pc as usize, FaultKind::FellOff);
    }
    const { assert!(FRAMES_MAX > 1) };
    let code = decoded.ops.as_ptr();
    let mut machine = Machine {
        r: state.r,
        regions: RegionTable::new(memory),
        code,
        slots,
        depth: state.depth,
        frames: state.frames.as_mut_ptr(),
        scratch_base: decoded.scratch_base,
        rest: budget.rest,
        halt: Halt::Not,
        last: handed::on_entry(decoded, state),
    };
    let mut at = At {
        op: code.wrapping_add(state.pc as usize),
        fuel: budget.lent,
    };
    let stop = loop {
        // SAFETY: `at.op` is an operation of the program: the state's slot was compared with the
        // slots, and handlers give nothing else unless they halt. The machine is whole: its table
        // was drawn from the memory, which nothing else has used since, and its frames are the
        // state's, which nothing else uses meanwhile.
        at = unsafe { ((*at.op).run)(at.op, &raw mut machine, at.fuel, machine.last) };
        let pc = (at.op.addr().wrapping_sub(code.addr())) / size_of::<super::Op>();
        match machine.halt {
            Halt::Not => {}
            Halt::Exit => break Stop::End(Outcome::Exit { r0: machine.r[0] }),
            Halt::Slice => break Stop::Slice,
            Halt::OutOfBudget => break Stop::OutOfBudget,
            Halt::Fault(kind) => break fault(pc, kind),
            Halt::Denied {
                address,
                bytes,
                right,
            } => {
                let access = memory.explain(address, u64::from(bytes), right);
                break fault(pc, FaultKind::Access(access));
            }
            Halt::Helper => {
                machine.halt = Halt::Not;
                // SAFETY: a helper is called by an operation of the program.
                let helper = unsafe { (*at.op).imm } as u32;
                let mut fuel = at.fuel;
                let mut call = HelperCall {
                    pc: pc as u32,
                    helper,
                    r: &mut machine.r,
                    fuel: &mut fuel,
                    rest: machine.rest,
                };
                let stop = call.make(memory, host);
                at.fuel = fuel;
                if let Some(stop) = stop {
                    break stop;
                }
                // The helper had the memory.
                machine.regions = RegionTable::new(memory);
                at.op = at.op.wrapping_add(1);
                if at.fuel < 0 {
                    break Stop::Slice;
                }
            }
        }
    };
    budget.lent = at.fuel;
    state.r = machine.r;
    state.depth = machine.depth;
    state.pc = ((at.op.addr().wrapping_sub(code.addr())) / size_of::<super::Op>()) as u32;
    stop
}
