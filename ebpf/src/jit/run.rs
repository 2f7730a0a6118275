//! Running what was compiled, as [`run`](crate::run) runs slots.
#![allow(unsafe_code)] // It enters native code, for which it makes a machine that is whole.

use core::mem::MaybeUninit;

use super::exit::Exit;
use super::machine::Machine;
use super::store::Compiled;
use crate::fault::{FaultKind, Outcome};
use crate::helper_call::HelperCall;
use crate::host::Host;
use crate::interpreter::{Fuel, Stop, fault, run_slice, settle};
use crate::limits::FRAME_BYTES;
use crate::memory::{Memory, Right};
use crate::meter;
use crate::state::{Frame, State};

/// Runs an invocation of a program in which nothing counts as proved. All else as
/// [`run`](crate::run), bit for bit.
///
/// A program with proved accesses is not run: it ends in a fault that says so.
#[inline]
pub fn run_compiled<H: Host>(
    compiled: &Compiled<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    if compiled.has_proofs() && state.ended().is_none() {
        let why = "its accesses were proved, so it needs the memory they were proved for";
        let stop = fault(state.pc as usize, FaultKind::Engine { why });
        return settle(state, stop, &Fuel::lend(state, 0));
    }
    // SAFETY: nothing is proved.
    unsafe { run_proved(compiled, state, memory, host, slice) }
}

/// Runs an invocation of a program with proved accesses, which are not checked.
///
/// # Safety
/// The plan that the program was compiled with holds for this very code, and what it was proved
/// under holds for this invocation: the state was started for this program, at an entry and with
/// registers as the proof assumes, and has been run as no other program since; and every region
/// of `memory` is there in every run with the rights and at least the bytes the proof counts on.
pub unsafe fn run_proved<H: Host>(
    compiled: &Compiled<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    run_slice(compiled.checked, state, slice, |state, fuel| {
        // SAFETY: the caller vouches for what is proved.
        unsafe { execute(compiled, state, memory, host, fuel) }
    })
}

/// The loop around native code. On return `state` holds the registers, and as `pc` what comes
/// next.
///
/// # Safety
/// As [`run_proved`].
unsafe fn execute<H: Host>(
    compiled: &Compiled<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    budget: &mut Fuel,
) -> Stop {
    let regions = compiled.layout.regions;
    let mut machine = Machine {
        r: state.r,
        fuel: budget.lent,
        frame_end: 0,
        frame: state.frames.as_mut_ptr(),
        depth: state.depth,
        exit: 0,
        detail: 0,
        pc: state.pc,
        zero: 0,
        code: compiled.code,
        table: compiled.table.as_ptr(),
        slots: compiled.slots(),
        regions: MaybeUninit::uninit(),
    };
    let mut stack_end = machine.draw(memory, regions);
    let mut pc = state.pc;
    let stop = loop {
        let Some(&offset) = compiled.table.get(pc as usize) else {
            break fault(pc as usize, FaultKind::FellOff);
        };
        machine.pc = pc;
        machine.frame = state
            .frames
            .as_mut_ptr()
            .wrapping_add(machine.depth as usize);
        machine.frame_end = stack_end.wrapping_sub(u64::from(machine.depth) * FRAME_BYTES as u64);
        // SAFETY: the table's entries lead to where code of the program begins, which can be
        // executed and keeps to the machine. The machine is whole: its regions were drawn from the
        // memory, which nothing else has used since, and its frames are the state's, which
        // nothing else uses meanwhile. The caller vouches for what is proved.
        unsafe { enter(compiled.code, &raw mut machine, offset) };
        match Exit::of(machine.exit) {
            Exit::Return { pc: at } => match pop(state, &mut machine) {
                Popped::Nothing => {
                    pc = at;
                    break Stop::End(Outcome::Exit { r0: machine.r[0] });
                }
                Popped::Frame { return_pc } => pc = return_pc,
                Popped::TooDeep => {
                    pc = at;
                    break fault(at as usize, FaultKind::CallDepth);
                }
            },
            Exit::Helper { pc: at } => {
                pc = at;
                let mut call = HelperCall {
                    pc,
                    helper: machine.detail as u32,
                    r: &mut machine.r,
                    fuel: &mut machine.fuel,
                    rest: budget.rest,
                };
                if let Some(stop) = call.make(memory, host) {
                    break stop;
                }
                pc += 1;
                if machine.fuel < 0 {
                    break Stop::Slice;
                }
                // The helper had the memory.
                stack_end = machine.draw(memory, regions);
            }
            Exit::Jump { pc: from, target } => {
                if is_beyond(machine.fuel, budget.rest) {
                    machine.fuel += meter::jump_cost(from, target) as i64;
                    pc = from;
                    break Stop::OutOfBudget;
                }
                pc = target;
                break Stop::Slice;
            }
            Exit::Call { pc: from, target } => {
                pc = from;
                let price = compiled.checked.function_at(target);
                let price = price.map_or(0, |function| function.len);
                if is_beyond(machine.fuel, budget.rest) {
                    machine.fuel += i64::from(price);
                    break Stop::OutOfBudget;
                }
                if !push(state, &mut machine, from + 1) {
                    break fault(from as usize, FaultKind::CallDepth);
                }
                pc = target;
                break Stop::Slice;
            }
            Exit::Hole => {
                pc = machine.pc;
                if pc >= compiled.slots() {
                    break fault(pc as usize, FaultKind::FellOff);
                }
                let why = "no code begins at this instruction";
                break fault(pc as usize, FaultKind::Engine { why });
            }
            other => {
                let (at, kind) = fault_of(other, machine.detail, memory);
                pc = at;
                break fault(at as usize, kind);
            }
        }
    };
    budget.lent = machine.fuel;
    state.r = machine.r;
    state.r[10] = State::stack_top(machine.depth);
    state.depth = machine.depth;
    state.pc = pc;
    stop
}

/// True if a fuel that has become negative is not covered by the rest of the budget. It is asked at the
/// end of every slice.
#[inline(always)]
const fn is_beyond(fuel: i64, rest: u64) -> bool {
    rest.checked_add_signed(fuel).is_none()
}

/// Where an exit that is a fault stands, and which it is.
#[cold]
fn fault_of(exit: Exit, detail: u64, memory: &Memory<'_>) -> (u32, FaultKind) {
    match exit {
        Exit::CallDepth { pc } => (pc, FaultKind::CallDepth),
        Exit::Denied { pc, bytes, write } => {
            let right = if write { Right::Write } else { Right::Read };
            let access = memory.explain(detail, u64::from(bytes), right);
            (pc, FaultKind::Access(access))
        }
        Exit::Opcode { pc, opcode } => (pc, FaultKind::Opcode { opcode }),
        Exit::NoFunction { pc } => {
            let target = detail as u32;
            (pc, FaultKind::NoFunction { target })
        }
        Exit::NoMap { pc } => {
            let index = detail as u32;
            (pc, FaultKind::NoMap { index })
        }
        Exit::FellOff { pc }
        | Exit::Return { pc }
        | Exit::Helper { pc }
        | Exit::Jump { pc, .. }
        | Exit::Call { pc, .. } => (pc, FaultKind::FellOff),
        Exit::Hole => (0, FaultKind::FellOff),
    }
}

/// Puts a frame aside for a local call. False if there is no room.
fn push(state: &mut State, machine: &mut Machine, return_pc: u32) -> bool {
    let r = &machine.r;
    let Some(frame) = state.frames.get_mut(machine.depth as usize) else {
        return false;
    };
    *frame = Frame {
        saved: [r[6], r[7], r[8], r[9]],
        return_pc,
    };
    machine.depth += 1;
    true
}

enum Popped {
    Nothing,
    Frame { return_pc: u32 },
    TooDeep,
}

/// Takes the last frame back.
fn pop(state: &State, machine: &mut Machine) -> Popped {
    let Some(depth) = machine.depth.checked_sub(1) else {
        return Popped::Nothing;
    };
    let Some(frame) = state.frames.get(depth as usize) else {
        return Popped::TooDeep;
    };
    machine.r[6..10].copy_from_slice(&frame.saved);
    machine.depth = depth;
    Popped::Frame {
        return_pc: frame.return_pc,
    }
}

/// Enters native code at an offset, and comes back with the machine's exit.
///
/// # Safety
/// `code` is what an emitter for this machine made, its memory can be executed, and code of it
/// begins at `offset`; `machine` is whole, and what the code's proofs count on holds.
#[inline]
unsafe fn enter(code: *const u8, machine: *mut Machine, offset: u32) {
    let target = code.wrapping_add(offset as usize);
    #[cfg(target_arch = "x86_64")]
    {
        type Entry = unsafe extern "sysv64" fn(*mut Machine, *const u8);
        // SAFETY: the emitter puts a function of this type at the start of its code.
        unsafe { core::mem::transmute::<*const u8, Entry>(code)(machine, target) }
    }
    #[cfg(target_arch = "aarch64")]
    {
        type Entry = unsafe extern "C" fn(*mut Machine, *const u8);
        // SAFETY: the emitter puts a function of this type at the start of its code.
        unsafe { core::mem::transmute::<*const u8, Entry>(code)(machine, target) }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // There is no code for other machines, so there is nothing compiled to be run.
        let _ = (machine, target);
    }
}
