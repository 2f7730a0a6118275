//! One decoded slot, the machine it works on, and how one hands over to the next.
#![allow(unsafe_code)] // Handlers trust what the decoder has established; see `Op`.

use crate::fault::FaultKind;
use crate::memory::Right;
use crate::regions::RegionTable;
use crate::state::Frame;

/// What executes an operation and those after it, until one of them halts.
///
/// # Safety
/// The operation lies in a decoded program whose first is `machine.code`, and `machine` is wholly
/// initialised: its region table is valid, and `frames` points to `FRAMES_MAX - 1` frames.
pub(super) type Handler = unsafe fn(*const Op, *mut Machine, i64, u64) -> At;

/// One slot of a program, ready to be executed: 16 bytes on 64-bit machines.
///
/// The decoder vouches that register numbers are below 16, that jumps lead to slots of the
/// program or to the sentinel behind them, that a handler which reads the following operations
/// has them, and that only a sentinel or an operation that halts comes last.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub(super) run: Handler,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) offset: i16,
    pub(super) imm: i32,
}

impl Op {
    /// An operation that stops, to fill an area with before it is decoded into.
    pub const EMPTY: Op = Op {
        run: super::control::fell_off,
        dst: 0,
        src: 0,
        offset: 0,
        imm: 0,
    };
}

/// Why the handlers came back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Halt {
    /// They did not: only the next one is due.
    Not,
    /// The entry function returned.
    Exit,
    /// A helper is to be called.
    Helper,
    /// The slice is used up, all paid.
    Slice,
    /// The budget does not cover the charge.
    OutOfBudget,
    /// An access was refused.
    Denied {
        address: u64,
        bytes: u32,
        right: Right,
    },
    /// Anything else that may not be.
    Fault(FaultKind),
}

/// What an invocation is while it runs.
#[repr(C)]
pub(super) struct Machine {
    pub(super) r: [u64; 16],
    pub(super) regions: RegionTable,
    pub(super) code: *const Op,
    /// The program's slots.
    pub(super) slots: u32,
    pub(super) depth: u32,
    pub(super) frames: *mut Frame,
    pub(super) scratch_base: u64,
    /// What the budget holds beyond the fuel.
    pub(super) rest: u64,
    pub(super) halt: Halt,
    /// What the last operation handed over; of use between those that no jump connects.
    pub(super) last: u64,
}

/// The operation that is due, and the fuel that is left.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) op: *const Op,
    pub(super) fuel: i64,
}

/// Executes what lies at `op`, and hands `last` over to it: by a jump where the compiler makes one
/// of the call, else through the loop that called the handler.
///
/// # Safety
/// As [`Handler`].
#[inline(always)]
pub(super) unsafe fn next(op: *const Op, machine: *mut Machine, fuel: i64, last: u64) -> At {
    #[cfg(tail_calls)]
    {
        // SAFETY: the caller vouches for `op` and `machine`.
        unsafe { ((*op).run)(op, machine, fuel, last) }
    }
    #[cfg(not(tail_calls))]
    {
        // SAFETY: the caller vouches for `machine`.
        unsafe { (*machine).last = last };
        At { op, fuel }
    }
}

/// Comes back to the run with a reason.
///
/// # Safety
/// `machine` is initialised.
#[cold]
#[inline(never)]
pub(super) unsafe fn halt(op: *const Op, machine: *mut Machine, fuel: i64, why: Halt) -> At {
    // SAFETY: the caller vouches for `machine`.
    unsafe { (*machine).halt = why };
    At { op, fuel }
}

/// A register's value.
///
/// # Safety
/// `machine` is initialised and `number` below 16.
#[inline(always)]
pub(super) unsafe fn get(machine: *const Machine, number: u8) -> u64 {
    // SAFETY: `r` comes first and has 16 registers.
    unsafe { *machine.cast::<u64>().add(usize::from(number)) }
}

/// Puts a value into a register.
///
/// # Safety
/// `machine` is initialised and `number` below 16.
#[inline(always)]
pub(super) unsafe fn set(machine: *mut Machine, number: u8, value: u64) {
    // SAFETY: `r` comes first and has 16 registers.
    unsafe { *machine.cast::<u64>().add(usize::from(number)) = value };
}

const _: () = assert!(core::mem::offset_of!(Machine, r) == 0);
