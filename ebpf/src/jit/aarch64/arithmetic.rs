//! Arithmetic (RFC 9669 sections 4.1 and 4.2): `d = n op operand`, registers or numbers.
//!
//! A64 divides as the RFC has it: by zero it is zero, and the least number by -1 is itself. So
//! remainders, `n - n / m * m`, come out right too: by zero they are `n`.

use super::assembler::Assembler;
use super::encode::{
    self, Bits, Logic, Reg, Reverse, Size, Sum, Two, ZR, extend, extract, logic_imm,
};
use super::{T0, T1};
use crate::instruction::{AluOp, SwapOrder};

/// A second operand: a register, or a number that is extended to the width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Register(Reg),
    Number(i32),
}

impl Operand {
    /// It as a register: its own, or a temporary one with the number.
    pub(super) fn register(self, asm: &mut Assembler<'_, '_>, size: Size) -> Reg {
        match self {
            Operand::Register(reg) => reg,
            Operand::Number(0) => ZR,
            Operand::Number(number) => {
                asm.number(T0, bits_of(size, number));
                T0
            }
        }
    }
}

/// A number as the bits of an operand.
pub(super) const fn bits_of(size: Size, number: i32) -> u64 {
    match size {
        Size::W => number as u32 as u64,
        Size::X => number as i64 as u64,
    }
}

/// `d = n op operand`.
pub(super) fn compute(
    asm: &mut Assembler<'_, '_>,
    op: AluOp,
    size: Size,
    d: Reg,
    n: Reg,
    operand: Operand,
) {
    if let Operand::Number(number) = operand
        && by_number(asm, op, size, d, n, number)
    {
        return;
    }
    let m = operand.register(asm, size);
    let word = match op {
        AluOp::Add => encode::sum(Sum::Add, size, d, n, m),
        AluOp::Sub => encode::sum(Sum::Sub, size, d, n, m),
        AluOp::Mul => encode::madd(size, d, n, m, ZR),
        AluOp::Or => encode::logic(Logic::Orr, size, d, n, m),
        AluOp::And => encode::logic(Logic::And, size, d, n, m),
        AluOp::Xor => encode::logic(Logic::Eor, size, d, n, m),
        AluOp::Lsh => encode::two(Two::Lsl, size, d, n, m),
        AluOp::Rsh => encode::two(Two::Lsr, size, d, n, m),
        AluOp::Arsh => encode::two(Two::Asr, size, d, n, m),
        AluOp::Mov => encode::mov(size, d, m),
        AluOp::Div => encode::two(Two::Udiv, size, d, n, m),
        AluOp::SignedDiv => encode::two(Two::Sdiv, size, d, n, m),
        AluOp::Mod | AluOp::SignedMod => {
            let two = if op == AluOp::Mod {
                Two::Udiv
            } else {
                Two::Sdiv
            };
            asm.put(encode::two(two, size, T1, n, m));
            encode::msub(size, d, T1, m, n)
        }
    };
    asm.put(word);
}

/// The forms that take the number into the instruction. False if there is none for it.
fn by_number(
    asm: &mut Assembler<'_, '_>,
    op: AluOp,
    size: Size,
    d: Reg,
    n: Reg,
    number: i32,
) -> bool {
    let bits = bits_of(size, number);
    let power = bits.is_power_of_two().then(|| bits.trailing_zeros());
    let by = number as u32 % size.bits();
    let logic = |logic| logic_imm(logic, size, d, n, bits);
    let word = match (op, power) {
        (AluOp::Add, _) => {
            asm.add(size, d, n, i64::from(number), T0);
            return true;
        }
        (AluOp::Sub, _) => {
            asm.add(size, d, n, -i64::from(number), T0);
            return true;
        }
        (AluOp::Mov, _) => {
            asm.number(d, bits);
            return true;
        }
        (AluOp::Or, _) => logic(Logic::Orr),
        (AluOp::And, _) => logic(Logic::And),
        (AluOp::Xor, _) => logic(Logic::Eor),
        (AluOp::Lsh, _) => Some(encode::lsl_imm(size, d, n, by)),
        (AluOp::Rsh, _) => Some(encode::lsr_imm(size, d, n, by)),
        (AluOp::Arsh, _) => Some(encode::asr_imm(size, d, n, by)),
        (AluOp::Mul, Some(power)) => Some(encode::lsl_imm(size, d, n, power)),
        (AluOp::Div, Some(power)) => Some(encode::lsr_imm(size, d, n, power)),
        // By 1 there is no remainder.
        (AluOp::Mod, Some(0)) => Some(encode::mov(size, d, ZR)),
        (AluOp::Mod, Some(_)) => logic_imm(Logic::And, size, d, n, bits - 1),
        _ => None,
    };
    if let Some(word) = word {
        asm.put(word);
    }
    word.is_some()
}

/// `d` = the `low` lowest bits of `n` with their sign.
pub(super) fn move_signed(asm: &mut Assembler<'_, '_>, size: Size, d: Reg, n: Reg, low: u32) {
    asm.put(extend(Bits::Signed, size, d, n, low));
}

/// `d = (n << left) >> right`, where `right` is not less than `left`, as one bit field.
pub(super) fn shift_pair(
    asm: &mut Assembler<'_, '_>,
    bits: Bits,
    size: Size,
    (d, n): (Reg, Reg),
    (left, right): (u32, u32),
) {
    asm.put(extract(bits, size, d, n, right - left, size.bits() - right));
}

/// The lowest `bits` of `d` in another order (section 4.2), or cut to so many.
pub(super) fn swap(asm: &mut Assembler<'_, '_>, order: SwapOrder, bits: usize, d: Reg) {
    match (order, bits) {
        (SwapOrder::Little, 16) => asm.put(extend(Bits::Unsigned, Size::W, d, d, 16)),
        (SwapOrder::Little, 32) => asm.put(encode::mov(Size::W, d, d)),
        (SwapOrder::Little, _) => {}
        (_, 16) => {
            asm.put(encode::reverse(Reverse::Each16, Size::W, d, d));
            asm.put(extend(Bits::Unsigned, Size::W, d, d, 16));
        }
        (_, 32) => asm.put(encode::reverse(Reverse::Each32, Size::W, d, d)),
        (_, _) => asm.put(encode::reverse(Reverse::All, Size::X, d, d)),
    }
}
