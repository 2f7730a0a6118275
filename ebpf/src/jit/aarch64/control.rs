//! Jumps, calls and returns (RFC 9669 section 4.3), and what leaves the code.

use super::super::exit::Exit;
use super::super::machine::Machine;
use super::super::survey::Source;
use super::super::table::Table;
use super::arithmetic::{Operand, bits_of};
use super::assembler::{Assembler, Branch};
use super::encode::{
    self, Cell, Cond, Index, Logic, Move, Reg, Size, Sum, ZR, logic_imm, mem_reg, sum_imm,
};
use super::{Detail, EXIT, Emitter, FRAME, FRAME_NUMBER, FUEL, MACHINE, Stub, T0, T1, T2, T3};
use crate::instruction::Condition;
use crate::limits::{FRAME_BYTES, FRAMES_MAX};
use crate::meter;
use crate::state::Frame;
use core::mem::offset_of;

/// r6 to r9, which a local call saves, in pairs, and where a frame keeps them.
const SAVED: [(Reg, Reg, usize); 2] = [
    (Reg(6), Reg(7), offset_of!(Frame, saved)),
    (Reg(8), Reg(9), offset_of!(Frame, saved) + 16),
];

impl Emitter {
    /// Leaves the code for good, or for what Rust does better.
    pub(super) fn leave(&mut self, asm: &mut Assembler<'_, '_>, exit: Exit) {
        asm.word(EXIT, exit.word());
        asm.jump(self.exit_at);
    }

    /// Leaves the code with a number.
    pub(super) fn leave_with(&mut self, asm: &mut Assembler<'_, '_>, exit: Exit, detail: u32) {
        asm.number(T0, u64::from(detail));
        asm.word(EXIT, exit.word());
        asm.jump(self.detail_at);
    }

    /// Leaves the code under a condition. What it takes to leave comes later, out of the way.
    pub(super) fn leave_if(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        branch: Branch,
        exit: Exit,
        detail: Detail,
    ) {
        let stub = Stub {
            at: asm.at() as u32,
            exit: exit.word(),
            branch,
            detail,
        };
        // There is room for what one slot needs.
        if self.stubs.push(stub).is_err() {
            asm.0.fail();
        }
        asm.put(branch.word(0));
    }

    /// Emits what it takes to leave, for all that wait for it.
    pub(super) fn flush(&mut self, asm: &mut Assembler<'_, '_>) {
        for index in 0..self.stubs.len() {
            let Some(&stub) = self.stubs.get(index) else {
                break;
            };
            let at = stub.at as usize;
            let distance = (asm.at() - at) / 4;
            let word = stub.branch.word(distance as i32);
            asm.0.put_at(at, &word.to_le_bytes());
            let way_out = match stub.detail {
                Detail::None => self.exit_at,
                Detail::Sum(reg, offset) => {
                    asm.add(Size::X, T0, reg, i64::from(offset), T1);
                    self.detail_at
                }
            };
            asm.word(EXIT, stub.exit);
            asm.jump(way_out);
        }
        self.stubs.clear();
    }

    /// A jump that is always taken.
    pub(super) fn jump(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        table: &Table<'_>,
        (pc, target): (u32, u32),
    ) {
        if target <= pc {
            self.jump_back(asm, table, (pc, target));
        } else {
            asm.jump(table.offset(target));
        }
    }

    /// A jump back, which pays. Six instructions.
    fn jump_back(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        table: &Table<'_>,
        (pc, target): (u32, u32),
    ) {
        pay(asm, meter::jump_cost(pc, target) as u32);
        asm.branch(Branch::Flags(Cond::Pl), table.offset(target));
        self.leave(asm, Exit::Jump { pc, target });
    }

    /// A jump under a condition.
    pub(super) fn jump_if(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        table: &Table<'_>,
        branch: Branch,
        (pc, target): (u32, u32),
    ) {
        if target > pc {
            return asm.branch(branch, table.offset(target));
        }
        // Over the jump back: what pays, the branch, and three to leave.
        asm.put(branch.inverse().word(6));
        let behind = asm.at() + 5 * 4;
        self.jump_back(asm, table, (pc, target));
        debug_assert_eq!(asm.at(), behind);
    }

    /// A local call (section 4.3.2).
    pub(super) fn call_local(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, target): (u32, u32),
    ) {
        let callee = source.program.checked().function_at(target);
        // The functions may be another code's.
        let callee = callee.filter(|_| target < source.slots() && !table.is_hole(target));
        let Some(callee) = callee else {
            return self.leave_with(asm, Exit::NoFunction { pc }, target);
        };
        pay(asm, callee.len);
        let unpaid = Branch::Flags(Cond::Mi);
        self.leave_if(asm, unpaid, Exit::Call { pc, target }, Detail::None);
        let (depth, frame) = (T0, T1);
        field(
            asm,
            Move::Load,
            Cell::U32,
            depth,
            offset_of!(Machine, depth),
        );
        compare(asm, Size::W, depth, Operand::Number(FRAMES_MAX as i32 - 1));
        let too_deep = Branch::Flags(Cond::Hs);
        self.leave_if(asm, too_deep, Exit::CallDepth { pc }, Detail::None);
        field(
            asm,
            Move::Load,
            Cell::U64,
            frame,
            offset_of!(Machine, frame),
        );
        for (one, two, at) in SAVED {
            asm.put(encode::pair(Move::Store, one, two, frame, at as i32));
        }
        asm.number(T2, u64::from(pc) + 1);
        let return_pc = offset_of!(Frame, return_pc);
        asm.memory(Move::Store, Cell::U32, T2, frame, return_pc);
        asm.add(Size::X, frame, frame, size_of::<Frame>() as i64, T2);
        asm.add(Size::W, depth, depth, 1, T2);
        field(
            asm,
            Move::Store,
            Cell::U64,
            frame,
            offset_of!(Machine, frame),
        );
        field(
            asm,
            Move::Store,
            Cell::U32,
            depth,
            offset_of!(Machine, depth),
        );
        self.move_frame(asm, -(FRAME_BYTES as i64));
        asm.jump(table.offset(target));
    }

    /// The end of a function.
    pub(super) fn exit(&mut self, asm: &mut Assembler<'_, '_>, pc: u32) {
        let exit = Exit::Return { pc };
        if !self.has_calls {
            return self.leave(asm, exit);
        }
        field(asm, Move::Load, Cell::U32, T0, offset_of!(Machine, depth));
        self.leave_if(asm, Branch::Zero(Size::W, T0), exit, Detail::None);
        asm.jump(self.pop_at);
    }

    /// Takes the last frame back, of so many as `T0` says, and goes where it says.
    pub(super) fn pop(&mut self, asm: &mut Assembler<'_, '_>) {
        let (depth, frame, return_pc) = (T0, T1, T2);
        asm.add(Size::W, depth, depth, -1, T3);
        field(
            asm,
            Move::Store,
            Cell::U32,
            depth,
            offset_of!(Machine, depth),
        );
        field(
            asm,
            Move::Load,
            Cell::U64,
            frame,
            offset_of!(Machine, frame),
        );
        asm.add(Size::X, frame, frame, -(size_of::<Frame>() as i64), T3);
        field(
            asm,
            Move::Store,
            Cell::U64,
            frame,
            offset_of!(Machine, frame),
        );
        for (one, two, at) in SAVED {
            asm.put(encode::pair(Move::Load, one, two, frame, at as i32));
        }
        let at = offset_of!(Frame, return_pc);
        asm.memory(Move::Load, Cell::U32, return_pc, frame, at);
        self.move_frame(asm, FRAME_BYTES as i64);
        // The frame may have been pushed elsewhere.
        field(
            asm,
            Move::Store,
            Cell::U32,
            return_pc,
            offset_of!(Machine, pc),
        );
        field(asm, Move::Load, Cell::U32, T3, offset_of!(Machine, slots));
        asm.put(encode::sum(Sum::Subs, Size::W, ZR, return_pc, T3));
        asm.branch(Branch::Flags(Cond::Hi), self.hole_at);
        field(asm, Move::Load, Cell::U64, T3, offset_of!(Machine, table));
        asm.put(mem_reg(
            Move::Load,
            Cell::U32,
            T3,
            T3,
            return_pc,
            Index::Scaled,
        ));
        asm.address(T1, 0);
        asm.put(encode::sum(Sum::Add, Size::X, T1, T1, T3));
        asm.put(encode::br(T1));
    }

    /// Moves what tells where the frame lies.
    fn move_frame(&mut self, asm: &mut Assembler<'_, '_>, bytes: i64) {
        asm.add(Size::X, FRAME, FRAME, bytes, T3);
        if self.has_frame_number {
            asm.add(Size::X, FRAME_NUMBER, FRAME_NUMBER, bytes, T3);
        }
        self.near = None;
    }
}

/// Takes a price, of a program's length at most, from the fuel. One instruction; the flags say
/// whether it sufficed.
fn pay(asm: &mut Assembler<'_, '_>, price: u32) {
    match sum_imm(Sum::Subs, Size::X, FUEL, FUEL, price) {
        Some(word) => asm.put(word),
        None => {
            asm.number(T0, u64::from(price));
            asm.put(encode::sum(Sum::Subs, Size::X, FUEL, FUEL, T0));
        }
    }
}

/// A field of the machine.
pub(super) fn field(asm: &mut Assembler<'_, '_>, way: Move, cell: Cell, t: Reg, at: usize) {
    asm.memory(way, cell, t, MACHINE, at);
}

/// Sets the flags by a comparison.
fn compare(asm: &mut Assembler<'_, '_>, size: Size, n: Reg, operand: Operand) {
    if let Operand::Number(number) = operand {
        let sum = if number < 0 { Sum::Adds } else { Sum::Subs };
        if let Some(word) = sum_imm(sum, size, ZR, n, number.unsigned_abs()) {
            return asm.put(word);
        }
    }
    let m = operand.register(asm, size);
    asm.put(encode::sum(Sum::Subs, size, ZR, n, m));
}

/// Evaluates the condition of a jump (section 4.3), and gives what to ask then.
pub(super) fn test(
    asm: &mut Assembler<'_, '_>,
    size: Size,
    condition: Condition,
    n: Reg,
    operand: Operand,
) -> Branch {
    let cond = match condition {
        Condition::Equal if operand == Operand::Number(0) => return Branch::Zero(size, n),
        Condition::NotEqual if operand == Operand::Number(0) => return Branch::NotZero(size, n),
        Condition::AnyBit => {
            let mask = match operand {
                Operand::Number(number) => {
                    logic_imm(Logic::Ands, size, ZR, n, bits_of(size, number))
                }
                Operand::Register(_) => None,
            };
            let word = mask.unwrap_or_else(|| {
                let m = operand.register(asm, size);
                encode::logic(Logic::Ands, size, ZR, n, m)
            });
            asm.put(word);
            return Branch::Flags(Cond::Ne);
        }
        Condition::Equal => Cond::Eq,
        Condition::NotEqual => Cond::Ne,
        Condition::Greater => Cond::Hi,
        Condition::GreaterOrEqual => Cond::Hs,
        Condition::Less => Cond::Lo,
        Condition::LessOrEqual => Cond::Ls,
        Condition::SignedGreater => Cond::Gt,
        Condition::SignedGreaterOrEqual => Cond::Ge,
        Condition::SignedLess => Cond::Lt,
        Condition::SignedLessOrEqual => Cond::Le,
    };
    compare(asm, size, n, operand);
    Branch::Flags(cond)
}
