//! Programs by chance that know the types of what they handle.
//!
//! The grammar keeps what each register and each slot of the stack holds while it writes a program
//! from the first instruction to the last, so that most of what it writes is accepted by a
//! verifier: pointers are used as pointers, where they point; registers are written before they
//! are read; what ways bring to where they meet is joined. Offsets it treats more freely, since
//! what cannot be bounded is guarded, and what lies one byte too far is the most telling.
//!
//! Some programs are *daring* on top: they hold a step that no verifier should let through.

mod daring;
mod flow;
mod holds;
mod nulls;
mod steps;

use alloc::vec::Vec;

use ebpf::EntryKind;
use ebpf::instruction::{AluOp, Instruction, Operand, Register, Size, WideValue, Width};

use crate::setting::Setting;
use crate::source::Source;
use holds::{Frame, Holds, Place, Where};

/// Functions beside the entry function that a program may have.
const FUNCTIONS_MAX: usize = 3;

/// Slots after which nothing new is begun.
const SLOTS_ENOUGH: usize = 400;

/// What a function other than the entry takes in r2, beside a number in r1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    Number,
    Scratch,
    Reply,
    /// 16 bytes of the caller's frame, all written.
    Stack,
    /// An address in a value of the first map, or 0.
    Value,
}

const TAKES: [Takes; 5] = [
    Takes::Number,
    Takes::Scratch,
    Takes::Reply,
    Takes::Stack,
    Takes::Value,
];

/// Writes a program into `code`, which is emptied.
pub(crate) fn write(source: &mut impl Source, setting: &Setting, code: &mut Vec<u64>) {
    code.clear();
    let functions = [(); FUNCTIONS_MAX].map(|()| source.of(&TAKES));
    let steps = match source.below(16) {
        0 => source.between(20, 60),
        1..5 => source.between(8, 24),
        _ => source.between(2, 12),
    };
    let daring = if source.below(3) == 0 { 12 } else { 0 };
    let mut writer = Writer {
        source,
        setting,
        code,
        frame: Frame::EMPTY,
        functions,
        calls: Vec::new(),
        level: 0,
        depth: 0,
        daring,
        steps,
    };
    writer.main();
    writer.behind();
}

/// A call whose distance is not known yet.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: usize,
    function: usize,
}

struct Writer<'a, S> {
    source: &'a mut S,
    setting: &'a Setting,
    code: &'a mut Vec<u64>,
    frame: Frame,
    functions: [Takes; FUNCTIONS_MAX],
    calls: Vec<Call>,
    /// 0 in the entry function, else the function's number and 1.
    level: usize,
    /// Blocks within blocks.
    depth: u32,
    /// One step in so many is daring; none if 0.
    daring: u32,
    /// Steps that are left.
    steps: i32,
}

const R10: u8 = 10;

fn r(number: u8) -> Register {
    Register::new(number).unwrap_or(Register::FRAME)
}

const SIZES: [Size; 4] = [Size::Byte, Size::Half, Size::Word, Size::Double];

impl<S: Source> Writer<'_, S> {
    fn main(&mut self) {
        self.frame = Frame::EMPTY;
        self.frame
            .set(1, Holds::Pointer(Place::at(Where::Context, 0)));
        if self.source.below(8) > 0 {
            let keeper = self.source.between(6, 9) as u8;
            self.copy(keeper, 1);
            if self.source.below(4) > 0 {
                let first = self.source.between(6, 8) as u8;
                for dst in first..9 {
                    if dst != keeper {
                        self.fetch_field(dst, keeper);
                    }
                }
            }
        }
        for dst in [0, 2, 3, 4, 5] {
            if self.source.below(3) > 0 {
                self.set_number(dst);
            }
        }
        // What comes first is the most likely to be reached.
        match self.source.below(6) {
            0 if self.setting.maps => self.weave(),
            1 if self.setting.maps => self.search(),
            _ => {}
        }
        self.block();
        self.finish();
    }

    /// The functions that are called, and those they call.
    fn behind(&mut self) {
        for function in 0..FUNCTIONS_MAX {
            if !self.calls.iter().any(|call| call.function == function) {
                continue;
            }
            let start = self.code.len();
            for call in self.calls.clone() {
                if call.function == function {
                    let distance = start as i64 - call.at as i64 - 1;
                    self.code[call.at] |= (distance as u32 as u64) << 32;
                }
            }
            self.function(function);
        }
    }

    fn function(&mut self, function: usize) {
        self.level = function + 1;
        self.frame = Frame::EMPTY;
        self.frame.set(1, Holds::UNKNOWN);
        let second = match self.functions[function] {
            Takes::Number => Holds::UNKNOWN,
            Takes::Scratch => Holds::Pointer(Place::at(Where::Scratch, 0)),
            Takes::Reply => Holds::Pointer(Place::at(Where::Reply, 0)),
            Takes::Stack => Holds::Pointer(Place::at(Where::Caller, 0)),
            Takes::Value => Holds::Perhaps(Place::at(Where::Value(0), 0)),
        };
        self.frame.set(2, second);
        if self.source.below(3) > 0 {
            let keeper = self.source.between(6, 9) as u8;
            self.copy(keeper, 2);
        }
        self.steps = self.source.between(1, 7);
        self.block();
        self.finish();
    }

    /// Brings numbers into r0, and returns.
    fn finish(&mut self) {
        if !self.frame.is_number(0) {
            self.set_number(0);
        }
        for register in 1..10 {
            if self.frame.is_number(register) && self.source.below(2) == 0 {
                let src = Operand::Register(r(register));
                self.alu(Width::Bits64, AluOp::Mul, 0, Operand::Immediate(31));
                self.alu(Width::Bits64, AluOp::Add, 0, src);
            }
        }
        if self.daring > 0 && self.source.below(16) == 1 {
            self.return_something_else();
        }
        self.emit(Instruction::Exit);
    }

    fn has_data(&self) -> bool {
        self.setting.kind == EntryKind::Scan
    }

    fn emit(&mut self, instruction: Instruction) {
        let (first, second) = instruction.encode();
        self.code.push(first);
        self.code.extend(second);
    }

    /// `dst = dst op src`; what dst holds then is the caller's affair.
    fn alu(&mut self, width: Width, op: AluOp, dst: u8, src: Operand) {
        self.emit(Instruction::Alu {
            width,
            op,
            dst: r(dst),
            src,
        });
    }

    fn alu64(&mut self, op: AluOp, dst: u8, imm: i32) {
        self.alu(Width::Bits64, op, dst, Operand::Immediate(imm));
    }

    fn width(&mut self) -> Width {
        self.source.of(&[Width::Bits32, Width::Bits64])
    }

    fn size(&mut self) -> Size {
        self.source.of(&SIZES)
    }

    /// `dst = src`, whatever it is.
    fn copy(&mut self, dst: u8, src: u8) {
        let operand = Operand::Register(r(src));
        self.alu(Width::Bits64, AluOp::Mov, dst, operand);
        let held = self.frame.get(src);
        self.frame.set(dst, held);
    }

    fn set_constant(&mut self, dst: u8, number: i32) {
        self.alu64(AluOp::Mov, dst, number);
        self.frame.set(dst, Holds::constant(number));
    }

    fn load_wide(&mut self, dst: u8, value: WideValue) {
        self.emit(Instruction::LoadWide { dst: r(dst), value });
    }

    fn load(&mut self, size: Size, signed: bool, dst: u8, base: u8, offset: i32) {
        self.emit(Instruction::Load {
            size,
            signed: signed && size != Size::Double,
            dst: r(dst),
            base: r(base),
            offset: offset as i16,
        });
    }

    fn store(&mut self, size: Size, base: u8, offset: i32, src: Operand) {
        self.emit(Instruction::Store {
            size,
            base: r(base),
            offset: offset as i16,
            src,
        });
    }

    /// A number into a register.
    fn set_number(&mut self, dst: u8) {
        match self.source.below(6) {
            0 => {
                let number = self.source.wide_number();
                self.load_wide(dst, WideValue::Number(number));
                self.frame.set(dst, Holds::UNKNOWN);
            }
            1..4 => {
                let base = self.frame.find(self.source, |held| {
                    matches!(held, Holds::Pointer(place) if place.where_ != Where::Context
                        && place.where_ != Where::DataEnd && !place.where_.is_stack())
                });
                match base {
                    Some(base) => self.load_from(dst, base),
                    None => {
                        let number = self.source.number();
                        self.set_constant(dst, number);
                    }
                }
            }
            _ => {
                let number = self.source.number();
                self.set_constant(dst, number);
            }
        }
    }

    /// A register that may be overwritten.
    fn free(&mut self) -> u8 {
        let first = self.source.below(10) as u8;
        let all = (0..10).map(|step| (first + step) % 10);
        let free = |register: &u8| self.frame.is_free(*register);
        let is_plain = |register: &u8| !matches!(self.frame.get(*register), Holds::Pointer(_));
        let mut plain = all.clone().filter(free).filter(is_plain);
        // r0 is never locked.
        plain.next().or_else(|| all.clone().find(free)).unwrap_or(0)
    }

    /// A register with a number.
    fn number(&mut self) -> u8 {
        let found = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Number(_)));
        match found {
            Some(register) => register,
            None => {
                let dst = self.free();
                self.set_number(dst);
                dst
            }
        }
    }

    /// A register with a number that may be overwritten.
    fn free_number(&mut self) -> u8 {
        let register = self.number();
        if self.frame.is_free(register) {
            return register;
        }
        let dst = self.free();
        self.copy(dst, register);
        dst
    }

    fn operand(&mut self) -> Operand {
        if self.source.below(2) == 0 {
            Operand::Register(r(self.number()))
        } else {
            Operand::Immediate(self.source.number())
        }
    }

    /// Lets the jump at a slot lead to here.
    fn land(&mut self, at: usize) {
        self.aim(at, self.code.len());
    }

    fn aim(&mut self, at: usize, target: usize) {
        let distance = target as i64 - at as i64 - 1;
        self.code[at] = self.code[at] & !(0xffff << 16) | (distance as u16 as u64) << 16;
    }
}
