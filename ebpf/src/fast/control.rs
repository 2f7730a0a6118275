//! What leads elsewhere: jumps, calls, returns, and the operations that stop a run.
#![allow(unsafe_code)] // Handlers trust what the decoder has established; see `Op`.

use core::hint::select_unpredictable;

use super::op::{At, Halt, Machine, Op, get, halt, next, set};
use super::parts::{Choice, NONE, Part, Test, run_before};
use crate::fault::FaultKind;
use crate::interpreter::is_short;
use crate::limits::FRAMES_MAX;
use crate::memory::{MapIndex, Memory, RegionId};
use crate::state::{Frame, State};

/// Does a part's work and puts its result away, where it has one; `FROM` says what of the part
/// before is handed to it as `value`. `None` if it cannot.
///
/// # Safety
/// As `Handler`.
#[inline(always)]
unsafe fn perform<A: Part, const FROM: u8>(
    op: *const Op,
    m: *mut Machine,
    value: u64,
) -> Option<u64> {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let value = A::run::<FROM>(op, m, value)?;
        if A::WRITES {
            set(m, (*op.add(A::SLOTS - 1)).dst, value);
        }
        Some(value)
    }
}

/// One part; `TAKEN` says what is handed to it.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn one<A: Part, const TAKEN: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it; a part has an operation behind it.
    unsafe {
        let Some(value) = perform::<A, TAKEN>(op, m, last) else {
            return A::refuse(op, m, fuel);
        };
        next(op.add(A::SLOTS), m, fuel, value)
    }
}

/// Two parts; `TAKEN` says what is handed to the first, `FROM` what of its result is handed to the
/// second.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn two<A: Part, B: Part, const TAKEN: u8, const FROM: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both parts.
    unsafe {
        let Some(value) = run_before::<A, B, TAKEN, FROM>(op, m, last) else {
            return A::refuse(op, m, fuel);
        };
        let second = op.add(A::SLOTS);
        let Some(value) = perform::<B, FROM>(second, m, value) else {
            return B::refuse(second, m, fuel);
        };
        next(second.add(B::SLOTS), m, fuel, value)
    }
}

/// Where a conditional jump leads: forth.
pub(super) const FORTH: u8 = 0;
/// Back, and so it costs.
pub(super) const BACK: u8 = 1;
/// Forth, and behind it lies a jump back, so that it ends a loop.
pub(super) const LOOP_END: u8 = 2;

/// A conditional jump; `TAKEN` says what is handed to it.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn branch<T: Test, const TAKEN: u8, const WAY: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let target = target_of(op);
        let holds = T::holds::<TAKEN>(op, m, last);
        part_ways::<WAY>(op, m, fuel, last, target, holds)
    }
}

/// A part, and a conditional jump behind it; `TAKEN` says what is handed to the part, `FROM` what
/// of its result to the jump.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn then_branch<
    A: Part,
    T: Test,
    const TAKEN: u8,
    const FROM: u8,
    const WAY: u8,
>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both.
    unsafe {
        let jump = op.add(A::SLOTS);
        let target = target_of(jump);
        let Some(value) = perform::<A, TAKEN>(op, m, last) else {
            return A::refuse(op, m, fuel);
        };
        let holds = T::holds::<FROM>(jump, m, value);
        part_ways::<WAY>(jump, m, fuel, value, target, holds)
    }
}

/// A part, and a jump behind it that is always taken.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn then_always<A: Part, const IS_BACK: bool>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both.
    unsafe {
        if perform::<A, NONE>(op, m, 0).is_none() {
            return A::refuse(op, m, fuel);
        }
        always::<IS_BACK>(op.add(A::SLOTS), m, fuel, last)
    }
}

/// A choice, both ways of which lead back to the same slot: the conditional jump that skips the
/// move, and the jump behind the move.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn choice_then_back<T: Test, M: Part>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    _last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the three slots, and that the
    // first goes back.
    unsafe {
        let Some((skips, value)) = Choice::<T, M>::choose::<NONE>(op, m, 0) else {
            return M::refuse(op.add(1), m, fuel);
        };
        set(m, (*op.add(1)).dst, value);
        let distance = (*op).offset as isize;
        let target = op.offset(distance + 1);
        // The second jump lies two slots farther.
        let farther = select_unpredictable(skips, 0, 2);
        let paid = fuel + distance as i64 - farther as i64;
        if paid < 0 {
            return overdrawn(op.add(farther), m, fuel, target);
        }
        next(target, m, paid, value)
    }
}

/// Goes on from a conditional jump.
///
/// # Safety
/// As `Handler`, and of a loop's end the decoder has seen the jump back.
#[inline(always)]
unsafe fn part_ways<const WAY: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
    target: *const Op,
    holds: bool,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        if holds {
            if WAY == BACK {
                let distance = i64::from((*op).offset);
                return jump::<true>(op, m, fuel, last, target, distance);
            }
            return next(target, m, fuel, last);
        }
        let behind = op.add(1);
        if WAY == LOOP_END {
            return always::<true>(behind, m, fuel, last);
        }
        next(behind, m, fuel, last)
    }
}

/// Where a conditional jump leads. It is found out ahead of the condition, for behind a wrong
/// guess every operation waits for it.
///
/// # Safety
/// As `Handler`.
#[inline(always)]
unsafe fn target_of(op: *const Op) -> *const Op {
    // SAFETY: the caller vouches for `op`; the decoder has seen the target.
    ahead(unsafe { op.offset((*op).offset as isize + 1) })
}

/// The same pointer, which the compiler works out here and not where it is needed. It must not
/// know that the next operation is near, or it makes a conditional move of the jump.
#[inline(always)]
fn ahead(pointer: *const Op) -> *const Op {
    #[cfg(tail_calls)]
    {
        let mut known = pointer;
        // SAFETY: there is no instruction in it; it touches neither memory, stack nor flags.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) known, options(nomem, nostack, preserves_flags));
        }
        known
    }
    #[cfg(not(tail_calls))]
    pointer
}

/// A jump that is always taken; how many bytes away its target lies is in the immediate, and the
/// source register is what is handed over there.
///
/// # Safety
/// As `Handler`.
#[inline(always)]
pub(super) unsafe fn always<const IS_BACK: bool>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    _last: u64,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let last = get(m, (*op).src);
        let target = op.byte_offset((*op).imm as isize);
        let distance = target.offset_from(op) as i64 - 1;
        jump::<IS_BACK>(op, m, fuel, last, target, distance)
    }
}

/// Goes to a slot, `distance` from the next one, as the meter has it: pay first.
///
/// # Safety
/// As `Handler`, and the decoder has seen the target.
#[inline(always)]
unsafe fn jump<const IS_BACK: bool>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    last: u64,
    target: *const Op,
    distance: i64,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        if IS_BACK {
            // From s to t costs s - t + 1.
            let paid = fuel + distance;
            if paid < 0 {
                return overdrawn(op, m, fuel, target);
            }
            return next(target, m, paid, last);
        }
        next(target, m, fuel, last)
    }
}

/// A jump back that overdraws the slice: it yields behind the jump if the budget covers it.
///
/// # Safety
/// As `jump`.
#[cold]
#[inline(never)]
unsafe fn overdrawn(op: *const Op, m: *mut Machine, fuel: i64, target: *const Op) -> At {
    // SAFETY: the caller vouches for all of it; both lie in the same program.
    unsafe {
        let paid = fuel - (op.offset_from(target) as i64 + 1);
        if is_short(paid, (*m).rest) {
            halt(op, m, fuel, Halt::OutOfBudget)
        } else {
            halt(target, m, paid, Halt::Slice)
        }
    }
}

/// A local call (section 4.3.2): the callee's first slot is in the immediate, its length, which is
/// the price, in the offset.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn call_local(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the callee, and `frames` has
    // a frame for each depth below `FRAMES_MAX - 1`.
    unsafe {
        let paid = fuel - i64::from((*op).offset);
        if paid < 0 && is_short(paid, (*m).rest) {
            return halt(op, m, fuel, Halt::OutOfBudget);
        }
        let depth = (*m).depth;
        if depth as usize >= FRAMES_MAX - 1 {
            return halt(op, m, paid, Halt::Fault(FaultKind::CallDepth));
        }
        let return_pc = op.offset_from((*m).code) as u32 + 1;
        let saved = [get(m, 6), get(m, 7), get(m, 8), get(m, 9)];
        (*m).frames
            .add(depth as usize)
            .write(Frame { saved, return_pc });
        (*m).depth = depth + 1;
        set(m, 10, State::stack_top(depth + 1));
        let target = (*m).code.add((*op).imm as usize);
        if paid < 0 {
            return halt(target, m, paid, Halt::Slice);
        }
        next(target, m, paid, 0)
    }
}

/// The end of a function.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn exit(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the depth is checked before a frame is read, and
    // the slot to go back to before it is gone to, since a frame may have been pushed elsewhere.
    unsafe {
        let depth = (*m).depth;
        if depth == 0 {
            return halt(op, m, fuel, Halt::Exit);
        }
        let depth = depth - 1;
        if depth as usize >= FRAMES_MAX - 1 {
            return halt(op, m, fuel, Halt::Fault(FaultKind::CallDepth));
        }
        let frame = *(*m).frames.add(depth as usize);
        for (number, value) in (6..).zip(frame.saved) {
            set(m, number, value);
        }
        (*m).depth = depth;
        set(m, 10, State::stack_top(depth));
        let target = (*m).code.wrapping_add(frame.return_pc as usize);
        if frame.return_pc > (*m).slots {
            return halt(target, m, fuel, Halt::Fault(FaultKind::FellOff));
        }
        next(target, m, fuel, 0)
    }
}

/// `dst = imm64` (section 5.4): the upper half is the immediate of the slot behind.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_wide(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let (low, high) = ((*op).imm as u32, (*op.add(1)).imm as u32);
        set(m, (*op).dst, u64::from(low) | u64::from(high) << 32);
        next(op.add(2), m, fuel, 0)
    }
}

/// `dst = scratch + offset`.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_scratch(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let offset = u64::from((*op).imm as u32);
        set(m, (*op).dst, (*m).scratch_base.wrapping_add(offset));
        next(op.add(2), m, fuel, 0)
    }
}

/// Loads the handle of the map whose index is in the immediate.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_map(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let index = MapIndex::new((*op).imm as u32);
        set(m, (*op).dst, index.map_or(0, MapIndex::handle));
        next(op.add(2), m, fuel, 0)
    }
}

/// Loads an address in the values of the map whose index is in the immediate; the offset is in the
/// second half's.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_map_value(op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let (index, offset) = (MapIndex::new((*op).imm as u32), (*op.add(1)).imm as u32);
        let address = index.map_or(0, |it| Memory::address(RegionId::Map(it), offset));
        set(m, (*op).dst, address);
        next(op.add(2), m, fuel, 0)
    }
}

/// A handler that stops the run for one reason.
macro_rules! stops {
    ($($(#[$doc:meta])* $name:ident: |$op:ident| $why:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As `Handler`.
        pub(super) unsafe fn $name($op: *const Op, m: *mut Machine, fuel: i64, _last: u64) -> At {
            // SAFETY: the caller vouches for all of it.
            unsafe { halt($op, m, fuel, $why) }
        }
    )*};
}

stops! {
    /// A helper call, which is the run's affair.
    call_helper: |_op| Halt::Helper;
    /// There is no code here.
    fell_off: |_op| Halt::Fault(FaultKind::FellOff);
    /// No instruction; the opcode is in the destination's place.
    unknown: |op| Halt::Fault(FaultKind::Opcode { opcode: (*op).dst });
    /// A wide load of a map that cannot be.
    no_map: |op| Halt::Fault(FaultKind::NoMap { index: (*op).imm as u32 });
    /// A local call to where no function starts, which is in the immediate.
    no_function: |op| Halt::Fault(FaultKind::NoFunction { target: (*op).imm as u32 });
}
