//! Jumps, calls, returns and wide loads (RFC 9669 sections 4.3 and 5.4).

use core::mem::offset_of;

use super::arithmetic::bits_of;
use super::asm::{Asm, Bits, Cc, Mem, Op2, RCX, RDX, Reg, Rm};
use super::{Emitter, FRAME_END, FUEL, REGISTERS, field, saved_field};
use crate::instruction::{AluOp, Condition, Instruction, Operand, Register, WideValue};
use crate::jit::exit::Exit;
use crate::jit::machine::Machine;
use crate::jit::survey::Source;
use crate::jit::table::Table;
use crate::limits::{FRAME_BYTES, FRAMES_MAX};
use crate::memory::{MapIndex, Memory, RegionId};
use crate::meter;
use crate::state::Frame;

/// Operations before a jump that are repeated, so as to save another jump.
const REPEATED_MAX: u32 = 4;

/// Where a jump leads.
const fn target_of(pc: u32, offset: i32) -> u32 {
    (pc + 1).wrapping_add_signed(offset)
}

/// The register that an operation on registers changes, of those that take few bytes.
fn changed_by(instruction: &Instruction) -> Option<Register> {
    match *instruction {
        Instruction::Alu {
            op: AluOp::Div | AluOp::SignedDiv | AluOp::Mod | AluOp::SignedMod,
            ..
        } => None,
        Instruction::Alu { dst, .. }
        | Instruction::Negate { dst, .. }
        | Instruction::MoveSigned { dst, .. }
        | Instruction::Swap { dst, .. } => Some(dst),
        _ => None,
    }
}

/// The first slot from one on, at most [`REPEATED_MAX`] further, that has no operation on registers.
fn end_of_operations(source: &Source<'_>, from: u32) -> Option<u32> {
    (from..=from + REPEATED_MAX).find(|&pc| {
        let instruction = source.instruction(pc);
        !instruction.is_ok_and(|instruction| changed_by(&instruction).is_some())
    })
}

/// A jump over a few operations, after which the same is asked again.
struct Twice {
    /// Where the first one leads.
    joined: u32,
    /// The second one.
    second: u32,
    /// Where that leads.
    target: u32,
}

impl Twice {
    fn at(source: &Source<'_>, pc: u32, instruction: &Instruction) -> Option<Twice> {
        let Instruction::JumpIf { offset, .. } = *instruction else {
            return None;
        };
        let joined = target_of(pc, i32::from(offset));
        let is_short = joined > pc + 1 && joined <= pc + REPEATED_MAX;
        let second = is_short
            .then(|| end_of_operations(source, pc + 1))
            .flatten()?;
        let again = source.instruction(second).ok()?;
        let target = target_of(second, i32::from(same_question(instruction, &again)?));
        let keeps = |pc| {
            let changed = source.instruction(pc).ok().and_then(|it| changed_by(&it));
            changed.is_some_and(|register| !is_asked_about(instruction, register))
        };
        let found = second >= joined && (pc + 1..second).all(keeps);
        found.then_some(Twice {
            joined,
            second,
            target,
        })
    }
}

/// Heads that are repeated in a program: about 6 KiB of code at the most, or a program that is all
/// jumps back would need five times the memory that it needs without.
const REPEATS_MAX: u16 = 64;

/// A few operations and a jump further down: so a loop begins that its compiler has turned round. To
/// repeat them in place of a jump back saves a taken jump in every round, and each way round has a
/// question of its own, whose answer is predicted better.
struct Head {
    /// Where the question is.
    question: u32,
    /// Where it leads.
    target: u32,
}

impl Head {
    fn at(source: &Source<'_>, pc: u32) -> Option<Head> {
        let question = end_of_operations(source, pc)?;
        match source.instruction(question) {
            Ok(Instruction::JumpIf { offset, .. }) if offset > 0 => Some(Head {
                question,
                target: target_of(question, i32::from(offset)),
            }),
            _ => None,
        }
    }
}

/// The offset of a second jump, if it asks what the first one asks.
fn same_question(first: &Instruction, second: &Instruction) -> Option<i16> {
    match (*first, *second) {
        (
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                ..
            },
            Instruction::JumpIf {
                width: second_width,
                condition: second_condition,
                dst: second_dst,
                src: second_src,
                offset,
            },
        ) if (width, condition, dst, src)
            == (second_width, second_condition, second_dst, second_src) =>
        {
            Some(offset)
        }
        _ => None,
    }
}

/// True if a conditional jump looks at a register.
fn is_asked_about(instruction: &Instruction, register: Register) -> bool {
    match *instruction {
        Instruction::JumpIf { dst, src, .. } => {
            dst == register || src == Operand::Register(register)
        }
        _ => false,
    }
}

impl Emitter {
    pub(super) fn jump(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        offset: i32,
        asm: &mut Asm<'_, '_>,
    ) {
        if offset != 0 {
            let near = table.is_near(pc);
            self.go(source, table, (pc, near), target_of(pc, offset), asm);
        }
    }

    /// Makes a jump, which may be known to be near.
    fn go(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, near): (u32, bool),
        target: u32,
        asm: &mut Asm<'_, '_>,
    ) {
        if target <= pc {
            self.go_back(source, table, (pc, near), target, asm);
        } else {
            asm.jump(near, table.offset(target));
        }
    }

    /// Pays for a jump back, which may be known to be near, and makes it.
    fn go_back(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, near): (u32, bool),
        target: u32,
        asm: &mut Asm<'_, '_>,
    ) {
        let price = meter::jump_cost(pc, target) as i32;
        asm.op2_number(Bits::B64, Op2::Sub, Rm::Reg(FUEL), price);
        if self.repeats < REPEATS_MAX
            && let Some(head) = Head::at(source, target)
        {
            self.repeats += 1;
            let overdrawn = self.stub(asm, Exit::Jump { pc, target });
            asm.jump_if(Cc::Less, false, overdrawn);
            return self.repeat(source, table, target, &head, asm);
        }
        asm.jump_if(Cc::GreaterEqual, near, table.offset(target));
        self.go_out(asm, Exit::Jump { pc, target });
    }

    /// Does what stands at a slot as the head of a loop, and goes on behind it.
    fn repeat(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        head: &Head,
        asm: &mut Asm<'_, '_>,
    ) {
        self.operations(source, table, pc, head.question, asm);
        if let Ok(Instruction::JumpIf {
            width,
            condition,
            dst,
            src,
            ..
        }) = source.instruction(head.question)
        {
            let cc = self.compare(asm, bits_of(width), condition, dst, src);
            asm.jump_if(cc, false, table.offset(head.target));
        }
        asm.jump(false, table.offset(head.question + 1));
    }

    /// Does what stands from a slot to another, all of it operations on registers.
    fn operations(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        from: u32,
        end: u32,
        asm: &mut Asm<'_, '_>,
    ) {
        self.flags = None;
        let mut pc = from;
        while pc < end {
            let Ok(instruction) = source.instruction(pc) else {
                return;
            };
            pc += self.instruction(source, table, pc, &instruction, asm);
        }
        self.flags = None;
    }

    /// Makes a jump whose question is asked once more a little later: either way it goes, the second
    /// answer is known.
    fn jump_if_twice(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, cc): (u32, Cc),
        twice: &Twice,
        asm: &mut Asm<'_, '_>,
    ) {
        let Twice {
            joined,
            second,
            target,
        } = *twice;
        let taken = asm.open_far_if(cc);
        self.operations(source, table, pc + 1, second, asm);
        self.go_on(source, table, second + 1, asm);
        asm.close(taken);
        self.operations(source, table, joined, second, asm);
        self.go(source, table, (second, false), target, asm);
    }

    /// Goes to a slot; or to where that leads after a few operations, which are done here.
    fn go_on(&mut self, source: &Source<'_>, table: &Table<'_>, pc: u32, asm: &mut Asm<'_, '_>) {
        let end = end_of_operations(source, pc);
        let jump = end.and_then(|end| Some((end, source.instruction(end).ok()?)));
        if let Some((end, Instruction::Jump { offset, .. })) = jump {
            self.operations(source, table, pc, end, asm);
            self.go(source, table, (end, false), target_of(end, offset), asm);
        } else {
            asm.jump(false, table.offset(pc));
        }
    }

    pub(super) fn jump_if(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        instruction: &Instruction,
        asm: &mut Asm<'_, '_>,
    ) {
        let Instruction::JumpIf {
            width,
            condition,
            dst,
            src,
            offset,
        } = *instruction
        else {
            return;
        };
        let cc = self.compare(asm, bits_of(width), condition, dst, src);
        let target = target_of(pc, i32::from(offset));
        if let Some(twice) = Twice::at(source, pc, instruction) {
            self.jump_if_twice(source, table, (pc, cc), &twice, asm);
        } else if target <= pc {
            let stays = asm.open_if(cc.not());
            self.go_back(source, table, (pc, table.is_near(pc)), target, asm);
            asm.close(stays);
        } else if offset != 0 {
            asm.jump_if(cc, table.is_near(pc), table.offset(target));
        }
    }

    /// Sets the flags, and says which of them are wanted.
    fn compare(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        condition: Condition,
        dst: Register,
        src: Operand,
    ) -> Cc {
        let a = self.value(asm, dst, RCX);
        match src {
            Operand::Register(src) => {
                let b = self.value(asm, src, RDX);
                if condition == Condition::AnyBit {
                    asm.test(bits, a, b);
                } else {
                    asm.op2(bits, Op2::Cmp, a, Rm::Reg(b));
                }
            }
            Operand::Immediate(number) => {
                if let Some(cc) = self.compare_with_zero(asm, bits, condition, a, number) {
                    return cc;
                }
                if condition == Condition::AnyBit {
                    asm.test_number(bits, a, number);
                } else {
                    asm.op2_number(bits, Op2::Cmp, Rm::Reg(a), number);
                }
            }
        }
        match condition {
            Condition::Equal => Cc::Equal,
            Condition::NotEqual | Condition::AnyBit => Cc::NotEqual,
            Condition::Greater => Cc::Above,
            Condition::GreaterOrEqual => Cc::AboveEqual,
            Condition::Less => Cc::Below,
            Condition::LessOrEqual => Cc::BelowEqual,
            Condition::SignedGreater => Cc::Greater,
            Condition::SignedGreaterOrEqual => Cc::GreaterEqual,
            Condition::SignedLess => Cc::Less,
            Condition::SignedLessOrEqual => Cc::LessEqual,
        }
    }

    /// Where a comparison asks for no more than whether a register is 0 or negative, sets the
    /// flags for that, unless they are set already.
    fn compare_with_zero(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        condition: Condition,
        register: Reg,
        number: i32,
    ) -> Option<Cc> {
        let cc = match (condition, number) {
            (Condition::Equal | Condition::LessOrEqual, 0) | (Condition::Less, 1) => Cc::Equal,
            (Condition::NotEqual | Condition::Greater, 0) | (Condition::GreaterOrEqual, 1) => {
                Cc::NotEqual
            }
            (Condition::SignedLess, 0) | (Condition::SignedLessOrEqual, -1) => Cc::Sign,
            (Condition::SignedGreaterOrEqual, 0) | (Condition::SignedGreater, -1) => Cc::NotSign,
            _ => return None,
        };
        let known = self.flags.is_some_and(|flags| {
            flags.at == asm.0.at() && flags.register == register && flags.bits == bits
        });
        if !known {
            asm.test(bits, register, register);
        }
        Some(cc)
    }

    pub(super) fn call_local(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        offset: i32,
        asm: &mut Asm<'_, '_>,
    ) {
        let target = i64::from(pc) + 1 + i64::from(offset);
        // The functions may be another code's.
        let callee = source.program.checked.function_at(target as u32);
        let callee = callee.filter(|callee| {
            callee.start < source.slots() && !table.is_hole(callee.start) && callee.len > 0
        });
        let Some(callee) = callee else {
            return self.go_out_with(asm, Exit::NoFunction { pc }, target as u32);
        };
        let target = callee.start;
        let overdrawn = self.stub(asm, Exit::Call { pc, target });
        let too_deep = self.stub(asm, Exit::CallDepth { pc });
        let price = callee.len as i32;
        asm.op2_number(Bits::B64, Op2::Sub, Rm::Reg(FUEL), price);
        asm.jump_if(Cc::Less, false, overdrawn);
        let (depth, frame) = (
            field(offset_of!(Machine, depth)),
            field(offset_of!(Machine, frame)),
        );
        let frames = FRAMES_MAX as i32 - 1;
        asm.op2_number(Bits::B32, Op2::Cmp, Rm::Mem(depth), frames);
        asm.jump_if(Cc::AboveEqual, false, too_deep);
        asm.load(Bits::B64, RCX, frame);
        for (index, reg) in REGISTERS[6..10].iter().enumerate() {
            asm.store(Bits::B64, saved_field(index), *reg);
        }
        let return_pc = Mem::at(RCX, offset_of!(Frame, return_pc) as i32);
        asm.store_number(Bits::B32, return_pc, pc as i32 + 1);
        let bytes = size_of::<Frame>() as i32;
        asm.op2_number(Bits::B64, Op2::Add, Rm::Mem(frame), bytes);
        asm.op2_number(Bits::B32, Op2::Add, Rm::Mem(depth), 1);
        if self.uses(10) {
            let bytes = FRAME_BYTES as i32;
            asm.op2_number(Bits::B64, Op2::Sub, Rm::Reg(FRAME_END), bytes);
        }
        asm.jump(false, table.offset(target));
    }

    pub(super) fn exit(&mut self, asm: &mut Asm<'_, '_>, pc: u32) {
        if self.has_calls {
            asm.mov_number(RDX, u64::from(Exit::Return { pc }.word()));
            asm.jump(false, self.pop);
        } else {
            self.go_out(asm, Exit::Return { pc });
        }
    }

    pub(super) fn load_wide(
        &mut self,
        source: &Source<'_>,
        pc: u32,
        dst: Register,
        value: WideValue,
        asm: &mut Asm<'_, '_>,
    ) {
        let number = match value {
            WideValue::Number(number) => number,
            WideValue::Scratch { offset } => {
                source.program.scratch_base.wrapping_add(u64::from(offset))
            }
            WideValue::Map { index } | WideValue::MapValue { index, .. } => {
                let Some(map) = MapIndex::new(index) else {
                    return self.go_out_with(asm, Exit::NoMap { pc }, index);
                };
                match value {
                    WideValue::MapValue { offset, .. } => {
                        Memory::address(RegionId::Map(map), offset)
                    }
                    _ => map.handle(),
                }
            }
        };
        asm.mov_number(self.native(dst), number);
    }
}
