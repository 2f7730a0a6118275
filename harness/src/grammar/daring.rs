//! Steps that no verifier should let through. If one does, what comes of it is made to be seen:
//! it is treated as a number, and numbers end up in r0, in memory and in what helpers are given.

use ebpf::instruction::{AluOp, AtomicOp, Condition, Instruction, Operand, Size, WideValue, Width};

use super::holds::{Holds, Place, SLOTS, Where};
use super::{Call, R10, Writer, r};
use crate::helpers::{EMIT, FILL, MAP_LOOKUP, READ, SUM};
use crate::source::Source;

impl<S: Source> Writer<'_, S> {
    fn some_pointer(&mut self) -> u8 {
        let found = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Pointer(_)));
        found.unwrap_or(R10)
    }

    /// Says that a register holds a number, whatever it is, and shows it.
    fn shown(&mut self, register: u8) {
        self.frame.set(register, Holds::UNKNOWN);
        if self.source.below(2) == 0 {
            let base = (register + 1) % 6;
            if self.frame.is_free(base) {
                self.load_wide(base, WideValue::Scratch { offset: 0 });
                self.frame
                    .set(base, Holds::Pointer(Place::at(Where::Scratch, 0)));
                self.store(Size::Double, base, 0, Operand::Register(r(register)));
            }
        }
    }

    /// r0 becomes something that is no number.
    pub(super) fn return_something_else(&mut self) {
        let pointer = self.some_pointer();
        self.alu(Width::Bits64, AluOp::Mov, 0, Operand::Register(r(pointer)));
    }

    pub(super) fn dare(&mut self) {
        match self.source.below(24) {
            0 => {
                // A pointer leaves.
                let pointer = self.some_pointer();
                let base = self.free();
                if base != pointer {
                    self.fetch(base);
                    self.store(Size::Double, base, 0, Operand::Register(r(pointer)));
                    let dst = self.free();
                    self.load(Size::Double, false, dst, base, 0);
                    self.frame.set(dst, Holds::UNKNOWN);
                }
            }
            1 => {
                // Bytes of the stack that nothing was put in.
                let dst = self.free();
                let (size, below) = (self.size(), self.source.between(8, 200));
                self.load(size, false, dst, R10, -below);
                self.shown(dst);
            }
            2 => {
                // A register that nothing was put in.
                let src = self.frame.find(self.source, |held| held == Holds::Nothing);
                if let Some(src) = src {
                    let dst = self.free();
                    self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(src)));
                    self.shown(dst);
                }
            }
            3 => {
                // Arithmetic that makes a number of a pointer.
                let (pointer, dst) = (self.some_pointer(), self.free());
                self.alu(
                    Width::Bits64,
                    AluOp::Mov,
                    dst,
                    Operand::Register(r(pointer)),
                );
                let (width, op) = (self.width(), self.source.of(&AluOp::ALL));
                let imm = self.source.number();
                self.alu(width, op, dst, Operand::Immediate(imm));
                self.shown(dst);
            }
            4 => {
                // A write where there is only to be read.
                let base = self.free();
                self.fetch(base);
                let (size, imm) = (self.size(), self.source.number());
                let offset = self.source.between(0, 24);
                self.store(size, base, offset, Operand::Immediate(imm));
            }
            5 => {
                // Part of a pointer of the context, or of one that was spilled.
                let (dst, size) = (self.free(), self.size());
                let offset = self.source.between(0, 32);
                let is_context =
                    |held| matches!(held, Holds::Pointer(place) if place.where_ == Where::Context);
                match self.frame.find(self.source, is_context) {
                    Some(context) => self.load(size, false, dst, context, offset),
                    None => self.load(size, false, dst, R10, -offset - 8),
                }
                self.shown(dst);
            }
            6 => self.spill_badly(),
            7 => {
                // Pointers of several regions are compared, or one with a number.
                let (one, other) = (self.some_pointer(), self.source.below(11) as u8);
                let condition = self.source.of(&Condition::ALL);
                let src = if self.source.below(2) == 0 {
                    Operand::Register(r(other))
                } else {
                    Operand::Immediate(self.source.number())
                };
                let (width, at) = (self.width(), self.code.len());
                self.emit(Instruction::JumpIf {
                    width,
                    condition,
                    dst: r(one),
                    src,
                    offset: 0,
                });
                let dst = self.free();
                self.set_number(dst);
                self.land(at);
            }
            8 => {
                // A number is taken for an address.
                let (base, dst) = (self.number(), self.free());
                let (size, offset) = (self.size(), self.source.between(-8, 8));
                self.load(size, false, dst, base, offset);
                self.shown(dst);
            }
            9 => {
                // What an access reaches is wholly outside.
                let (base, dst) = (self.free(), self.free());
                self.fetch(base);
                let offset = self.source.of(&[-1, -8, 64, 95, 256, 512, -513, -4096]);
                let size = self.size();
                self.load(size, false, dst, base, offset);
                self.shown(dst);
            }
            10 => self.helper_badly(),
            11 if self.setting.maps => self.lookup_badly(),
            12 => self.join_badly(),
            13 => {
                // A function that calls itself.
                if self.level > 0 && self.source.below(2) == 0 {
                    let function = self.level - 1;
                    self.calls.push(Call {
                        at: self.code.len(),
                        function,
                    });
                    self.set_and_call();
                }
            }
            14 => {
                // A store through the stack of a pointer that a number moved.
                let index = self.bound();
                let base = self.free();
                if base != index {
                    self.copy(base, index);
                    self.alu(Width::Bits64, AluOp::Add, base, Operand::Register(r(R10)));
                    let down = self.source.between(8, 160);
                    self.alu64(AluOp::Add, base, -down);
                    let src = self.source.below(11) as u8;
                    let size = self.size();
                    self.store(size, base, 0, Operand::Register(r(src)));
                    // Slots keep what they are thought to hold.
                    self.frame.set(base, Holds::Nothing);
                }
            }
            15 => {
                // An atomic on a pointer, or with one.
                let slot = self.source.below(SLOTS as u32) as i32;
                let (src, op) = (self.source.below(10) as u8, self.source.of(&AtomicOp::ALL));
                self.emit(Instruction::Atomic {
                    width: Width::Bits64,
                    op,
                    base: r(R10),
                    offset: (slot * -8 - 8) as i16,
                    src: r(src),
                });
                if op.writes_source() {
                    self.shown(src);
                }
            }
            16 => {
                // A pointer to a frame that is gone, or into somebody else's.
                let dst = self.free();
                self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(R10)));
                let by = self.source.of(&[-520, -512, -1024, 0, 8, 64, -4096]);
                self.alu64(AluOp::Add, dst, by);
                let (size, other) = (self.size(), self.free());
                if self.source.below(2) == 0 {
                    self.store(size, dst, 0, Operand::Immediate(3));
                } else {
                    self.load(size, false, other, dst, 0);
                    self.shown(other);
                }
                self.frame.set(dst, Holds::Nothing);
            }
            17 => {
                // A pointer is taken for the difference of two.
                let (one, other) = (self.some_pointer(), self.some_pointer());
                let dst = self.free();
                self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(one)));
                let op = self.source.of(&[AluOp::Add, AluOp::Sub]);
                let width = self.width();
                self.alu(width, op, dst, Operand::Register(r(other)));
                self.shown(dst);
            }
            18 => {
                // A pointer goes to the stack in pieces, or comes back so.
                let (pointer, below) = (self.some_pointer(), self.source.between(8, 40));
                let (size, dst) = (self.size(), self.free());
                self.store(size, R10, -below, Operand::Register(r(pointer)));
                let (size, from) = (self.size(), self.source.between(below - 4, below));
                self.load(size, false, dst, R10, -from);
                self.shown(dst);
            }
            _ => self.sloppy(),
        }
    }

    /// Instructions at random, of registers at random.
    fn sloppy(&mut self) {
        for _ in 0..self.source.between(1, 3) {
            let (dst, src) = (self.source.below(10) as u8, self.source.below(11) as u8);
            let (width, size) = (self.width(), self.size());
            let offset = self.source.between(-24, 24);
            let operand = if self.source.below(2) == 0 {
                Operand::Register(r(src))
            } else {
                Operand::Immediate(self.source.number())
            };
            match self.source.below(5) {
                0 => {
                    let op = self.source.of(&AluOp::ALL);
                    self.alu(width, op, dst, operand);
                }
                1 => self.load(size, false, dst, src, offset),
                2 => self.store(size, src, offset, operand),
                3 => self.alu(Width::Bits64, AluOp::Mov, dst, operand),
                _ => self.alu(Width::Bits64, AluOp::Add, dst, operand),
            }
        }
    }

    /// A pointer is stored where it cannot be kept, and read again.
    fn spill_badly(&mut self) {
        let (pointer, dst) = (self.some_pointer(), self.free());
        let below = self.source.between(8, 64);
        self.store(Size::Double, R10, -below, Operand::Register(r(pointer)));
        if self.source.below(2) == 0 {
            let (size, at) = (self.size(), self.source.between(1, 72));
            self.store(size, R10, -at, Operand::Immediate(1));
        }
        let (size, at) = (self.size(), self.source.between(below - 8, below));
        self.load(size, false, dst, R10, -at);
        self.shown(dst);
    }

    /// A helper is given what it should not be given.
    fn helper_badly(&mut self) {
        let context =
            |held| matches!(held, Holds::Pointer(place) if place.where_ == Where::Context);
        let buffer = match self.source.below(3) {
            0 => self.frame.find(self.source, context).unwrap_or(R10),
            1 => self.some_pointer(),
            _ => self.source.below(11) as u8,
        };
        let id = self.source.of(&[EMIT, FILL, SUM, READ]);
        let first = match id {
            SUM => 2,
            READ => 3,
            _ => 1,
        };
        self.alu(
            Width::Bits64,
            AluOp::Mov,
            first,
            Operand::Register(r(buffer)),
        );
        match self.source.below(4) {
            0 => {}
            1 => {
                // Where the next region begins, or the last one did, and a little beside.
                let regions = self.source.of(&[1_u64, 2, u64::MAX]) << 32;
                let beside = self.source.of(&[0, 0, 8, u64::MAX]);
                self.load_wide(5, WideValue::Number(regions.wrapping_add(beside)));
                self.alu(Width::Bits64, AluOp::Add, first, Operand::Register(r(5)));
            }
            _ => {
                let by = -self.source.between(0, 64);
                self.alu64(AluOp::Add, first, by);
            }
        }
        if id == SUM || id == READ {
            self.alu64(AluOp::Mov, 1, 0);
        }
        if id == READ {
            self.alu64(AluOp::Mov, 2, 0);
        }
        let len = self.source.between(0, 72);
        self.alu64(AluOp::Mov, first + 1, len);
        self.call_helper(id);
    }

    /// A lookup's answer is used as it is, or with the wrong key.
    fn lookup_badly(&mut self) {
        let index = self.source.below(6);
        if self.source.below(2) == 0 {
            self.store(Size::Double, R10, -8, Operand::Immediate(7));
            self.frame.put_bytes(8, 8);
        }
        let below = self.source.of(&[8, 4, 16]);
        self.alu(Width::Bits64, AluOp::Mov, 2, Operand::Register(r(R10)));
        self.alu64(AluOp::Add, 2, -below);
        self.load_wide(1, WideValue::Map { index });
        self.call_helper(MAP_LOOKUP);
        let dst = self.free();
        let (size, offset) = (self.size(), self.source.between(0, 24));
        match self.source.below(3) {
            0 => self.load(size, false, dst, 0, offset),
            1 => self.store(size, 0, offset, Operand::Immediate(1)),
            _ => self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(0))),
        }
        self.shown(dst);
        self.frame.set(0, Holds::Nothing);
    }

    /// One way brings a pointer, the other a number or another pointer.
    fn join_badly(&mut self) {
        let (dst, condition) = (self.free(), self.source.of(&Condition::ALL));
        let (test, width) = (self.number(), self.width());
        if dst == test {
            return;
        }
        self.fetch(dst);
        let at = self.code.len();
        let src = Operand::Immediate(self.source.number());
        self.emit(Instruction::JumpIf {
            width,
            condition,
            dst: r(test),
            src,
            offset: 0,
        });
        match self.source.below(3) {
            0 => self.fetch(dst),
            1 => {
                let imm = self.source.number();
                self.alu64(AluOp::Mov, dst, imm);
            }
            _ => {
                let by = self.source.number();
                self.alu64(AluOp::Add, dst, by);
            }
        }
        self.land(at);
        let (size, other) = (self.size(), self.free());
        let offset = self.source.between(0, 16);
        match self.source.below(3) {
            0 => self.store(size, dst, offset, Operand::Immediate(9)),
            1 => {
                self.load(size, false, other, dst, offset);
                self.shown(other);
            }
            _ => self.shown(dst),
        }
    }

    fn set_and_call(&mut self) {
        // The arguments are what they happen to be.
        self.emit(Instruction::CallLocal { offset: 0 });
        self.frame.called();
    }
}
