//! Programs by chance are proved and run, and every state on the way is held against the proof.
//!
//! The interpreter takes one instruction at a time: all the others are blotted out for it, so that
//! it stops behind each. Before each, the registers, their relations, the stack and the length
//! of the data must be what some state of the last pass says of that point; and the plan holds it
//! to the proof, so that a proved access that is refused is a fault of its own kind.

use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::environment::{
    Argument, ContextLayout, ContextPointer, Environment, HelperSignature, Returns,
};
use super::fixpoint::{Kept, Verifier};
use super::flow::decode;
use super::state::State as Abstract;
use super::value::{Kind, Value};
use super::verified::Verified;
use crate::abi::{MAP_LOOKUP_ELEM, MAP_SIGNATURES};
use crate::check::{Checked, Resources, check_with};
use crate::fault::{FaultKind, Outcome};
use crate::host::{HelperResult, HelperSpec, Host};
use crate::image::{EntryKind, ImageHeader, MapSpec};
use crate::instruction::{
    AluOp, Condition, Instruction, Operand, Register, Size, SwapOrder, Width,
};
use crate::instruction::{AtomicOp, WideValue};
use crate::interpreter::run_planned;
use crate::limits::{KEPT_MAX, STACK_BYTES};
use crate::memory::{MapIndex, Memory, RegionId};
use crate::program::Program;
use crate::state::{Phase, State};

const ARGS_BYTES: u32 = 40;
const REPLY_BYTES: u32 = 24;
const SCRATCH_BYTES: u32 = 64;
const HELPER: u32 = 5;
const VALUES: u64 = 3;
const VALUE_STRIDE: u64 = 24;

const fn spec(id: u32) -> HelperSpec {
    HelperSpec {
        id,
        name: "helper",
        length_arg: None,
    }
}

const SPECS: [HelperSpec; 2] = [spec(HELPER), spec(MAP_LOOKUP_ELEM)];

const SIGNATURES: [HelperSignature; 2] = [
    HelperSignature {
        id: HELPER,
        arguments: [Argument::Unused; 5],
        returns: Returns::Number { min: -5, max: 70 },
    },
    MAP_SIGNATURES[0],
];

const fn pointer(offset: u32, region: RegionId) -> ContextPointer {
    ContextPointer {
        offset,
        region,
        end: false,
    }
}

const CONTEXT: ContextLayout = ContextLayout {
    bytes: 64,
    pointers: &[
        pointer(0, RegionId::Arguments),
        pointer(8, RegionId::Reply),
        pointer(16, RegionId::Data),
        ContextPointer {
            end: true,
            ..pointer(24, RegionId::Data)
        },
    ],
};

/// A hash of [`VALUES`] values, and globals.
const MAPS: [MapSpec; 2] = {
    let hash = MapSpec {
        kind: 1,
        key_bytes: 8,
        value_bytes: 20,
        entries_max: VALUES as u32,
        flags: 0,
        initial_bytes: 0,
    };
    let globals = MapSpec {
        kind: 2,
        key_bytes: 4,
        value_bytes: GLOBALS_BYTES,
        entries_max: 1,
        ..hash
    };
    [hash, globals]
};
const GLOBALS_BYTES: u32 = 12;

/// Places on the stack, from its end.
mod slot {
    pub(super) const DATA: i16 = -96;
    pub(super) const REPLY: i16 = -112;
    pub(super) const VALUE: i16 = -120;
    pub(super) const KEY: i16 = -128;
}

/// Numbers by chance (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// A number that something may depend on.
    fn number(&mut self) -> i32 {
        match self.below(8) {
            0 => self.next() as i32,
            1 => self.of(&[i32::MIN, i32::MAX, -1, 31, 32, 63, 64, 255, -256]),
            2 => -(self.below(40) as i32),
            _ => self.below(72) as i32,
        }
    }
}

fn r(number: u8) -> Register {
    Register::new(number).expect("it is a register")
}

/// Makes a program: r6 to r8 are the addresses of arguments, the data's end and scratch, and stay;
/// r0 to r5 are numbers, r9 an address that is made where it is used.
struct Maker {
    chance: Chance,
    code: Vec<Instruction>,
    /// Jumps that go where they were made to go.
    settled: Vec<usize>,
}

/// What r9 can point to beside what r6, r8 and r10 do.
const REPLY: u8 = 7;
const DATA: u8 = 11;
const GLOBALS: u8 = 12;

impl Maker {
    fn data(&mut self) -> Register {
        r(self.chance.below(6) as u8)
    }

    fn operand(&mut self) -> Operand {
        if self.chance.below(2) == 0 {
            Operand::Register(self.data())
        } else {
            Operand::Immediate(self.chance.number())
        }
    }

    fn width(&mut self) -> Width {
        self.chance.of(&[Width::Bits32, Width::Bits64])
    }

    fn size(&mut self) -> Size {
        self.chance
            .of(&[Size::Byte, Size::Half, Size::Word, Size::Double])
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Register, src: Operand) {
        self.code.push(Instruction::Alu {
            width,
            op,
            dst,
            src,
        });
    }

    fn load(&mut self, size: Size, dst: Register, base: Register, offset: i16) {
        self.code.push(Instruction::Load {
            size,
            signed: false,
            dst,
            base,
            offset,
        });
    }

    fn store(&mut self, size: Size, base: Register, offset: i16, src: Operand) {
        self.code.push(Instruction::Store {
            size,
            base,
            offset,
            src,
        });
    }

    fn numbers(&mut self, from: u8) {
        for register in from..6 {
            let offset = i16::from(register) * 8 - 8;
            if self.chance.below(5) > 0 && offset >= 0 {
                self.load(Size::Double, r(register), r(6), offset);
            } else {
                let number = self.chance.number();
                let src = Operand::Immediate(number);
                self.alu(Width::Bits64, AluOp::Mov, r(register), src);
            }
        }
    }

    fn prologue(&mut self) {
        self.load(Size::Double, r(6), r(1), 0);
        self.load(Size::Double, r(7), r(1), 8);
        self.store(Size::Double, r(10), slot::REPLY, Operand::Register(r(7)));
        self.load(Size::Double, r(7), r(1), 16);
        self.store(Size::Double, r(10), slot::DATA, Operand::Register(r(7)));
        self.load(Size::Double, r(7), r(1), 24);
        self.code.push(Instruction::LoadWide {
            dst: r(8),
            value: WideValue::Scratch { offset: 0 },
        });
        self.numbers(0);
        for slot in 1..=8 {
            let src = self.operand();
            self.store(Size::Double, r(10), slot * -8, src);
        }
    }

    /// A displacement, now and then a daring one.
    fn offset(&mut self) -> i16 {
        match self.chance.below(8) {
            0 => self.chance.below(16) as i16 - 8,
            _ => self.chance.below(8) as i16,
        }
    }

    /// r9 becomes an address near where there is memory.
    fn address(&mut self, bases: &[u8]) -> u8 {
        let base = self.chance.of(bases);
        let whole = Width::Bits64;
        match base {
            REPLY => self.load(Size::Double, r(9), r(10), slot::REPLY),
            DATA => self.load(Size::Double, r(9), r(10), slot::DATA),
            GLOBALS => self.code.push(Instruction::LoadWide {
                dst: r(9),
                value: WideValue::MapValue {
                    index: 1,
                    offset: self.chance.below(u64::from(GLOBALS_BYTES)) as u32,
                },
            }),
            base => self.alu(whole, AluOp::Mov, r(9), Operand::Register(r(base))),
        }
        let data = self.data();
        if self.chance.below(4) > 0 {
            let mask = self.chance.of(&[7, 15, 31, 32, 63]);
            self.alu(whole, AluOp::And, data, Operand::Immediate(mask));
        }
        match self.chance.below(9) {
            0 => self.alu(whole, AluOp::Sub, r(9), Operand::Register(data)),
            1 => {}
            _ => self.alu(whole, AluOp::Add, r(9), Operand::Register(data)),
        }
        if base == 10 {
            let by = -(self.chance.below(8) as i32 + 1) * 8;
            self.alu(whole, AluOp::Add, r(9), Operand::Immediate(by));
        }
        base
    }

    /// Jumps over what `make` makes if a condition holds.
    fn skip(
        &mut self,
        condition: Condition,
        dst: Register,
        src: Operand,
        make: impl FnOnce(&mut Maker),
    ) {
        let at = self.code.len();
        self.settled.push(at);
        self.code.push(Instruction::JumpIf {
            width: Width::Bits64,
            condition,
            dst,
            src,
            offset: 0,
        });
        make(self);
        let over: usize = self.code[at + 1..].iter().map(Instruction::slots).sum();
        if let Instruction::JumpIf { offset, .. } = &mut self.code[at] {
            *offset = over as i16;
        }
    }

    /// A load of data, as a rule behind a comparison with its end.
    fn load_data(&mut self) {
        let whole = Width::Bits64;
        let ahead = self.chance.below(12) as i32;
        let condition = self.chance.of(&[
            Condition::Greater,
            Condition::Greater,
            Condition::GreaterOrEqual,
            Condition::Equal,
        ]);
        let (size, dst, offset) = (self.size(), self.data(), self.offset());
        self.alu(whole, AluOp::Add, r(9), Operand::Immediate(ahead));
        self.skip(condition, r(9), Operand::Register(r(7)), |maker| {
            if maker.chance.below(3) > 0 {
                maker.alu(whole, AluOp::Sub, r(9), Operand::Immediate(ahead));
                maker.load(size, dst, r(9), offset);
            } else {
                maker.load(size, dst, r(9), offset - ahead as i16);
            }
            let again = maker.chance.below(16) as i32 - 8;
            maker.alu(whole, AluOp::Add, r(9), Operand::Immediate(again));
            maker.load(size, dst, r(9), offset);
        });
        if self.chance.below(4) == 0 {
            // The length, as a number.
            let dst = self.data();
            self.load(Size::Double, r(9), r(10), slot::DATA);
            self.alu(whole, AluOp::Mov, r(0), Operand::Register(r(7)));
            self.alu(whole, AluOp::Sub, r(0), Operand::Register(r(9)));
            let ahead = self.chance.below(8) as i32;
            self.alu(whole, AluOp::And, dst, Operand::Immediate(63));
            self.alu(whole, AluOp::Add, dst, Operand::Immediate(ahead));
            self.skip(
                Condition::GreaterOrEqual,
                dst,
                Operand::Register(r(0)),
                |maker| {
                    maker.alu(whole, AluOp::Add, r(9), Operand::Register(dst));
                    let offset = maker.chance.below(8) as i16;
                    maker.load(Size::Byte, dst, r(9), -offset);
                },
            );
        }
    }

    /// A lookup, and a use of what it gives.
    fn lookup(&mut self) {
        let whole = Width::Bits64;
        let key = self.chance.number();
        self.store(Size::Double, r(10), slot::KEY, Operand::Immediate(key));
        self.code.push(Instruction::LoadWide {
            dst: r(1),
            value: WideValue::Map { index: 0 },
        });
        self.alu(whole, AluOp::Mov, r(2), Operand::Register(r(10)));
        let at = i32::from(slot::KEY);
        self.alu(whole, AluOp::Add, r(2), Operand::Immediate(at));
        self.code.push(Instruction::CallHelper {
            id: MAP_LOOKUP_ELEM,
        });
        let spills = self.chance.below(2) == 0;
        self.alu(whole, AluOp::Mov, r(9), Operand::Register(r(0)));
        self.store(Size::Double, r(10), slot::VALUE, Operand::Register(r(0)));
        let tested = self.chance.of(&[0, 9]);
        self.skip(
            Condition::Equal,
            r(tested),
            Operand::Immediate(0),
            |maker| {
                if spills {
                    maker.load(Size::Double, r(9), r(10), slot::VALUE);
                }
                let mask = maker.chance.of(&[0, 7, 15, 31]);
                maker.load(Size::Double, r(1), r(6), 8);
                maker.alu(whole, AluOp::And, r(1), Operand::Immediate(mask));
                maker.alu(whole, AluOp::Add, r(9), Operand::Register(r(1)));
                let (size, offset) = (maker.size(), maker.offset());
                if maker.chance.below(2) == 0 {
                    maker.load(size, r(1), r(9), offset);
                } else {
                    maker.store(size, r(9), offset, Operand::Immediate(key));
                }
            },
        );
        self.numbers(0);
    }

    fn step(&mut self) {
        let whole = Width::Bits64;
        match self.chance.below(16) {
            0..=3 => {
                let (width, dst, src) = (self.width(), self.data(), self.operand());
                let op = self.chance.of(&AluOp::ALL);
                self.alu(width, op, dst, src);
            }
            4 => {
                let (dst, mask) = (self.data(), self.chance.of(&[1, 7, 8, 24, 31, 0x7f]));
                let op = self.chance.of(&[AluOp::And, AluOp::Mod]);
                self.alu(whole, op, dst, Operand::Immediate(mask));
            }
            5 => {
                let (dst, src) = (self.data(), self.data());
                let form = self.chance.of(&[
                    Instruction::Negate { width: whole, dst },
                    Instruction::MoveSigned {
                        width: whole,
                        from: Size::Word,
                        dst,
                        src,
                    },
                    Instruction::MoveSigned {
                        width: Width::Bits32,
                        from: Size::Byte,
                        dst,
                        src,
                    },
                    Instruction::Swap {
                        order: SwapOrder::Big,
                        size: Size::Half,
                        dst,
                    },
                    Instruction::CallHelper { id: HELPER },
                ]);
                self.code.push(form);
                if matches!(form, Instruction::CallHelper { .. }) {
                    self.numbers(1);
                }
            }
            6..=8 => {
                let base = self.address(&[6, REPLY, 8, DATA, DATA, GLOBALS, 10]);
                if base == DATA {
                    return self.load_data();
                }
                let (size, dst, offset) = (self.size(), self.data(), self.offset());
                self.load(size, dst, r(9), offset);
            }
            9 => {
                self.address(&[REPLY, 8, GLOBALS, 10]);
                let (size, src, offset) = (self.size(), self.operand(), self.offset());
                self.store(size, r(9), offset, src);
            }
            10 => {
                self.address(&[REPLY, 8, GLOBALS, 10]);
                let (width, src, offset) = (self.width(), self.data(), self.offset());
                self.code.push(Instruction::Atomic {
                    width,
                    op: self.chance.of(&AtomicOp::ALL),
                    base: r(9),
                    offset,
                    src,
                });
            }
            11 => {
                let (size, src) = (self.size(), self.operand());
                let at = -8 * (self.chance.below(8) as i16 + 1);
                self.store(size, r(10), at, src);
            }
            12 => {
                let (size, dst) = (self.size(), self.data());
                let at = -8 * (self.chance.below(8) as i16 + 1);
                self.load(size, dst, r(10), at);
            }
            15 => self.lookup(),
            14 if self.chance.below(3) == 0 => {
                self.alu(whole, AluOp::Mov, r(2), Operand::Register(r(10)));
                let by = -(self.chance.below(7) as i32 + 2) * 8;
                self.alu(whole, AluOp::Add, r(2), Operand::Immediate(by));
                self.code.push(Instruction::CallLocal { offset: 0 });
                self.numbers(1);
            }
            13 => {
                let base = self.chance.of(&[6, 8]);
                let at = -8 * (self.chance.below(3) as i16 + 9);
                self.store(Size::Double, r(10), at, Operand::Register(r(base)));
                self.load(Size::Double, r(9), r(10), at);
                let (size, dst) = (self.size(), self.data());
                let offset = self.chance.below(16) as i16;
                self.load(size, dst, r(9), offset);
            }
            _ => self.jump(),
        }
    }

    /// A jump to somewhere, which is settled when all is there.
    fn jump(&mut self) {
        let (width, dst, src) = (self.width(), self.data(), self.operand());
        let condition = self.chance.of(&Condition::ALL);
        self.code.push(Instruction::JumpIf {
            width,
            condition,
            dst,
            src,
            offset: 0,
        });
    }

    /// A function that writes to its own frame and to its caller's, by the pointer in r2, and
    /// gives back a number.
    fn function(&mut self) {
        let whole = Width::Bits64;
        let (mask, op) = (self.chance.number(), self.chance.of(&AluOp::ALL));
        self.alu(whole, AluOp::Mov, r(6), Operand::Immediate(mask));
        self.alu(whole, op, r(1), Operand::Register(r(6)));
        self.store(Size::Double, r(10), -8, Operand::Register(r(1)));
        self.alu(whole, AluOp::And, r(6), Operand::Immediate(7));
        self.alu(whole, AluOp::Add, r(2), Operand::Register(r(6)));
        self.store(Size::Half, r(2), 0, Operand::Register(r(1)));
        self.load(Size::Byte, r(0), r(10), -8);
        self.code.push(Instruction::Exit);
    }

    /// The slots, the jumps going to instructions near by and not into the prologue.
    fn finish(mut self, first: usize) -> Vec<u64> {
        self.code.push(Instruction::Exit);
        let end = self.code.len();
        let calls = |it: &Instruction| matches!(it, Instruction::CallLocal { .. });
        if self.code.iter().any(calls) {
            self.function();
        }
        let starts: Vec<usize> = self
            .code
            .iter()
            .scan(0, |at, instruction| {
                let start = *at;
                *at += instruction.slots();
                Some(start)
            })
            .collect();
        for index in 0..self.code.len() {
            if let Instruction::JumpIf { offset, .. } = &mut self.code[index]
                && !self.settled.contains(&index)
            {
                let reach = self.chance.below(24) as usize;
                let target = (index + reach).saturating_sub(6).clamp(first, end - 1);
                *offset = (starts[target] as i64 - starts[index] as i64 - 1) as i16;
            }
            if let Instruction::CallLocal { offset } = &mut self.code[index] {
                *offset = (starts[end] - starts[index] - 1) as i32;
            }
        }
        let mut slots = Vec::new();
        for instruction in &self.code {
            let (slot, second) = instruction.encode();
            slots.push(slot);
            slots.extend(second);
        }
        slots
    }
}

fn program(seed: u64) -> Vec<u64> {
    let mut maker = Maker {
        chance: Chance(seed | 1),
        code: Vec::new(),
        settled: Vec::new(),
    };
    for _ in 0..8 {
        maker.chance.next();
    }
    maker.prologue();
    let first = maker.code.len();
    for _ in 0..maker.chance.below(30) + 4 {
        maker.step();
    }
    maker.finish(first)
}

/// Gives numbers by chance, of those it may.
struct Numbers<'a>(&'a mut Chance);

impl Host for Numbers<'_> {
    fn call(&mut self, helper: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        if helper == MAP_LOOKUP_ELEM {
            let value = self.0.below(VALUES + 1);
            let start = Memory::address(RegionId::Map(HASH), (value * VALUE_STRIDE) as u32);
            return HelperResult::Return(if value == VALUES { 0 } else { start as i64 });
        }
        HelperResult::Return(self.0.below(76) as i64 - 5)
    }

    fn helpers(&self) -> &[HelperSpec] {
        &SPECS
    }
}

const HASH: MapIndex = map_index(0);
const GLOBAL: MapIndex = map_index(1);

const fn map_index(index: u32) -> MapIndex {
    match MapIndex::new(index) {
        Some(index) => index,
        None => panic!("there can be so many"),
    }
}

struct Proof<'a> {
    slots: &'a [u64],
    checked: &'a Checked,
    verified: &'a Verified,
    trace: &'a [(u32, Abstract)],
}

fn describes(value: &Value, number: u64) -> bool {
    match value.kind {
        Kind::Unusable(_) => true,
        Kind::Number => value.number.contains(number),
        Kind::Pointer(region) => {
            let offset = number.wrapping_sub(Memory::address(region, 0));
            value.number.contains(offset)
        }
        Kind::Map(map) => number == map.handle(),
        Kind::MapValue { map, or_null, .. } => {
            let start = Memory::address(RegionId::Map(map), 0);
            let at = |value: u64| number.wrapping_sub(start + value * VALUE_STRIDE);
            let mut places = (0..VALUES).map(at);
            (or_null && number == 0) || places.any(|at| value.number.contains(at))
        }
    }
}

/// What a value's number is, where it has one.
fn plain(value: &Value, number: u64) -> Option<u64> {
    match value.kind {
        Kind::Unusable(_) | Kind::Map(_) | Kind::MapValue { .. } => None,
        Kind::Number => Some(number),
        Kind::Pointer(region) => Some(number.wrapping_sub(Memory::address(region, 0))),
    }
}

/// What is wrong with a state as the description of a run.
fn mismatch(state: &Abstract, run: &State, stack: &[u8], data: u32) -> Option<String> {
    let mut all: Vec<(String, Value, u64)> = Vec::new();
    for (index, value) in state.registers.iter().enumerate() {
        all.push((format!("r{index}"), *value, run.r[index]));
    }
    for cell in &state.stack.cells {
        let (at, len) = (usize::from(cell.at), usize::from(cell.len));
        let Some(bytes) = stack.get(at..at + len) else {
            continue;
        };
        let number = bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        all.push((format!("stack byte {at}"), cell.value, number));
    }
    if state.depth != run.depth {
        return Some(format!("depth {} and not {}", run.depth, state.depth));
    }
    if state.data_min > data {
        return Some(format!("{data} bytes of data and not {}", state.data_min));
    }
    for (name, value, number) in &all {
        let number_of = i128::from(plain(value, *number).unwrap_or(0) as i64);
        if let Some(slack) = value.slack.get()
            && number_of + i128::from(slack) > i128::from(data)
        {
            return Some(format!("{name} has no slack of {slack} below {data}"));
        }
        if !describes(value, *number) {
            return Some(format!("{name} is {number:#x}, but {}", value.known()));
        }
        for (other_name, other, other_number) in &all {
            if value.id == 0 || value.id != other.id {
                continue;
            }
            let base =
                |value: &Value, number| Some(plain(value, number)?.wrapping_sub(value.delta));
            // Where a value starts is not known, so nothing is said of what is in it.
            let bases = base(value, *number).zip(base(other, *other_number));
            if bases.is_some_and(|(one, other)| one != other) {
                return Some(format!("{name} and {other_name} are not related"));
            }
        }
    }
    None
}

/// Runs it with arguments by chance; the number of instructions.
fn follow(proof: &Proof<'_>, chance: &mut Chance, story: &str) -> u32 {
    let mut args: Vec<u8> = (0..ARGS_BYTES).map(|_| chance.next() as u8).collect();
    for word in args.chunks_exact_mut(8) {
        let number = i64::from(chance.number()) as u64;
        word.copy_from_slice(&number.to_le_bytes());
    }
    let mut context = [0; 64];
    context[0..8].copy_from_slice(&Memory::address(RegionId::Arguments, 0).to_le_bytes());
    context[8..16].copy_from_slice(&Memory::address(RegionId::Reply, 0).to_le_bytes());
    let data: Vec<u8> = (0..chance.below(72)).map(|_| chance.next() as u8).collect();
    let data_bytes = data.len() as u32;
    let (start, end) = (
        Memory::address(RegionId::Data, 0),
        Memory::address(RegionId::Data, data_bytes),
    );
    context[16..24].copy_from_slice(&start.to_le_bytes());
    context[24..32].copy_from_slice(&end.to_le_bytes());
    let mut values = vec![0x5a; (VALUES * VALUE_STRIDE) as usize];
    let mut globals = vec![0x3c; GLOBALS_BYTES.next_multiple_of(8) as usize];
    let mut reply = vec![0; REPLY_BYTES as usize];
    let mut scratch: Vec<u8> = (0..SCRATCH_BYTES).map(|_| chance.next() as u8).collect();
    let mut stack = vec![0xa5; STACK_BYTES];
    let base = Memory::address(RegionId::Scratch, 0);
    let whole = Program::new(proof.slots, proof.checked, base);
    let mut state = State::start(
        &whole,
        0,
        Memory::address(RegionId::Context, 0),
        0,
        u64::MAX,
    );
    state.phase = Phase::Ready;
    // Opcode 0 is none.
    let mut blotted = vec![0; proof.slots.len()];
    for executed in 0..400 {
        let pc = state.pc as usize;
        let here = proof.trace.iter().filter(|(at, _)| *at == state.pc);
        let mismatches: Vec<_> = here
            .map(|(_, it)| mismatch(it, &state, &stack, data_bytes))
            .collect();
        assert!(
            mismatches.iter().any(Option::is_none),
            "at {pc}: {mismatches:?}\n{story}"
        );
        let len = decode(proof.slots, state.pc).map_or(1, |it| it.slots());
        blotted[pc..pc + len].copy_from_slice(&proof.slots[pc..pc + len]);
        let one = Program::new(&blotted, proof.checked, base);
        let mut memory = Memory::new()
            .with_read(RegionId::Context, &context)
            .with_read(RegionId::Arguments, &args)
            .with_write(RegionId::Reply, &mut reply)
            .with_write(RegionId::Scratch, &mut scratch)
            .with_read(RegionId::Data, &data)
            .with_write(RegionId::Map(HASH), &mut values)
            .with_write(RegionId::Map(GLOBAL), &mut globals)
            .with_write(RegionId::Stack, &mut stack);
        // Whatever pays has used up a slice of nothing, so it yields behind.
        let plan = proof.verified.plan();
        let outcome = run_planned(&one, plan, &mut state, &mut memory, &mut Numbers(chance), 0);
        blotted[pc..pc + len].fill(0);
        match outcome {
            Outcome::Fault(fault) if fault.kind == (FaultKind::Opcode { opcode: 0 }) => {
                state.phase = Phase::Ready;
            }
            Outcome::Fault(fault) => {
                assert!(
                    matches!(fault.kind, FaultKind::Access(_)),
                    "at {pc}: {fault:?}\n{story}"
                );
                return executed;
            }
            Outcome::Yielded => {}
            _ => return executed,
        }
    }
    400
}

fn text(slots: &[u64]) -> String {
    let mut story = String::new();
    let mut pc = 0;
    while let Some(instruction) = decode(slots, pc) {
        story += &format!("{pc:4}: {instruction}\n");
        pc += instruction.slots() as u32;
    }
    story
}

#[test]
fn what_is_proved_of_programs_by_chance_is_true() {
    let header = ImageHeader {
        args_max: ARGS_BYTES,
        reply_max: REPLY_BYTES,
        scratch_bytes: SCRATCH_BYTES,
        ..ImageHeader::default()
    };
    let environment = Environment::new(&header, CONTEXT, &SIGNATURES)
        .with_maps(MAPS)
        .expect("such maps can be");
    let resources = Resources {
        scratch_bytes: SCRATCH_BYTES,
        maps: MAPS.len() as u32,
    };
    // With little room, states that were kept apart are joined to make some.
    let mut verifiers = [KEPT_MAX, 12].map(|kept| Box::new(Verifier::new(vec![Kept::EMPTY; kept])));
    let (mut passed, mut executed, mut proved, mut guarded) = (0, 0, 0, 0);
    let programs = 4000;
    for number in 0..programs {
        let verifier = &mut verifiers[number as usize % 2];
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1);
        let slots = program(seed);
        let checked = check_with(&slots, &[0], &SPECS, &resources).expect("it passes the check");
        let entries = [(EntryKind::Scan, 0)];
        let Ok(verified) = verifier.verify(&slots, &checked, entries, environment) else {
            continue;
        };
        passed += 1;
        proved += verified.proved();
        guarded += verified.guarded();
        let verified = verified.clone();
        let proof = Proof {
            slots: &slots,
            checked: &checked,
            verified: &verified,
            trace: verifier.trace(),
        };
        let story = format!("program {number}\n{}", text(&slots));
        let mut chance = Chance(seed);
        for _ in 0..6 {
            executed += follow(&proof, &mut chance, &story);
        }
    }
    std::println!("{passed} of {programs} passed, {executed} instructions followed");
    std::println!("{proved} accesses proved, {guarded} guarded");
    // They are worth the name.
    assert!(passed > programs / 4 && executed > 100_000);
    assert!(proved > 1000 && guarded > 1000);
}
