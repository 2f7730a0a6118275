//! From the slots of a checked program to operations, one for each slot and a sentinel behind.

use core::fmt;

use super::control;
use super::handed::HandedOver;
use super::op::{Handler, Op};
use super::select::{self, Candidate, Reach, Way};
use crate::access::{Access, AccessPlan, Allowed};
use crate::check::Checked;
use crate::isa::{self, Slot, call, op, wide};
use crate::limits::CODE_SLOTS_MAX;
use crate::memory::MapIndex;
use crate::program::Program;

/// Who else has memory on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Nobody whom the program must not spy on.
    Alone,
    /// Other tenants: accesses are masked, so that nothing of theirs gets into what the processor
    /// speculates.
    Shared,
}

impl Isolation {
    /// True if a proved access is masked. On a way that is only speculated about, its register may hold any
    /// number: what it holds on another way, or what was on the stack before it was spilled there. r10
    /// alone is never written, and what is added to it is part of the code.
    pub(crate) fn masks(self, access: Slot) -> bool {
        self == Isolation::Shared && access.base() != FRAME
    }
}

/// The number of r10.
const FRAME: u8 = 10;

/// Why a program was not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The area has fewer operations than [`Decoded::ops_for`] the slots.
    AreaTooSmall {
        /// Operations needed.
        needed: usize,
    },
    /// There are more slots than a program may have.
    TooLong,
    /// A jump leads out of the code.
    JumpOutside {
        /// The jump.
        pc: u32,
    },
    /// A 64-bit immediate load whose second half is an instruction of its own.
    WideWithoutHalf {
        /// Its first slot.
        pc: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::AreaTooSmall { needed } => {
                write!(f, "the area is too small for {needed} operations")
            }
            DecodeError::TooLong => write!(f, "more than {CODE_SLOTS_MAX} slots"),
            DecodeError::JumpOutside { pc } => {
                write!(f, "instruction {pc}: jumps out of the code")
            }
            DecodeError::WideWithoutHalf { pc } => {
                write!(
                    f,
                    "instruction {pc}: its second half is another instruction"
                )
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// A program in decoded form, borrowed from an area that its maker gave or from a
/// [`DecodedStore`].
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// One for each slot, and the sentinel.
    pub(super) ops: &'a [Op],
    pub(super) checked: &'a Checked,
    pub(super) scratch_base: u64,
    pub(super) has_proofs: bool,
}

impl<'a> Decoded<'a> {
    /// Operations that a program of so many slots takes up.
    #[must_use]
    pub const fn ops_for(slots: usize) -> usize {
        slots + 1
    }

    /// Decodes a program into the first operations of `area`.
    ///
    /// Slots that are no instructions of RFC 9669 become faults. With a plan in which nothing is
    /// proved, any program may be run; see [`run_decoded`](super::run_decoded) and
    /// [`run_proved`](super::run_proved).
    ///
    /// # Errors
    /// The area is too small, or the program is one that [`check`](crate::check()) refuses for a
    /// jump or a wide load; see [`DecodeError`].
    pub fn new(
        program: &Program<'a>,
        plan: &AccessPlan,
        isolation: Isolation,
        area: &'a mut [Op],
    ) -> Result<Decoded<'a>, DecodeError> {
        let slots = program.slots;
        if slots.len() > CODE_SLOTS_MAX {
            return Err(DecodeError::TooLong);
        }
        let needed = Decoded::ops_for(slots.len());
        let ops = area
            .get_mut(..needed)
            .ok_or(DecodeError::AreaTooSmall { needed })?;
        let decoder = Decoder {
            program,
            plan,
            isolation,
            handed: HandedOver::new(slots),
        };
        let mut has_proofs = false;
        for (pc, place) in (0..).zip(ops.iter_mut()) {
            *place = decoder.op_at(pc)?;
            has_proofs |= decoder.is_proved(pc);
        }
        for (pc, place) in (0..).zip(ops.iter_mut()) {
            if let Some(run) = decoder.several_at(pc) {
                place.run = run;
            }
        }
        Ok(Decoded {
            ops,
            checked: program.checked,
            scratch_base: program.scratch_base,
            has_proofs,
        })
    }

    /// The program's slots.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.ops.len() as u32 - 1
    }

    /// True if some of its accesses carry no check.
    #[must_use]
    pub const fn has_proofs(&self) -> bool {
        self.has_proofs
    }
}

/// Room of its own for a program in decoded form, for whoever keeps programs in a pool: a
/// [`Decoded`] is lent from it for each run. `OPS` is [`Decoded::ops_for`] the most slots.
#[derive(Debug)]
pub struct DecodedStore<const OPS: usize> {
    ops: [Op; OPS],
    /// What was decoded last, if it was: its slots and the rest of what [`Decoded`] holds.
    kept: Option<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    ops: usize,
    checked: Checked,
    scratch_base: u64,
    has_proofs: bool,
}

impl<const OPS: usize> Default for DecodedStore<OPS> {
    fn default() -> Self {
        DecodedStore::new()
    }
}

impl<const OPS: usize> DecodedStore<OPS> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> DecodedStore<OPS> {
        DecodedStore {
            ops: [Op::EMPTY; OPS],
            kept: None,
        }
    }

    /// Decodes a program into it, in place of what it held.
    ///
    /// # Errors
    /// As [`Decoded::new`]; then it is empty.
    pub fn decode(
        &mut self,
        program: &Program<'_>,
        plan: &AccessPlan,
        isolation: Isolation,
    ) -> Result<(), DecodeError> {
        self.kept = None;
        let decoded = Decoded::new(program, plan, isolation, &mut self.ops)?;
        let kept = Kept {
            ops: decoded.ops.len(),
            checked: decoded.checked.clone(),
            scratch_base: decoded.scratch_base,
            has_proofs: decoded.has_proofs,
        };
        self.kept = Some(kept);
        Ok(())
    }

    /// What it holds.
    #[must_use]
    pub fn get(&self) -> Option<Decoded<'_>> {
        let kept = self.kept.as_ref()?;
        Some(Decoded {
            ops: self.ops.get(..kept.ops)?,
            checked: &kept.checked,
            scratch_base: kept.scratch_base,
            has_proofs: kept.has_proofs,
        })
    }
}

struct Decoder<'p, 'a> {
    program: &'p Program<'a>,
    plan: &'p AccessPlan,
    isolation: Isolation,
    handed: HandedOver,
}

impl Decoder<'_, '_> {
    fn slot(&self, pc: u32) -> Option<Slot> {
        self.program.slots.get(pc as usize).map(|&slot| Slot(slot))
    }

    /// The operation of a slot by itself; behind the last slot, the sentinel.
    fn op_at(&self, pc: u32) -> Result<Op, DecodeError> {
        let Some(slot) = self.slot(pc) else {
            return Ok(Op::EMPTY);
        };
        let plain = Op {
            run: control::fell_off,
            dst: slot.dst(),
            src: slot.src(),
            offset: slot.offset(),
            imm: slot.imm(),
        };
        let with = |run: Option<Handler>| match run {
            Some(run) => Op { run, ..plain },
            None => unknown(plain, slot),
        };
        match slot.class() {
            isa::ALU | isa::ALU64 => Ok(with(select::arithmetic(slot))),
            isa::LDX | isa::ST | isa::STX => Ok(self.access(pc, slot, plain)),
            isa::LD if slot.opcode() == op::LDDW => self.wide(pc, slot, plain),
            isa::JMP | isa::JMP32 => self.transfer(pc, slot, plain),
            _ => Ok(unknown(plain, slot)),
        }
    }

    fn access(&self, pc: u32, slot: Slot, plain: Op) -> Op {
        if is_atomic(slot) && !is_known_atomic(slot.imm()) {
            return unknown(plain, slot);
        }
        let Some(run) = select::access(slot, self.reach(pc, slot)) else {
            return unknown(plain, slot);
        };
        let mut found = Op { run, ..plain };
        let tag = match self.plan.at(pc) {
            Access::Guarded(allowed) => allowed,
            Access::Proved(region) => Allowed::Only(region),
        };
        let tag = tag.tag();
        // In the field that the instruction does not use.
        if is_atomic(slot) {
            found.imm |= i32::from(tag) << 8;
        } else if slot.class() == isa::ST {
            found.src = tag;
        } else {
            found.imm = i32::from(tag);
        }
        found
    }

    /// How the memory of a slot is reached. Atomics are rare, and always checked.
    fn reach(&self, pc: u32, slot: Slot) -> Reach {
        let is_shared = self.isolation == Isolation::Shared;
        match self.plan.at(pc) {
            Access::Proved(_) if !is_atomic(slot) => {
                if self.isolation.masks(slot) {
                    Reach::ProvedMasked
                } else {
                    Reach::Proved
                }
            }
            _ if is_shared => Reach::GuardedMasked,
            _ => Reach::Guarded,
        }
    }

    fn is_proved(&self, pc: u32) -> bool {
        let Some(slot) = self.slot(pc) else {
            return false;
        };
        let is_access = matches!(slot.class(), isa::LDX | isa::ST | isa::STX);
        is_access && matches!(self.reach(pc, slot), Reach::Proved | Reach::ProvedMasked)
    }

    /// A 64-bit immediate load.
    fn wide(&self, pc: u32, slot: Slot, plain: Op) -> Result<Op, DecodeError> {
        let Some(second) = self.slot(pc + 1) else {
            return Ok(plain);
        };
        // The upper half stays in the second slot, where nothing else may want the place.
        if second.opcode() != 0 {
            return Err(DecodeError::WideWithoutHalf { pc });
        }
        let run = match slot.src() {
            wide::CONST => control::load_wide,
            wide::SCRATCH => control::load_scratch,
            wide::MAP | wide::MAP_VALUE if MapIndex::new(slot.imm() as u32).is_none() => {
                control::no_map
            }
            wide::MAP => control::load_map,
            wide::MAP_VALUE => control::load_map_value,
            _ => return Ok(unknown(plain, slot)),
        };
        Ok(Op { run, ..plain })
    }

    /// Jumps, calls, returns.
    fn transfer(&self, pc: u32, slot: Slot, plain: Op) -> Result<Op, DecodeError> {
        let always = |distance: i32| {
            let target = self.target(pc, i64::from(distance))?;
            let run: Handler = if distance < 0 {
                control::always::<true>
            } else {
                control::always::<false>
            };
            // What it hands over where it leads.
            let src = self.handed.register_at(target);
            let imm = (distance + 1) * size_of::<Op>() as i32;
            Ok(Op {
                run,
                dst: self.handed.register_at(pc + 1),
                src,
                imm,
                ..plain
            })
        };
        match slot.opcode() {
            op::JA => always(i32::from(slot.offset())),
            op::GOTOL => always(slot.imm()),
            op::CALL => Ok(self.call(pc, slot, plain)),
            op::EXIT => Ok(Op {
                run: control::exit,
                dst: self.handed.register_at(pc + 1),
                ..plain
            }),
            _ => match select::conditional(self.candidate(pc, slot)) {
                Some(run) => {
                    self.target(pc, i64::from(slot.offset()))?;
                    Ok(Op { run, ..plain })
                }
                None => Ok(unknown(plain, slot)),
            },
        }
    }

    /// Where a jump leads: to a slot, or to the sentinel.
    fn target(&self, pc: u32, distance: i64) -> Result<u32, DecodeError> {
        let target = i64::from(pc) + 1 + distance;
        if (0..=self.program.slots.len() as i64).contains(&target) {
            Ok(target as u32)
        } else {
            Err(DecodeError::JumpOutside { pc })
        }
    }

    fn call(&self, pc: u32, slot: Slot, plain: Op) -> Op {
        match slot.src() {
            call::HELPER => Op {
                run: control::call_helper,
                ..plain
            },
            call::LOCAL => {
                let target = i64::from(pc) + 1 + i64::from(slot.imm());
                let imm = target as i32;
                let callee = self.program.checked.function_at(target as u32);
                // The functions may be another code's.
                let callee = callee.filter(|callee| callee.start < self.program.slots.len() as u32);
                let price = callee.and_then(|callee| i16::try_from(callee.len).ok());
                match price {
                    Some(offset) => Op {
                        run: control::call_local,
                        offset,
                        imm,
                        ..plain
                    },
                    None => Op {
                        run: control::no_function,
                        imm,
                        ..plain
                    },
                }
            }
            _ => unknown(plain, slot),
        }
    }

    /// Where a conditional jump leads; of anything else, nothing of interest.
    fn way(&self, pc: u32, slot: Slot) -> Way {
        let goes_back = |next| select::always_goes_back(next) == Some(true);
        if slot.offset() < 0 {
            Way::Back
        } else if self.slot(pc + 1).is_some_and(goes_back) {
            Way::LoopEnd
        } else {
            Way::Forth
        }
    }

    fn candidate(&self, pc: u32, slot: Slot) -> Candidate {
        Candidate {
            slot,
            handed: self.handed.at(pc),
            reach: self.reach(pc, slot),
            way: self.way(pc, slot),
        }
    }

    /// The function that does a slot and what lies behind it, if there is one.
    fn several_at(&self, pc: u32) -> Option<Handler> {
        let candidate = |pc| Some(self.candidate(pc, self.slot(pc)?));
        let mut all = [candidate(pc)?; select::SEVERAL_MAX];
        let mut count = 1;
        for (place, pc) in all.iter_mut().zip(pc..).skip(1) {
            let Some(candidate) = candidate(pc) else {
                break;
            };
            *place = candidate;
            count += 1;
        }
        select::several(all.get(..count)?)
    }
}

/// What is no instruction: a fault that knows its opcode.
fn unknown(plain: Op, slot: Slot) -> Op {
    Op {
        run: control::unknown,
        dst: slot.opcode(),
        ..plain
    }
}

fn is_atomic(slot: Slot) -> bool {
    matches!(slot.opcode(), op::ATOMIC32 | op::ATOMIC64)
}

/// True if an atomic's immediate names something to do.
fn is_known_atomic(imm: i32) -> bool {
    crate::semantics::atomic_result64(imm, 0, 0, 0).is_some()
}
