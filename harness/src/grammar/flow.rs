//! Branches, loops, calls: what steps are strung together by.

use ebpf::instruction::{AluOp, Condition, Instruction, Operand, Size, WideValue, Width};

use super::holds::{Holds, Place, SLOTS, Where};
use super::steps::same_region;
use super::{Call, FUNCTIONS_MAX, R10, SLOTS_ENOUGH, Takes, Writer, r};
use crate::source::Source;

/// Blocks within blocks that are begun.
const DEPTH_MAX: u32 = 3;

impl<S: Source> Writer<'_, S> {
    /// Steps, as many as are left, or in an inner block a few.
    pub(super) fn block(&mut self) {
        let count = if self.depth == 0 {
            i32::MAX
        } else {
            self.source.between(1, 5)
        };
        for _ in 0..count {
            if self.steps <= 0 || self.code.len() > SLOTS_ENOUGH {
                break;
            }
            self.steps -= 1;
            self.step();
        }
    }

    fn step(&mut self) {
        if self.daring > 0 && self.source.below(self.daring) == 1 {
            return self.dare();
        }
        if self.depth >= DEPTH_MAX {
            return self.plain_step();
        }
        match self.source.below(32) {
            0 | 1 => self.branch(false),
            2 => self.branch(true),
            3 => self.repeat(),
            4 => self.walk(),
            5 => self.call(),
            6 if self.has_data() => self.data(),
            7 => self.checked_access(),
            8 => self.early_exit(),
            9 | 10 if self.setting.maps => self.weave(),
            11 if self.setting.maps => self.search(),
            12 if self.setting.maps => self.null_test(),
            _ => self.plain_step(),
        }
    }

    /// A conditional jump that is aimed later.
    pub(super) fn jump_if(
        &mut self,
        width: Width,
        condition: Condition,
        dst: u8,
        src: Operand,
    ) -> usize {
        let at = self.code.len();
        self.emit(Instruction::JumpIf {
            width,
            condition,
            dst: r(dst),
            src,
            offset: 0,
        });
        at
    }

    /// A jump that is aimed later.
    pub(super) fn jump(&mut self) -> usize {
        let at = self.code.len();
        let long = false;
        self.emit(Instruction::Jump { offset: 0, long });
        at
    }

    /// A jump on some condition of what there is.
    fn some_jump(&mut self) -> usize {
        let condition = self.source.of(&Condition::ALL);
        if self.source.below(8) == 0
            && let Some(at) = self.pointer_jump(condition)
        {
            return at;
        }
        let (width, dst) = (self.width(), self.number());
        let src = self.operand();
        self.jump_if(width, condition, dst, src)
    }

    fn pointer_jump(&mut self, condition: Condition) -> Option<usize> {
        let one = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Pointer(_)))?;
        let Holds::Pointer(place) = self.frame.get(one) else {
            return None;
        };
        if condition == Condition::AnyBit {
            return None;
        }
        let same = |held| match held {
            Holds::Pointer(other) => same_region(place.where_, other.where_),
            _ => false,
        };
        let other = self.frame.find(self.source, same)?;
        Some(self.jump_if(Width::Bits64, condition, one, Operand::Register(r(other))))
    }

    fn nested(&mut self) {
        self.depth += 1;
        self.block();
        self.depth -= 1;
    }

    fn branch(&mut self, both: bool) {
        let at = self.some_jump();
        let before = self.frame;
        self.nested();
        if !both {
            self.land(at);
            self.frame.join(&before);
            return;
        }
        let over = self.jump();
        self.land(at);
        let first = core::mem::replace(&mut self.frame, before);
        self.nested();
        if self.source.below(4) == 0 {
            // The long jump does as well.
            let offset = self.code.len() as i32 - over as i32 - 1;
            let (slot, _) = Instruction::Jump { offset, long: true }.encode();
            self.code[over] = slot;
        } else {
            self.land(over);
        }
        self.frame.join(&first);
    }

    fn early_exit(&mut self) {
        let at = self.some_jump();
        let before = self.frame;
        if !self.frame.is_number(0) {
            self.set_number(0);
        }
        self.emit(Instruction::Exit);
        self.land(at);
        self.frame = before;
    }

    /// A loop that counts, or one that goes on for as long as a condition has it.
    fn repeat(&mut self) {
        let outside = self.frame;
        let count = self.source.between(1, 9);
        let in_slot = self.source.below(3) == 0;
        let forever = self.source.below(6) == 0;
        let counter = self.source.between(6, 9) as u8;
        let slot = self.source.below(SLOTS as u32) as usize;
        if !forever {
            if in_slot && self.frame.slot_is_free(slot) {
                let src = Operand::Immediate(count);
                self.store(Size::Double, R10, slot as i32 * -8 - 8, src);
                self.frame.put(slot, Holds::UNKNOWN);
                self.frame.lock_slot(slot);
            } else if !in_slot && self.frame.is_free(counter) {
                self.set_constant(counter, count);
                self.frame.lock(counter);
            } else {
                return;
            }
        }
        self.frame.head();
        let head_frame = self.frame;
        let head = self.code.len();
        self.nested();
        self.restore(&head_frame);
        let back = if forever {
            let condition = self.source.of(&Condition::ALL);
            let (width, dst, src) = (self.width(), self.number(), self.operand());
            self.restore(&head_frame);
            self.jump_if(width, condition, dst, src)
        } else {
            let by = if in_slot { self.free() } else { counter };
            let at = slot as i32 * -8 - 8;
            if in_slot {
                self.load(Size::Double, false, by, R10, at);
            }
            self.alu64(AluOp::Sub, by, 1);
            if in_slot {
                self.store(Size::Double, R10, at, Operand::Register(r(by)));
                self.frame.set(by, Holds::UNKNOWN);
                if head_frame.get(by) != Holds::Nothing && !head_frame.is_number(by) {
                    self.frame.set(by, Holds::Nothing);
                }
            }
            let condition = self
                .source
                .of(&[Condition::NotEqual, Condition::SignedGreater]);
            self.jump_if(Width::Bits64, condition, by, Operand::Immediate(0))
        };
        self.aim(back, head);
        self.frame.unlock_as(&outside);
    }

    /// What the head of a loop counts on is made so again.
    pub(super) fn restore(&mut self, head: &super::Frame) {
        for register in 0..10 {
            if head.is_number(register) && !self.frame.is_number(register) {
                let number = self.source.number();
                self.set_constant(register, number);
            }
        }
        for slot in 0..SLOTS {
            let lost = matches!(head.slot(slot), Holds::Number(_))
                && !self.frame.is_written(slot as i32 * 8 + 8, 8);
            if lost {
                let src = Operand::Immediate(1);
                self.store(Size::Double, R10, slot as i32 * -8 - 8, src);
                self.frame.put(slot, Holds::UNKNOWN);
            }
        }
    }

    /// A pointer that steps through memory: beside a counter, or up to an end.
    fn walk(&mut self) {
        let outside = self.frame;
        let step = self.source.of(&[1, 2, 4, 8, 8, 16]);
        let (pointer, end) = (
            self.source.between(6, 7) as u8,
            self.source.between(8, 9) as u8,
        );
        if !self.frame.is_free(pointer) || !self.frame.is_free(end) {
            return;
        }
        let bytes = self.setting.scratch_bytes as i32;
        let place = Place::at(Where::Scratch, 0);
        self.load_wide(pointer, WideValue::Scratch { offset: 0 });
        self.frame.set(pointer, Holds::Pointer(place));
        let by_end = self.source.below(2) == 0;
        if by_end {
            self.copy(end, pointer);
            let length = self.source.between(0, bytes.clamp(1, 64));
            self.alu64(AluOp::Add, end, length);
            let place = Place::at(Where::Scratch, length);
            self.frame.set(end, Holds::Pointer(place));
        } else {
            let count = self.source.between(1, (bytes / step).clamp(1, 8));
            self.set_constant(end, count);
        }
        self.frame.head();
        self.frame.lock(pointer);
        self.frame.lock(end);
        let head_frame = self.frame;
        let head = self.code.len();
        let size = self.size();
        let dst = self.free();
        if self.source.below(3) == 0 {
            let src = self.operand();
            self.store(size, pointer, 0, src);
        } else {
            self.load(size, false, dst, pointer, 0);
            self.frame.set(dst, Holds::UNKNOWN);
        }
        if self.source.below(2) == 0 {
            self.nested();
        }
        self.restore(&head_frame);
        self.alu64(AluOp::Add, pointer, step);
        let back = if by_end {
            let condition = self.source.of(&[
                Condition::Less,
                Condition::NotEqual,
                Condition::LessOrEqual,
                Condition::SignedLess,
            ]);
            self.jump_if(Width::Bits64, condition, pointer, Operand::Register(r(end)))
        } else {
            self.alu64(AluOp::Sub, end, 1);
            self.jump_if(
                Width::Bits64,
                Condition::NotEqual,
                end,
                Operand::Immediate(0),
            )
        };
        self.aim(back, head);
        self.frame.unlock_as(&outside);
        // Nobody knows how far it went.
        self.frame.set(pointer, Holds::Nothing);
    }

    /// An access behind a comparison of the index, of either sign and width, or of several.
    fn checked_access(&mut self) {
        let index = self.free_number();
        let limit = self.source.between(0, 40);
        let wide = self.source.below(3) > 0;
        let width = if wide { Width::Bits64 } else { Width::Bits32 };
        let condition = self.source.of(&[
            Condition::Greater,
            Condition::GreaterOrEqual,
            Condition::SignedGreater,
            Condition::SignedGreaterOrEqual,
            Condition::NotEqual,
            Condition::AnyBit,
        ]);
        let skip = self.jump_if(width, condition, index, Operand::Immediate(limit));
        let mut skips = [Some(skip), None];
        if self.source.below(2) == 0 {
            let condition = self.source.of(&[Condition::SignedLess, Condition::Less]);
            let low = self.source.between(-2, 4);
            skips[1] = Some(self.jump_if(width, condition, index, Operand::Immediate(low)));
        }
        let before = self.frame;
        if !wide && self.source.below(2) == 0 {
            // The comparison was of the lower half alone.
            self.alu(
                Width::Bits32,
                AluOp::Mov,
                index,
                Operand::Register(r(index)),
            );
        }
        self.frame.set(index, Holds::Number(limit as u32));
        let dst = self.free();
        if dst != index {
            self.load_wide(dst, WideValue::Scratch { offset: 0 });
            self.alu(Width::Bits64, AluOp::Add, dst, Operand::Register(r(index)));
            let place = Place::at(Where::Scratch, 0).moved(0, limit);
            self.frame.set(dst, Holds::Pointer(place));
            let size = self.size();
            let last = self.setting.scratch_bytes as i32 - limit - size.bytes() as i32;
            let offset = match self.source.below(4) {
                0 => last,
                1 => last + 1,
                _ => self.source.between(0, 8),
            };
            if self.source.below(2) == 0 {
                self.store(size, dst, offset, Operand::Immediate(5));
            } else {
                self.load(size, false, dst, dst, offset);
                self.frame.set(dst, Holds::UNKNOWN);
            }
        }
        for skip in skips.into_iter().flatten() {
            self.land(skip);
        }
        self.frame.join(&before);
    }

    /// Data, behind a comparison with its end.
    fn data(&mut self) {
        let is_context =
            |held| matches!(held, Holds::Pointer(place) if place == Place::at(Where::Context, 0));
        let Some(context) = self.frame.find(self.source, is_context) else {
            return;
        };
        let (start, end) = (self.free(), self.source.between(0, 5) as u8);
        if start == end || start == context || end == context || !self.frame.is_free(end) {
            return;
        }
        self.load(Size::Double, false, start, context, 16);
        self.load(Size::Double, false, end, context, 24);
        self.frame
            .set(start, Holds::Pointer(Place::at(Where::Data, 0)));
        self.frame
            .set(end, Holds::Pointer(Place::at(Where::DataEnd, 0)));
        let bytes = self.source.of(&[1, 4, 8, 16, 24]);
        let loops = self.source.below(3) == 0;
        let head = self.code.len();
        if loops {
            self.frame.set(start, Holds::Nothing);
            self.frame.head();
            self.frame.set(end, Holds::Nothing);
        }
        self.alu64(AluOp::Add, start, bytes);
        let past = self.source.below(6) == 0;
        let condition = if past {
            self.source.of(&Condition::ALL[..3])
        } else {
            Condition::Greater
        };
        let skip = self.jump_if(Width::Bits64, condition, start, Operand::Register(r(end)));
        let before = self.frame;
        let size = self.size();
        let dst = self.free();
        if dst != start && dst != end {
            let offset = self.source.between(-bytes, -(size.bytes() as i32) + 1);
            self.load(size, false, dst, start, offset.max(-bytes - 1));
            self.frame.set(dst, Holds::UNKNOWN);
            if loops {
                self.restore(&before);
                let back = self.jump();
                self.aim(back, head);
            }
        }
        self.land(skip);
        self.frame.join(&before);
    }

    /// Calls another function, which comes later.
    pub(super) fn call(&mut self) {
        let first = self.level;
        if first >= FUNCTIONS_MAX {
            return self.plain_step();
        }
        let function = first + self.source.below((FUNCTIONS_MAX - first) as u32) as usize;
        let number = self.number();
        self.copy(1, number);
        match self.functions[function] {
            Takes::Number => {
                let imm = self.source.number();
                self.set_constant(2, imm);
            }
            Takes::Scratch => self.load_wide(2, WideValue::Scratch { offset: 0 }),
            Takes::Value => self.pass_value(),
            Takes::Reply => {
                let is_reply = |held| matches!(held, Holds::Pointer(place) if place == Place::at(Where::Reply, 0));
                match self.frame.find(self.source, is_reply) {
                    Some(register) if register != 1 => self.copy(2, register),
                    _ => return,
                }
            }
            Takes::Stack => {
                let slot = self.source.between(1, SLOTS as i32 - 1) as usize;
                if !self.frame.slot_is_free(slot) || !self.frame.slot_is_free(slot - 1) {
                    return;
                }
                for slot in [slot, slot - 1] {
                    let src = Operand::Immediate(self.source.number());
                    self.store(Size::Double, R10, slot as i32 * -8 - 8, src);
                    self.frame.put(slot, Holds::UNKNOWN);
                }
                self.alu(Width::Bits64, AluOp::Mov, 2, Operand::Register(r(R10)));
                self.alu64(AluOp::Add, 2, slot as i32 * -8 - 8);
            }
        }
        self.calls.push(Call {
            at: self.code.len(),
            function,
        });
        self.emit(Instruction::CallLocal { offset: 0 });
        self.frame.called();
    }

    /// What may be null into r2, or 0.
    fn pass_value(&mut self) {
        let place = Place::at(Where::Value(0), 0);
        let wanted = |held| held == Holds::Perhaps(place) || held == Holds::Pointer(place);
        match self.frame.find(self.source, wanted) {
            Some(register) if register != 1 => self.copy(2, register),
            _ => self.set_constant(2, 0),
        }
    }
}
