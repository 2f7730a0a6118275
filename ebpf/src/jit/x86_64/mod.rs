//! The emitter for x86-64, without any extension of it.
//!
//! | register | holds |
//! |---|---|
//! | rax, rdi, rsi, r8, r9, r10, rbx, r13, r14, r15 | r0 to r9 |
//! | rbp | the native address of the frame's end |
//! | r12 | the fuel |
//! | r11 | the machine |
//! | rcx | an address on its way, a count, a divisor |
//! | rdx | a second number; what divisions need |
//! | rsp | the native stack, which the code leaves alone |
//!
//! The ones whose r0 to r10 the program never mentions hold bases, deltas and limits of regions instead,
//! and the number 0. The code begins with the entry, a function that saves what it must, loads all
//! this and goes on wherever it is told; behind it lie the ways out. What seldom happens lies behind
//! the program's own code, in pieces of one length (`STUB_BYTES`), so that their places are known
//! from their number.
//!
//! A jump back is a subtraction from the fuel and a jump that is taken as long as that is not
//! negative: no more jumps than there would be without a meter. A jump that was taken once has a price
//! even where it is not taken, so there are none on the way that only lead out of it, but those of
//! guarded accesses, and those of jumps back to where little is done before the next jump: that is
//! repeated instead, so it is the next jump alone that is taken.

mod access;
mod arithmetic;
mod asm;
mod control;

use core::mem::offset_of;

use self::asm::{
    Asm, Bits, Cc, Mem, Op2, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX,
    RSI, Reg, Rm,
};
use super::backend;
use super::exit::Exit;
use super::machine::{Machine, Regions};
use super::output::Output;
use super::survey::{Source, Survey};
use super::table::Table;
use crate::instruction::{Instruction, Register};
use crate::isa::Slot;
use crate::limits::{FRAME_BYTES, FRAMES_MAX, REGIONS_MAX};
use crate::memory::RegionId;
use crate::state::Frame;

/// r0 to r9, and the frame's end.
const REGISTERS: [Reg; 11] = [RAX, RDI, RSI, R8, R9, R10, RBX, R13, R14, R15, RBP];
const FRAME_END: Reg = RBP;
const FUEL: Reg = R12;
const MACHINE: Reg = R11;
/// What the caller wants back.
const CALLEE_SAVED: [Reg; 6] = [RBX, RBP, R12, R13, R14, R15];

/// Loops begin at a multiple of this.
const LOOP_ALIGNMENT: usize = 16;
/// Bytes of each piece of code for what seldom happens.
const STUB_BYTES: usize = 10;
/// Bytes that a jump of two bytes spans at most.
const NEAR_BYTES: usize = 127;

/// A place in the machine.
const fn field(offset: usize) -> Mem {
    Mem::at(MACHINE, offset as i32)
}

/// The place of a register in the machine.
const fn register_field(number: usize) -> Mem {
    field(offset_of!(Machine, r) + 8 * number)
}

const fn base_field(region: RegionId) -> Mem {
    field(offset_of!(Machine, regions) + offset_of!(Regions, base) + 8 * region.number())
}

const fn delta_field(region: RegionId) -> Mem {
    field(offset_of!(Machine, regions) + offset_of!(Regions, delta) + 8 * region.number())
}

/// Where the limits begin, in the machine, for accesses of bytes whose logarithm this is.
const fn limit_offset(write: bool, log: u8) -> usize {
    let limits = if write {
        offset_of!(Regions, write_limit)
    } else {
        offset_of!(Regions, read_limit)
    };
    let each = size_of::<[u32; REGIONS_MAX]>();
    offset_of!(Machine, regions) + limits + log as usize * each
}

const fn limit_field(write: bool, log: u8, region: RegionId) -> Mem {
    field(limit_offset(write, log) + 4 * region.number())
}

/// What a spare register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Base(RegionId),
    Delta(RegionId),
    /// The limit of reads, with the logarithm of their bytes.
    Limit(RegionId, u8),
    Zero,
}

impl Kept {
    /// Where it comes from.
    const fn field(self) -> Mem {
        match self {
            Kept::Base(region) => base_field(region),
            Kept::Delta(region) => delta_field(region),
            Kept::Limit(region, log) => limit_field(false, log, region),
            Kept::Zero => field(offset_of!(Machine, zero)),
        }
    }
}

/// What the flags say.
#[derive(Clone, Copy)]
struct Flags {
    /// The end of the instruction that set them.
    at: usize,
    /// They compare this register with 0, as far as equality and sign go.
    register: Reg,
    bits: Bits,
}

/// The emitter: what was decided beforehand, and where the ways out are in the pass at hand.
pub(super) struct Emitter {
    registers: u16,
    has_calls: bool,
    kept: [Option<(Kept, Reg)>; REGISTERS.len()],
    bounds: bool,
    flags: Option<Flags>,
    /// Goes out with what is in rcx as the reason.
    leave: usize,
    /// Goes out with what is in rdx as the reason, and in rcx as the detail.
    leave_with: usize,
    /// Returns from a local call, or goes out with what is in rdx as the reason.
    pop: usize,
    /// Stubs so far, and where they were to begin in the pass before.
    stubs: usize,
    stubs_at: usize,
    /// Heads of loops repeated so far.
    repeats: u16,
}

impl Emitter {
    pub(super) fn new(survey: &Survey) -> Emitter {
        Emitter {
            registers: survey.registers,
            has_calls: survey.has_calls,
            kept: keep(survey),
            bounds: false,
            flags: None,
            leave: 0,
            leave_with: 0,
            pop: 0,
            stubs: 0,
            stubs_at: 0,
            repeats: 0,
        }
    }

    fn uses(&self, number: usize) -> bool {
        self.registers & 1 << number != 0
    }

    fn kept(&self, what: Kept) -> Option<Reg> {
        let mut kept = self.kept.iter().flatten();
        kept.find(|kept| kept.0 == what).map(|kept| kept.1)
    }

    /// The entry: a function of the machine and an address to go on at.
    fn entry(&self, asm: &mut Asm<'_, '_>) {
        for reg in CALLEE_SAVED {
            asm.push(reg);
        }
        asm.mov(Bits::B64, MACHINE, RDI);
        asm.mov(Bits::B64, RCX, RSI);
        asm.load(Bits::B64, FUEL, field(offset_of!(Machine, fuel)));
        for (number, reg) in REGISTERS.into_iter().enumerate().take(10) {
            if self.uses(number) {
                asm.load(Bits::B64, reg, register_field(number));
            }
        }
        if self.uses(10) {
            let frame_end = field(offset_of!(Machine, frame_end));
            asm.load(Bits::B64, FRAME_END, frame_end);
        }
        for (what, reg) in self.kept.into_iter().flatten() {
            match what {
                Kept::Zero => asm.mov_number(reg, 0),
                Kept::Limit(..) => asm.load(Bits::B32, reg, what.field()),
                _ => asm.load(Bits::B64, reg, what.field()),
            }
        }
        asm.jump_to(RCX);
    }

    /// The ways out.
    fn ways_out(&mut self, asm: &mut Asm<'_, '_>) {
        self.leave_with = asm.0.at();
        asm.store(Bits::B64, field(offset_of!(Machine, detail)), RCX);
        let leave_rdx = asm.0.at();
        asm.mov(Bits::B32, RCX, RDX);
        self.leave = asm.0.at();
        asm.store(Bits::B32, field(offset_of!(Machine, exit)), RCX);
        asm.store(Bits::B64, field(offset_of!(Machine, fuel)), FUEL);
        for (number, reg) in REGISTERS.into_iter().enumerate().take(10) {
            if self.uses(number) {
                asm.store(Bits::B64, register_field(number), reg);
            }
        }
        let depth = field(offset_of!(Machine, depth));
        for reg in CALLEE_SAVED.into_iter().rev() {
            asm.pop(reg);
        }
        asm.ret();
        if self.has_calls {
            self.pop = asm.0.at();
            asm.load(Bits::B32, RCX, depth);
            asm.op2_number(Bits::B32, Op2::Sub, Rm::Reg(RCX), 1);
            let frames = FRAMES_MAX as i32 - 1;
            asm.op2_number(Bits::B32, Op2::Cmp, Rm::Reg(RCX), frames);
            asm.jump_if(Cc::AboveEqual, false, leave_rdx);
            asm.store(Bits::B32, depth, RCX);
            self.pop_frame(asm);
        }
    }

    /// Takes the registers from the last frame and goes on where it says.
    fn pop_frame(&self, asm: &mut Asm<'_, '_>) {
        let frame = field(offset_of!(Machine, frame));
        asm.load(Bits::B64, RCX, frame);
        asm.op2_number(Bits::B64, Op2::Sub, Rm::Reg(RCX), size_of::<Frame>() as i32);
        asm.store(Bits::B64, frame, RCX);
        for (index, reg) in REGISTERS[6..10].iter().enumerate() {
            asm.load(Bits::B64, *reg, saved_field(index));
        }
        let return_pc = Mem::at(RCX, offset_of!(Frame, return_pc) as i32);
        asm.load(Bits::B32, RCX, return_pc);
        if self.uses(10) {
            let bytes = FRAME_BYTES as i32;
            asm.op2_number(Bits::B64, Op2::Add, Rm::Reg(FRAME_END), bytes);
        }
        asm.store(Bits::B32, field(offset_of!(Machine, pc)), RCX);
        let slots = field(offset_of!(Machine, slots));
        asm.op2(Bits::B32, Op2::Cmp, RCX, Rm::Mem(slots));
        let inside = asm.open_if(Cc::BelowEqual);
        asm.mov_number(RCX, u64::from(Exit::Hole.word()));
        asm.jump(false, self.leave);
        asm.close(inside);
        asm.load(Bits::B64, RDX, field(offset_of!(Machine, table)));
        let entry = Mem {
            base: RDX,
            index: Some((RCX, 2)),
            disp: 0,
        };
        asm.load(Bits::B32, RDX, entry);
        let code = field(offset_of!(Machine, code));
        asm.op2(Bits::B64, Op2::Add, RDX, Rm::Mem(code));
        asm.jump_to(RDX);
    }

    /// Goes out, in ten bytes.
    fn go_out(&self, asm: &mut Asm<'_, '_>, exit: Exit) {
        let [a, b, c, d] = exit.word().to_le_bytes();
        asm.0.put(&[0xb8 | RCX.0, a, b, c, d]);
        asm.jump(false, self.leave);
    }

    /// Goes out with a number.
    fn go_out_with(&self, asm: &mut Asm<'_, '_>, exit: Exit, detail: u32) {
        let place = field(offset_of!(Machine, detail));
        asm.store_number(Bits::B32, place, detail as i32);
        self.go_out(asm, exit);
    }

    /// A stub that goes out, what is in rcx being the detail; gives where it is.
    fn stub(&mut self, asm: &mut Asm<'_, '_>, exit: Exit) -> usize {
        let at = self.stubs_at + self.stubs * STUB_BYTES;
        self.stubs += 1;
        let [a, b, c, d] = exit.word().to_le_bytes();
        asm.0.put_at(at, &[0xb8 | RDX.0, a, b, c, d]);
        let distance = (self.leave_with as i64 - (at + STUB_BYTES) as i64) as i32;
        let [a, b, c, d] = distance.to_le_bytes();
        asm.0.put_at(at + 5, &[0xe9, a, b, c, d]);
        at
    }

    /// The native register of r0 to r9.
    fn native(&self, register: Register) -> Reg {
        REGISTERS[usize::from(register.number())]
    }

    /// A native register with the value of a register; of r10, the one given, which is changed.
    fn value(&self, asm: &mut Asm<'_, '_>, register: Register, spare: Reg) -> Reg {
        if register != Register::FRAME {
            return self.native(register);
        }
        asm.mov(Bits::B64, spare, FRAME_END);
        let stack = RegionId::Stack;
        let delta = match self.kept(Kept::Delta(stack)) {
            Some(reg) => Rm::Reg(reg),
            None => Rm::Mem(delta_field(stack)),
        };
        asm.op2(Bits::B64, Op2::Sub, spare, delta);
        spare
    }
}

/// The place of r6 to r9 in the frame that rcx points to.
fn saved_field(index: usize) -> Mem {
    Mem::at(RCX, (offset_of!(Frame, saved) + 8 * index) as i32)
}

/// What the registers hold that the program leaves free: what weighs most.
fn keep(survey: &Survey) -> [Option<(Kept, Reg)>; REGISTERS.len()] {
    let mut kept = [None; REGISTERS.len()];
    let free = (0..REGISTERS.len()).filter(|&number| survey.registers & 1 << number == 0);
    for (place, number) in kept.iter_mut().zip(free) {
        *place = Some(REGISTERS[number]);
    }
    let mut places = kept.map(|reg| reg.map(|reg| (Kept::Zero, reg)));
    let mut weights = survey.weights;
    let mut zero = survey.limited;
    for place in &mut places {
        let Some((what, _)) = place else { break };
        let mut most = (zero, Kept::Zero);
        for region in RegionId::all() {
            let weight = weights[region.number()];
            let limits = (0..).zip(weight.limits);
            let limits = limits.map(|(log, weight)| (weight, Kept::Limit(region, log)));
            let addresses = [
                (weight.base, Kept::Base(region)),
                (weight.delta, Kept::Delta(region)),
            ];
            // Of equal weight, an address saves more.
            for candidate in limits.chain(addresses) {
                if candidate.0 > 0 && candidate.0 >= most.0 {
                    most = candidate;
                }
            }
        }
        if most.0 == 0 {
            *place = None;
            continue;
        }
        *what = most.1;
        match most.1 {
            Kept::Base(region) => weights[region.number()].base = 0,
            Kept::Delta(region) => weights[region.number()].delta = 0,
            Kept::Limit(region, log) => {
                weights[region.number()].limits[usize::from(log)] = 0;
            }
            Kept::Zero => zero = 0,
        }
    }
    places
}

impl backend::Emitter for Emitter {
    const NEAR_BYTES: usize = NEAR_BYTES;

    fn begin(&mut self, bounds: bool, out: &mut Output<'_>) {
        self.bounds = bounds;
        self.flags = None;
        self.stubs = 0;
        self.repeats = 0;
        let asm = &mut Asm(out);
        self.entry(asm);
        self.ways_out(asm);
    }

    fn align(&mut self, table: &Table<'_>, pc: u32, out: &mut Output<'_>) {
        if !table.is_loop(pc) {
            return;
        }
        let bytes = if self.bounds {
            LOOP_ALIGNMENT - 1
        } else {
            out.at().wrapping_neg() % LOOP_ALIGNMENT
        };
        Asm(out).nothing(bytes);
    }

    fn slot(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        out: &mut Output<'_>,
    ) -> u32 {
        let asm = &mut Asm(out);
        if table.is_label(pc) {
            self.flags = None;
        }
        match source.instruction(pc) {
            Ok(instruction) => self.instruction(source, table, pc, &instruction, asm),
            Err(_) => self.malformed(source, pc, asm),
        }
    }

    fn fall_off(&mut self, slots: u32, out: &mut Output<'_>) {
        self.go_out(&mut Asm(out), Exit::FellOff { pc: slots });
    }

    fn end(&mut self, out: &mut Output<'_>) -> usize {
        let asm = &mut Asm(out);
        let hole = asm.0.at();
        self.go_out(asm, Exit::Hole);
        // What is written may reach a little beyond its end, and must not reach the stubs.
        asm.traps(16);
        self.stubs_at = asm.0.at();
        asm.0.skip(self.stubs * STUB_BYTES);
        hole
    }
}

impl Emitter {
    /// Emits an instruction, and perhaps some that follow; gives the slots they take.
    fn instruction(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        instruction: &Instruction,
        asm: &mut Asm<'_, '_>,
    ) -> u32 {
        if let Some(taken) = self.several(source, table, pc, instruction, asm) {
            return taken;
        }
        match *instruction {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => self.alu(asm, width, op, dst, src),
            Instruction::Negate { width, dst } => self.negate(asm, width, dst),
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => self.move_signed(asm, width, from, dst, src),
            Instruction::Swap { order, size, dst } => self.swap(asm, order, size, dst),
            Instruction::Load { .. } | Instruction::Store { .. } | Instruction::Atomic { .. } => {
                self.access(source, pc, instruction, asm);
            }
            Instruction::LoadWide { dst, value } => {
                self.load_wide(source, pc, dst, value, asm);
                return 2;
            }
            Instruction::Jump { offset, .. } => self.jump(source, table, pc, offset, asm),
            Instruction::JumpIf { .. } => self.jump_if(source, table, pc, instruction, asm),
            Instruction::CallHelper { id } => {
                self.go_out_with(asm, Exit::Helper { pc }, id);
            }
            Instruction::CallLocal { offset } => self.call_local(source, table, pc, offset, asm),
            Instruction::Exit => self.exit(asm, pc),
        }
        1
    }

    /// A slot that is no instruction.
    fn malformed(&self, source: &Source<'_>, pc: u32, asm: &mut Asm<'_, '_>) -> u32 {
        let Some(slot) = source.slot(pc) else {
            return 1;
        };
        let has_second = pc + 1 < source.slots();
        if slot.is_wide() && !has_second {
            self.go_out(asm, Exit::FellOff { pc });
            return 1;
        }
        let opcode = slot.opcode();
        self.go_out(asm, Exit::Opcode { pc, opcode });
        if Slot::is_wide(slot) { 2 } else { 1 }
    }
}
