//! What leads elsewhere: jumps, calls, returns, and the operations that stop a run.
#![allow(unsafe_code)] // Handlers trust what the decoder has established; see `Op`.

use core::hint::select_unpredictable;

use super::op::{At, Halt, Machine, Op, get, halt, next, set};
use super::parts::{Choice, NONE, Part, Test};
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

/// One part.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn one<A: Part>(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it; a part has an operation behind it.
    unsafe {
        if perform::<A, NONE>(op, m, 0).is_none() {
            return A::refuse(op, m, fuel);
        }
        next(op.add(A::SLOTS), m, fuel)
    }
}

/// Two parts; `FROM` says what of the first one's result is handed to the second.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn two<A: Part, B: Part, const FROM: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both parts.
    unsafe {
        let Some(value) = perform::<A, NONE>(op, m, 0) else {
            return A::refuse(op, m, fuel);
        };
        let second = op.add(A::SLOTS);
        if perform::<B, FROM>(second, m, value).is_none() {
            return B::refuse(second, m, fuel);
        }
        next(second.add(B::SLOTS), m, fuel)
    }
}

/// Where a conditional jump leads: forth.
pub(super) const FORTH: u8 = 0;
/// Back, and so it costs.
pub(super) const BACK: u8 = 1;
/// Forth, and behind it lies a jump back, so that it ends a loop.
pub(super) const LOOP_END: u8 = 2;

/// A conditional jump.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn branch<T: Test, const WAY: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let holds = T::holds::<NONE>(op, m, 0);
        part_ways::<WAY>(op, m, fuel, holds)
    }
}

/// A part, and a conditional jump behind it.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn then_branch<A: Part, T: Test, const FROM: u8, const WAY: u8>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both.
    unsafe {
        let Some(value) = perform::<A, NONE>(op, m, 0) else {
            return A::refuse(op, m, fuel);
        };
        let jump = op.add(A::SLOTS);
        let holds = T::holds::<FROM>(jump, m, value);
        part_ways::<WAY>(jump, m, fuel, holds)
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
) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen both.
    unsafe {
        if perform::<A, NONE>(op, m, 0).is_none() {
            return A::refuse(op, m, fuel);
        }
        let behind = op.add(A::SLOTS);
        jump::<IS_BACK>(behind, m, fuel, (*behind).imm as isize)
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
        next(target, m, paid)
    }
}

/// Goes on from a conditional jump.
///
/// # Safety
/// As `Handler`, and of a loop's end the decoder has seen the jump back.
#[inline(always)]
unsafe fn part_ways<const WAY: u8>(op: *const Op, m: *mut Machine, fuel: i64, holds: bool) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        if holds {
            let distance = (*op).offset as isize;
            if WAY == BACK {
                return jump::<true>(op, m, fuel, distance);
            }
            return jump::<false>(op, m, fuel, distance);
        }
        let behind = op.add(1);
        if WAY == LOOP_END {
            return jump::<true>(behind, m, fuel, (*behind).imm as isize);
        }
        next(behind, m, fuel)
    }
}

/// A jump that is always taken; its distance is in the immediate.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn always<const IS_BACK: bool>(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe { jump::<IS_BACK>(op, m, fuel, (*op).imm as isize) }
}

/// Goes `distance` slots from the next one, as the meter has it: pay first.
///
/// # Safety
/// As `Handler`, and the decoder has seen the target.
#[inline(always)]
unsafe fn jump<const IS_BACK: bool>(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    distance: isize,
) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let target = op.offset(distance + 1);
        if IS_BACK {
            // From s to t costs s - t + 1.
            let paid = fuel + distance as i64;
            if paid < 0 {
                return overdrawn(op, m, fuel, target);
            }
            return next(target, m, paid);
        }
        next(target, m, fuel)
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
pub(super) unsafe fn call_local(op: *const Op, m: *mut Machine, fuel: i64) -> At {
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
        next(target, m, paid)
    }
}

/// The end of a function.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn exit(op: *const Op, m: *mut Machine, fuel: i64) -> At {
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
        next(target, m, fuel)
    }
}

/// `dst = imm64` (section 5.4): the upper half is the immediate of the slot behind.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_wide(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let (low, high) = ((*op).imm as u32, (*op.add(1)).imm as u32);
        set(m, (*op).dst, u64::from(low) | u64::from(high) << 32);
        next(op.add(2), m, fuel)
    }
}

/// `dst = scratch + offset`.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_scratch(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let offset = u64::from((*op).imm as u32);
        set(m, (*op).dst, (*m).scratch_base.wrapping_add(offset));
        next(op.add(2), m, fuel)
    }
}

/// Loads the handle of the map whose index is in the immediate.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_map(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let index = MapIndex::new((*op).imm as u32);
        set(m, (*op).dst, index.map_or(0, MapIndex::handle));
        next(op.add(2), m, fuel)
    }
}

/// Loads an address in the values of the map whose index is in the immediate; the offset is in the
/// second half's.
///
/// # Safety
/// As `Handler`.
pub(super) unsafe fn load_map_value(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it; the decoder has seen the second half.
    unsafe {
        let (index, offset) = (MapIndex::new((*op).imm as u32), (*op.add(1)).imm as u32);
        let address = index.map_or(0, |it| Memory::address(RegionId::Map(it), offset));
        set(m, (*op).dst, address);
        next(op.add(2), m, fuel)
    }
}

/// A handler that stops the run for one reason.
macro_rules! stops {
    ($($(#[$doc:meta])* $name:ident: |$op:ident| $why:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As `Handler`.
        pub(super) unsafe fn $name($op: *const Op, m: *mut Machine, fuel: i64) -> At {
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
