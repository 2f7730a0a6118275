//! What is known of a program before any code is made of it.

use super::error::JitError;
use super::table::Table;
use crate::access::{Access, AccessPlan, Allowed};
use crate::decode::Malformed;
use crate::fast::Isolation;
use crate::instruction::{Instruction, Operand, Register, Size, Width};
use crate::isa::Slot;
use crate::limits::REGIONS_MAX;
use crate::memory::RegionId;
use crate::program::Program;

/// What an emitter reads: the program, what is known of its accesses, and whom it shares memory with.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) program: Program<'a>,
    pub(super) plan: &'a AccessPlan,
    pub(super) isolation: Isolation,
}

/// How the memory of an access is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reach {
    pub(super) how: How,
    /// It is masked, whatever it is.
    pub(super) masked: bool,
}

/// What is known of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Guarded(Allowed),
    Proved(RegionId),
}

impl Source<'_> {
    pub(super) fn slots(&self) -> u32 {
        self.program.slots.len() as u32
    }

    pub(super) fn slot(&self, pc: u32) -> Option<Slot> {
        self.program.slots.get(pc as usize).map(|&slot| Slot(slot))
    }

    /// The instruction at a slot.
    pub(super) fn instruction(&self, pc: u32) -> Result<Instruction, Malformed> {
        let slot = self.slot(pc).ok_or(Malformed::Opcode)?;
        Instruction::decode(slot.0, self.slot(pc + 1).map(|slot| slot.0))
    }

    /// How the access at a slot reaches its memory.
    pub(super) fn reach(&self, pc: u32) -> Reach {
        let shared = self.isolation == Isolation::Shared;
        match self.plan.at(pc) {
            Access::Guarded(allowed) => Reach {
                how: How::Guarded(allowed),
                masked: shared,
            },
            Access::Proved(region) => Reach {
                how: How::Proved(region),
                masked: self.slot(pc).is_some_and(|slot| self.isolation.masks(slot)),
            },
        }
    }
}

/// What the accesses to a region weigh, loops counting more.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    /// Those that want the delta.
    pub(super) delta: u32,
    /// Those that want the base.
    pub(super) base: u32,
    /// Those that want the limit of reads, by the logarithm of their bytes.
    pub(super) limits: [u32; 4],
}

/// What is known of a whole program.
pub(super) struct Survey {
    /// Registers that occur, by bit.
    pub(super) registers: u16,
    /// Regions that may be touched, by bit.
    pub(super) regions: u32,
    pub(super) weights: [Weight; REGIONS_MAX],
    /// What accesses weigh that are masked, or guarded.
    pub(super) limited: u32,
    /// There is an access that is proved.
    pub(super) has_proofs: bool,
    /// There is a local call.
    pub(super) has_calls: bool,
    /// Loops around the slot that is looked at.
    depth: u32,
}

const ALL_REGIONS: u32 = (1 << REGIONS_MAX) - 1;
/// r6 to r9, which local calls save.
const SAVED: u16 = 0b11_1100_0000;

impl Survey {
    pub(super) const fn new() -> Survey {
        Survey {
            registers: 0,
            regions: 0,
            weights: [Weight {
                delta: 0,
                base: 0,
                limits: [0; 4],
            }; REGIONS_MAX],
            limited: 0,
            has_proofs: false,
            has_calls: false,
            depth: 0,
        }
    }

    /// True if a register occurs.
    pub(super) const fn uses(&self, register: Register) -> bool {
        self.registers & 1 << register.number() != 0
    }

    /// The first look at a slot: labels, loops, registers. Gives the slots it takes.
    ///
    /// # Errors
    /// A jump leads out of the code, or a wide load lacks its half.
    pub(super) fn labels(
        &mut self,
        source: &Source<'_>,
        table: &mut Table<'_>,
        pc: u32,
    ) -> Result<u32, JitError> {
        let slots = source.slots();
        let target = |offset: i32| {
            let target = i64::from(pc) + 1 + i64::from(offset);
            let inside = (0..=i64::from(slots)).contains(&target);
            if inside { Some(target as u32) } else { None }
        };
        let mut taken = 1;
        if source.slot(pc).is_some_and(Slot::is_wide) && pc + 1 < slots {
            if source.slot(pc + 1).is_some_and(|slot| slot.opcode() != 0) {
                return Err(JitError::WideWithoutHalf { pc });
            }
            table.set_hole(pc + 1);
            taken = 2;
        }
        let Ok(instruction) = source.instruction(pc) else {
            return Ok(taken);
        };
        match instruction {
            Instruction::Jump { offset, .. } => {
                let target = target(offset).ok_or(JitError::JumpOutside { pc })?;
                note_jump(table, pc, target);
            }
            Instruction::JumpIf { offset, .. } => {
                let target = target(i32::from(offset)).ok_or(JitError::JumpOutside { pc })?;
                note_jump(table, pc, target);
            }
            Instruction::CallHelper { .. } => {
                // r0 to r5 pass through the machine either way.
                table.set_label(pc + 1);
            }
            Instruction::CallLocal { offset } => {
                self.has_calls = true;
                self.registers |= SAVED;
                table.set_label(pc + 1);
                if let Some(target) = target(offset) {
                    table.set_label(target);
                }
            }
            _ => {}
        }
        self.registers |= mentioned(&instruction);
        if self.uses(Register::FRAME) {
            self.regions |= 1 << RegionId::Stack.number();
        }
        Ok(taken)
    }

    /// The second look: where jumps lead, and what is touched how often. Gives the slots it takes.
    ///
    /// # Errors
    /// A jump leads into a wide load.
    pub(super) fn weigh(
        &mut self,
        source: &Source<'_>,
        table: &mut Table<'_>,
        pc: u32,
    ) -> Result<u32, JitError> {
        let (starts, ends) = table.take_counts(pc);
        self.depth += starts;
        let taken = self.weigh_slot(source, table, pc)?;
        if taken == 2 {
            table.take_counts(pc + 1);
        }
        self.depth = self.depth.saturating_sub(ends);
        Ok(taken)
    }

    fn weigh_slot(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
    ) -> Result<u32, JitError> {
        let taken = if table.is_hole(pc + 1) && pc + 1 < source.slots() {
            2
        } else {
            1
        };
        let Ok(instruction) = source.instruction(pc) else {
            return Ok(taken);
        };
        let jump = match instruction {
            Instruction::Jump { offset, .. } => Some(offset),
            Instruction::JumpIf { offset, .. } => Some(i32::from(offset)),
            _ => None,
        };
        if jump.is_some_and(|offset| table.is_hole((pc + 1).wrapping_add_signed(offset))) {
            return Err(JitError::JumpInsideWide { pc });
        }
        if let Some(size) = size_of_access(&instruction) {
            self.weigh_access(source.reach(pc), size);
        }
        Ok(taken)
    }

    fn weigh_access(&mut self, reach: Reach, size: Size) {
        let weight = 1_u32 << (3 * self.depth.min(6));
        if reach.masked {
            self.limited = self.limited.saturating_add(weight);
        }
        let region = match reach.how {
            How::Proved(region) => {
                self.has_proofs = true;
                region
            }
            How::Guarded(Allowed::Only(region)) => {
                self.limited = self.limited.saturating_add(weight);
                region
            }
            How::Guarded(Allowed::Any | Allowed::Numbers) => {
                self.regions = ALL_REGIONS;
                return;
            }
        };
        self.regions |= 1 << region.number();
        let weights = &mut self.weights[region.number()];
        if let (true, How::Proved(_)) = (reach.masked, reach.how) {
            let place = &mut weights.limits[size.bytes().trailing_zeros() as usize];
            *place = place.saturating_add(weight);
        }
        let place = if reach.masked {
            &mut weights.base
        } else {
            &mut weights.delta
        };
        *place = place.saturating_add(weight);
    }
}

fn note_jump(table: &mut Table<'_>, pc: u32, target: u32) {
    table.set_label(target);
    if target <= pc {
        table.set_loop(target);
        table.count_start(target);
        table.count_end(pc);
    }
}

/// How much an access is about, if it is an access.
fn size_of_access(instruction: &Instruction) -> Option<Size> {
    match *instruction {
        Instruction::Load { size, .. } | Instruction::Store { size, .. } => Some(size),
        Instruction::Atomic {
            width: Width::Bits32,
            ..
        } => Some(Size::Word),
        Instruction::Atomic { .. } => Some(Size::Double),
        _ => None,
    }
}

/// The registers that an instruction names, by bit; r0 for one that has it without naming it.
fn mentioned(instruction: &Instruction) -> u16 {
    let bit = |register: Register| 1_u16 << register.number();
    let operand = |operand: Operand| match operand {
        Operand::Register(register) => bit(register),
        Operand::Immediate(_) => 0,
    };
    match *instruction {
        Instruction::Alu { dst, src, .. } | Instruction::JumpIf { dst, src, .. } => {
            bit(dst) | operand(src)
        }
        Instruction::Negate { dst, .. } | Instruction::Swap { dst, .. } => bit(dst),
        Instruction::MoveSigned { dst, src, .. } => bit(dst) | bit(src),
        Instruction::Load { dst, base, .. } => bit(dst) | bit(base),
        Instruction::Store { base, src, .. } => bit(base) | operand(src),
        Instruction::Atomic { base, src, .. } => bit(base) | bit(src) | 1,
        Instruction::LoadWide { dst, .. } => bit(dst),
        Instruction::Jump { .. }
        | Instruction::CallHelper { .. }
        | Instruction::CallLocal { .. }
        | Instruction::Exit => 0,
    }
}
