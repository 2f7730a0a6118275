//! RFC 9669 read plainly: one instruction at a time, decoded, in wide arithmetic, without haste.
//!
//! It shares the decoder with the crate, and none of the arithmetic. Memory is the scratch behind
//! r1 and the stack; programs are valid and end, so it does not care for budgets or faults.

use ebpf::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};
use ebpf::limits::STACK_BYTES;
use ebpf::{Memory, RegionId};

pub struct Reference {
    pub r0: u64,
    pub memory: Vec<u8>,
    executed: u64,
}

/// The slots that a program executes.
pub fn executed(slots: &[u64], memory: &[u8]) -> u64 {
    run(slots, memory).executed
}

/// Runs from slot 0 to the end.
pub fn run(slots: &[u64], memory: &[u8]) -> Reference {
    let mut machine = Machine {
        r: [0; 11],
        scratch: memory.to_vec(),
        stack: vec![0; STACK_BYTES],
        calls: Vec::new(),
        pc: 0,
    };
    machine.r[1] = Memory::address(RegionId::Scratch, 0);
    machine.r[2] = memory.len() as u64;
    machine.r[10] = Memory::address(RegionId::Stack, STACK_BYTES as u32);
    let mut executed = 0;
    loop {
        let at = machine.pc as usize;
        let next = slots.get(at + 1).copied();
        let instruction = Instruction::decode(slots[at], next).expect("the code is valid");
        machine.pc += instruction.slots() as i64;
        executed += instruction.slots() as u64;
        if !machine.step(instruction) {
            return Reference {
                r0: machine.r[0],
                memory: machine.scratch,
                executed,
            };
        }
    }
}

struct Machine {
    r: [u64; 11],
    scratch: Vec<u8>,
    stack: Vec<u8>,
    calls: Vec<([u64; 4], i64)>,
    pc: i64,
}

/// The lower bits of a number, as it is or with its sign.
fn cut(value: u64, bits: u32, is_signed: bool) -> i128 {
    let low = i128::from(value) & ((1 << bits) - 1);
    if is_signed && low >> (bits - 1) & 1 == 1 {
        low - (1 << bits)
    } else {
        low
    }
}

const fn bits(width: Width) -> u32 {
    match width {
        Width::Bits32 => 32,
        Width::Bits64 => 64,
    }
}

impl Machine {
    fn get(&self, register: Register) -> u64 {
        self.r[register.number() as usize]
    }

    fn set(&mut self, register: Register, value: u64) {
        self.r[register.number() as usize] = value;
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Register(register) => self.get(register),
            Operand::Immediate(imm) => cut(imm as u32 as u64, 32, true) as u64,
        }
    }

    fn bytes(&mut self, base: Register, offset: i16, len: usize) -> &mut [u8] {
        let address = self.get(base).wrapping_add_signed(offset.into());
        let from = address as u32 as usize;
        match RegionId::of(address) {
            Some(RegionId::Scratch) => &mut self.scratch[from..from + len],
            Some(RegionId::Stack) => &mut self.stack[from..from + len],
            other => panic!("an access to {other:?}"),
        }
    }

    fn read(&mut self, base: Register, offset: i16, len: usize) -> u64 {
        let bytes = self.bytes(base, offset, len);
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    fn write(&mut self, base: Register, offset: i16, len: usize, value: u64) {
        for (index, byte) in self.bytes(base, offset, len).iter_mut().enumerate() {
            *byte = (value >> (8 * index)) as u8;
        }
    }

    /// False at the end of the program.
    fn step(&mut self, instruction: Instruction) -> bool {
        match instruction {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let value = alu(bits(width), op, self.get(dst), self.operand(src));
                self.set(dst, value);
            }
            Instruction::Negate { width, dst } => {
                let value = -cut(self.get(dst), 64, false);
                self.set(dst, cut(value as u64, bits(width), false) as u64);
            }
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => {
                let value = cut(self.get(src), from.bytes() as u32 * 8, true);
                self.set(dst, cut(value as u64, bits(width), false) as u64);
            }
            Instruction::Swap { order, size, dst } => {
                let mut bytes = self.get(dst).to_le_bytes()[..size.bytes()].to_vec();
                if order != SwapOrder::Little {
                    bytes.reverse();
                }
                let value = bytes
                    .iter()
                    .rev()
                    .fold(0, |value, &byte| value << 8 | u64::from(byte));
                self.set(dst, value);
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let value = self.read(base, offset, size.bytes());
                self.set(dst, cut(value, size.bytes() as u32 * 8, signed) as u64);
            }
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => {
                let value = self.operand(src);
                self.write(base, offset, size.bytes(), value);
            }
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => {
                self.atomic(bits(width), op, base, offset, src);
            }
            Instruction::LoadWide {
                dst,
                value: WideValue::Number(number),
            } => {
                self.set(dst, number);
            }
            Instruction::LoadWide { value, .. } => panic!("{value} has no meaning here"),
            Instruction::Jump { offset, .. } => self.pc += i64::from(offset),
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                offset,
            } => {
                if holds(bits(width), condition, self.get(dst), self.operand(src)) {
                    self.pc += i64::from(offset);
                }
            }
            Instruction::CallHelper { id } => panic!("a call of helper {id}"),
            Instruction::CallLocal { offset } => {
                let saved = [self.r[6], self.r[7], self.r[8], self.r[9]];
                self.calls.push((saved, self.pc));
                self.pc += i64::from(offset);
                self.r[10] -= 512;
            }
            Instruction::Exit => match self.calls.pop() {
                Some((saved, back)) => {
                    self.r[6..10].copy_from_slice(&saved);
                    self.r[10] += 512;
                    self.pc = back;
                }
                None => return false,
            },
        }
        true
    }

    fn atomic(&mut self, bits: u32, op: AtomicOp, base: Register, offset: i16, src: Register) {
        let size = if bits == 32 { Size::Word } else { Size::Double };
        let old = self.read(base, offset, size.bytes());
        let (value, expected) = (self.get(src), cut(self.r[0], bits, false));
        let new = match op {
            AtomicOp::Add { .. } => old.wrapping_add(value),
            AtomicOp::Or { .. } => old | value,
            AtomicOp::And { .. } => old & value,
            AtomicOp::Xor { .. } => old ^ value,
            AtomicOp::Exchange => value,
            AtomicOp::CompareExchange if i128::from(old) == expected => value,
            AtomicOp::CompareExchange => old,
        };
        self.write(base, offset, size.bytes(), new);
        match op {
            AtomicOp::CompareExchange => self.r[0] = old,
            AtomicOp::Exchange
            | AtomicOp::Add { fetch: true }
            | AtomicOp::Or { fetch: true }
            | AtomicOp::And { fetch: true }
            | AtomicOp::Xor { fetch: true } => self.set(src, old),
            _ => {}
        }
    }
}

/// Section 4.1.
fn alu(bits: u32, op: AluOp, dst: u64, src: u64) -> u64 {
    let (a, b) = (cut(dst, bits, false), cut(src, bits, false));
    let (signed_a, signed_b) = (cut(dst, bits, true), cut(src, bits, true));
    let count = b & i128::from(bits - 1);
    let result = match op {
        AluOp::Add => a + b,
        AluOp::Sub => a - b,
        AluOp::Mul => i128::from((a as u64).wrapping_mul(b as u64)),
        AluOp::Div | AluOp::SignedDiv if b == 0 => 0,
        AluOp::Mod | AluOp::SignedMod if b == 0 => a,
        AluOp::Div => a / b,
        AluOp::SignedDiv => signed_a / signed_b,
        AluOp::Mod => a % b,
        AluOp::SignedMod => signed_a % signed_b,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << count,
        AluOp::Rsh => a >> count,
        AluOp::Arsh => signed_a >> count,
    };
    cut(result as u64, bits, false) as u64
}

/// Section 4.3.
fn holds(bits: u32, condition: Condition, dst: u64, src: u64) -> bool {
    let (a, b) = (cut(dst, bits, false), cut(src, bits, false));
    let (signed_a, signed_b) = (cut(dst, bits, true), cut(src, bits, true));
    match condition {
        Condition::Equal => a == b,
        Condition::NotEqual => a != b,
        Condition::AnyBit => a & b != 0,
        Condition::Greater => a > b,
        Condition::GreaterOrEqual => a >= b,
        Condition::Less => a < b,
        Condition::LessOrEqual => a <= b,
        Condition::SignedGreater => signed_a > signed_b,
        Condition::SignedGreaterOrEqual => signed_a >= signed_b,
        Condition::SignedLess => signed_a < signed_b,
        Condition::SignedLessOrEqual => signed_a <= signed_b,
    }
}
