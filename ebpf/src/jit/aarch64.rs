//! Machine code for aarch64 (A64, Armv8.0): what is emitted for each instruction.
//!
//! | registers | hold |
//! |---|---|
//! | x0 to x9 | r0 to r9 |
//! | x10 | the native address of the current frame's first byte |
//! | x11 | the fuel |
//! | x12 | the address of the [`Machine`] |
//! | x13, x14, x16, x17 | nothing for longer than an instruction of the program |
//! | x15 | perhaps an address that was made native for an access, for the next one |
//! | x18 | is the platform's, and left alone (AAPCS64 section 6.1.1) |
//! | x19 to x28 | what addresses of the regions that are touched most are added to, and limits |
//! | x29 | is the frame pointer of whoever entered, for those who walk the stack |
//! | x30 | r10 as the program sees it, where it is mentioned |
//!
//! Code begins with the function that enters it, and with what all leave it through. What a single
//! instruction needs to leave (a word that says why, an address) comes later, out of the way of what is
//! executed, and knows what the branch there took for granted: that registers still hold what they
//! held before the instruction.

mod arithmetic;
mod assembler;
mod control;
mod encode;
mod memory;

use core::mem::offset_of;

use heapless::Vec;

use self::arithmetic::Operand;
use self::assembler::{Assembler, Branch};
use self::control::{field, test};
use self::encode::{Bits, Cell, LR, Move, Reg, SP, Size, pair, ret};
use self::memory::{Access, Value, base_of, delta_of, limits};
use super::backend;
use super::exit::Exit;
use super::machine::Machine;
use super::output::Output;
use super::survey::{Source, Survey};
use super::table::Table;
use crate::instruction::{self, AluOp, Instruction, Register, WideValue, Width};
use crate::limits::{FRAME_BYTES, REGIONS_MAX};
use crate::memory::{MapIndex, Memory, RegionId};
use crate::state::STACK_TOP;

/// r0.
const R0: Reg = Reg(0);
/// The native address of the current frame's first byte. From there, offsets of r10 are positive,
/// and those have more room in an instruction.
const FRAME: Reg = Reg(10);
const FUEL: Reg = Reg(11);
const MACHINE: Reg = Reg(12);
/// Temporary ones. At the exits, `T0` holds the detail.
const T0: Reg = Reg(13);
const T1: Reg = Reg(14);
const T2: Reg = Reg(16);
const T3: Reg = Reg(17);
/// See [`Emitter::near`].
const NEAR: Reg = Reg(15);
/// At the exits, why.
const EXIT: Reg = T2;
/// r10 as a number.
const FRAME_NUMBER: Reg = LR;
/// What is pinned is in this register and those that follow.
const PIN_FIRST: u8 = 19;
const PINS_MAX: usize = 10;

/// Places to leave from that can wait to be written.
const STUBS_MAX: usize = 32;
/// What one slot adds to them at most.
const SLOT_STUBS_MAX: usize = 4;
/// Bytes of the code of one slot at most, with what it takes to leave it. A program's code so stays
/// below 1 MiB, which conditional branches reach.
const SLOT_BYTES_MAX: usize = 240;

const _: () = assert!(crate::limits::CODE_SLOTS_MAX * SLOT_BYTES_MAX + 1024 < 1 << 20);

/// What r10's offsets are larger by from [`FRAME`].
const fn frame_bias() -> i32 {
    FRAME_BYTES as i32
}

/// The register that holds one of the program's.
const fn native(register: Register) -> Reg {
    if register.number() == Register::FRAME.number() {
        FRAME_NUMBER
    } else {
        Reg(register.number())
    }
}

const fn size_of_width(width: Width) -> Size {
    match width {
        Width::Bits32 => Size::W,
        Width::Bits64 => Size::X,
    }
}

fn operand(operand: instruction::Operand) -> Operand {
    match operand {
        instruction::Operand::Register(register) => Operand::Register(native(register)),
        instruction::Operand::Immediate(number) => Operand::Number(number),
    }
}

/// Something of the machine's that has a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pinned {
    /// A region's delta.
    Delta(usize),
    /// A region's base.
    Base(usize),
    /// A region's limit of reads, by the logarithm of their bytes.
    ReadLimit(usize, usize),
}

impl Pinned {
    /// Where the machine keeps it.
    const fn place(self) -> (Cell, usize) {
        match self {
            Pinned::Delta(region) => (Cell::U64, delta_of(region)),
            Pinned::Base(region) => (Cell::U64, base_of(region)),
            Pinned::ReadLimit(region, log) => (Cell::U32, limits(log, false) + region * 4),
        }
    }
}

/// What has a register.
#[derive(Debug)]
struct Pins(Vec<Pinned, PINS_MAX>);

impl Pins {
    /// What weighs most, as far as there are registers.
    fn new(survey: &Survey) -> Pins {
        let mut all: Vec<(u32, Pinned), { 6 * REGIONS_MAX }> = Vec::new();
        for (region, weight) in survey.weights.iter().enumerate() {
            // There is room for all of each region.
            let _ = all.push((weight.delta, Pinned::Delta(region)));
            let _ = all.push((weight.base, Pinned::Base(region)));
            for (log, &weight) in weight.limits.iter().enumerate() {
                let _ = all.push((weight, Pinned::ReadLimit(region, log)));
            }
        }
        all.sort_unstable_by_key(|&(weight, _)| core::cmp::Reverse(weight));
        let used = all.iter().filter(|(weight, _)| *weight > 0);
        Pins(used.map(|&(_, pinned)| pinned).take(PINS_MAX).collect())
    }

    fn find(&self, pinned: Pinned) -> Option<Reg> {
        let index = self.0.iter().position(|&other| other == pinned)?;
        Some(Reg(PIN_FIRST + index as u8))
    }

    fn delta(&self, region: usize) -> Option<Reg> {
        self.find(Pinned::Delta(region))
    }

    fn base(&self, region: usize) -> Option<Reg> {
        self.find(Pinned::Base(region))
    }
}

/// What goes to the machine's detail when the code is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Detail {
    None,
    /// A register and an offset.
    Sum(Reg, i16),
}

/// A branch that leaves the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stub {
    /// Where it is.
    at: u32,
    /// The word of the exit.
    exit: u32,
    branch: Branch,
    detail: Detail,
}

/// Emits code for aarch64.
#[derive(Debug)]
pub(super) struct Emitter {
    pins: Pins,
    has_calls: bool,
    has_frame_number: bool,
    /// Where the code is left with a detail, and where without.
    detail_at: usize,
    exit_at: usize,
    /// Where it is left because there is no code at a slot.
    hole_at: usize,
    /// Where a frame is taken back.
    pop_at: usize,
    /// [`NEAR`] holds this register plus this region's delta.
    near: Option<(Reg, RegionId)>,
    stubs: Vec<Stub, STUBS_MAX>,
}

impl Emitter {
    pub(super) fn new(survey: &Survey) -> Emitter {
        Emitter {
            pins: Pins::new(survey),
            has_calls: survey.has_calls,
            has_frame_number: survey.uses(Register::FRAME),
            detail_at: 0,
            exit_at: 0,
            hole_at: 0,
            pop_at: 0,
            near: None,
            stubs: Vec::new(),
        }
    }

    /// Notes that a register is about to hold something else.
    fn written(&mut self, reg: Reg) {
        if self.near.is_some_and(|(base, _)| base == reg) {
            self.near = None;
        }
    }

    /// The registers that belong to the caller and are used, in pairs, and where on the stack they
    /// are kept.
    fn saved(&self) -> impl Iterator<Item = (Reg, Reg, i32)> {
        // Pins from x19 on; x30 comes last, and for the sake of a pair x29.
        let pins = self.pins.0.len() as u8;
        let pairs = (0..5_u8).filter(move |index| index * 2 < pins);
        let pairs = pairs.map(|index| (Reg(PIN_FIRST + index * 2), Reg(PIN_FIRST + index * 2 + 1)));
        let pairs = pairs.chain([(Reg(29), Reg(30))]);
        (0..)
            .zip(pairs)
            .map(|(index, (one, two))| (one, two, index * 16))
    }

    /// The function that enters the code: x0 has the machine, x1 where to go.
    fn enter(&self, asm: &mut Assembler<'_, '_>) {
        let bytes = self.saved().count() as i64 * 16;
        asm.add(Size::X, SP, SP, -bytes, T0);
        for (one, two, at) in self.saved() {
            asm.put(pair(Move::Store, one, two, SP, at));
        }
        asm.put(encode::mov(Size::X, MACHINE, Reg(0)));
        asm.put(encode::mov(Size::X, T3, Reg(1)));
        for (pin, pinned) in (PIN_FIRST..).zip(&self.pins.0) {
            let (cell, at) = pinned.place();
            field(asm, Move::Load, cell, Reg(pin), at);
        }
        field(asm, Move::Load, Cell::U64, FUEL, offset_of!(Machine, fuel));
        field(
            asm,
            Move::Load,
            Cell::U64,
            FRAME,
            offset_of!(Machine, frame_end),
        );
        asm.add(Size::X, FRAME, FRAME, -i64::from(frame_bias()), T0);
        if self.has_frame_number {
            field(asm, Move::Load, Cell::U32, T0, offset_of!(Machine, depth));
            asm.number(FRAME_NUMBER, STACK_TOP);
            let by = FRAME_BYTES.ilog2();
            const { assert!(FRAME_BYTES.is_power_of_two()) };
            let word = encode::sum_shifted(
                encode::Sum::Sub,
                Size::X,
                FRAME_NUMBER,
                FRAME_NUMBER,
                T0,
                by,
            );
            asm.put(word);
        }
        self.registers(asm, Move::Load);
        asm.put(encode::br(T3));
    }

    /// Moves r0 to r9 between the registers and the machine.
    fn registers(&self, asm: &mut Assembler<'_, '_>, way: Move) {
        for number in (0..10).step_by(2) {
            let (one, two) = (Reg(number), Reg(number + 1));
            let at = offset_of!(Machine, r) as i32 + i32::from(number) * 8;
            asm.put(pair(way, one, two, MACHINE, at));
        }
    }

    /// What all leave the code through.
    fn exits(&mut self, asm: &mut Assembler<'_, '_>) {
        self.detail_at = asm.at();
        field(asm, Move::Store, Cell::U64, T0, offset_of!(Machine, detail));
        self.exit_at = asm.at();
        field(asm, Move::Store, Cell::U32, EXIT, offset_of!(Machine, exit));
        field(asm, Move::Store, Cell::U64, FUEL, offset_of!(Machine, fuel));
        self.registers(asm, Move::Store);
        for (one, two, at) in self.saved() {
            asm.put(pair(Move::Load, one, two, SP, at));
        }
        let bytes = self.saved().count() as i64 * 16;
        asm.add(Size::X, SP, SP, bytes, T0);
        asm.put(ret(LR));
    }

    /// The instruction behind, if nothing else leads to it.
    fn behind(source: &Source<'_>, table: &Table<'_>, pc: u32) -> Option<Instruction> {
        if pc >= source.slots() || table.is_label(pc) {
            return None;
        }
        source.instruction(pc).ok()
    }

    /// Arithmetic, with a move before it that only fetches its first operand, and with the second
    /// of two shifts that cut out a field. Gives the slots that were used up.
    fn arithmetic(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, first): (u32, Alu),
    ) -> u32 {
        let (mut alu, mut used) = (first, 1);
        let mut n = native(alu.dst);
        if let (AluOp::Mov, instruction::Operand::Register(from)) = (alu.op, alu.src)
            && let Some(next) = Alu::of(Emitter::behind(source, table, pc + 1))
            && next.dst == alu.dst
            && next.op != AluOp::Mov
            && (alu.width == Width::Bits64 || next.width == Width::Bits32)
        {
            // What reads the register reads what was moved there.
            let is_moved = next.src == instruction::Operand::Register(alu.dst);
            n = native(from);
            alu = next;
            if is_moved {
                alu.src = instruction::Operand::Register(from);
            }
            used = 2;
        }
        let (size, d) = (size_of_width(alu.width), native(alu.dst));
        let next = Alu::of(Emitter::behind(source, table, pc + used));
        if let Some((bits, by)) = next.and_then(|next| alu.shift_pair(next)) {
            arithmetic::shift_pair(asm, bits, size, (d, n), by);
            used += 1;
        } else {
            arithmetic::compute(asm, alu.op, size, d, n, operand(alu.src));
        }
        self.written(d);
        used
    }

    /// A 64-bit immediate load (section 5.4).
    fn load_wide(&mut self, asm: &mut Assembler<'_, '_>, source: &Source<'_>, wide: Wide) {
        let Wide { pc, dst, value } = wide;
        let map = |index| MapIndex::new(index).ok_or(index);
        let number = match value {
            WideValue::Number(number) => Ok(number),
            WideValue::Scratch { offset } => {
                Ok(source.program.scratch_base.wrapping_add(u64::from(offset)))
            }
            WideValue::Map { index } => map(index).map(MapIndex::handle),
            WideValue::MapValue { index, offset } => {
                map(index).map(|index| Memory::address(RegionId::Map(index), offset))
            }
        };
        match number {
            Ok(number) => {
                asm.number(native(dst), number);
                self.written(native(dst));
            }
            Err(index) => self.leave_with(asm, Exit::NoMap { pc }, index),
        }
    }

    /// Emits one instruction, or a few. Gives the slots that were used up.
    fn instruction(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        source: &Source<'_>,
        table: &Table<'_>,
        (pc, instruction): (u32, Instruction),
    ) -> u32 {
        let target = |offset: i32| (pc + 1).wrapping_add_signed(offset);
        let access = |base, offset, cell, write| Access {
            pc,
            reach: source.reach(pc),
            base,
            offset,
            cell,
            write,
        };
        match instruction {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let alu = Alu {
                    width,
                    op,
                    dst,
                    src,
                };
                return self.arithmetic(asm, source, table, (pc, alu));
            }
            Instruction::Negate { width, dst } => {
                let (size, d) = (size_of_width(width), native(dst));
                asm.put(encode::sum(encode::Sum::Sub, size, d, encode::ZR, d));
                self.written(d);
            }
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => {
                let low = from.bytes() as u32 * 8;
                let (size, d) = (size_of_width(width), native(dst));
                arithmetic::move_signed(asm, size, d, native(src), low);
                self.written(d);
            }
            Instruction::Swap { order, size, dst } => {
                arithmetic::swap(asm, order, size.bytes() * 8, native(dst));
                self.written(native(dst));
            }
            Instruction::LoadWide { dst, value } => {
                self.load_wide(asm, source, Wide { pc, dst, value });
                return 2;
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let cell = cell(size, signed);
                self.load(asm, access(base, offset, cell, false), native(dst));
            }
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => {
                let value = match src {
                    instruction::Operand::Register(src) => Value::Register(native(src)),
                    instruction::Operand::Immediate(number) => Value::Number(number),
                };
                self.store(asm, access(base, offset, cell(size, false), true), value);
            }
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => {
                let cell = match width {
                    Width::Bits32 => Cell::U32,
                    Width::Bits64 => Cell::U64,
                };
                let what = (op, width, native(src));
                self.atomic(asm, access(base, offset, cell, true), what);
            }
            Instruction::Jump { offset, .. } => self.jump(asm, table, (pc, target(offset))),
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                offset,
            } => {
                let size = size_of_width(width);
                let branch = test(asm, size, condition, native(dst), operand(src));
                self.jump_if(asm, table, branch, (pc, target(i32::from(offset))));
            }
            Instruction::CallHelper { id } => self.leave_with(asm, Exit::Helper { pc }, id),
            Instruction::CallLocal { offset } => {
                self.call_local(asm, source, table, (pc, target(offset)));
            }
            Instruction::Exit => self.exit(asm, pc),
        }
        1
    }
}

/// What a load or store of a size moves.
const fn cell(size: instruction::Size, signed: bool) -> Cell {
    match (size, signed) {
        (instruction::Size::Byte, false) => Cell::U8,
        (instruction::Size::Half, false) => Cell::U16,
        (instruction::Size::Word, false) => Cell::U32,
        (instruction::Size::Double, _) => Cell::U64,
        (instruction::Size::Byte, true) => Cell::S8,
        (instruction::Size::Half, true) => Cell::S16,
        (instruction::Size::Word, true) => Cell::S32,
    }
}

/// Arithmetic of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Alu {
    width: Width,
    op: AluOp,
    dst: Register,
    src: instruction::Operand,
}

impl Alu {
    fn of(instruction: Option<Instruction>) -> Option<Alu> {
        match instruction? {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => Some(Alu {
                width,
                op,
                dst,
                src,
            }),
            _ => None,
        }
    }

    /// The shifts by numbers, if this goes to the left and the next at least as far back.
    fn shift_pair(self, next: Alu) -> Option<(Bits, (u32, u32))> {
        let by = |alu: Alu| match alu.src {
            instruction::Operand::Immediate(by) => {
                Some(by as u32 % size_of_width(alu.width).bits())
            }
            instruction::Operand::Register(_) => None,
        };
        let bits = match next.op {
            AluOp::Rsh => Bits::Unsigned,
            AluOp::Arsh => Bits::Signed,
            _ => return None,
        };
        let (left, right) = (by(self)?, by(next)?);
        let is_pair = self.op == AluOp::Lsh && next.dst == self.dst && next.width == self.width;
        (is_pair && left <= right).then_some((bits, (left, right)))
    }
}

/// A 64-bit immediate load.
struct Wide {
    pc: u32,
    dst: Register,
    value: WideValue,
}

impl backend::Emitter for Emitter {
    const NEAR_BYTES: usize = 0;

    fn begin(&mut self, _: bool, out: &mut Output<'_>) {
        let asm = &mut Assembler(out);
        self.near = None;
        self.stubs.clear();
        self.enter(asm);
        self.exits(asm);
        self.hole_at = asm.at();
        self.leave(asm, Exit::Hole);
        if self.has_calls {
            self.pop_at = asm.at();
            self.pop(asm);
        }
    }

    fn align(&mut self, _: &Table<'_>, _: u32, out: &mut Output<'_>) {
        if self.stubs.len() + SLOT_STUBS_MAX <= STUBS_MAX {
            return;
        }
        let asm = &mut Assembler(out);
        let over = asm.at();
        asm.put(encode::b(0));
        self.flush(asm);
        let word = encode::b(((asm.at() - over) / 4) as i32);
        asm.0.put_at(over, &word.to_le_bytes());
    }

    fn slot(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        out: &mut Output<'_>,
    ) -> u32 {
        let asm = &mut Assembler(out);
        let (from, stubs) = (asm.at(), self.stubs.len());
        if table.is_label(pc) {
            self.near = None;
        }
        let slot = source.slot(pc);
        let taken = match source.instruction(pc) {
            Ok(instruction) => self.instruction(asm, source, table, (pc, instruction)),
            Err(_) if slot.is_some_and(|slot| slot.is_wide()) && pc + 1 >= source.slots() => {
                self.leave(asm, Exit::FellOff { pc });
                1
            }
            Err(_) => {
                let opcode = slot.map_or(0, |slot| slot.opcode());
                self.leave(asm, Exit::Opcode { pc, opcode });
                // The second half of a wide load that is none is none either.
                if table.is_hole(pc + 1) && pc + 1 < source.slots() {
                    2
                } else {
                    1
                }
            }
        };
        debug_assert!(self.stubs.len() - stubs <= SLOT_STUBS_MAX);
        debug_assert!(asm.at() - from + (self.stubs.len() - stubs) * 24 <= SLOT_BYTES_MAX);
        taken
    }

    fn fall_off(&mut self, slots: u32, out: &mut Output<'_>) {
        self.leave(&mut Assembler(out), Exit::FellOff { pc: slots });
    }

    fn end(&mut self, out: &mut Output<'_>) -> usize {
        self.flush(&mut Assembler(out));
        self.hole_at
    }
}
